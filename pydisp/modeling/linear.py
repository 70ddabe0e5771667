"""The faster product of a pruned model's linears: 16-bit types, and few rows of float32, on a CPU by the faster of two ways.

    serve_linears_(model)    # every plain nn.Linear stays one, and computes by `upcast_linear` what that is faster at

The linears are nn.Linear by exact type, for quantizers that replace just those (bitsandbytes, torch.ao, FP8). So the product is no class
but a `forward` of the one module, where accelerate and compressed-tensors put theirs; whoever replaces the module is rid of it.
"""

import weakref

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pydisp.ops.library import is_known_to_hold
from pydisp.ops.upcast_linear import FASTER, FEW_ROWS, unchecked

_PLAIN = (Tensor, nn.Parameter)


def linear_forward(module: nn.Linear, x: Tensor) -> Tensor:
    """nn.Linear.forward in everything but its speed; see `pydisp.ops.upcast_linear`.

    Plain tensors in a dtype of FASTER on a CPU are multiplied by upcast_linear, float32 ones where they have few rows, under no_grad or
    inference_mode (there the last bits are not those of the same call outside). Everything else goes to torch's linear: other devices and
    dtypes, torch.autocast in another dtype, and inputs and weights that are tensors of their own kind (nested, quantized, distributed).
    """
    weight = module.weight
    dtype = x.dtype
    is_served = dtype in FASTER and weight.dtype is dtype and x.is_cpu and weight.is_cpu
    # nested: a strided one is a Tensor by type
    is_served = is_served and type(x) in _PLAIN and type(weight) in _PLAIN and not x.is_nested
    if dtype is torch.float32:
        is_served = is_served and not torch.is_grad_enabled() and is_known_to_hold(x.numel() <= FEW_ROWS * weight.shape[1])
    if is_served and (not torch.is_autocast_enabled("cpu") or torch.get_autocast_dtype("cpu") is dtype):
        return unchecked(x, weight, module.bias)
    return F.linear(x, weight, module.bias)


class ServedForward:
    """The `forward` of one nn.Linear. A copy or a pickle of the module has its own.

    It holds the module weakly: a module that holds itself would keep its weights until the garbage collector runs. Where something gave
    the module another class, that class computes.
    """

    __slots__ = ("_module",)
    __func__ = staticmethod(linear_forward)  # as a bound method has it: compressed-tensors wraps that

    def __init__(self, module: nn.Linear):
        self._module = weakref.ref(module)

    def __call__(self, input: Tensor) -> Tensor:  # the name of nn.Linear's argument
        module = self._module()
        return linear_forward(module, input) if type(module) is nn.Linear else type(module).forward(module, input)

    def __reduce__(self):
        return type(self), (self._module(),)


def serve_linears_(model: nn.Module) -> None:
    """Give every plain nn.Linear of a model, in place, its faster product where its weight is on a CPU (or on meta: not yet anywhere).

    Elsewhere that is taken away again. A `forward` that somebody else has put in is left alone, as are subclasses.
    """
    for module in model.modules():
        if type(module) is not nn.Linear:
            continue
        own = vars(module).get("forward")
        if module.weight.device.type not in ("cpu", "meta"):
            if type(own) is ServedForward:
                del module.forward
        elif own is None and FASTER:
            module.forward = ServedForward(module)
