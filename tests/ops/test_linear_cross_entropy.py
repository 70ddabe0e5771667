import functools
import importlib
import operator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pydisp import ops
from pydisp.ops import native
from pydisp.ops.linear_cross_entropy import BucketLoss, TokenLoss

# What F.cross_entropy knows too.
OPTIONS = [{}, {"label_smoothing": 0.1}, {"ignore_index": 3}, {"label_smoothing": 1.0, "ignore_index": -1}]


@pytest.fixture
def draw_targets(generator):
    def choose(*shape: int, vocabulary: int, ignored: float = 0.3, ignore_index: int = -100) -> torch.Tensor:
        targets = torch.randint(vocabulary, shape, generator=generator)
        return torch.where(torch.rand(shape, generator=generator) < ignored, ignore_index, targets)

    return choose


def whole_logits(hidden, weight, bias=None, softcap=None, scale=1.0):
    logits = F.linear(hidden, weight).to(torch.promote_types(hidden.dtype, torch.float32))
    logits = scale * (logits if bias is None else logits + bias)
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_it_is_cross_entropy_of_linear(options, reduction, dtype, draw, draw_targets, isa, assert_as_good):
    tensors = [draw(67, 33, dtype=dtype), draw(300, 33, dtype=dtype), draw(300, dtype=dtype)]
    targets = draw_targets(67, vocabulary=300, ignore_index=options.get("ignore_index", -100))

    def run(op, wide=None):
        leaves = [t.detach().to(wide or t.dtype).requires_grad_() for t in tensors]
        loss = op(*leaves)
        return [loss, *torch.autograd.grad(loss, leaves, torch.arange(1, loss.numel() + 1).view(loss.shape).to(loss.dtype))]

    def by_torch(hidden, weight, bias):
        return F.cross_entropy(whole_logits(hidden, weight, bias), targets, reduction=reduction, **options)

    def ours(hidden, weight, bias):
        return ops.linear_cross_entropy(hidden, weight, targets, bias, reduction=reduction, **options)

    for result, own, gold in zip(run(ours), run(by_torch), run(by_torch, torch.float64), strict=True):
        assert_as_good(result, own, gold)


def test_softcap_scale_z_loss_and_padding(draw, draw_targets, isa):
    hidden, weight, bias = draw(20, 9, requires_grad=True), draw(40, 9, requires_grad=True), draw(40, requires_grad=True)
    targets = draw_targets(20, vocabulary=33)
    result = ops.linear_cross_entropy(
        hidden, weight, targets, bias, softcap=4.0, logit_scale=0.3, z_loss=0.01, vocab_size=33, label_smoothing=0.2
    )
    logits = whole_logits(hidden, weight, bias, 4.0, 0.3)[:, :33]
    gold = F.cross_entropy(logits, targets, reduction="none", label_smoothing=0.2)
    gold = gold + torch.where(targets == -100, 0, 0.01 * logits.logsumexp(1).square())
    torch.testing.assert_close(result, gold)
    for ours, exact in zip(*(torch.autograd.grad(loss.sum(), (hidden, weight, bias)) for loss in (result, gold)), strict=True):
        torch.testing.assert_close(ours, exact)


def test_appended_words_learn_and_the_vocabulary_does_not(draw, draw_targets, isa):
    hidden, weight, appended, bias = (draw(*shape, requires_grad=True) for shape in ((3, 7, 5), (30, 5), (4, 5), (34,)))
    targets = draw_targets(3, 7, vocabulary=34)
    ops.linear_cross_entropy(hidden, weight, targets, bias, appended=appended, reduction="mean").backward()
    assert weight.grad is None and bias.grad is None
    result = hidden.grad, appended.grad
    logits = whole_logits(hidden, torch.cat([weight, appended]), bias)
    gold = torch.autograd.grad(F.cross_entropy(logits.flatten(0, 1), targets.flatten()), (hidden, appended))
    for ours, exact in zip(result, gold, strict=True):
        torch.testing.assert_close(ours, exact)


@pytest.mark.parametrize("shape", [(), (11,), (2, 3, 5), (2, 0), (0,)])
def test_leading_dimensions_are_those_of_targets(shape, draw, draw_targets, isa):
    hidden, weight, targets = draw(*shape, 4), draw(9, 4), draw_targets(*shape, vocabulary=9)
    asked = {"return_lse": True, "return_entropy": True, "return_rank": True, "return_argmax": True}
    ours = ops.linear_cross_entropy(hidden, weight, targets, **asked)
    assert all(part.shape == shape for part in ours)
    gold = F.cross_entropy(whole_logits(hidden, weight).view(-1, 9), targets.view(-1), reduction="none").view(shape)
    torch.testing.assert_close(ours.loss, gold)
    mean = ops.linear_cross_entropy(hidden, weight, targets, reduction="mean")
    counts = (targets != -100).sum()
    assert mean.isnan() if counts == 0 else torch.allclose(mean, gold.sum() / counts)


def test_what_else_can_be_returned(draw, draw_targets, isa):
    hidden, weight, targets = draw(50, 4, requires_grad=True), draw(19, 4), draw_targets(50, vocabulary=19)
    logits = whole_logits(hidden, weight)
    assert isinstance(ops.linear_cross_entropy(hidden, weight, targets), torch.Tensor)
    result = ops.linear_cross_entropy(hidden, weight, targets, return_rank=True, return_argmax=True, reduction="sum")
    assert isinstance(result, TokenLoss) and result.lse is None and result.entropy is None and result.loss.dim() == 0
    above = (logits > logits.gather(1, targets.clamp(min=0)[:, None])).sum(1)
    assert torch.equal(result.rank, torch.where(targets == -100, -1, above)) and torch.equal(result.argmax, logits.argmax(1))
    result = ops.linear_cross_entropy(hidden, weight, targets, return_lse=True, return_entropy=True)
    torch.testing.assert_close(result.entropy, torch.distributions.Categorical(logits=logits.detach()).entropy())
    torch.testing.assert_close(result.lse, logits.logsumexp(1))
    ours, exact = (torch.autograd.grad((lse * targets).sum(), hidden)[0] for lse in (result.lse, logits.logsumexp(1)))
    torch.testing.assert_close(ours, exact)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_buckets_are_sums_in_order(dtype, draw, draw_targets, generator, isa):
    hidden, weight, targets = draw(10, 20, 4, dtype=dtype), draw(19, 4, dtype=dtype), draw_targets(10, 20, vocabulary=19)
    buckets = torch.randint(-1, 5, (10, 20), generator=generator, dtype=torch.int32)
    arguments = {"reduction": "buckets", "buckets": buckets, "num_buckets": 6}
    ours = ops.linear_cross_entropy(hidden, weight, targets, **arguments)
    per_token = ops.linear_cross_entropy(hidden, weight, targets, return_argmax=True)
    assert isinstance(ours, BucketLoss) and ours.sum.dtype == ours.sum_squares.dtype == torch.float64
    assert ours.count.dtype == ours.correct.dtype == torch.int64
    for bucket in range(6):  # the last one is empty
        counted = (buckets == bucket) & (targets != -100)
        losses = per_token.loss[counted].tolist()
        # to the bit: float64, one after the other (from Python 3.12 on its own sum compensates)
        assert ours.sum[bucket].item() == functools.reduce(operator.add, losses, 0.0)
        assert ours.sum_squares[bucket].item() == functools.reduce(operator.add, (x * x for x in losses), 0.0)
        assert ours.count[bucket] == len(losses)
        assert ours.correct[bucket] == (per_token.argmax == targets)[counted].sum()
    again = ops.linear_cross_entropy(hidden, weight, targets, **arguments, return_entropy=True)
    assert all(torch.equal(a, b) for a, b in zip(ours, again.loss, strict=True)) and again.entropy.shape == (10, 20)


def test_many_and_empty_buckets(draw, isa):
    hidden, weight = draw(3, 4), draw(300, 4)
    targets = torch.tensor([1, 2, 156], dtype=torch.uint8)  # 156 is -100 in a byte; and more words and buckets than a byte counts
    ours = ops.linear_cross_entropy(
        hidden, weight, targets, reduction="buckets", buckets=torch.tensor([255, 0, 255], dtype=torch.uint8), num_buckets=1000
    )
    assert ours.count.tolist() == [1] + [0] * 254 + [2] + [0] * 744
    none = ops.linear_cross_entropy(hidden[:0], weight, targets[:0], reduction="buckets", buckets=targets[:0], num_buckets=2)
    assert none.sum.tolist() == [0, 0] and none.count.tolist() == [0, 0]


def test_losses_of_float32_add_up_in_float64(isa):
    hidden, weight = torch.zeros(3, 2), torch.zeros(7, 2)
    ours = ops.linear_cross_entropy(
        hidden, weight, torch.zeros(3, dtype=torch.long), reduction="buckets", buckets=torch.zeros(3, dtype=torch.long), num_buckets=1
    )
    loss = ops.linear_cross_entropy(hidden, weight, torch.zeros(3, dtype=torch.long))[0].item()
    assert ours.sum.item() == 3 * loss and ours.sum.item() != torch.tensor(3 * loss, dtype=torch.float32).item()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_shape_and_options(data, isa):
    tokens, width, vocabulary, added = (data.draw(st.integers(*limits)) for limits in ((1, 90), (1, 20), (1, 400), (0, 30)))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    hidden, weight, appended = (torch.randn(n, width, generator=generator) for n in (tokens, vocabulary, added))
    targets = torch.randint(vocabulary + added, (tokens,), generator=generator)
    smoothing, softcap = data.draw(st.sampled_from([0.0, 0.3])), data.draw(st.sampled_from([None, 3.0]))
    hidden.requires_grad_(), appended.requires_grad_()
    result = ops.linear_cross_entropy(
        hidden, weight, targets, appended=appended, softcap=softcap, label_smoothing=smoothing, reduction="mean"
    )
    logits = whole_logits(hidden.double(), torch.cat([weight, appended]).double(), None, softcap)
    gold = F.cross_entropy(logits, targets, label_smoothing=smoothing)
    torch.testing.assert_close(result.double(), gold, rtol=1e-5, atol=1e-5)
    for ours, exact in zip(*(torch.autograd.grad(loss, (hidden, appended)) for loss in (result, gold)), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-5)


def test_gradcheck(draw, draw_targets, isa):
    leaves = [draw(*shape, requires_grad=True) for shape in ((5, 3), (7, 3), (7,))]
    targets = draw_targets(5, vocabulary=7)

    def run(hidden, weight, bias):
        return ops.linear_cross_entropy(
            hidden, weight, targets, bias, softcap=2.0, logit_scale=0.7, label_smoothing=0.1, z_loss=0.01, return_lse=True,
            return_entropy=True,
        )[:3]  # fmt: skip

    assert torch.autograd.gradcheck(run, leaves)


@pytest.mark.parametrize("with_appended", [False, True])
def test_a_gradient_through_the_entropy_is_that_of_the_whole_logits(with_appended, dtype, draw, draw_targets, isa, assert_as_good):
    hidden, weight, bias = draw(70, 5, dtype=dtype), draw(40, 5, dtype=dtype), draw(43 if with_appended else 40, dtype=dtype)
    appended, targets = draw(3, 5, dtype=dtype) if with_appended else None, draw_targets(70, vocabulary=40)
    pull = torch.linspace(-1, 2, 70)  # not the same for every token

    def gradients(loss, leaves):
        leaves = [leaf for leaf in leaves if leaf is not None]
        return torch.autograd.grad(loss, leaves[:1] + leaves[2:3] if with_appended else leaves)

    def by_definition(dtype):
        leaves = [None if leaf is None else leaf.detach().to(dtype).requires_grad_() for leaf in (hidden, weight, appended, bias)]
        rows = leaves[1] if appended is None else torch.cat([leaves[1], leaves[2]])
        logits = whole_logits(leaves[0], rows, leaves[3], 3.0)
        nll = F.cross_entropy(logits, targets, reduction="none")
        return gradients((nll - pull.to(nll) * torch.distributions.Categorical(logits=logits).entropy()).sum(), leaves)

    leaves = [None if leaf is None else leaf.detach().clone().requires_grad_() for leaf in (hidden, weight, appended, bias)]
    found = ops.linear_cross_entropy(leaves[0], leaves[1], targets, leaves[3], appended=leaves[2], softcap=3.0, return_entropy=True)
    ours = gradients((found.loss - pull.to(found.loss) * found.entropy).sum(), leaves)
    for result, own, gold in zip(ours, by_definition(dtype), by_definition(torch.float64), strict=True):
        assert_as_good(result, own, gold)


def test_words_of_probability_zero_have_no_part_in_the_gradient_of_the_entropy():
    hidden = torch.tensor([[1.0, 0.0]], requires_grad=True)
    bias = torch.tensor([0.0, 0.5, -torch.inf])
    found = ops.linear_cross_entropy(
        hidden, torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), torch.tensor([0]), bias, return_entropy=True
    )
    (ours,) = torch.autograd.grad(found.entropy.sum(), hidden)
    logits = hidden @ torch.tensor([[1.0, 3.0], [2.0, 4.0]]) + bias[:2]
    (exact,) = torch.autograd.grad(torch.distributions.Categorical(logits=logits).entropy().sum(), hidden)
    torch.testing.assert_close(ours, exact)


def test_same_bits_twice(dtype, draw, draw_targets, isa):
    hidden, weight, targets = draw(70, 16, dtype=dtype), draw(600, 16, dtype=dtype), draw_targets(70, vocabulary=600)

    def run():
        leaves = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        loss = ops.linear_cross_entropy(*leaves, targets, reduction="mean")
        return loss, *torch.autograd.grad(loss, leaves)

    assert all(torch.equal(a, b) for a, b in zip(run(), run(), strict=True))


def test_compiles_without_graph_break(draw, draw_targets):
    hidden, weight, targets = draw(2, 6, 3, requires_grad=True), draw(7, 3), draw_targets(2, 6, vocabulary=7)
    compiled = torch.compile(ops.linear_cross_entropy, fullgraph=True, backend="aot_eager")
    for options in (
        {"reduction": "mean", "label_smoothing": 0.1, "z_loss": 0.1},
        {"return_entropy": True, "return_rank": True, "softcap": 3.0},
        {"reduction": "buckets", "buckets": targets % 3, "num_buckets": 3},
    ):
        result, gold = compiled(hidden, weight, targets, **options), ops.linear_cross_entropy(hidden, weight, targets, **options)
        assert type(result) is type(gold)
        for ours, exact in zip(result, gold, strict=True) if isinstance(result, tuple) else [(result, gold)]:
            assert ours is exact is None or torch.equal(ours, exact)
    compiled(hidden, weight, targets).sum().backward()
    result, hidden.grad = hidden.grad, None
    ops.linear_cross_entropy(hidden, weight, targets).sum().backward()
    torch.testing.assert_close(result, hidden.grad)
    compiled(hidden, weight, targets, return_entropy=True).entropy.sum().backward()
    result, hidden.grad = hidden.grad - result, None
    ops.linear_cross_entropy(hidden, weight, targets, return_entropy=True).entropy.sum().backward()
    torch.testing.assert_close(result, hidden.grad)


def test_under_autocast_as_linear(draw, draw_targets, isa):
    hidden, weight, targets = draw(9, 8, dtype=torch.bfloat16), draw(30, 8, dtype=torch.float32), draw_targets(9, vocabulary=30)
    weight.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = ops.linear_cross_entropy(hidden, weight, targets, reduction="mean")
    assert torch.equal(loss, ops.linear_cross_entropy(hidden, weight.bfloat16(), targets, reduction="mean"))
    (grad,) = torch.autograd.grad(loss, weight)
    assert grad.dtype == torch.float32 and grad.any()


@pytest.mark.parametrize("name", ["hidden", "weight", "bias", "appended"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float8_e4m3fn, torch.float64])
def test_autocast_casts_no_other_dtypes(name, dtype, draw):
    given = dict(hidden=draw(2, 3), weight=draw(4, 3), bias=draw(6), appended=draw(2, 3))
    given = {which: tensor.to(dtype if which == name else torch.float32) for which, tensor in given.items()}
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(TypeError, match=f"hidden( is)? {dtype}|{name} is {dtype}"):
        ops.linear_cross_entropy(targets=torch.tensor([0, 5]), **given)


@pytest.mark.skipif(not native.is_loaded(), reason="the C++ ops are not built")
@pytest.mark.parametrize("has_gradient", [False, True])
def test_a_check_of_the_cpp_op_ends_in_its_sentence(draw, has_gradient, monkeypatch):
    monkeypatch.setenv("PYDISP_BF16_MM", "foo")
    hidden = draw(6, 3, dtype=torch.bfloat16, requires_grad=has_gradient)
    with pytest.raises(ValueError, match=r"^PYDISP_BF16_MM is foo; it must be native, upcast or auto\.$"):
        ops.linear_cross_entropy(hidden, draw(7, 3, dtype=torch.bfloat16), torch.zeros(6, dtype=torch.int64))


def test_bad_arguments_are_refused(draw):
    hidden, weight, targets = draw(2, 6, 3), draw(7, 3), torch.zeros(2, 6, dtype=torch.int64)

    def refused(kind, match, *, hidden=hidden, weight=weight, targets=targets, **options):
        with pytest.raises(kind, match=match):
            ops.linear_cross_entropy(hidden, weight, targets, **options)

    refused(ValueError, r"must be \(..., D\), \(V, D\) and \(...\)", targets=targets[0])
    refused(ValueError, r"must be \(..., D\)", weight=weight[:, :2])
    refused(ValueError, r"must be \(..., D\)", weight=weight[0])
    refused(TypeError, "targets are torch.float32", targets=targets.float())
    refused(TypeError, "hidden is torch.int64", hidden=hidden.long())
    refused(TypeError, "hidden is torch.float8_e4m3fn", hidden=hidden.to(torch.float8_e4m3fn))
    refused(TypeError, "weight is torch.float32, hidden torch.float64", weight=weight.float())
    refused(TypeError, "bias is torch.float16", bias=draw(7).half())
    refused(ValueError, r"weight is on meta, hidden on cpu", weight=weight.to("meta"))
    refused(ValueError, r"bias is \(6,\); it must be \(7,\)", bias=draw(6))
    refused(ValueError, r"bias is \(7,\); it must be \(9,\)", bias=draw(7), appended=draw(2, 3))
    refused(ValueError, r"appended is \(2, 4\)", appended=draw(2, 4))
    refused(ValueError, "vocab_size is 8", vocab_size=8)
    refused(ValueError, "no word", vocab_size=0)
    refused(ValueError, "softcap is 0", softcap=0)
    refused(ValueError, "label_smoothing is 1.5", label_smoothing=1.5)
    refused(ValueError, "unknown reduction 'average'; known: none, sum, mean, buckets", reduction="average")
    refused(ValueError, "buckets missing", reduction="buckets")
    refused(ValueError, "buckets given", buckets=targets)
    for count in (0, 2**62):
        refused(ValueError, f"num_buckets is {count}", reduction="buckets", buckets=targets, num_buckets=count)
    refused(ValueError, r"buckets are \(6,\)", reduction="buckets", buckets=targets[0], num_buckets=2)
    refused(TypeError, "buckets are torch.float32", reduction="buckets", buckets=targets.float(), num_buckets=2)
    refused(ValueError, "bucket 2 is outside num_buckets=2", reduction="buckets", buckets=targets + 2, num_buckets=2)
    for outside in (7, -1):
        refused(ValueError, f"target {outside} is no word; targets must lie between 0 and 6", targets=targets + outside)
    refused(ValueError, "target 6 is no word", targets=targets + 6, vocab_size=6)
    ops.linear_cross_entropy(hidden, weight, targets + 8, appended=draw(2, 3))


def test_compiled_code_turns_bad_values_to_nan(draw):
    hidden, weight, targets = draw(4, 3), draw(7, 3), torch.tensor([0, 7, -100, -1])
    compiled = torch.compile(ops.linear_cross_entropy, fullgraph=True, backend="aot_eager")
    assert compiled(hidden, weight, targets).isnan().tolist() == [False, True, False, True]
    outside = compiled(hidden, weight, targets * 0, reduction="buckets", buckets=torch.tensor([0, 1, 2, 0]), num_buckets=2)
    assert outside.sum.isnan().all() and outside.sum_squares.isnan().all()


@pytest.fixture
def edge():
    return importlib.import_module("pydisp.ops.linear_cross_entropy")  # the function has the module's name in pydisp.ops


def test_products_are_kept_only_where_a_gradient_can_come(draw, draw_targets, edge, monkeypatch):
    asked, op = [], edge.token_statistics
    monkeypatch.setattr(edge, "token_statistics", lambda *arguments: asked.append(arguments[13]) or op(*arguments))
    hidden, weight, targets = draw(12, 3), draw(7, 3), draw_targets(12, vocabulary=7)
    leaf = weight.clone().requires_grad_()
    ops.linear_cross_entropy(hidden, weight, targets)
    with torch.no_grad():
        ops.linear_cross_entropy(hidden, leaf, targets)
    with torch.inference_mode():
        ops.linear_cross_entropy(hidden, leaf, targets)
    ops.linear_cross_entropy(hidden, leaf, targets, reduction="buckets", buckets=targets % 3, num_buckets=3)
    ops.linear_cross_entropy(hidden, leaf, targets, appended=draw(2, 3))  # such a weight gets no gradient
    assert asked == [0] * 5
    for arguments in ((hidden, leaf), (hidden.clone().requires_grad_(), weight)):
        ops.linear_cross_entropy(*arguments, targets)
        assert asked.pop() == edge.KEEP_BYTES > 0


def test_kept_products_have_any_number_of_tokens_compiled(draw, draw_targets, edge, monkeypatch):
    monkeypatch.setattr(edge, "KEEP_BYTES", 20 * 4 * 300)  # all words for 20 tokens, some for 60
    weight = draw(300, 3, dtype=torch.float32).requires_grad_()
    compiled = torch.compile(ops.linear_cross_entropy, fullgraph=True, backend="aot_eager", dynamic=True)
    for tokens in (20, 60, 7):
        hidden, targets = draw(tokens, 3, dtype=torch.float32).requires_grad_(), draw_targets(tokens, vocabulary=300)
        result = torch.autograd.grad(compiled(hidden, weight, targets).sum(), (hidden, weight))
        for ours, plain in zip(
            result, torch.autograd.grad(ops.linear_cross_entropy(hidden, weight, targets).sum(), (hidden, weight)), strict=True
        ):
            assert torch.equal(ours, plain)


def test_sums_do_not_depend_on_the_threads(generator):
    # 1 hidden dimension and 2 words make many tokens cheap; torch's own float32 sum of these differs from 2 threads on
    hidden, weight = torch.randn(120_001, 1, generator=generator), torch.randn(2, 1, generator=generator)
    targets, before, ours = torch.randint(2, (120_001,), generator=generator), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            ours.append([ops.linear_cross_entropy(hidden, weight, targets, reduction=how).item() for how in ("sum", "mean")])
            by_word = ops.linear_cross_entropy(hidden, weight, targets, reduction="buckets", buckets=targets.int(), num_buckets=2)
            ours[-1] += [value for part in by_word for value in part.tolist()]
    finally:
        torch.set_num_threads(before)
    assert ours[0] == ours[1] == ours[2]
    gold = F.cross_entropy(hidden.double() @ weight.double().t(), targets, reduction="sum").item()
    assert abs(ours[0][0] - gold) <= 1e-6 * gold


def test_there_are_no_other_derivatives(draw):
    hidden, weight = draw(4, 5, requires_grad=True), draw(7, 5)
    (grad,) = torch.autograd.grad(ops.linear_cross_entropy(hidden, weight, torch.arange(4)).sum(), hidden, create_graph=True)
    with pytest.raises(NotImplementedError, match="has no second derivative; take F.cross_entropy of F.linear"):
        grad.square().sum().backward()
    with pytest.raises(NotImplementedError, match="hidden has a forward-mode tangent"):
        torch.func.jvp(lambda x: ops.linear_cross_entropy(x, weight, torch.arange(4)), (hidden.detach(),), (torch.ones(4, 5),))


@pytest.mark.parametrize("dtype_of", [torch.float32, torch.float64, torch.bfloat16])
def test_a_bad_target_in_compiled_code_leaves_no_gradient_to_step_on(dtype_of, draw, isa):
    hidden, weight = draw(3, 5, dtype=dtype_of, requires_grad=True), draw(7, 5, dtype=dtype_of, requires_grad=True)
    torch.compiler.reset()  # the limit of recompilations is one for all tests
    compiled = torch.compile(ops.linear_cross_entropy, fullgraph=True, backend="aot_eager")
    compiled(hidden, weight, torch.tensor([0, 99, -100])).sum().backward()
    assert hidden.grad.isnan().all(1).tolist() == [False, True, False] and weight.grad.isnan().all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"softcap": float("inf")}, ValueError, "softcap is inf"),
        ({"softcap": 1e-50}, ValueError, "softcap is 1e-50"),
        ({"logit_scale": float("nan")}, ValueError, "logit_scale is nan"),
        ({"z_loss": float("inf")}, ValueError, "z_loss is inf"),
        ({"ignore_index": 2**63}, TypeError, "ignore_index is 9223372036854775808"),
        ({"reduction": "buckets", "buckets": torch.zeros(2, dtype=torch.int64), "num_buckets": 2.5}, TypeError, "num_buckets is 2.5"),
        ({"bias": [0.0, 1.0]}, TypeError, "bias is of type list"),
        ({"ignore_index": None}, TypeError, "ignore_index is None"),
        ({"vocab_size": 1.5}, TypeError, "vocab_size is 1.5, it must be a whole number"),
        ({"vocab_size": True}, TypeError, "vocab_size is True"),
        ({"softcap": "30"}, TypeError, "softcap is '30', it must be a number"),
        ({"label_smoothing": None}, TypeError, "label_smoothing is None"),
        ({"z_loss": "0"}, TypeError, "z_loss is '0'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_options_that_float32_or_the_op_cannot_take_are_refused(options, error, message, draw):
    with pytest.raises(error, match=message):
        ops.linear_cross_entropy(draw(2, 3), draw(2, 3), torch.tensor([0, 1]), **options)
