import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pydisp import ops
from pydisp.ops.add_norm_select import reference
from pydisp.ops.library import REFERENCES

# (rows..., D), A, K
SHAPES = [((1, 1), 1, 1), ((1, 63), 1, 63), ((63, 65), 65, 1), ((2, 5, 129), 40, 33), ((9,), 3, 4), ((2, 4100), 2050, 2049)]
SHAPES += [((3, 8), 0, 4), ((3, 8), 4, 0), ((0, 16), 4, 5), ((3, 0), 0, 0)]


def by_torch(residual, update, add_index, weight, bias, select_index, eps, weight_offset=0.0, center=False):
    """The definition by torch's own functions, one after the other."""
    new_residual = residual.index_add(-1, add_index, update)
    gain = weight + weight_offset
    if center:
        full = F.layer_norm(new_residual, new_residual.shape[-1:], gain, bias, eps)
    else:
        full = F.rms_norm(new_residual, new_residual.shape[-1:], gain, eps) + bias
    return new_residual, full.index_select(-1, select_index)


def compare(tensors, add_index, select_index, cotangents, weight_offset, center, assert_as_good):
    def run(op, wide=None):
        residual, update, weight, bias = leaves = [t.detach().to(wide or t.dtype).requires_grad_() for t in tensors]
        # eps 0.1: with D = 1 the norm is a sign, its gradient all cancellation, unless eps counts
        out = op(residual, update, add_index, weight, bias, select_index, 0.1, weight_offset=weight_offset, center=center)
        return [*out, *torch.autograd.grad(out, leaves, [c.to(wide or c.dtype) for c in cotangents])]

    for result, own, gold in zip(run(ops.add_norm_select), run(by_torch), run(by_torch, torch.float64), strict=True):
        assert_as_good(result, own, gold)


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize(("center", "weight_offset"), [(False, 0.0), (False, 1.0), (True, 0.0)])
@pytest.mark.parametrize(("shape", "added", "kept"), SHAPES)
def test_forward_and_gradients_equal_the_three_ops(
    shape, added, kept, center, weight_offset, strided, dtype, isa, draw, draw_index, assert_as_good
):
    width = shape[-1]
    tensors = [draw(*shape, dtype=dtype, strided=strided), draw(*shape[:-1], added, dtype=dtype, strided=strided)]
    tensors += [draw(width, dtype=dtype), draw(width, dtype=dtype)]
    cotangents = [draw(*shape, dtype=dtype), draw(*shape[:-1], kept, dtype=dtype)]
    compare(tensors, draw_index(added, width), draw_index(kept, width), cotangents, weight_offset, center, assert_as_good)


@pytest.mark.parametrize("whole", [False, True], ids=["index", "features"])
@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize(("shape", "added", "kept"), SHAPES)
def test_in_place_equals_functional_and_both_the_two_ops(shape, added, kept, strided, whole, dtype, isa, draw, draw_index):
    residual, update = draw(*shape, dtype=dtype, strided=strided), draw(*shape[:-1], added, dtype=dtype)
    weight, before = draw(shape[-1], dtype=torch.float32), residual.clone()
    add, select = draw_index(added, shape[-1]), draw_index(kept, shape[-1])
    if whole:
        add, select = ops.features(add, shape[-1]), ops.features(select, shape[-1])
    new_residual, selected = ops.add_norm_select(residual, update, add, weight, None, select, 1e-6, weight_offset=1.0)
    assert torch.equal(residual, before)
    assert torch.equal(new_residual, ops.index_add(residual, update, add))
    assert torch.equal(selected, ops.norm_select(new_residual, weight, None, select, 1e-6, weight_offset=1.0))
    assert torch.equal(ops.add_norm_select_(residual, update, add, weight, None, select, 1e-6, weight_offset=1.0), selected)
    assert torch.equal(residual, new_residual)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 5), st.integers(1, 200), st.floats(0, 1), st.floats(0, 1), st.booleans(), st.integers(0, 2**31),
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
)  # fmt: skip
def test_any_shape(isa, assert_as_good, rows, width, add_ratio, keep_ratio, center, seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    add, select = ((torch.rand(width, generator=generator) < ratio).nonzero().squeeze(1).int() for ratio in (add_ratio, keep_ratio))
    residual, update, weight, bias, *cotangents = (
        torch.randn(shape, generator=generator).to(dtype)
        for shape in ((rows, width), (rows, len(add)), (width,), (width,), (rows, width), (rows, len(select)))
    )
    compare([residual, update, weight, bias], add, select, cotangents, 0.5, center, assert_as_good)


def test_norm_reads_the_new_residual_as_it_is_stored(isa, draw, draw_index):
    residual, update, add_index, select_index = draw(4, 9).bfloat16(), draw(4, 3).bfloat16(), draw_index(3, 9), draw_index(5, 9)
    new_residual, selected = ops.add_norm_select(residual, update, add_index, None, None, select_index, 1e-6)
    assert torch.equal(selected, ops.norm_select(new_residual, None, None, select_index, 1e-6))
    assert torch.equal(new_residual, reference(residual, update, add_index, None, None, select_index, 1e-6)[0])


@pytest.mark.parametrize("center", [False, True])
def test_gradcheck(center, isa, draw, draw_index):
    add_index, select_index = draw_index(3, 7), draw_index(4, 7)

    def run(residual, update, weight, bias):
        return ops.add_norm_select(residual, update, add_index, weight, bias, select_index, 1e-3, center=center)

    leaves = [draw(*shape, requires_grad=True) for shape in ((3, 7), (3, 3), (7,), (7,))]
    assert torch.autograd.gradcheck(run, leaves)


def test_gradient_of_one_output_alone(draw, draw_index):
    residual, update, add_index, select_index = draw(3, 7, requires_grad=True), draw(3, 3), draw_index(3, 7), draw_index(4, 7)
    new_residual, _ = ops.add_norm_select(residual, update, add_index, None, None, select_index, 1e-6)
    new_residual.sum().backward()
    torch.testing.assert_close(residual.grad, torch.ones_like(residual))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_the_norm_makes_of_a_row_counts_only_where_the_norm_is_used(value, dtype, isa, draw, draw_index):
    residual, update, weight = draw(3, 37, dtype=dtype), draw(3, 9, dtype=dtype), draw(37, dtype=dtype)
    residual[1, 5] = value
    add, select = draw_index(9, 37), draw_index(20, 37)
    leaves = [t.requires_grad_() for t in (residual, update, weight)]
    new_residual, selected = ops.add_norm_select(residual, update, add, weight, None, select, 1e-6)
    gradients = torch.autograd.grad(new_residual.sum(), leaves, retain_graph=True, allow_unused=True)
    assert gradients[0].eq(1).all() and gradients[1].eq(1).all() and gradients[2] is None
    # the other way round the stream's own gradient is zero
    alone = torch.autograd.grad(selected[0].sum(), leaves, retain_graph=True)
    both = torch.autograd.grad(selected[0].sum() + 0 * new_residual[0].sum(), leaves)
    for one, other in zip(alone, both, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_a_graph_that_uses_neither_output_asks_for_nothing(draw, draw_index):
    class Drop(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return None

    residual, update = draw(3, 7, requires_grad=True), draw(3, 3, requires_grad=True)
    out = ops.add_norm_select(residual, update, draw_index(3, 7), None, None, draw_index(4, 7), 1e-6)
    assert torch.autograd.grad([Drop.apply(o).sum() for o in out], (residual, update), allow_unused=True) == (None, None)


@pytest.mark.parametrize("needed", [(0,), (1,), (2,), (3,), (1, 3)])
def test_gradients_are_the_same_whichever_are_asked_for(needed, dtype, isa, draw, draw_index):
    tensors = [draw(40, 65, dtype=dtype), draw(40, 30, dtype=dtype), draw(65, dtype=dtype), draw(65, dtype=dtype)]
    add, select, cotangents = draw_index(30, 65), draw_index(33, 65), (draw(40, 65, dtype=dtype), draw(40, 33, dtype=dtype))

    def run(wanted):
        residual, update, weight, bias = leaves = [t.detach().requires_grad_(i in wanted) for i, t in enumerate(tensors)]
        out = ops.add_norm_select(residual, update, add, weight, bias, select, 1e-3)
        pairs = [(o, c) for o, c in zip(out, cotangents, strict=True) if o.requires_grad]
        return torch.autograd.grad([o for o, _ in pairs], [leaves[i] for i in wanted], [c for _, c in pairs], allow_unused=True)

    every = run((0, 1, 2, 3))
    for gradient, number in zip(run(needed), needed, strict=True):
        torch.testing.assert_close(gradient, every[number], rtol=1e-6 if dtype == torch.float32 else 0, atol=1e-6)


def test_second_derivatives_are_refused(draw, draw_index):
    residual = draw(3, 7, requires_grad=True)
    _, selected = ops.add_norm_select(residual, draw(3, 3), draw_index(3, 7), None, None, draw_index(4, 7), 1e-6)
    (first,) = torch.autograd.grad(selected.square().sum(), residual, create_graph=True)
    with pytest.raises(NotImplementedError, match="add_norm_select has no second derivative"):
        first.sum().backward()


@pytest.mark.parametrize("strided", [False, True])
def test_opcheck(strided, draw, draw_index):
    residual, update = draw(3, 7, strided=strided).requires_grad_(), draw(3, 4).requires_grad_()
    add, select, settings = ops.features(draw_index(4, 7), 7), (draw_index(2, 7), None, None), (1e-6, 1.0, False)
    arguments = (*add, draw(7, requires_grad=True), None, *select, *settings)
    torch.library.opcheck(torch.ops.pydisp.add_norm_select.default, (residual, update, *arguments))
    plain = (*add, draw(7), None, *select, *settings)
    torch.library.opcheck(torch.ops.pydisp.add_norm_select_.default, (draw(3, 7, strided=strided), draw(3, 4), *plain))
    gradients = (draw(3, 7), draw(3, 2), draw(3, 7, strided=strided), *plain, True, True, True, False)
    torch.library.opcheck(torch.ops.pydisp.add_norm_select_backward.default, gradients)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("rows", [3, 40])
def test_compiles_without_graph_break(rows, in_place, draw, draw_index):
    residual, update = draw(rows, 7), draw(rows, 3)
    arguments = (ops.features(draw_index(3, 7), 7), None, None, draw_index(4, 7), 1e-6)
    new_residual, selected = ops.add_norm_select(residual, update, *arguments)
    op = ops.add_norm_select_ if in_place else ops.add_norm_select
    result = torch.compile(op, fullgraph=True, backend="aot_eager")(residual, update, *arguments)
    torch.testing.assert_close((residual, result) if in_place else result, (new_residual, selected))


@pytest.mark.parametrize("rows", [1, 37, 301, 2000])
def test_same_bits_with_one_thread_and_two_and_row_by_row(rows, dtype, isa, draw, draw_index):
    residual, update, weight = draw(rows, 517, dtype=dtype), draw(rows, 203, dtype=dtype), draw(517, dtype=dtype)
    add, select = ops.features(draw_index(203, 517), 517), ops.features(draw_index(260, 517), 517)
    cotangents = (draw(rows, 517, dtype=dtype), draw(rows, 260, dtype=dtype))

    def run(threads):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            leaves = [t.detach().requires_grad_() for t in (residual, update, weight)]
            out = ops.add_norm_select(*leaves[:2], add, leaves[2], None, select, 1e-6)
            return [*out, *torch.autograd.grad(out, leaves, cotangents)]
        finally:
            torch.set_num_threads(before)

    one = run(1)
    assert all(torch.equal(a, b) for a, b in zip(one, run(2), strict=True))
    last = ops.add_norm_select(residual[-1], update[-1], add, weight, None, select, 1e-6)
    assert torch.equal(last[0], one[0][-1]) and torch.equal(last[1], one[1][-1])


@pytest.mark.parametrize("center", [False, True])
def test_rows_that_are_not_finite_are_the_references_and_stay_alone(center, dtype, isa, draw):
    x, update, weight, bias = draw(6, 37, dtype=dtype), draw(6, 11, dtype=dtype), draw(37), draw(37)
    add, select = torch.arange(0, 33, 3, dtype=torch.int32), torch.arange(8, 28, dtype=torch.int32)
    x[1, 9], x[2, 9], x[3, 30] = float("nan"), float("inf"), float("inf")  # a kept dimension twice, then one that is not
    x[4], x[5], update[4:] = 2.0**15 if dtype == torch.float16 else 2.0**120, 0, 0
    weight, bias = weight.float(), bias.float()
    cotangents = draw(6, 37, dtype=dtype), draw(6, 20, dtype=dtype)

    def run(rows):
        leaves = [t.detach().requires_grad_() for t in (x[rows], update[rows], weight, bias)]
        out = ops.add_norm_select(*leaves[:2], add, *leaves[2:], select, 1e-6, center=center)
        return [*out, *torch.autograd.grad(out, leaves, [c[rows] for c in cotangents])]

    results = run(slice(6))
    wanted = list(reference(x, update, add, weight, bias, select, 1e-6, center=center))
    forms = (add, None, None, weight, bias, select, None, None, 1e-6, 0.0, center)
    wanted += REFERENCES[torch.ops.pydisp.add_norm_select_backward.default](*cotangents, wanted[0], *forms, *[True] * 4)
    one_rounding = {torch.float32: 4e-6, torch.bfloat16: 2**-7, torch.float16: 2**-10}[dtype]
    for a, b in zip(results, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=one_rounding, atol=1e-2, equal_nan=True)  # rstd is 1000 where a row is all one value
    for a, alone in zip(results[:4], run(slice(1))[:4], strict=True):
        assert a[0].isfinite().all() and torch.equal(a[:1], alone)


def test_in_place_refuses_what_needs_a_gradient(draw, draw_index):
    arguments = (draw_index(3, 7), draw(7, requires_grad=True), None, draw_index(4, 7), 1e-6)
    with pytest.raises(RuntimeError, match="add_norm_select_: a tensor requires grad"):
        ops.add_norm_select_(draw(2, 7), draw(2, 3), *arguments)
    with torch.no_grad():
        assert ops.add_norm_select_(draw(2, 7), draw(2, 3), *arguments).shape == (2, 4)


def test_bad_input_is_refused(draw, draw_index):
    add, select = draw_index(3, 7), draw_index(4, 7)
    for op in (ops.add_norm_select, ops.add_norm_select_):
        with pytest.raises(ValueError, match=r"update is \(2, 4\), it must be \(2, 3\)"):
            op(draw(2, 7), draw(2, 4), add, None, None, select, 1e-6)
        with pytest.raises(TypeError, match="update is torch.float32, residual torch.float64"):
            op(draw(2, 7), draw(2, 3, dtype=torch.float32), add, None, None, select, 1e-6)
        with pytest.raises(ValueError, match=r"weight has shape \(6,\), it must be \(7,\)"):
            op(draw(2, 7), draw(2, 3), add, draw(6), None, select, 1e-6)
        with pytest.raises(ValueError, match="select_index has dtype torch.int64"):
            op(draw(2, 7), draw(2, 3), add, None, None, select.long(), 1e-6)


@pytest.mark.skipif(not ops.native.is_loaded(), reason="csrc/ was not built here")
def test_registration_is_live():
    from pydisp.ops.library import has_kernel

    assert all(has_kernel(f"add_norm_select{form}", "CPU") for form in ("", "_", "_backward"))
