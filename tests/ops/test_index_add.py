import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pydisp import ops

SHAPES = [((1, 1), 1), ((1, 63), 1), ((63, 65), 65), ((2, 5, 129), 40), ((3, 8), 0), ((0, 16), 4), ((7,), 3), ((3, 4100), 2050)]
SHAPES += [((3, 0), 0)]  # no dimensions


@pytest.mark.parametrize("whole", [False, True], ids=["index", "features"])
@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize(("shape", "added"), SHAPES)
def test_forward_and_gradients_are_those_of_torchs_index_add(shape, added, strided, whole, dtype, isa, draw, draw_index):
    residual = draw(*shape, dtype=dtype, strided=strided)
    update = draw(*shape[:-1], added, dtype=dtype, strided=strided)
    index, cotangent, before = draw_index(added, shape[-1]), draw(*shape, dtype=dtype), residual.clone()
    given_index = ops.features(index, shape[-1]) if whole else index

    def run(op):
        leaves = [residual.detach().requires_grad_(), update.detach().requires_grad_()]
        out = op(*leaves)
        return [out, *torch.autograd.grad(out, leaves, cotangent)]

    expected = run(lambda residual, update: residual.index_add(-1, index, update))
    for result, wanted in zip(run(lambda residual, update: ops.index_add(residual, update, given_index)), expected, strict=True):
        torch.testing.assert_close(result, wanted, rtol=0, atol=0)  # one addition: no other order, so no other rounding
    assert torch.equal(residual, before)
    changed = ops.index_add_(residual, update, given_index)
    assert changed is residual and torch.equal(residual, expected[0])


@pytest.mark.parametrize("needed", [0, 1])
def test_gradients_are_the_same_whichever_is_asked_for(needed, dtype, isa, draw, draw_index):
    index, cotangent = draw_index(30, 65), draw(40, 65, dtype=dtype)
    leaves = [draw(40, 65, dtype=dtype), draw(40, 30, dtype=dtype)]
    leaves[needed].requires_grad_()
    (gradient,) = torch.autograd.grad(ops.index_add(*leaves, index), leaves[needed], cotangent)
    assert torch.equal(gradient, cotangent.index_select(-1, index) if needed else cotangent)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 5), st.integers(1, 200), st.floats(0, 1), st.integers(0, 2**31))
def test_any_shape(isa, rows, width, ratio, seed):
    generator = torch.Generator().manual_seed(seed)
    index = (torch.rand(width, generator=generator) < ratio).nonzero().squeeze(1).int()
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        x, update = (torch.randn(rows, n, generator=generator).to(dtype) for n in (width, index.shape[0]))
        cotangent, leaves = torch.randn(rows, width, generator=generator).to(dtype), (x.requires_grad_(), update.requires_grad_())
        result, wanted = ops.index_add(x, update, ops.features(index, width)), x.index_add(-1, index, update)
        assert torch.equal(result, wanted)
        for ours, exact in zip(*(torch.autograd.grad(out, leaves, cotangent) for out in (result, wanted)), strict=True):
            assert torch.equal(ours, exact)


def test_dimensions_that_are_not_added_to_keep_their_bits(dtype, isa):
    residual = torch.tensor([-0.0, 0.0, float("inf"), float("nan")] * 10, dtype=dtype)
    result = ops.index_add(residual, torch.ones(1, dtype=dtype), torch.tensor([5], dtype=torch.int32))
    others = torch.arange(40) != 5
    integer = torch.int32 if dtype == torch.float32 else torch.int16
    assert torch.equal(result.view(integer)[others], residual.view(integer)[others]) and result[5] == 1


def test_gradcheck(draw, draw_index):
    index = draw_index(3, 7)
    leaves = draw(2, 7, requires_grad=True), draw(2, 3, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *t: ops.index_add(*t, index), leaves)
    assert torch.autograd.gradgradcheck(lambda *t: ops.index_add(*t, index), leaves)


@pytest.mark.parametrize("strided", [False, True])
def test_opcheck(strided, draw, draw_index):
    residual, update = draw(3, 7, strided=strided).requires_grad_(), draw(3, 4, strided=strided).requires_grad_()
    kept = ops.features(draw_index(4, 7), 7)
    torch.library.opcheck(torch.ops.pydisp.index_add.default, (residual, update, *kept))
    torch.library.opcheck(torch.ops.pydisp.index_add_.default, (draw(3, 7, strided=strided), draw(3, 4), *kept))


@pytest.mark.parametrize("op", [ops.index_add, ops.index_add_])
@pytest.mark.parametrize("rows", [3, 40])
def test_compiles_without_graph_break(rows, op, draw, draw_index):
    residual, update, kept = draw(rows, 7), draw(rows, 4), ops.features(draw_index(4, 7), 7)
    wanted = ops.index_add(residual, update, kept)
    result = torch.compile(op, fullgraph=True, backend="aot_eager")(residual, update, kept)
    assert torch.equal(result, wanted)


def test_lengths_and_dtypes_that_differ_are_refused(draw, draw_index):
    for op in (ops.index_add, ops.index_add_):
        with pytest.raises(ValueError, match=r"update is \(2, 4\), it must be \(2, 3\)"):
            op(draw(2, 7), draw(2, 4), draw_index(3, 7))
        with pytest.raises(ValueError, match=r"update is \(3, 3\), it must be \(2, 3\)"):
            op(draw(2, 7), draw(3, 3), draw_index(3, 7))
        with pytest.raises(TypeError, match="update is torch.float32, residual torch.float64"):
            op(draw(2, 7), draw(2, 3, dtype=torch.float32), draw_index(3, 7))
        with pytest.raises(ValueError, match="vector of torch.int32"):
            op(draw(2, 7), draw(2, 3), draw_index(3, 7).long())
        with pytest.raises(ValueError, match="runs from"):
            op(draw(2, 7), draw(2, 1), torch.tensor([7], dtype=torch.int32))


def test_what_is_no_update_and_an_expanded_residual_are_refused(draw, draw_index):
    index = draw_index(3, 7)
    with pytest.raises(TypeError, match="index_add: update is of type list"):
        ops.index_add(draw(2, 7), [1.0, 2.0, 3.0], index)
    for residual in (draw(1, 7).expand(2, 7), draw(2, 1).expand(2, 7)):
        with pytest.raises(ValueError, match="index_add_: residual is expanded"):
            ops.index_add_(residual, draw(2, 3), index)
        with pytest.raises(ValueError, match="add_norm_select_: residual is expanded"):
            ops.add_norm_select_(residual, draw(2, 3), index, None, None, index, 1e-6)
        assert torch.equal(ops.index_add(residual, torch.zeros(2, 3, dtype=torch.float64), index), residual)
    ops.index_add_(draw(1, 7).expand(1, 7), draw(1, 3), index)


def test_in_place_refuses_what_needs_a_gradient_and_tells_autograd(draw, draw_index):
    index = draw_index(3, 7)
    with pytest.raises(RuntimeError, match="index_add_: a tensor requires grad"):
        ops.index_add_(draw(2, 7), draw(2, 3, requires_grad=True), index)
    with torch.no_grad():
        ops.index_add_(draw(2, 7), draw(2, 3, requires_grad=True), index)
    residual, weight = draw(2, 7), draw(2, 7, requires_grad=True)
    product = residual * weight  # keeps residual for its backward
    ops.index_add_(residual, draw(2, 3), index)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("rows", [1, 3])
def test_in_place_with_an_update_that_lies_in_the_residual(rows, start, dtype, isa, draw):
    residual, index = draw(rows, 40, dtype=dtype), torch.arange(1 - start, 40 - start, dtype=torch.int32)
    update = residual[:, start : start + 39]
    wanted, norm = ops.add_norm_select(residual, update, index, None, None, index, 1e-6)
    again = residual.clone()
    assert torch.equal(ops.index_add_(residual, update, index), wanted)
    assert torch.equal(ops.add_norm_select_(again, again[:, start : start + 39], index, None, None, index, 1e-6), norm)
    assert torch.equal(again, wanted)


@pytest.mark.skipif(not ops.native.is_loaded(), reason="csrc/ was not built here")
def test_registration_is_live():
    assert ops.implementations()["index_add"]["cpu"] == "c++"
