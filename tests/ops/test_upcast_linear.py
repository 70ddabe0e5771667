"""upcast_linear against its float64 reference on every instruction set; its bits do not depend on the other rows or on the threads."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pydisp.ops import has_kernel, native, upcast_linear
from pydisp.ops.upcast_linear import DECISIONS, FASTER, FEW_ROWS, backward, choose, reference

NARROW = [torch.bfloat16, torch.float16]
SERVED = [*NARROW, torch.float32]
# Minimal, odd, the edges of the tiles (3 rows, 4 and 8 outputs), of the two kernels (12 rows, float32 24) and of the blocks (96 rows,
# 512 inputs, 64 outputs).
SHAPES = [
    ((1, 1), 1), ((1, 7), 5), ((2, 16), 4), ((3, 17), 9), ((1, 1000), 130), ((12, 33), 66), ((13, 33), 67), ((14, 513), 3), ((97, 1030), 65),
    ((200, 512), 64), ((2, 3, 48), 20), ((40,), 6), ((24, 70), 13), ((25, 70), 13),
]  # fmt: skip


def wide(*tensors):
    return [None if t is None else t.detach().double() for t in tensors]


@pytest.fixture(params=NARROW, ids=["bf16", "f16"])
def narrow(request):
    return request.param


@pytest.fixture(params=SERVED, ids=["bf16", "f16", "f32"])
def served(request):
    return request.param


@pytest.mark.parametrize("has_bias", [True, False], ids=["bias", "plain"])
@pytest.mark.parametrize(("shape", "outputs"), SHAPES)
def test_as_good_as_the_reference(shape, outputs, has_bias, served, isa, draw, assert_as_good):
    x, weight = draw(*shape, dtype=served), draw(outputs, shape[-1], dtype=served)
    bias = draw(outputs, dtype=served) if has_bias else None
    assert_as_good(upcast_linear(x, weight, bias), reference(x, weight, bias), reference(*wide(x, weight, bias)))


def test_it_is_more_exact_than_a_rounded_sum(narrow, isa):
    x = torch.ones(1, 4097, dtype=narrow)  # in the dtype itself the sum would stop at 256 (bfloat16) or 2048 (float16)
    for rows in (1, 20):
        assert upcast_linear(x.expand(rows, -1), torch.ones(3, 4097, dtype=narrow)).eq(torch.tensor(4097.0).to(narrow)).all()


@pytest.mark.parametrize("shape", [(5, 40), (30, 600)])
def test_strided_operands(shape, served, isa, draw):
    if served == torch.float32 and shape[0] > FEW_ROWS:
        pytest.skip("torch's linear, whose bits may depend on strides")
    x, weight, bias = draw(*shape, dtype=served), draw(11, shape[-1], dtype=served), draw(11, dtype=served)
    expected = upcast_linear(x, weight, bias)
    inside = draw(shape[0], 2 * shape[1], dtype=served)
    inside[:, : shape[1]] = x
    padded_weight = draw(11, shape[1] + 3, dtype=served)
    padded_weight[:, 3:] = weight
    for strided in (inside[:, : shape[1]], x.t().contiguous().t(), x.repeat_interleave(2, -1)[:, ::2], x.repeat_interleave(2, 0)[::2]):
        assert torch.equal(upcast_linear(strided, weight, bias), expected)
    for strided in (weight.t().contiguous().t(), padded_weight[:, 3:]):
        assert torch.equal(upcast_linear(x, strided, bias.repeat_interleave(2)[::2]), expected)
    batched = inside.view(shape[0], 2, shape[1])[:, 0]
    assert torch.equal(upcast_linear(batched.unsqueeze(0).expand(3, -1, -1), weight, bias), expected.expand(3, -1, -1))


@pytest.mark.parametrize("shape", [(0, 8), (3, 0, 8), (3, 0)])
def test_empty(shape, served, isa):
    weight, bias = torch.ones(4, shape[-1], dtype=served), torch.arange(4).to(served)
    assert torch.equal(upcast_linear(torch.ones(shape, dtype=served), weight, bias), bias.expand(*shape[:-1], 4))
    assert upcast_linear(torch.ones(shape, dtype=served), weight[:0]).shape == (*shape[:-1], 0)


@pytest.mark.skipif(not has_kernel("upcast_linear", "CPU"), reason="the C++ ops are not built")
def test_a_row_has_the_same_bits_in_any_batch_and_on_any_number_of_threads(narrow, isa, draw):
    x, weight, bias = draw(110, 1100, dtype=narrow), draw(139, 1100, dtype=narrow), draw(139, dtype=narrow)
    whole = upcast_linear(x, weight, bias)
    assert torch.equal(upcast_linear(x, weight, bias), whole)
    for rows in (slice(0, 1), slice(4, 6), slice(90, 93), slice(7, 19), slice(7, 20), slice(50, 110)):
        assert torch.equal(upcast_linear(x[rows], weight, bias), whole[rows]), rows
    _assert_same_bits_on_three_threads(x, weight, bias, whole)


def _assert_same_bits_on_three_threads(x, weight, bias, whole):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(upcast_linear(x, weight, bias), whole) and torch.equal(upcast_linear(x[:2], weight, bias), whole[:2])
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not has_kernel("upcast_linear", "CPU"), reason="the C++ ops are not built")
def test_few_rows_of_float32_have_the_same_bits_in_any_batch_and_on_any_number_of_threads(isa, draw):
    x, weight, bias = (draw(*shape, dtype=torch.float32) for shape in ((FEW_ROWS, 1100), (139, 1100), (139,)))
    whole = upcast_linear(x, weight, bias)
    for rows in (slice(0, 1), slice(4, 6), slice(7, 19), slice(1, FEW_ROWS)):
        assert torch.equal(upcast_linear(x[rows], weight, bias), whole[rows]), rows
    _assert_same_bits_on_three_threads(x, weight, bias, whole)


@pytest.mark.skipif(not has_kernel("upcast_linear", "CPU"), reason="the C++ ops are not built")
def test_float32_changes_hands_behind_few_rows(isa, draw):
    """Up to FEW_ROWS a row's bits do not depend on the others, from there on they are torch's: the Python number is the C++ one."""
    x, weight = draw(FEW_ROWS + 1, 1100, dtype=torch.float32), draw(139, 1100, dtype=torch.float32)
    alone = torch.cat([upcast_linear(row, weight) for row in x.split(1)])
    assert torch.equal(upcast_linear(x[:-1], weight), alone[:-1])
    assert torch.equal(upcast_linear(x, weight), F.linear(x, weight)) and not torch.equal(upcast_linear(x, weight), alone)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_infinities_and_nan_stay_in_their_row(value, served, isa, draw):
    for rows in (2, 20):
        x, weight = draw(rows, 21, dtype=served), draw(6, 21, dtype=served)
        clean = upcast_linear(x, weight)
        x[1, 20] = value
        ours = upcast_linear(x, weight)
        assert not ours[1].isfinite().any() and torch.equal(ours[0], clean[0]) and torch.equal(ours[2:], clean[2:])


@pytest.mark.parametrize("has_bias", [True, False], ids=["bias", "plain"])
@pytest.mark.parametrize(
    ("shape", "outputs"), [((1, 1), 1), ((2, 3, 17), 9), ((15, 33), 7), ((0, 4), 3), ((2, 3, 0), 3), ((2, 4), 0), ((0, 0), 0), ((0,), 2)]
)
def test_gradients_are_as_good_as_the_reference(shape, outputs, has_bias, narrow, draw, assert_as_good):
    inputs = [draw(*shape, dtype=narrow), draw(outputs, shape[-1], dtype=narrow), draw(outputs, dtype=narrow) if has_bias else None]
    grad = draw(*shape[:-1], outputs, dtype=narrow)

    def gradients(function, kind):
        leaves = [None if t is None else t.to(kind, copy=True).requires_grad_() for t in inputs]
        function(*leaves).backward(grad.to(kind))
        return [t.grad for t in leaves if t is not None]

    for ours, plain, gold in zip(
        *(gradients(*a) for a in ((upcast_linear, narrow), (reference, narrow), (reference, torch.float64))), strict=True
    ):
        assert_as_good(ours, plain, gold)


def test_gradients_of_more_than_one_block_of_weights(monkeypatch, draw):
    import importlib

    monkeypatch.setattr(importlib.import_module("pydisp.ops.upcast_linear"), "_WEIGHTS_A_BLOCK", 20)
    for part in (0, 1):
        x, weight = draw(4, 6, dtype=torch.bfloat16).requires_grad_(part == 0), draw(11, 6, dtype=torch.bfloat16).requires_grad_(part == 1)
        upcast_linear(x, weight).sum().backward()
        leaf = (x, weight)[part]
        expected = weight.detach().float().sum(0).expand(4, 6) if part == 0 else x.detach().float().sum(0).expand(11, 6)
        torch.testing.assert_close(leaf.grad.float(), expected, rtol=1e-2, atol=1e-2)


def test_gradcheck(draw):
    inputs = [draw(2, 3, 5, requires_grad=True), draw(4, 5, requires_grad=True), draw(4, requires_grad=True)]
    assert torch.autograd.gradcheck(upcast_linear, inputs)


def test_second_derivatives_are_refused(draw):
    x, weight = draw(3, 5, requires_grad=True), draw(4, 5, requires_grad=True)
    (first,) = torch.autograd.grad(upcast_linear(x, weight).square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="upcast_linear has no second derivative"):
        first.sum().backward()


@pytest.mark.parametrize("kind", [torch.float64, *SERVED], ids=["f64", "bf16", "f16", "f32"])
def test_opcheck(kind, draw):
    def arguments(*shape):
        return (
            draw(*shape, dtype=kind, requires_grad=True),
            draw(4, 5, dtype=kind, requires_grad=True),
            draw(4, dtype=kind, requires_grad=True),
        )

    for shape in ((2, 3, 5), (5,), (0, 5)):
        torch.library.opcheck(torch.ops.pydisp.upcast_linear.default, arguments(*shape))
        x, weight, _ = arguments(*shape)
        grad = draw(*shape[:-1], 4, dtype=kind)
        for needs in ((True, True, True), (False, True, False), (True, False, False)):
            torch.library.opcheck(torch.ops.pydisp.upcast_linear_backward.default, (grad, x.detach(), weight.detach(), *needs))


def test_fullgraph_compile(narrow, draw):
    x, weight, bias = draw(3, 9, dtype=narrow), draw(6, 9, dtype=narrow, requires_grad=True), draw(6, dtype=narrow)
    compiled = torch.compile(lambda *a: upcast_linear(*a).float().square().sum(), fullgraph=True, backend="aot_eager")
    expected = upcast_linear(x, weight, bias).float().square().sum()
    assert torch.equal(compiled(x, weight, bias), expected)
    (ours,) = torch.autograd.grad(compiled(x, weight, bias), weight)
    (plain,) = torch.autograd.grad(expected, weight)
    torch.testing.assert_close(ours, plain)
    with torch.no_grad():
        assert torch.equal(compiled(x, weight, bias), expected)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [(shape, torch.float64) for shape in [(3, 9), (2, 3, 9), (9,), (0, 9), (3, 0)]]
    + [(shape, torch.float32) for shape in [(25, 9), (5, 5, 9), (0, 9), (30, 0)]],
)
def test_float64_and_many_rows_of_float32_are_torch_s_own_linear(shape, kind, draw):
    x, weight, bias = draw(*shape, dtype=kind), draw(6, shape[-1], dtype=kind), draw(6, dtype=kind)
    same_bits = dict(rtol=0, atol=0) if x.dim() > 1 else {}  # torch has a sum of its own for one row, and for rows apart in memory
    torch.testing.assert_close(upcast_linear(x, weight, bias), F.linear(x, weight, bias), **same_bits)
    torch.testing.assert_close(upcast_linear(x, weight), F.linear(x, weight), **same_bits)
    strided = x.transpose(0, -1).contiguous().transpose(0, -1)
    torch.testing.assert_close(upcast_linear(strided, weight, bias), F.linear(x, weight, bias))


@pytest.mark.parametrize(
    ("kind", "cast"),
    [(torch.float32, torch.bfloat16), (torch.float16, torch.bfloat16), (torch.bfloat16, torch.float16)],
    ids=["f32", "f16", "bf16"],
)
def test_autocast_does_not_round_the_sums(kind, cast, draw):
    x, weight, bias, grad = draw(2, 3, 170, dtype=kind), draw(9, 170, dtype=kind), draw(9, dtype=kind), draw(2, 3, 9, dtype=kind)

    def everything():
        forward = [f(x, weight, bias) for f in (reference, upcast_linear, torch.ops.pydisp.upcast_linear.default)]
        return *forward, upcast_linear(x, weight), *backward(grad, x, weight, True, True, True)

    expected = everything()
    with torch.autocast("cpu", dtype=cast):
        ours = everything()
    for one, other in zip(ours, expected, strict=True):
        assert one.dtype == other.dtype == kind and torch.equal(one, other)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(0, 30), inputs=st.integers(0, 80), outputs=st.integers(0, 40), seed=st.integers(0, 2**20), kind=st.sampled_from(SERVED)
)
def test_random_shapes(isa, rows, inputs, outputs, seed, kind):
    generator = torch.Generator().manual_seed(seed)
    x, weight, bias = (torch.randn(*s, generator=generator).to(kind) for s in ((rows, inputs), (outputs, inputs), (outputs,)))
    gold = reference(*wide(x, weight, bias))
    ours = upcast_linear(x, weight, bias)
    step = torch.finfo(kind).eps
    assert ((ours.double() - gold).abs() <= gold.abs() * step + 1e-4).all()


BAD = {
    "x of whole numbers": (lambda x, w, b: (x.int(), w, b), TypeError, "x has dtype torch.int32"),
    "x of eight bits": (lambda x, w, b: (x.to(torch.float8_e5m2), w, b), TypeError, "x has dtype torch.float8_e5m2"),
    "no x": (lambda x, w, b: (None, w, b), TypeError, "x is of type NoneType"),
    "a list as bias": (lambda x, w, b: (x, w, b.tolist()), TypeError, "bias is of type list"),
    "another weight dtype": (lambda x, w, b: (x, w.float(), b), TypeError, "weight has dtype torch.float32"),
    "another bias dtype": (lambda x, w, b: (x, w, b.float()), TypeError, "bias has dtype torch.float32"),
    "other inputs": (lambda x, w, b: (x[:, :4], w, b), ValueError, r"x has shape \(2, 4\) and weight \(3, 5\)"),
    "a vector as weight": (lambda x, w, b: (x, w[0], None), ValueError, r"weight \(5,\)"),
    "no dimension": (lambda x, w, b: (x[0, 0], w, b), ValueError, r"x has shape \(\)"),
    "another bias": (lambda x, w, b: (x, w, b[:2]), ValueError, r"bias has shape \(2,\); needed is \(3,\)"),
    "another device": (lambda x, w, b: (x, w.to("meta"), b), ValueError, "weight is on meta"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, draw):
    change, error, message = BAD[case]
    with pytest.raises(error, match=message):
        upcast_linear(*change(*(draw(*shape, dtype=torch.bfloat16) for shape in ((2, 5), (3, 5), (3,)))))


def test_the_rule_of_use(monkeypatch):
    import importlib

    op = importlib.import_module("pydisp.ops.upcast_linear")
    assert all(choose("always")[d][0] and not choose("never")[d][0] for d in SERVED)
    with pytest.raises(ValueError, match="set it to always, never or auto"):
        choose("sometimes")
    assert {d for d, (is_faster, _) in DECISIONS.items() if is_faster} == FASTER
    if not has_kernel("upcast_linear", "CPU"):
        assert not any(is_faster for is_faster, _ in choose(None).values())
        return
    for is_fast in (True, False):
        monkeypatch.setattr(op.torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda is_fast=is_fast: is_fast)
        before = native.instruction_set()
        for name in native.instruction_sets():
            native.use_instruction_set(name)
            assert choose("auto")[torch.bfloat16][0] == (not is_fast and name != "generic")
            alike = {"AVX2": ["avx2"], "AVX512": ["avx512", "avx512bf16"]}.get(torch.backends.cpu.get_cpu_capability(), [])
            assert choose("auto")[torch.float32][0] == (name in alike)
        native.use_instruction_set(before)


@pytest.mark.skipif(not native.is_loaded(), reason="the C++ ops are not built")
def test_the_registration_is_live():
    assert has_kernel("upcast_linear", "CPU")
