"""What all ops take from pydisp.ops.library: here the ways around torch's autograd layer, and around values that cannot be read."""

import pytest
import torch
from torch.autograd import forward_ad

from pydisp import ops

INDEX = torch.tensor([0, 3, 4], dtype=torch.int32)


def in_place(op):
    """`op` of a copy of its first argument, and that copy."""

    def function(residual, *others):
        residual = residual.clone()
        return op(residual, *others), residual

    return function


# a function of tensors by the op, the same in torch's words, and the shapes
OPS = {
    "norm_select": (
        lambda x, w: ops.norm_select(x, w, None, INDEX, 0.1),
        lambda x, w: (x * (x.square().mean(-1, keepdim=True) + 0.1).rsqrt() * w)[..., INDEX.long()],
        ((2, 5), (5,)),
    ),
    "index_select": (lambda x: ops.index_select(x, INDEX), lambda x: x[..., INDEX.long()], ((2, 5),)),
    "index_add": (lambda x, u: ops.index_add(x, u, INDEX), lambda x, u: x.index_add(-1, INDEX, u), ((2, 5), (2, 3))),
    "index_add_": (
        in_place(lambda x, u: ops.index_add_(x, u, INDEX)),
        lambda x, u: (x.index_add(-1, INDEX, u),) * 2,
        ((2, 5), (2, 3)),
    ),
    "add_norm_select": (
        lambda x, u: ops.add_norm_select(x, u, INDEX, None, None, INDEX, 0.1),
        lambda x, u: (y := x.index_add(-1, INDEX, u), (y * (y.square().mean(-1, keepdim=True) + 0.1).rsqrt())[..., INDEX.long()]),
        ((2, 5), (2, 3)),
    ),
    "add_norm_select_": (
        in_place(lambda x, u: ops.add_norm_select_(x, u, INDEX, None, None, INDEX, 0.1)),
        lambda x, u: ((y := x.index_add(-1, INDEX, u)).mul((y.square().mean(-1, keepdim=True) + 0.1).rsqrt())[..., INDEX.long()], y),
        ((2, 5), (2, 3)),
    ),
    "upcast_linear": (ops.upcast_linear, torch.nn.functional.linear, ((2, 5), (4, 5), (4,))),
}


@pytest.mark.parametrize("way", ["jvp", "no_grad", "inference_mode", "compiled", "dual_level"])
@pytest.mark.parametrize("name", OPS)
def test_forward_mode_tangents_are_those_of_torch(name, way, draw):
    op, by_torch, shapes = OPS[name]
    primals, tangents = (tuple(draw(*shape) for shape in shapes) for _ in range(2))

    def run(function):
        if way == "dual_level":
            with forward_ad.dual_level():
                found = function(*map(forward_ad.make_dual, primals, tangents))
                pairs = [forward_ad.unpack_dual(t) for t in (found if isinstance(found, tuple) else (found,))]
                return [t for pair in pairs for t in pair]
        return torch.func.jvp(function, primals, tangents)

    context = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}.get(way, torch.enable_grad)
    with context():
        found = torch.compile(run, backend="eager")(op) if way == "compiled" else run(op)
        torch.testing.assert_close(found, run(by_torch))
