"""Both forms of token_statistics and its backward, against float64."""

import pytest
import torch
from gold import assert_as_good, use_placeless_products
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from pydisp.kernels import token_statistics as module

# N tokens, D hidden, V words, E appended words

IGNORED = -100
FORMS = {"tiles": module._by_tiles, "workspace": module._by_workspace}
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


@pytest.fixture(params=FORMS.values(), ids=FORMS)
def form(request):
    return request.param


@pytest.fixture(params=DTYPES.values(), ids=DTYPES)
def dtype(request):
    return request.param


@pytest.fixture(autouse=True)
def small_tiles(request, device, monkeypatch):
    """Under the interpreter, which pays for every element: several tiles of every kind in a small problem."""
    if device.type == "cpu" and "real_tiles" not in request.fixturenames:
        tile = {"BLOCK_N": 16, "BLOCK_V": 32, "BLOCK_D": 16, "num_warps": 4, "num_stages": 2}
        monkeypatch.setattr(module, "tile_config", lambda *_: tile)
        monkeypatch.setattr(module, "ROW_TILE", 64)


@pytest.fixture
def real_tiles():
    """Asked for by a test that takes the tiles that GPUs take."""


@pytest.fixture
def placeless(device, monkeypatch):
    if device.type == "cpu":
        use_placeless_products(monkeypatch)

        def product(a, b, out=None):
            product = (a.double() @ b.double()).float()
            return product if out is None else out.copy_(product)

        monkeypatch.setattr(module, "_product", product)


def problem(generator, dtype, tokens, width, words, *, appended=0, bias=False, softcap=None, scale=1.0, padding=0, strided=False):
    """The arguments of token_statistics up to ignore_index, on the CPU."""

    def draw(*shape):
        values = torch.randn(shape, generator=generator).to(dtype)
        return values.t().contiguous().t() if strided and len(shape) > 1 else values

    weight = draw(words + padding, width)
    weight[words:] = torch.nan  # what is only padding must not be read into anything
    targets = torch.randint(words + appended, (tokens,), generator=generator)
    rows = draw(appended, width) if appended else None
    offsets = draw(words + (appended or padding)) if bias else None
    return draw(tokens, width), weight, rows, offsets, targets, softcap, scale, words, IGNORED


def logits(hidden, weight, appended, bias, targets, softcap, scale, vocab_size, ignore_index, dtype):
    words = weight[:vocab_size] if appended is None else torch.cat([weight[:vocab_size], appended])
    z = hidden.to(dtype) @ words.to(dtype).t()
    if bias is not None:
        z = z + bias[: words.shape[0]].to(dtype)
    return z * scale if softcap is None else softcap * torch.tanh(z * scale / softcap)


def statistics(arguments, dtype):
    """lse, target logit, mean logit, entropy in plain torch, and the logits that they come from."""
    z = logits(*arguments, dtype)
    targets, ignore_index = arguments[4], arguments[8]
    is_word = (targets >= 0) & (targets < z.shape[1])
    target = z.gather(1, torch.where(is_word, targets, 0)[:, None]).squeeze(1)
    target = torch.where(targets == ignore_index, 0.0, torch.where(is_word, target, torch.nan))
    probabilities = z.softmax(1)
    entropy = -(probabilities * torch.where(probabilities == 0, 0.0, probabilities.log())).sum(1)
    return (z.logsumexp(1), target, z.mean(1), entropy), z


def on(device, arguments):
    return [one.to(device) if isinstance(one, torch.Tensor) else one for one in arguments]


def check(form, device, arguments):
    results = form(*on(device, arguments), True, True, True, True)
    gold, z = statistics(arguments, torch.float64)
    reference, _ = statistics(arguments, torch.float32)
    for one, other, best in zip(results[:4], reference, gold, strict=True):
        assert one.dtype == torch.float32
        assert_as_good(one, other, best)
    rank, argmax = (one.cpu() for one in results[4:])
    assert rank.dtype == argmax.dtype == torch.int64
    # logits nearer than this may change places by rounding
    slack = 1e-5 * (1 + z.abs().amax(1))
    target = gold[1]
    is_word = (arguments[4] != arguments[8]) & target.isfinite()
    assert (rank[is_word] >= (z > (target + slack)[:, None]).sum(1)[is_word]).all()
    assert (rank[is_word] <= (z > (target - slack)[:, None]).sum(1)[is_word]).all()
    assert (rank[~is_word] == 0).all()
    assert (z.gather(1, argmax[:, None]).squeeze(1) >= z.amax(1) - slack).all()


@pytest.mark.parametrize(
    ("dtype", "shape", "options"),
    [
        ("bf16", (1, 1, 1), {}),
        ("f32", (3, 32, 64), {}),
        ("f16", (5, 33, 150), {"padding": 5, "scale": 0.25}),
        ("bf16", (18, 24, 70), {"appended": 37, "bias": True, "softcap": 20.0, "scale": 0.7}),
        ("f32", (4, 20, 70), {"appended": 3, "bias": True, "strided": True}),
    ],
    ids=["minimal", "even", "padded", "all", "strided"],
)
def test_statistics_are_as_good_as_float32(form, dtype, device, generator, shape, options):
    check(form, device, problem(generator, DTYPES[dtype], *shape, **options))


def test_the_tiles_of_gpus(form, dtype, device, generator, real_tiles):
    check(form, device, problem(generator, dtype, 2, 72, 270, appended=2, bias=True))


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 40), st.integers(1, 100)),
    appended=st.integers(0, 5),
    bias=st.booleans(),
    softcap=st.sampled_from([None, 0.5, 30.0]),
    dtype=st.sampled_from(list(DTYPES.values())),
    seed=st.integers(0, 2**31),
)
def test_any_shape(form, device, shape, appended, bias, softcap, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    check(form, device, problem(generator, dtype, *shape, appended=appended, bias=bias, softcap=softcap))


def test_several_blocks_of_tokens(form, device, generator, monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 16)
    monkeypatch.setattr(module, "BLOCKS_TOGETHER", 2)
    check(form, device, problem(generator, torch.bfloat16, 65 if form is module._by_tiles else 18, 16, 40))


@pytest.mark.parametrize("partials", [1, 2, 3])
def test_runs_of_several_tiles(device, generator, monkeypatch, partials):
    monkeypatch.setattr(module, "MOST_PARTIALS", partials)
    check(module._by_tiles, device, problem(generator, torch.bfloat16, 4, 24, 120, appended=50, bias=True))


def test_no_tokens_and_nothing_asked(form, device, generator):
    arguments = on(device, problem(generator, torch.float32, 0, 8, 10))
    results = form(*arguments, True, True, True, True)
    assert [tuple(one.shape) for one in results] == [(0,)] * 6
    arguments = on(device, problem(generator, torch.float32, 2, 8, 10))
    results = form(*arguments, False, False, False, False)
    assert [one.numel() for one in results] == [2, 2, 0, 0, 0, 0]
    assert [one.dtype for one in results[2:]] == [torch.float32, torch.float32, torch.int64, torch.int64]


def test_targets_that_are_no_word(form, device, generator):
    arguments = problem(generator, torch.bfloat16, 6, 16, 20, appended=2)
    arguments[4].copy_(torch.tensor([3, IGNORED, -1, 22, 2**40, 21]))
    check(form, device, arguments)  # 0 for the ignored, NaN for the three that are none
    results = form(*on(device, arguments), False, False, True, False)
    assert results[1].isnan().tolist() == [False, False, True, True, True, False] and results[1][1] == 0
    within = (*arguments[:8], 3)  # the ignored number may be a word's
    results = form(*on(device, within), False, False, True, False)
    assert results[1][0] == 0 and results[4][0] == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_every_word_may_be_an_appended_one(dtype, device, generator):
    """Bounds are watched: there is no row of weight that a clamped load could take."""
    check(module.token_statistics, device, problem(generator, dtype, 3, 24, 0, appended=40, bias=True))


def test_ranks_and_ties_are_exact(form, device, generator):
    hidden = torch.randint(-2, 3, (5, 24), generator=generator).to(torch.bfloat16)
    weight = torch.randint(-1, 2, (45, 24), generator=generator).to(torch.bfloat16).repeat(2, 1)  # small integers: nothing is rounded
    targets = torch.randint(90, (5,), generator=generator)
    z = hidden.double() @ weight.double().t()
    *_, rank, argmax = form(*on(device, (hidden, weight, None, None, targets, None, 1.0, 90, IGNORED)), False, False, True, True)
    assert torch.equal(rank.cpu(), (z > z.gather(1, targets[:, None])).sum(1))
    first = (z == z.amax(1, keepdim=True)).int().argmax(1)
    assert (z == z.amax(1, keepdim=True)).sum(1).amax() > 1 and torch.equal(argmax.cpu(), first)


def test_equal_words_have_equal_logits_wherever_they_stand(form, dtype, device, generator, placeless):
    kinds = torch.randn(4, 40, generator=generator).to(dtype)
    which = torch.randint(4, (100,), generator=generator)
    hidden, targets = torch.randn(3, 40, generator=generator).to(dtype), torch.randint(100, (3,), generator=generator)
    z = (hidden.double() @ kinds.double().t())[:, which]
    arguments = on(device, (hidden, kinds[which[:90]], kinds[which[90:]], None, targets, 10.0, 1.0, 90, IGNORED))
    *_, rank, argmax = form(*arguments, False, False, True, True)
    first = (which == which[z.argmax(1)][:, None]).int().argmax(1)
    if (
        device.type == "cuda" and form is module._by_workspace
    ):  # cuBLAS may take another kernel, with other last bits, for the appended words
        assert torch.equal(which[argmax.cpu()], which[first])
        return
    assert torch.equal(rank.cpu(), (z > z.gather(1, targets[:, None])).sum(1))
    assert torch.equal(argmax.cpu(), first)


def test_forbidden_words_and_nan(form, device, generator):
    arguments = problem(generator, torch.float32, 3, 16, 100, bias=True)
    arguments[3][::2] = -torch.inf
    arguments[4].fill_(1)
    (lse, target, _, entropy), _ = statistics(arguments, torch.float64)
    results = form(*on(device, arguments), False, True, True, True)
    for one, gold in zip((results[0], results[1], results[3]), (lse, target, entropy), strict=True):
        assert_as_good(one, gold, gold, 1e-5)
    arguments[0][1, 3] = torch.nan
    results = form(*on(device, arguments), True, True, False, False)
    assert results[0].isnan().tolist() == results[3].isnan().tolist() == [False, True, False]


def test_same_bits_twice_and_in_another_batch(form, device, generator, placeless):
    hidden, weight, *rest = on(device, problem(generator, torch.bfloat16, 4, 40, 70, bias=True))
    targets = rest[2]
    asked = (True, True, True, True)
    results = form(hidden, weight, *rest, *asked)
    for one, again in zip(results, form(hidden, weight, *rest, *asked), strict=True):
        assert torch.equal(one, again)
    for rows in ([2], [3, 2, 2, 0] if form is module._by_workspace else [3, *[1] * 16, 0, 2]):
        rest[2] = targets[rows]
        for one, other in zip(results, form(hidden[rows], weight, *rest, *asked), strict=True):
            assert torch.equal(one[rows], other)


def test_what_is_asked_changes_no_other_result(form, device, generator):
    arguments = on(device, problem(generator, torch.float32, 3, 16, 100))
    plain = form(*arguments, False, False, False, False)
    full = form(*arguments, True, True, True, True)
    assert_as_good(plain[0], full[0].cpu(), full[0].double().cpu())  # 16-bit inputs take another tile: the last bits may differ
    assert torch.equal(plain[1], full[1])


def test_the_form_is_chosen_by_the_layer_alone(monkeypatch, device, generator):
    for name in ("_by_tiles", "_by_workspace"):
        monkeypatch.setattr(module, name, lambda *_, name=name: name)
    for tokens in (1, 5):
        for width, dtype, chosen in (
            (64, torch.bfloat16, "_by_tiles"),
            (5120, torch.bfloat16, "_by_workspace"),
            (65, torch.bfloat16, "_by_workspace"),
            (64, torch.float32, "_by_workspace"),
        ):
            arguments = on(device, problem(generator, dtype, tokens, width, 2))
            assert module.token_statistics(*arguments, False, False, False, False) == chosen


@pytest.mark.parametrize("words", [1, 32000, 128256, 256000, 1000000])
def test_the_workspace_is_bounded(words):
    assert module.workspace_rows(words) * words * 4 <= module.WORKSPACE_BYTES
    assert module.MOST_ROWS * module.BACKWARD_WORDS * 6 <= module.WORKSPACE_BYTES


def backward(device, arguments, grads, needs=(True, True, True, True)):
    """The kernel's gradients, given those to lse, target logit and mean logit (or None)."""
    lse = statistics(arguments, torch.float64)[0][0].float()
    given = [torch.empty(0) if one is None else one for one in grads]
    return module.token_statistics_backward(*on(device, (*given, lse)), *on(device, arguments), *needs)


def gold_gradients(arguments, grads, dtype):
    """Those to hidden, weight, appended and bias by autograd; None stays None."""
    leaves = [None if one is None else one.detach().to(dtype).requires_grad_() for one in arguments[:4]]
    (lse, target, mean, _), _ = statistics((*leaves, *arguments[4:]), dtype)
    outputs = [(out, grad.to(dtype)) for out, grad in zip((lse, target, mean), grads, strict=True) if grad is not None]
    total = sum((out * grad).nansum() for out, grad in outputs)
    gradients = iter(torch.autograd.grad(total, [one for one in leaves if one is not None]))
    return [None if one is None else next(gradients).nan_to_num(0.0) for one in leaves]


# Of 16-bit gradients: one rounding of the logits' gradients, one of the result.
GRADIENT_TOLERANCE = {torch.float32: 4e-6, torch.bfloat16: 1.6e-2, torch.float16: 2e-3}


@pytest.mark.parametrize(
    ("dtype", "shape", "options"),
    [
        ("f16", (1, 1, 1), {}),
        ("f32", (5, 33, 140), {"padding": 5, "scale": 0.25}),
        ("f32", (67, 24, 130), {"appended": 7, "bias": True, "softcap": 5.0, "scale": 0.7}),
        ("bf16", (67, 24, 130), {"appended": 7, "bias": True, "softcap": 5.0, "scale": 0.7}),
        ("f16", (9, 24, 130), {"appended": 7, "bias": True, "softcap": 5.0, "scale": 0.7}),
        ("bf16", (4, 40, 70), {"appended": 3, "strided": True}),
    ],
)
def test_gradients(dtype, device, generator, monkeypatch, shape, options):
    monkeypatch.setattr(module, "MOST_ROWS", 64)
    monkeypatch.setattr(module, "BACKWARD_WORDS", 128)
    arguments = problem(generator, DTYPES[dtype], *shape, **options)
    arguments[4][-1] = arguments[4][-1] if shape[0] == 1 else IGNORED
    arguments[1][arguments[7] :] = 0  # autograd would bring the padding's NaN along
    grads = [torch.randn(shape[0], generator=generator) for _ in range(3)]
    if not options:
        grads[2] = None
    gradients = backward(device, arguments, grads)
    gold = gold_gradients(arguments, grads, torch.float64)
    reference = gold_gradients(arguments, grads, torch.float32)
    for one, other, best, tensor in zip(gradients, reference, gold, arguments[:4], strict=True):
        if best is None:
            assert one.numel() == 0
        else:
            assert one.dtype == tensor.dtype
            assert_as_good(one, other, best, GRADIENT_TOLERANCE[one.dtype])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_16_bit_products_on_a_gpu_are_asked_for_in_float32(dtype):
    """Only a GPU has torch.mm with out_dtype, so here torch's own checks of shapes and dtypes, without numbers: FakeTensors claim a GPU."""
    with FakeTensorMode():
        a, b, room = (
            torch.empty(*size, device="cuda", dtype=kind) for *size, kind in ((4, 8, dtype), (7, 8, dtype), (4, 16, torch.float32))
        )
        assert a.is_cuda and module._product(a, b.t()).dtype == torch.float32
        product = module._product(a, b.t(), room.narrow(1, 0, 7))
        assert product.dtype == torch.float32 and product.shape == (4, 7) and product.stride() == (16, 1)


def test_only_needed_gradients_are_made(device, generator):
    arguments = problem(generator, torch.bfloat16, 3, 16, 20, appended=4, bias=True)
    grads = [torch.randn(3, generator=generator) for _ in range(3)]
    full = backward(device, arguments, grads)
    for i in range(4):
        needs = [i == j for j in range(4)]
        gradients = backward(device, arguments, grads, needs)
        assert [one.numel() > 0 for one in gradients] == needs and torch.equal(gradients[i], full[i])
    nothing = backward(device, problem(generator, torch.bfloat16, 0, 16, 20), [torch.empty(0)] * 3)
    assert nothing[0].shape == (0, 16) and not nothing[1].any()


def test_small_float16_gradients_do_not_underflow(device, generator):
    arguments = problem(generator, torch.float16, 4, 16, 50)
    grads = [torch.full((4,), 1e-6), torch.full((4,), -1e-6), None]
    grad_weight = backward(device, arguments, grads)[1].double().cpu()
    gold = gold_gradients(arguments, grads, torch.float64)[1]
    assert (grad_weight - gold).abs().amax() <= 1.2 * 2**-25  # a rounding of the result's smallest numbers, none of the logits' gradients


def test_a_bad_target_has_a_nan_gradient(device, generator):
    arguments = problem(generator, torch.float32, 3, 8, 10)
    arguments[4].copy_(torch.tensor([2, 10, IGNORED]))
    grad = backward(device, arguments, [torch.ones(3), -torch.ones(3), None])[0]
    assert grad.isnan().any(1).tolist() == [False, True, False]


def test_gradients_have_the_same_bits_twice_and_in_another_batch(device, generator, placeless):
    arguments = problem(generator, torch.bfloat16, 5, 24, 40, bias=True)
    grads = [torch.randn(5, generator=generator) for _ in range(3)]
    gradients = backward(device, arguments, grads)
    for one, again in zip(gradients, backward(device, arguments, grads), strict=True):
        assert torch.equal(one, again)
    rows = [3, 1]
    arguments = (arguments[0][rows], *arguments[1:4], arguments[4][rows], *arguments[5:])
    other = backward(device, arguments, [one[rows] for one in grads])
    assert torch.equal(gradients[0][rows], other[0])


# --- the bytes that they move: slack 1.1 is for targets, log-sum-exps and what else is there once a token or a word


def test_tiles_move_weight_once_a_block_of_tokens_and_hidden_once_a_tile_of_words(device, generator, counted):
    tokens, width, words = 64, 64, 256
    asked = (True, True, True, True)
    module._by_tiles(*on(device, problem(generator, torch.bfloat16, tokens, width, words)), *asked)
    target, tile, merge = counted
    config = module.tile_config(torch.bfloat16, True)
    blocks, tiles = tokens // config["BLOCK_N"], words // config["BLOCK_V"]
    hidden, weight, numbers = tokens * width * 2, words * width * 2, tokens * 4
    assert target.moved <= 1.1 * (2 * hidden + numbers * 3)  # a row of weight and an int64 target a token
    assert tile.traffic["hidden"].loaded <= tiles * hidden and tile.traffic["weight"].loaded <= blocks * weight
    partials = tiles * numbers * 6
    assert tile.moved <= 1.1 * (tiles * hidden + blocks * weight + partials + tiles * numbers * 3)  # targets and their logits: rank
    assert tile.unique_moved <= 1.1 * (hidden + weight + partials + numbers * 3)
    assert merge.moved <= 1.1 * (partials + numbers * 7)  # two of the five results are int64
    assert tiles > 1 and blocks > 1


@pytest.mark.parametrize("bias", [False, True])
def test_the_workspace_is_read_once(device, generator, counted, bias):
    tokens, words = 8, 600
    module._by_workspace(*on(device, problem(generator, torch.bfloat16, tokens, 8, words, bias=bias)), True, True, True, True)
    row, _ = counted
    logits = tokens * 608 * 4  # rows of a multiple of 16
    per_token = tokens * (6 * 4 + 8 + 4 + 32)  # partials, target, its logit; a sector to read that from the row
    assert row.traffic["logits"].loaded <= logits + tokens * 32
    assert row.unique_moved <= 1.1 * (logits + per_token + words * 2)
    if not bias:  # which each row reads again, from a cache
        assert row.moved <= 1.1 * (logits + tokens * 7 * 32)  # a program has one token: a sector for each of its numbers


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_the_backward_reads_logits_once_and_writes_their_gradients_once(device, generator, counted, dtype):
    tokens, words = 64, 512
    grads = [torch.randn(tokens, generator=generator) for _ in range(3)]
    backward(device, problem(generator, dtype, tokens, 16, words, bias=True), grads)
    (launch,) = counted
    must = tokens * words * (4 + dtype.itemsize)
    assert launch.moved <= 1.1 * must and launch.unique_moved <= 1.1 * must
    # in float32 the gradients take the logits' own place
    assert sum(one.stored for one in launch.traffic.values()) <= 1.1 * tokens * words * dtype.itemsize
