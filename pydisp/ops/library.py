"""The dispatcher namespace `pydisp`: what an op needs besides its arithmetic, in one call."""

import importlib
import importlib.util
import os
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad

LIBRARY = torch.library.Library("pydisp", "FRAGMENT")
REFERENCES: dict[torch._ops.OpOverload, Callable] = {}
"""The plain form of each op, with the op's own arguments; composed of torch's ops, so that every transform of torch.func goes through it."""


def define(
    schema: str, *, reference: Callable, fake: Callable, backward: Callable | None = None, setup_context: Callable | None = None
) -> torch._ops.OpOverload:
    """Define `schema` in the namespace `pydisp` and return the op.

    Args:
        schema: `name(Tensor x, ...) -> ...`, as torch.library writes it.
        reference: plain torch, for every device that has nothing faster; C++ and Triton go before it once they are registered.
        fake: shapes and dtypes of the result, for torch.compile and meta tensors.
        backward, setup_context: as in torch.library.register_autograd.
    """
    name = schema.partition("(")[0]
    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, reference, "CompositeExplicitAutograd")
    torch.library.register_fake(f"pydisp::{name}", fake, lib=LIBRARY)
    if backward is not None:
        torch.library.register_autograd(f"pydisp::{name}", backward, setup_context=setup_context, lib=LIBRARY)
    op = getattr(torch.ops.pydisp, name).default
    REFERENCES[op] = reference
    return op


def has_kernel(name: str, dispatch_key: str) -> bool:
    """Whether something faster than the reference is registered for `dispatch_key` ("CPU", "CUDA")."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(f"pydisp::{name}", dispatch_key)


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype the ops compute in: float64 for float64, float32 for everything narrower."""
    return torch.float64 if dtype == torch.float64 else torch.float32


FLOATS = frozenset((torch.float16, torch.bfloat16, torch.float32, torch.float64))
"""The dtypes the ops compute with."""


def may_read_values(tensor: Tensor) -> bool:
    """Whether an op may look at values, for a check or a choice.

    Not while something traces (torch.compile, make_fx, FakeTensorMode), not where there are none (meta tensors, wrappers), and on a GPU
    only under PYDISP_CHECK=1, because looking waits for the device.
    """
    if torch.compiler.is_compiling() or tensor.is_meta or type(tensor) not in (Tensor, torch.nn.Parameter):
        return False
    if torch._C._len_torch_dispatch_stack() or torch._C._are_functorch_transforms_active():  # a mode may be one that traces
        return False
    return tensor.is_cpu or os.environ.get("PYDISP_CHECK", "0") not in ("", "0")


def check_tensors(op: str, **arguments) -> None:
    """Refuse what is no tensor. For the way to an error: on every call it would cost as much as all other checks."""
    for name, argument in arguments.items():
        if not isinstance(argument, Tensor):
            raise TypeError(f"{op}: {name} is of type {type(argument).__name__}, it must be a tensor.")


def check_number(op: str, name: str, value, *, is_whole: bool = False) -> None:
    """Refuse what is no number (no whole one): a truth value, a string, None."""
    kinds = (int, torch.SymInt) if is_whole else (int, float, torch.SymInt, torch.SymFloat)
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise TypeError(f"{op}: {name} is {value!r}, it must be a {'whole ' if is_whole else ''}number.")


def is_forward_mode() -> bool:
    """Whether torch.func.jvp or a dual level is open. No op has a rule for tangents, and below autograd they would vanish unseen."""
    return forward_ad._current_level >= 0


def is_transformed() -> bool:
    """Whether a transform of torch.func (vmap, grad, jvp) or a dual level is open. No op has a rule for one of them.

    A batch of vmap says of itself that it requires no gradient when the tensor in it does, so below autograd its gradient would vanish
    unseen, and under torch.func.grad torch's autograd layer of a custom op refuses to run.
    """
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def refuse_transforms(op: str, instead: str, **tensors) -> None:
    """NotImplementedError under a transform of torch.func, or where one of `tensors` has a forward-mode tangent: for an op whose plain
    form is no way out."""
    if is_forward_mode():
        for name, tensor in tensors.items():
            if isinstance(tensor, Tensor) and forward_ad.unpack_dual(tensor).tangent is not None:
                raise NotImplementedError(
                    f"{op}: {name} has a forward-mode tangent, and there is no forward-mode derivative; take {instead} where one is needed."
                )
    if torch._C._are_functorch_transforms_active():
        raise NotImplementedError(f"{op}: there is no rule for the transforms of torch.func; take {instead} there, or torch.autograd.")


def call(op: Callable, tensors: tuple[Tensor | None, ...], *arguments):
    """`op(*arguments)`, past torch's autograd layer where none of `tensors` asks for a gradient.

    That layer is Python: on one token of D = 2048 it takes 12 us, the norm itself 7 (float32, Zen 3). Forward-mode AD and the transforms
    of torch.func take the reference.
    """
    if is_transformed():
        return REFERENCES[op](*arguments)
    if torch.compiler.is_compiling() or torch.is_inference_mode_enabled():
        return op(*arguments)
    if torch.is_grad_enabled():
        for tensor in tensors:
            if tensor is not None and tensor.requires_grad:
                return op(*arguments)
    with torch._C._AutoDispatchBelowAutograd():
        return op(*arguments)


FUSED_ROWS = 16


def is_left_to_compiler(x: Tensor, *inverses: Tensor | None) -> bool:
    """Whether torch.compile should fuse the plain form of a junction over x's rows into what is around it: few rows on a CPU.

    An op is a call from the compiled code into another library, which costs one token more than the op's work. Only where the number of
    rows is known, so that nothing is compiled for it alone, and where each index came with its `inverse`: those have been checked, a bare
    one is checked by the op.
    """
    if not torch.compiler.is_compiling() or torch.compiler.is_exporting() or not x.is_cpu or any(inverse is None for inverse in inverses):
        return False
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(x.numel() <= FUSED_ROWS * x.shape[-1])


def no_second_derivative(op: str) -> Callable:
    """The backward of a backward op: an error, not a gradient that is silently incomplete."""

    def refuse(ctx, *grads):
        raise NotImplementedError(f"{op} has no second derivative; take the reference in pydisp.ops.{op} where one is needed.")

    return refuse


def on_cuda(op: str, name: str, plain: Callable) -> None:
    """Register `name` of pydisp.kernels.<op> for CUDA where triton can be imported; float64 stays with the plain form."""

    def kernel(x, *arguments):
        if x.dtype == torch.float64:
            return plain(x, *arguments)
        if name.endswith("_") and arguments[0].untyped_storage().data_ptr() == x.untyped_storage().data_ptr():
            arguments = (arguments[0].clone(), *arguments[1:])  # an update that lies in the residual would be read after it has changed
        return getattr(importlib.import_module(f"pydisp.kernels.{op}"), name)(x, *arguments)  # triton is slow to import: not before use

    if importlib.util.find_spec("triton") is not None:
        LIBRARY.impl(name, kernel, "CUDA")
