import pytest
import torch
from torch.nn import functional as F

from pydisp import ops
from pydisp.ops.add_norm_select import reference

# (rows..., D), A, K
SHAPES = [((1, 1), 1, 1), ((1, 63), 1, 63), ((63, 65), 65, 1), ((2, 5, 129), 40, 33), ((9,), 3, 4)]
SHAPES += [((3, 8), 0, 4), ((3, 8), 4, 0), ((0, 16), 4, 5)]


def by_torch(residual, update, add_index, weight, bias, select_index, eps, weight_offset=0.0, center=False):
    """The definition by torch's own functions, one after the other."""
    new_residual = residual.index_add(-1, add_index, update)
    gain = weight + weight_offset
    if center:
        full = F.layer_norm(new_residual, new_residual.shape[-1:], gain, bias, eps)
    else:
        full = F.rms_norm(new_residual, new_residual.shape[-1:], gain, eps) + bias
    return new_residual, full.index_select(-1, select_index)


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize(("center", "weight_offset"), [(False, 0.0), (False, 1.0), (True, 0.0)])
@pytest.mark.parametrize(("shape", "added", "kept"), SHAPES)
def test_forward_and_gradients_equal_the_three_ops(
    shape, added, kept, center, weight_offset, strided, dtype, draw, draw_index, assert_as_good
):
    width = shape[-1]
    tensors = [draw(*shape, dtype=dtype, strided=strided), draw(*shape[:-1], added, dtype=dtype, strided=strided)]
    tensors += [draw(width, dtype=dtype), draw(width, dtype=dtype)]
    add_index, select_index = draw_index(added, width), draw_index(kept, width)
    cotangents = [draw(*shape, dtype=dtype), draw(*shape[:-1], kept, dtype=dtype)]

    def run(op, wide=None):
        residual, update, weight, bias = leaves = [t.detach().to(wide or t.dtype).requires_grad_() for t in tensors]
        # eps 0.1: with D = 1 the norm is a sign, its gradient all cancellation, unless eps counts
        out = op(residual, update, add_index, weight, bias, select_index, 0.1, weight_offset=weight_offset, center=center)
        return [*out, *torch.autograd.grad(out, leaves, [c.to(wide or c.dtype) for c in cotangents])]

    for found, own, gold in zip(run(ops.add_norm_select), run(by_torch), run(by_torch, torch.float64), strict=True):
        assert_as_good(found, own, gold)


def test_norm_reads_the_new_residual_as_it_is_stored(draw, draw_index):
    residual, update, add_index, select_index = draw(4, 9).bfloat16(), draw(4, 3).bfloat16(), draw_index(3, 9), draw_index(5, 9)
    new_residual, selected = ops.add_norm_select(residual, update, add_index, None, None, select_index, 1e-6)
    assert torch.equal(selected, ops.norm_select(new_residual, None, None, select_index, 1e-6))
    assert torch.equal(new_residual, reference(residual, update, add_index, None, None, select_index, 1e-6)[0])


@pytest.mark.parametrize("center", [False, True])
def test_gradcheck(center, draw, draw_index):
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


@pytest.mark.parametrize("strided", [False, True])
def test_opcheck(strided, draw, draw_index):
    residual, update = draw(3, 7, strided=strided).requires_grad_(), draw(3, 4).requires_grad_()
    arguments = (residual, update, draw_index(4, 7), draw(7, requires_grad=True), None, draw_index(2, 7), 1e-6, 1.0, False)
    torch.library.opcheck(torch.ops.pydisp.add_norm_select.default, arguments)


def test_compiles_without_graph_break(draw, draw_index):
    residual, update, add_index, select_index = draw(3, 7), draw(3, 3), draw_index(3, 7), draw_index(4, 7)
    compiled = torch.compile(ops.add_norm_select, fullgraph=True, backend="aot_eager")
    found = compiled(residual, update, add_index, None, None, select_index, 1e-6)
    torch.testing.assert_close(found, ops.add_norm_select(residual, update, add_index, None, None, select_index, 1e-6))
