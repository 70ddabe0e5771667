import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pydisp import ops

SHAPES = [((1, 1), 1), ((1, 63), 1), ((63, 65), 65), ((2, 5, 129), 40), ((3, 8), 0), ((0, 16), 4), ((7,), 3), ((3, 4100), 2050)]
SHAPES += [((3, 0), 0)]  # no dimensions


@pytest.mark.parametrize("whole", [False, True], ids=["index", "features"])
@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize(("shape", "kept"), SHAPES)
def test_forward_and_gradient_are_those_of_torchs_index_select(shape, kept, strided, whole, dtype, isa, draw, draw_index):
    x, index = draw(*shape, dtype=dtype, strided=strided), draw_index(kept, shape[-1])
    cotangent = draw(*shape[:-1], kept, dtype=dtype)
    given_index = ops.features(index, shape[-1]) if whole else index

    def run(op):
        leaf = x.detach().requires_grad_()
        out = op(leaf)
        return out, *torch.autograd.grad(out, leaf, cotangent)

    for result, wanted in zip(run(lambda x: ops.index_select(x, given_index)), run(lambda x: x.index_select(-1, index)), strict=True):
        torch.testing.assert_close(result, wanted, rtol=0, atol=0)
        assert result.is_contiguous()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 5), st.integers(1, 200), st.floats(0, 1), st.integers(0, 2**31))
def test_any_shape(isa, rows, width, ratio, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=generator)
    index = (torch.rand(width, generator=generator) < ratio).nonzero().squeeze(1).int()
    for values in (x, x.bfloat16(), x.half(), x.double()):
        cotangent = torch.randn(rows, index.shape[0], generator=generator).to(values.dtype)
        values.requires_grad_()
        result, wanted = ops.index_select(values, ops.features(index, width)), values.index_select(-1, index)
        assert torch.equal(result, wanted)
        assert torch.equal(*(torch.autograd.grad(out, values, cotangent)[0] for out in (result, wanted)))


def test_gradcheck(draw, draw_index):
    index = draw_index(3, 7)
    assert torch.autograd.gradcheck(lambda x: ops.index_select(x, index), draw(2, 7, requires_grad=True))
    assert torch.autograd.gradgradcheck(lambda x: ops.index_select(x, index), draw(2, 7, requires_grad=True))


@pytest.mark.parametrize("strided", [False, True])
def test_opcheck(strided, draw, draw_index):
    kept = ops.features(draw_index(4, 7), 7)
    torch.library.opcheck(torch.ops.pydisp.index_select.default, (draw(3, 7, strided=strided).requires_grad_(), *kept))


@pytest.mark.parametrize("rows", [3, 40])
def test_compiles_without_graph_break(rows, draw, draw_index):
    x, kept = draw(rows, 7), ops.features(draw_index(3, 7), 7)
    compiled = torch.compile(ops.index_select, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, kept), ops.index_select(x, kept))


def test_bad_input_is_refused(draw, draw_index):
    with pytest.raises(TypeError, match="x is torch.int64"):
        ops.index_select(torch.zeros(2, 7, dtype=torch.int64), draw_index(3, 7))
    with pytest.raises(ValueError, match="vector of torch.int32"):
        ops.index_select(draw(2, 7), draw_index(3, 7).long())
    with pytest.raises(ValueError, match="runs from"):
        ops.index_select(draw(2, 7), torch.tensor([7], dtype=torch.int32))


@pytest.mark.skipif(not ops.native.is_loaded(), reason="csrc/ was not built here")
def test_registration_is_live():
    assert ops.implementations()["index_select"]["cpu"] == "c++"
