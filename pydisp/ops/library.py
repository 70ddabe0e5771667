"""The dispatcher namespace `pydisp`: `define` registers an op, and the checks and choices that all ops share are here."""

import os
import re
import sys
from collections.abc import Callable

import torch
from torch import Tensor, strided
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
        reference: plain torch, for every device without a faster implementation; C++ and Triton take precedence once registered.
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


def is_set(variable: str) -> bool:
    """Whether the environment variable is set, not empty and not 0."""
    return os.environ.get(variable, "0") not in ("", "0")


FLOATS = frozenset((torch.float16, torch.bfloat16, torch.float32, torch.float64))
"""The dtypes the ops compute with."""


def may_read_values(tensor: Tensor) -> bool:
    """Whether an op may read the tensor's values on every call, for a check or a choice: if it has_values, but on a GPU only with
    PYDISP_CHECK=1, because reading waits for the device."""
    return has_values(tensor) and (tensor.is_cpu or is_set("PYDISP_CHECK"))


def has_values(tensor: Tensor) -> bool:
    """Whether the tensor has values to read: not during a trace (torch.compile, make_fx, FakeTensorMode), nor if it is a meta tensor or a
    wrapper."""
    if torch.compiler.is_compiling() or tensor.is_meta or type(tensor) not in (Tensor, torch.nn.Parameter):
        return False
    # a mode may be one that traces
    return not (torch._C._len_torch_dispatch_stack() or torch._C._are_functorch_transforms_active())


def check_tensors(op: str, optional: tuple[str, ...] = (), **arguments) -> None:
    """Refuse an argument that is no dense tensor; None passes under a name in `optional`.

    The junction ops call this only once another check has failed: on every call of one token it would cost as much as all other checks.
    """
    for name, argument in arguments.items():
        if argument is None and name in optional:
            continue
        if not isinstance(argument, Tensor):
            raise TypeError(f"{op}: {name} is of type {type(argument).__name__}, it must be a tensor.")
        if argument.is_nested:  # its layout may be strided
            raise TypeError(f"{op}: {name} is a nested tensor, it must be dense; pad it (torch.nested.to_padded_tensor).")
        if argument.layout is not strided:
            raise TypeError(f"{op}: {name} has layout {argument.layout}, it must be dense, as of to_dense().")


def check_flags(op: str, **flags) -> None:
    """Refuse a flag that is neither True nor False."""
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise TypeError(f"{op}: {name} is {flag!r}, it must be True or False.")


def check_number(op: str, name: str, value, *, is_whole: bool = False) -> None:
    """Refuse a value that is no number (or no whole number): True, a string, None; also a whole number too large for the float needed."""
    kinds = (int, torch.SymInt) if is_whole else (int, float, torch.SymInt, torch.SymFloat)
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise TypeError(f"{op}: {name} is {value!r}, it must be a {'whole ' if is_whole else ''}number.")
    if not is_whole and isinstance(value, int) and abs(value) > sys.float_info.max:
        raise ValueError(f"{op}: {name} is a whole number beyond the largest float; it must be at most {sys.float_info.max}.")


def is_forward_mode() -> bool:
    """Whether torch.func.jvp or a dual level is open. No op has a rule for tangents, and below autograd they would be lost silently."""
    return forward_ad._current_level >= 0


def is_transformed() -> bool:
    """Whether a transform of torch.func (vmap, grad, jvp) or a dual level is open. No op has a rule for any of them.

    A vmap batch says that it requires no gradient even if the tensor in it does, so below autograd its gradient would be lost silently.
    Under torch.func.grad, torch's autograd layer of a custom op refuses to run.
    """
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def refuse_transforms(op: str, instead: str, **tensors) -> None:
    """Raise NotImplementedError under a transform of torch.func, or if one of `tensors` has a forward-mode tangent: for ops that cannot
    fall back to their plain form."""
    if is_forward_mode():
        for name, tensor in tensors.items():
            if isinstance(tensor, Tensor) and forward_ad.unpack_dual(tensor).tangent is not None:
                raise NotImplementedError(
                    f"{op}: {name} has a forward-mode tangent, and there is no forward-mode derivative; take {instead} where one is needed."
                )
    if torch._C._are_functorch_transforms_active():
        raise NotImplementedError(f"{op}: there is no rule for the transforms of torch.func; take {instead} there, or torch.autograd.")


def call(op: Callable, tensors: tuple[Tensor | None, ...], *arguments):
    """`op(*arguments)`, without torch's autograd layer if none of `tensors` requires a gradient.

    That layer is Python: on one token of D = 2048 it takes 12 us, while the norm itself takes 7 us (float32, Zen 3). Under forward-mode AD
    and the transforms of torch.func the reference runs.

    Raises: ValueError if the C++ op refuses its arguments. (Its own checks can only raise RuntimeError: the stable ABI has nothing else.)
    """
    if is_transformed():
        return REFERENCES[op](*arguments)
    if torch.compiler.is_compiling():
        return op(*arguments)
    try:
        if torch.is_inference_mode_enabled():
            return op(*arguments)
        if torch.is_grad_enabled():
            for tensor in tensors:
                if tensor is not None and tensor.requires_grad:
                    return op(*arguments)
        with torch._C._AutoDispatchBelowAutograd():
            return op(*arguments)
    except RuntimeError as error:
        raise refusal(error) from None


def refusal(error: RuntimeError) -> Exception:
    """A ValueError with the same sentence if a check of the C++ ops raised `error`, else `error` itself."""
    refused = re.search(r"csrc/\w+\.\w+:\d+, (.*)", str(error))  # file:line, sentence
    return error if refused is None else ValueError(f"{refused[1]}.")


def product(left: Tensor, right: Tensor) -> Tensor:
    """`left @ right` in their own dtype: an open torch.autocast region would round both to 16 bits."""
    with torch.autocast(left.device.type, enabled=False):
        return left @ right


FUSED_ROWS = 16


def is_left_to_compiler(x: Tensor, *inverses: Tensor | None) -> bool:
    """Whether torch.compile should fuse the plain form of a junction over x's rows into the code around it: for few rows on a CPU.

    An op is a call from compiled code into another library; for one token that call costs more than the op's work. The number of rows must
    be known, so that nothing is recompiled for it. Each index must have come with its `inverse`: such an index has been checked, while a
    bare index is checked by the op.
    """
    if not torch.compiler.is_compiling() or torch.compiler.is_exporting() or not x.is_cpu or any(inverse is None for inverse in inverses):
        return False
    return is_known_to_hold(x.numel() <= FUSED_ROWS * x.shape[-1])


def is_known_to_hold(condition: bool | torch.SymBool) -> bool:
    """The value of a condition on sizes, without adding a guard: False if a compiler leaves the sizes open."""
    if not torch.compiler.is_compiling():
        return bool(condition)
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(condition)


def no_second_derivative(op: str, instead: str) -> Callable:
    """The backward of a backward op: it raises an error, because a gradient would be silently incomplete."""

    def refuse(ctx, *grads):
        raise NotImplementedError(f"{op} has no second derivative; take {instead} where one is needed.")

    return refuse
