"""Faster linears for pruned models on a CPU: `upcast_linear` instead of torch's product for 16-bit types and few rows of float32.

    serve_linears_(model)    # every plain nn.Linear stays one, but computes by `upcast_linear` where that is faster

The linears stay nn.Linear by exact type, because some quantizers replace only those (bitsandbytes, torch.ao, FP8). So there is no class for
the product; each module gets a `forward` of its own, as accelerate and compressed-tensors do it. Replacing the module removes it too.
"""

import weakref

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pydisp.ops.library import is_known_to_hold
from pydisp.ops.upcast_linear import FASTER, FEW_ROWS, unchecked

_PLAIN = (Tensor, nn.Parameter)


def linear_forward(module: nn.Linear, x: Tensor) -> Tensor:
    """The same as nn.Linear.forward, but faster; see `pydisp.ops.upcast_linear`.

    upcast_linear multiplies plain tensors on a CPU whose dtype is in FASTER; float32 tensors only if they have few rows, and only under
    no_grad or inference_mode (where the last bits may differ from the same call outside). Torch's linear does everything else: other
    devices and dtypes, torch.autocast in another dtype, and inputs or weights of special tensor classes (nested, quantized, distributed).
    """
    weight = module.weight
    dtype = x.dtype
    is_served = dtype in FASTER and weight.dtype is dtype and x.is_cpu and weight.is_cpu
    # is_nested: a strided nested tensor has the type Tensor
    is_served = is_served and type(x) in _PLAIN and type(weight) in _PLAIN and not x.is_nested
    if dtype is torch.float32:
        is_served = is_served and not torch.is_grad_enabled() and is_known_to_hold(x.numel() <= FEW_ROWS * weight.shape[1])
    if is_served and (not torch.is_autocast_enabled("cpu") or torch.get_autocast_dtype("cpu") is dtype):
        return unchecked(x, weight, module.bias)
    return F.linear(x, weight, module.bias)


class ServedForward:
    """The `forward` of one nn.Linear. A copy or a pickle of the module gets its own.

    It holds the module by a weak reference: a module that referred to itself would keep its weights until the garbage collector runs. If
    the class of the module has been changed, the forward of the new class runs.
    """

    __slots__ = ("_module",)
    __func__ = staticmethod(linear_forward)  # bound methods have this attribute, and compressed-tensors wraps it

    def __init__(self, module: nn.Linear):
        self._module = weakref.ref(module)

    def __call__(self, input: Tensor) -> Tensor:  # `input` is the name of nn.Linear's argument
        module = self._module()
        return linear_forward(module, input) if type(module) is nn.Linear else type(module).forward(module, input)

    def __reduce__(self):
        return type(self), (self._module(),)


def serve_linears_(model: nn.Module) -> None:
    """Give every plain nn.Linear of a model, in place, the faster product if its weight is on a CPU (or on meta, before it is loaded).

    On other devices the faster product is removed again. A `forward` that other code has set is not touched; nor are subclasses.
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
