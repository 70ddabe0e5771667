"""The ops as users call them, on every device: values, gradients, options and refusals against float64.

    python -m pytest tests/kernels/test_ops_on_gpu.py                       # a GPU's: the Triton kernels behind pydisp.ops
    TRITON_INTERPRET=1 python -m pytest tests/kernels/test_ops_on_gpu.py    # without one: the CPU's, and the GPU's by the interpreter

The interpreter runs what is registered for CUDA on CPU tensors: a mode below autograd hands the ops over to it, so that the way from
pydisp.ops to the kernels and back is tested where there is no GPU, and these tests are known to be right before one runs them.
"""

# B batch, T tokens, D hidden, A added, K kept dimensions, V words, E appended words

import contextlib

import pytest
import torch
from as_on_cuda import INTERPRETED, AsOnCuda
from gold import assert_as_good
from torch import Tensor
from torch.nn import functional as F

from pydisp import ops
from pydisp.ops.add_norm_select import reference as add_norm_select_reference
from pydisp.ops.attention_mass import key_reference, reference
from pydisp.ops.norm_select import reference as norm_select_reference

EPS = 0.1
TOLERANCE = {torch.float32: 4e-6, torch.bfloat16: 1.6e-2, torch.float16: 2e-3}  # some roundings of the largest value, by the inputs' dtype
KERNELS = (
    "norm_select", "norm_select_backward", "add_norm_select", "add_norm_select_", "add_norm_select_backward", "index_add", "index_add_",
    "index_select", "token_statistics", "token_statistics_backward", "attention_mass", "attention_key_mass",
)  # fmt: skip


@pytest.fixture(params=["cpu", "interpreter", "cuda"])
def place(request) -> str:
    if request.param == "interpreter" and not INTERPRETED:
        pytest.skip("needs TRITON_INTERPRET=1")
    if request.param == "cuda" and (INTERPRETED or not torch.cuda.is_available()):
        pytest.skip("needs a GPU, and no interpreter")
    with AsOnCuda() if request.param == "interpreter" else contextlib.nullcontext():
        yield request.param


@pytest.fixture
def device(place) -> torch.device:
    return torch.device("cuda" if place == "cuda" else "cpu")


@pytest.fixture(params=list(TOLERANCE), ids=["f32", "bf16", "f16"])
def dtype(request) -> torch.dtype:
    return request.param


@pytest.fixture
def form(request, device):
    """What an op is given for an index: it on the device, alone or as Features."""
    return lambda index, size: ops.features(index.to(device), size) if request.param == "Features" else index.to(device)


@pytest.fixture
def draw(generator):
    return lambda *shape, dtype=torch.float32: torch.randn(shape, generator=generator).to(dtype)


@pytest.fixture
def choose(generator):
    """`choose(K, D)`: K sorted indices of D."""
    return lambda kept, size: torch.randperm(size, generator=generator)[:kept].sort().values.int()


def check(op, by_torch, tensors: list[Tensor | None], device: torch.device) -> None:
    """`op` of the tensors on the device, its values and gradients, against `by_torch` of them on the CPU in float32 and in float64."""
    dtype = next(one.dtype for one in tensors if one is not None)

    def run(function, device, dtype=None):
        leaves = [None if one is None else one.to(device, dtype or one.dtype).detach().requires_grad_() for one in tensors]
        outputs = function(*leaves)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        fixed = torch.Generator().manual_seed(0)
        cotangents = [torch.randn(one.shape, generator=fixed).bfloat16().to(one.device, one.dtype) for one in outputs]
        given = [leaf for leaf in leaves if leaf is not None]
        grads = torch.autograd.grad(outputs, given, cotangents, allow_unused=True)
        return [*outputs, *(torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(given, grads, strict=True))]

    results = run(op, device), run(by_torch, "cpu", torch.float32), run(by_torch, "cpu", torch.float64)
    for result, other, gold in zip(*results, strict=True):
        assert result.device.type == device.type
        assert_as_good(result.detach(), other.detach(), gold.detach(), TOLERANCE[dtype])


NORMS = {"rms": (True, False, 1.0, False), "layer": (True, True, 0.0, True), "bias alone": (False, True, 0.0, False)}


@pytest.fixture(params=NORMS.values(), ids=NORMS)
def norm(request, draw):
    """`norm(D, dtype)`: gain or None, bias or None, and the options."""
    has_weight, has_bias, weight_offset, center = request.param
    options = {"weight_offset": weight_offset, "center": center}
    return lambda size, dtype: (draw(size, dtype=dtype) if has_weight else None, draw(size, dtype=dtype) if has_bias else None, options)


def test_every_kernel_is_registered():
    assert [name for name in KERNELS if not ops.has_kernel(name, "CUDA")] == [], "set PYDISP_TRITON=1 before pydisp is imported"


WIDTHS = [((2, 3), 129, 65, "bare"), ((2, 3), 129, 65, "Features"), ((5,), 40, 0, "bare"), ((2,), 8232, 4001, "Features")]


@pytest.mark.parametrize(("rows", "size", "kept", "form"), WIDTHS, indirect=["form"])
def test_norm_select(rows, size, kept, norm, form, dtype, device, draw, choose):
    weight, bias, options = norm(size, dtype)
    index = choose(kept, size)
    given = form(index, size)
    check(
        lambda x, weight, bias: ops.norm_select(x, weight, bias, given, EPS, **options),
        lambda x, weight, bias: norm_select_reference(x, weight, bias, index, EPS, **options),
        [draw(*rows, size, dtype=dtype), weight, bias],
        device,
    )


@pytest.mark.parametrize(("rows", "size", "kept", "form"), WIDTHS, indirect=["form"])
def test_add_norm_select(rows, size, kept, norm, form, dtype, device, draw, choose):
    added = size // 3
    weight, bias, options = norm(size, dtype)
    indices = choose(added, size), choose(kept, size)
    add_index, select_index = (form(index, size) for index in indices)
    x, update = draw(*rows, size, dtype=dtype), draw(*rows, added, dtype=dtype)
    check(
        lambda x, update, weight, bias: ops.add_norm_select(x, update, add_index, weight, bias, select_index, EPS, **options),
        lambda x, update, weight, bias: add_norm_select_reference(x, update, indices[0], weight, bias, indices[1], EPS, **options),
        [x, update, weight, bias],
        device,
    )
    x, update, weight, bias = (None if one is None else one.to(device) for one in (x, update, weight, bias))
    new, selected = ops.add_norm_select(x, update, add_index, weight, bias, select_index, EPS, **options)
    assert torch.equal(ops.add_norm_select_(x, update, add_index, weight, bias, select_index, EPS, **options), selected)
    assert torch.equal(x, new)


@pytest.mark.parametrize(("rows", "size", "count", "form"), WIDTHS, indirect=["form"])
def test_index_select_and_index_add(rows, size, count, form, dtype, device, draw, choose):
    index = choose(count, size)
    given = form(index, size)
    x, update = draw(*rows, size, dtype=dtype), draw(*rows, count, dtype=dtype)
    check(lambda x: ops.index_select(x, given), lambda x: x.index_select(-1, index), [x], device)
    check(lambda x, update: ops.index_add(x, update, given), lambda x, update: x.index_add(-1, index, update), [x, update], device)
    new = ops.index_add(x.to(device), update.to(device), given)
    assert torch.equal(ops.index_add_(x.to(device), update.to(device), given), new)


@pytest.mark.parametrize("name", ["index_add_", "add_norm_select_"])
def test_an_update_that_lies_in_the_residual_is_read_before_it_changes(name, device, draw, choose):
    index = choose(30, 64).to(device)
    memory = draw(6, 64).to(device)
    residual, update = memory[1:], memory[:-1, :30]  # each row's update lies in the row before it
    arguments = (index,) if name == "index_add_" else (index, None, None, index, EPS)
    expected = residual.clone()
    getattr(ops, name)(expected, update.clone(), *arguments)
    getattr(ops, name)(residual, update, *arguments)
    assert torch.equal(residual, expected)


RAN = {
    "_norm_select_fwd_kernel", "_norm_select_bwd_kernel", "_add_norm_select_fwd_kernel", "_token_statistics_row_kernel",
    "_token_statistics_bwd_kernel", "_attention_mass_split_kernel",
}  # fmt: skip


def test_float64_stays_with_plain_torch(place, device, draw, choose, launches):
    index = choose(4, 9).to(device)
    for dtype in (torch.float64, torch.float32):
        x, weight = (draw(*shape, dtype=dtype).to(device).requires_grad_() for shape in ((3, 9), (20, 9)))
        ops.norm_select(x, None, None, index, EPS).sum().backward()
        ops.add_norm_select(x, x[:, :4].detach(), index, None, None, index, EPS)[1].sum().backward()
        ops.linear_cross_entropy(x, weight, torch.tensor([1, 2, 3], device=device)).sum().backward()
        ops.attention_mass(x[None, None], weight[None, None, :5], torch.ones(1, 5, dtype=torch.int64, device=device), 2)
        if place == "interpreter":
            names = {one.name for one in launches}
            assert names == set() if dtype == torch.float64 else names >= RAN


def whole_logits(hidden, weight, bias=None, softcap=None, scale=1.0):
    logits = scale * F.linear(hidden, weight, bias)
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


# options of ours, and how many rows are appended and are padding
LOSSES = {
    "plain": ({}, 0, 0),
    "bias, softcap, scale": ({"softcap": 5.0, "logit_scale": 0.7}, 0, 0),
    "mean, smoothing, z": ({"label_smoothing": 0.1, "z_loss": 0.01, "reduction": "mean"}, 0, 0),
    "appended": ({"softcap": 5.0}, 7, 0),
    "padded vocabulary": ({"vocab_size": 300, "reduction": "sum"}, 0, 5),
}


@pytest.mark.parametrize("size", [64, 33])  # a multiple of 8 goes by tiles, another and float32 by torch's product and a workspace
@pytest.mark.parametrize("loss", LOSSES)
def test_linear_cross_entropy(loss, size, dtype, place, device, draw, generator):
    options, appended, padding = LOSSES[loss]
    tokens, words = 6 if place == "interpreter" else 131, 300  # it runs the programs of the workspace's rows one by one
    hidden, weight = draw(tokens, size, dtype=dtype) * 0.3, draw(words + padding, size, dtype=dtype)
    more = draw(appended, size, dtype=dtype) if appended else None
    bias = draw(words + appended, dtype=dtype) if loss in ("bias, softcap, scale", "appended") else None
    targets = torch.randint(words + appended, (tokens,), generator=generator)
    targets[::5] = -100

    def by_torch(hidden, weight, more, bias):
        matrix = weight[:words]
        if more is not None:
            matrix, bias = torch.cat([matrix.detach(), more]), None if bias is None else bias.detach()
        logits = whole_logits(hidden, matrix, bias, options.get("softcap"), options.get("logit_scale", 1.0))
        losses = F.cross_entropy(logits, targets, reduction="none", label_smoothing=options.get("label_smoothing", 0.0))
        losses = losses + torch.where(targets == -100, 0, options.get("z_loss", 0.0) * logits.logsumexp(1).square())
        reduction = options.get("reduction", "none")
        return losses if reduction == "none" else losses.sum() / ((targets != -100).sum() if reduction == "mean" else 1)

    check(
        lambda hidden, weight, more, bias: ops.linear_cross_entropy(hidden, weight, targets.to(device), bias, appended=more, **options),
        by_torch,
        [hidden, weight, more, bias],
        device,
    )


@pytest.mark.parametrize("size", [64, 33])
@pytest.mark.parametrize("appended", [0, 6])
def test_what_else_a_loss_returns(appended, size, dtype, device, generator):
    """Small integers, so no logit is rounded, many are equal and rank and argmax are exact; buckets in the order of the tokens."""
    hidden = torch.randint(-2, 3, (20, size), generator=generator)
    weight = torch.randint(-1, 2, (90 + appended, size), generator=generator)
    targets, buckets = torch.randint(90 + appended, (20,), generator=generator), torch.randint(-1, 4, (20,), generator=generator)
    targets[::4] = -100
    counted = targets != -100
    z = (hidden @ weight.t()).double() / 16
    losses = F.cross_entropy(z, targets, reduction="none")
    tensors = (one.to(device, dtype) for one in (hidden, weight[:90]))
    everything = {f"return_{name}": True for name in ("lse", "entropy", "rank", "argmax")}
    returned = ops.linear_cross_entropy(
        *tensors, targets.to(device), appended=weight[90:].to(device, dtype) if appended else None, logit_scale=1 / 16,
        reduction="buckets", buckets=buckets.to(device), num_buckets=5, **everything,
    )  # fmt: skip
    rounding = {"rtol": 1e-5, "atol": 1e-5, "check_device": False, "check_dtype": False}
    torch.testing.assert_close(returned.lse, z.logsumexp(1), **rounding)
    torch.testing.assert_close(returned.entropy, torch.distributions.Categorical(logits=z).entropy(), **rounding)
    first = (z == z.amax(1, keepdim=True)).int().argmax(1)
    above = (z > z.gather(1, targets.clamp(min=0)[:, None])).sum(1)
    assert torch.equal(returned.argmax.cpu(), first) and torch.equal(returned.rank.cpu(), torch.where(counted, above, -1))
    for bucket in range(5):
        own = counted & (buckets == bucket)
        assert returned.loss.count[bucket] == own.sum() and returned.loss.correct[bucket] == (first == targets)[own].sum()
        torch.testing.assert_close(returned.loss.sum[bucket], losses[own].sum(), **rounding)
        torch.testing.assert_close(returned.loss.sum_squares[bucket], losses[own].square().sum(), **rounding)


@pytest.mark.parametrize("is_checked", [False, True])
def test_bad_targets_and_buckets(is_checked, place, device, draw, monkeypatch):
    """NaN where values are not looked at, of that token alone and in its gradient; a ValueError where they are."""
    if is_checked and place == "interpreter":
        pytest.skip("nothing is looked at under a mode")
    monkeypatch.setenv("PYDISP_CHECK", "1" if is_checked else "")
    hidden, weight = draw(3, 16, dtype=torch.bfloat16).to(device).requires_grad_(), draw(20, 16, dtype=torch.bfloat16).to(device)
    for bad in (20, -1, 2**40):
        targets = torch.tensor([3, bad, -100], device=device)
        if is_checked or place == "cpu":
            with pytest.raises(ValueError, match="linear_cross_entropy"):
                ops.linear_cross_entropy(hidden, weight, targets)
            continue
        loss = ops.linear_cross_entropy(hidden, weight, targets)
        (grad,) = torch.autograd.grad(loss.sum(), hidden)
        assert loss.isnan().tolist() == grad.isnan().any(1).tolist() == [False, True, False] and loss[2] == 0
    arguments = {"reduction": "buckets", "buckets": torch.tensor([0, 2, 1], device=device), "num_buckets": 2}
    targets = torch.tensor([3, 4, 5], device=device)
    if is_checked or place == "cpu":
        with pytest.raises(ValueError, match="linear_cross_entropy"):
            ops.linear_cross_entropy(hidden, weight, targets, **arguments)
    else:
        assert ops.linear_cross_entropy(hidden, weight, targets, **arguments).sum.isnan().all()


@pytest.mark.parametrize("bad", [[0, 9], [-1, 3], [3, 2], [2, 2]], ids=str)
def test_a_bad_index_is_refused_everywhere(bad, device, draw):
    index, x = torch.tensor(bad, dtype=torch.int32, device=device), draw(2, 9).to(device)
    update = x[:, :2].clone()
    for call in (
        lambda: ops.index_select(x, index),
        lambda: ops.index_add(x, update, index),
        lambda: ops.index_add_(x, update, index),
        lambda: ops.norm_select(x, None, None, index, EPS),
        lambda: ops.add_norm_select(x, update, index, None, None, torch.tensor([1], dtype=torch.int32, device=device), EPS),
        lambda: ops.add_norm_select_(x, update, torch.tensor([1, 2], dtype=torch.int32, device=device), None, None, index, EPS),
    ):
        with pytest.raises(ValueError, match="not sorted or repeats|dimensions run from 0 to 8"):
            call()


MASSES = {
    "decode": ((2, 6, 2, 1, 70, 24), {"per_query": True}),
    "prefill": ((1, 2, 1, 140, 150, 24), {}),
    "window, masks": ((2, 2, 1, 40, 75, 16), {"window": 21, "masks": True, "per_query": True}),
    "softcap, sinks": ((1, 2, 2, 33, 33, 20), {"softcap": 2.0, "sinks": True, "causal": False, "num_groups": 40}),
    "few queries, all": ((2, 3, 1, 5, 75, 16), {"window": 41, "masks": True, "sinks": True, "softcap": 3.0, "per_query": True}),
}


@pytest.mark.parametrize("case", MASSES)
def test_attention_mass(case, dtype, device, draw, generator):
    (batch, heads, kv_heads, queries, keys, size), options = MASSES[case]
    num_groups, causal, window, softcap = (options.get(*one) for one in (("num_groups", 5), ("causal", True), ("window",), ("softcap",)))
    per_query = options.get("per_query", False)
    q, k = draw(batch, heads, queries, size, dtype=dtype), draw(batch, kv_heads, keys, size, dtype=dtype)
    groups = torch.randint(1 << num_groups, (batch, keys), generator=generator)
    sinks = draw(heads) if options.get("sinks") else None
    key_mask = query_mask = None
    if options.get("masks"):
        key_mask, query_mask = torch.rand(batch, keys, generator=generator) < 0.7, torch.rand(batch, queries, generator=generator) < 0.7

    def by_torch(dtype):
        settings = causal, window or 0, size**-0.5, softcap or 0.0
        spread = reference(q.to(dtype), k.to(dtype), groups, num_groups, *settings, sinks, key_mask, query_mask, per_query)
        return *spread, key_reference(q.to(dtype), k.to(dtype), spread[3], *settings, key_mask, query_mask)

    on_device = [None if one is None else one.to(device) for one in (q, k, groups, sinks, key_mask, query_mask)]
    q_there, k_there, groups_there, sinks_there, *masks = on_device
    shared = {"causal": causal, "window": window, "softcap": softcap, "key_mask": masks[0], "query_mask": masks[1]}
    spread = ops.attention_mass(q_there, k_there, groups_there, num_groups, sinks=sinks_there, per_query=per_query, **shared)
    assert (spread.mass is None) == (not per_query)
    spread = (*spread, ops.attention_key_mass(q_there, k_there, spread.lse, **shared))
    for one, other, gold in zip(spread, by_torch(torch.float32), by_torch(torch.float64), strict=True):
        if one is not None:
            assert one.device.type == device.type and one.dtype == torch.float32
            assert_as_good(one, other, gold)
