import pytest
import torch

from pydisp import ops

SHAPES = [((1, 1), 1), ((1, 63), 1), ((63, 65), 65), ((2, 5, 129), 40), ((3, 8), 0), ((0, 16), 4), ((7,), 3)]


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize(("shape", "added"), SHAPES)
def test_forward_and_gradients_are_those_of_torchs_index_add(shape, added, strided, dtype, draw, draw_index):
    residual = draw(*shape, dtype=dtype, strided=strided)
    update = draw(*shape[:-1], added, dtype=dtype, strided=strided)
    index, cotangent, before = draw_index(added, shape[-1]), draw(*shape, dtype=dtype), residual.clone()

    def run(op):
        leaves = [residual.detach().requires_grad_(), update.detach().requires_grad_()]
        out = op(*leaves)
        return [out, *torch.autograd.grad(out, leaves, cotangent)]

    expected = run(lambda residual, update: residual.index_add(-1, index, update))
    for found, wanted in zip(run(lambda residual, update: ops.index_add(residual, update, index)), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)  # one addition: no other order, so no other rounding
    assert torch.equal(residual, before)


def test_gradcheck(draw, draw_index):
    index = draw_index(3, 7)
    assert torch.autograd.gradcheck(lambda *t: ops.index_add(*t, index), (draw(2, 7, requires_grad=True), draw(2, 3, requires_grad=True)))


@pytest.mark.parametrize("strided", [False, True])
def test_opcheck(strided, draw, draw_index):
    residual, update = draw(3, 7, strided=strided).requires_grad_(), draw(3, 4, strided=strided).requires_grad_()
    torch.library.opcheck(torch.ops.pydisp.index_add.default, (residual, update, draw_index(4, 7)))


def test_lengths_and_dtypes_that_differ_are_refused(draw, draw_index):
    with pytest.raises(RuntimeError, match=r"update is \(2, 4\)"):
        ops.index_add(draw(2, 7), draw(2, 4), draw_index(3, 7))
    with pytest.raises(RuntimeError, match="torch.float32, it must be"):
        ops.index_add(draw(2, 7), draw(2, 3, dtype=torch.float32), draw_index(3, 7))
    with pytest.raises(ValueError, match="vector of torch.int32"):
        ops.index_add(draw(2, 7), draw(2, 3), draw_index(3, 7).long())
    with pytest.raises((RuntimeError, IndexError)):
        ops.index_add(draw(2, 7), draw(2, 1), torch.tensor([7], dtype=torch.int32))
