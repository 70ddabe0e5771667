"""Decides whether an op on a CUDA tensor runs its Triton kernels: only after the kernels have checked themselves.

At the first call of an op on a device in a dtype, its kernels are compared with plain torch (pydisp.ops.self_check). If they are right,
they serve from then on. If they are wrong or do not compile, plain torch serves, and a warning of the logger "pydisp" says why. The
verdict is kept (pydisp.ops.verdicts). That is `PYDISP_TRITON=auto`, the default. `PYDISP_TRITON=0` always uses plain torch;
`PYDISP_TRITON=1` uses the kernels unchecked, and they raise whatever they raise.
"""

import importlib
import importlib.util
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator

import torch

from pydisp.ops import verdicts
from pydisp.ops.features import check_values
from pydisp.ops.library import LIBRARY, has_values
from pydisp.ops.self_check import first_error
from pydisp.ops.verdicts import Verdict

logger = logging.getLogger("pydisp")
MODES = ("0", "1", "auto")
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
FORMS: dict[str, dict[str, tuple[Callable, Callable]]] = {}
"""By op and name (itself, in place, backward) the kernel and the plain form, of the arguments of the op's schema."""
_decided: dict[tuple[str, torch.device, torch.dtype], bool] = {}
"""Whether the kernels of an op serve on a device in a dtype, for the rest of the process."""
_verdicts: dict[tuple, Verdict] = {}
"""Those this process has read or reached, by what they are about: equal GPUs share one."""
_captured: set[str] = set()
"""The ops of which was said that a graph captured their plain form."""
_lock = threading.Lock()


def triton_mode() -> str:
    """`PYDISP_TRITON`: "0", "1" or "auto" (also if it is unset or empty). Raises: ValueError for anything else."""
    asked = os.environ.get("PYDISP_TRITON") or "auto"
    if asked not in MODES:
        raise ValueError(
            f"PYDISP_TRITON is {asked!r}; set it to 0 (plain torch serves on CUDA), 1 (the Triton kernels, unchecked) or auto (the Triton "
            "kernels where they have checked themselves)."
        )
    return asked


def may_use_triton() -> bool:
    """Whether Triton kernels may serve CUDA tensors: triton is installed, and PYDISP_TRITON is not 0."""
    return triton_mode() != "0" and importlib.util.find_spec("triton") is not None


def on_cuda(op: str, name: str, plain: Callable, *, kernel: Callable | None = None, like: int = 0) -> None:
    """Register the Triton kernel of `name` for CUDA tensors, if may_use_triton() when pydisp is imported.

    Args:
        op: the op to which the kernel belongs; all kernels of an op are checked together and serve together.
        plain: the plain torch function that runs while the kernel does not serve; the check compares the kernel with it.
        kernel: a function with plain's arguments and results; by default pydisp.kernels.<op>.<name>.
        like: position of the argument whose dtype counts as the dtype of the call.
    """
    if may_use_triton():
        FORMS.setdefault(op, {})[name] = kernel or _kernel(op, name), plain
        LIBRARY.impl(name, guarded(op, name, like), "CUDA")


def _kernel(op: str, name: str) -> Callable:
    return lambda *arguments: getattr(importlib.import_module(f"pydisp.kernels.{op}"), name)(*arguments)  # triton is slow to import


def guarded(op: str, name: str, like: int = 0) -> Callable:
    """The function that CUDA calls of `name` reach, for any arguments of its schema.

    float64, and kernels that have not passed their check, run as plain torch. A bare index (one without its inverse) is checked here,
    because kernels trust it and compiled code skips the checks in Python; a backward gets the index of its forward.
    """
    places = []
    if not name.endswith("_backward"):
        arguments_of = getattr(torch.ops.pydisp, name).default._schema.arguments
        places = [(i, argument.name) for i, argument in enumerate(arguments_of) if argument.name.endswith("index")]
    kernel, plain = FORMS[op][name]

    def serve(*arguments):
        dtype = arguments[like].dtype
        if dtype == torch.float64 or not serves(op, arguments[like]):
            return plain(*arguments)
        x = arguments[0]
        for i, argument in places:
            if arguments[i + 1] is None:  # what follows an index is its inverse
                check_values(name, argument, arguments[i], x.shape[-1])
        given = arguments
        if name.endswith("_") and arguments[1].untyped_storage().data_ptr() == x.untyped_storage().data_ptr():
            given = (x, arguments[1].clone(), *arguments[2:])  # an update that is a view of the residual would be read after it has changed
        try:
            return kernel(*given)
        except Exception as error:
            if not _is_of_triton(error) or triton_mode() != "auto":
                raise
            # this shape needs more of the GPU than the shapes of the check did; Triton says so before it launches anything
            with _lock:
                _decided[op, x.device, dtype] = False
            _warn(op, x.device, dtype, _words(error))
            return plain(*arguments)

    return serve


def serves(op: str, x: torch.Tensor) -> bool:
    """Whether the Triton kernels of `op` serve calls on x's device in x's dtype; the first such call decides (see the top of this file).

    While a CUDA graph is captured, and for tensors without values (meta, fake), plain torch serves and nothing is decided, because a
    check has to wait for the device.
    """
    decided = _decided.get((op, x.device, x.dtype))
    return _decide(op, x) if decided is None else decided


def _decide(op: str, x: torch.Tensor) -> bool:
    mode, place = triton_mode(), (op, x.device, x.dtype)
    with _lock:
        if mode == "auto" and place not in _decided:
            if not has_values(x):
                return False
            if _is_captured(x):
                _warn_of_capture(op)
                return False
        if place not in _decided:
            _decided[place] = _verdict(*place).error is None if mode == "auto" else mode == "1"
        return _decided[place]


def _is_captured(x: torch.Tensor) -> bool:
    with torch.cuda.device_of(x):
        return x.is_cuda and torch.cuda.is_current_stream_capturing()


def _warn_of_capture(op: str) -> None:
    if op not in _captured:
        _captured.add(op)
        logger.warning(
            "pydisp: a CUDA graph captures %s in plain torch, because its Triton kernels have not checked themselves in this process; "
            "call it once before the capture.",
            op,
        )


def _verdict(op: str, device: torch.device, dtype: torch.dtype) -> Verdict:
    """The verdict that this process knows, or that another process kept, or else a new one, which is then kept."""
    try:
        about = verdicts.circumstances(op, device, dtype)
    except Exception as error:  # triton is there and does not import
        verdict = Verdict(f"they cannot be checked ({_words(error)})", 0.0)
        _warn(op, device, dtype, verdict.error)
        return verdict
    key = tuple(about.values())
    if key not in _verdicts:
        verdict, source = verdicts.read(about), f" (so says {verdicts.file_of(about)}; delete it to have them checked again)"
        if verdict is None:
            (verdict, is_lasting), source = check(op, device, dtype), ""
            if is_lasting:
                verdicts.keep(about, verdict)
        if verdict.error is None:
            logger.info("pydisp: the Triton kernels of %s serve %s on %s%s.", op, about["dtype"], about["device"], source)
        else:
            _warn(op, device, dtype, f"{verdict.error}{source}")
        _verdicts[key] = verdict
    return _verdicts[key]


def _warn(op: str, device: torch.device, dtype: torch.dtype, error: str) -> None:
    place = f"{verdicts.name_of(dtype)} on {verdicts.name_of_device(device)}"
    logger.warning("pydisp: plain torch serves %s of %s, because its Triton kernels fail: %s.", op, place, error)


def check(op: str, device: torch.device, dtype: torch.dtype) -> tuple[Verdict, bool]:
    """Compare the kernels of `op` with plain torch now, whatever verdict is kept.

    Returns: the verdict, and whether it is lasting. Wrong results are, and kernels that Triton cannot compile or the device cannot run.
        A lack of memory, or of the C compiler that Triton needs, is not: it may be there tomorrow.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # errors of earlier work surface here, so that they are not taken for the kernels'
    start, is_lasting = time.perf_counter(), True
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False), torch.cuda.device_of(torch.empty(0, device=device)):
            error = first_error(op, FORMS[op], device, dtype)
    except Exception as caught:  # whatever it is, plain torch can serve
        error = _words(caught)
        is_lasting = _is_of_triton(caught) or isinstance(caught, getattr(torch, "AcceleratorError", ()))
    return Verdict(error, time.perf_counter() - start), is_lasting


def _is_of_triton(error: Exception) -> bool:
    """Whether Triton itself refused: a kernel that does not compile, or that asks more of the device than it has."""
    return type(error).__module__.partition(".")[0] == "triton"


def _words(error: Exception) -> str:
    """An exception in one line of at most 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300].rstrip(".: ")


def check_all(device: torch.device) -> Iterator[tuple[str, torch.dtype, Verdict]]:
    """Check every op in every dtype now, without keeping the verdicts; empty if may_use_triton() was false when pydisp was imported."""
    for dtype in DTYPES:
        for op in FORMS:
            yield op, dtype, check(op, device, dtype)[0]


def status() -> str:
    """Whether the Triton kernels serve CUDA tensors, the reason, and the verdicts kept for this machine's GPUs."""
    mode = triton_mode()
    if mode == "0":
        return "off: PYDISP_TRITON=0"
    if importlib.util.find_spec("triton") is None:
        return "off: triton is not installed"
    if mode == "1":
        return "serves unchecked: PYDISP_TRITON=1"
    devices = {verdicts.name_of_device(one): one for one in (torch.device("cuda", i) for i in range(torch.cuda.device_count()))}
    known = [f"{name}: {_known(device)}" for name, device in devices.items()]
    return "; ".join(["auto: each op serves once it has checked itself on a GPU", *(known or ["no GPU is seen here"])])


def _known(device: torch.device) -> str:
    words = []
    for op in FORMS:
        for dtype in DTYPES:
            try:
                verdict = verdicts.read(verdicts.circumstances(op, device, dtype))
            except Exception as error:  # triton is there and does not import
                return f"its kernels cannot be checked ({_words(error)})"
            if verdict is not None:
                words.append(f"{op} {verdicts.name_of(dtype)} {'serves' if verdict.error is None else f'fails ({verdict.error})'}")
    return ", ".join(words) or "nothing checked yet"
