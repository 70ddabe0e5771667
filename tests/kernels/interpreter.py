"""Triton's interpreter, repaired and watched: right bfloat16, a working autotune, and a check of every address that a kernel touches.

TRITON_INTERPRET=1 runs kernels on CPU tensors through numpy, but bfloat16 is kept as its bits: sums, products, dots, reductions and casts
of it are silently wrong (https://github.com/triton-lang/triton/issues/11584), autotune looks for a device, and nothing minds an address
outside a tensor. `install()` repairs the first two; `watch()` looks at each launch:

    with interpreter.watch() as launches:
        kernel[grid](x, out, ...)       # AccessError: a load or store outside its tensors, or two programs that meet at one address
    launches[-1].traffic["x"].loaded    # bytes moved in sectors of 32, and unique_loaded: each sector counted once

Holds for Triton 3.6 and 3.7: whatever is wrapped here takes its arguments as they come.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
import triton
import triton.language as tl
from triton.runtime import autotuner
from triton.runtime import interpreter as upstream

Handle = upstream.TensorHandle
SECTOR_BYTES = 32  # what a GPU's memory moves at the least
WARP_LANES = 32
_NO_SECTOR = np.uint64(2**64 - 1)


class AccessError(RuntimeError):
    """A kernel touched memory that it must not touch, or that another program of its grid touches as well."""


# --- bfloat16 ---------------------------------------------------------------------------------------------------------


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """uint16 bit patterns to their values."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def float32_to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Values to uint16 bit patterns, rounded to nearest even; NaN stays NaN."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    bits = values.view(np.uint32)
    rounded = ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def _is_bfloat16(handle: Handle) -> bool:
    return handle.dtype.scalar == tl.bfloat16


def _value(handle: Handle) -> np.ndarray:
    return bfloat16_to_float32(handle.data) if _is_bfloat16(handle) else handle.data


def _wrap(values: np.ndarray, dtype: tl.dtype) -> Handle:
    if values.dtype == np.bool_:
        return Handle(values, tl.int1)
    dtype = dtype.scalar
    data = float32_to_bfloat16(values) if dtype == tl.bfloat16 else values.astype(upstream._get_np_dtype(dtype), copy=False)
    return Handle(data, dtype)


def _binary_op(original):
    def binary_op(self, lhs, rhs, op):
        if not (_is_bfloat16(lhs) or _is_bfloat16(rhs)):
            return original(self, lhs, rhs, op)
        return _wrap(op(_value(lhs), _value(rhs)), lhs.dtype)

    return binary_op


def _unary_op(original):
    def unary_op(self, arg, op):
        return _wrap(op(_value(arg)), arg.dtype) if _is_bfloat16(arg) else original(self, arg, op)

    return unary_op


def _ternary_op(original):
    def ternary_op(self, lhs, rhs, other, op):
        if op is np.where or not _is_bfloat16(other):  # a choice moves bits and computes nothing
            return original(self, lhs, rhs, other, op)
        return _wrap(op(_value(lhs), _value(rhs), _value(other)), other.dtype)

    return ternary_op


def _fma(original):
    def create_fma(self, x, y, z):
        return _wrap(_value(x) * _value(y) + _value(z), z.dtype) if _is_bfloat16(z) else original(self, x, y, z)

    return create_fma


def _rsqrt(original):
    def create_rsqrt(self, arg):
        values = _value(arg)
        return _wrap((1 / np.sqrt(values)).astype(values.dtype), arg.dtype)

    return create_rsqrt


def _dot(original):
    def create_dot(self, a, b, d, *options):
        if not (_is_bfloat16(a) or _is_bfloat16(b)):
            return original(self, a, b, d, *options)
        return _wrap(np.matmul(_value(a), _value(b), dtype=np.float32) + _value(d), d.dtype)

    return create_dot


def _cast(original):
    def cast_impl(self, src, dst_type):
        if (src.dtype.scalar == tl.bfloat16) == (dst_type.scalar == tl.bfloat16):
            return original(self, src, dst_type)
        return _wrap(_value(src), dst_type)

    return cast_impl


def _fp_to_fp(original):
    def create_fp_to_fp(self, src, dst_type, rounding):
        types = {src.dtype.scalar, dst_type.scalar}
        nearest = rounding is None or rounding == upstream._ir.ROUNDING_MODE.RTNE
        if nearest and tl.bfloat16 in types and types <= {tl.bfloat16, tl.float16, tl.float32}:
            return self.cast_impl(src, dst_type)
        return original(self, src, dst_type, rounding)

    return create_fp_to_fp


def _get_bf16(original):
    def get_bf16(self, value):
        return Handle(float32_to_bfloat16(np.array([value], np.float32)), tl.bfloat16)

    return get_bf16


def _reduction(original):
    """Reduce or scan bfloat16 in float32 and round at the end, as a GPU does."""

    def apply_impl(self, inputs):
        if not any(one.dtype.scalar == tl.bfloat16 for one in inputs):
            return original(self, inputs)
        results = original(self, tuple(_as_float32(one) for one in inputs))
        results = results if isinstance(results, (list, tuple)) else (results,)
        return [_as_bfloat16(one) if given.dtype.scalar == tl.bfloat16 else one for one, given in zip(results, inputs, strict=False)]

    return apply_impl


def _as_float32(tensor: tl.tensor) -> tl.tensor:
    if tensor.dtype.scalar != tl.bfloat16:
        return tensor
    return _retyped(tensor, bfloat16_to_float32(tensor.handle.data), tl.float32)


def _as_bfloat16(tensor: tl.tensor) -> tl.tensor:
    return _retyped(tensor, float32_to_bfloat16(tensor.handle.data), tl.bfloat16)


def _retyped(tensor: tl.tensor, data: np.ndarray, dtype: tl.dtype) -> tl.tensor:
    return tl.tensor(Handle(data, dtype), tl.block_type(dtype, list(data.shape)) if tensor.type.is_block() else dtype)


# --- autotune ---------------------------------------------------------------------------------------------------------


def _autotuned_run(original):
    def run(self, *args, **kwargs):
        """The first configuration that survives pruning: there is no device to time the others on."""
        self.nargs = dict(zip(self.arg_names, args, strict=False))
        try:
            config = self.best_config = self.prune_configs(kwargs)[0]
            if config.pre_hook is not None:
                config.pre_hook({**self.nargs, **kwargs, **config.all_kwargs()})
            return self.fn.run(*args, **kwargs, **config.all_kwargs())
        finally:
            self.nargs = None

    return run


# --- what a launch touches --------------------------------------------------------------------------------------------


@dataclass
class Traffic:
    """Bytes between a launch and one of its tensors: `useful` as asked for by the lanes, the rest in sectors of 32."""

    useful_loaded: int = 0
    useful_stored: int = 0
    loaded: int = 0
    stored: int = 0
    _loaded_sectors: set[int] = field(default_factory=set, repr=False)
    _stored_sectors: set[int] = field(default_factory=set, repr=False)

    @property
    def unique_loaded(self) -> int:
        """Bytes of the sectors loaded, each counted once: what a perfect cache would leave."""
        return len(self._loaded_sectors) * SECTOR_BYTES

    @property
    def unique_stored(self) -> int:
        return len(self._stored_sectors) * SECTOR_BYTES

    @property
    def moved(self) -> int:
        return self.loaded + self.stored

    @property
    def unique_moved(self) -> int:
        return self.unique_loaded + self.unique_stored


@dataclass
class _View:
    """The elements of one tensor argument: `valid[i]` says whether the element i places after `start` belongs to it."""

    name: str
    start: int
    element_bytes: int
    valid: np.ndarray
    memory: "_Memory"

    def has(self, addresses: np.ndarray, nbytes: int) -> np.ndarray:
        offset = addresses.astype(np.int64) - self.start
        place = offset // self.element_bytes
        inside = (offset >= 0) & (place < self.valid.size) & (offset % self.element_bytes == 0) & (nbytes == self.element_bytes)
        return inside & self.valid[np.where(inside, place, 0)]


class _Memory:
    """Which program stored, loaded or updated each byte of one storage: -1 none, -2 several, else the program."""

    def __init__(self, start: int, nbytes: int):
        self.start = start
        self.stored, self.loaded, self.updated = (np.full(nbytes, -1, np.int64) for _ in range(3))


class Launch:
    """One launch of a kernel: its grid is run program by program, and each access is compared with all earlier ones."""

    def __init__(self, name: str, arguments: dict[str, object]):
        self.name = name
        self.traffic: dict[str, Traffic] = {}
        self._views: list[_View] = []
        memories: dict[int, _Memory] = {}
        for argument, tensor in arguments.items():
            tensor = getattr(tensor, "base", tensor) if not isinstance(tensor, torch.Tensor) else tensor  # a TensorDescriptor has a base
            if not isinstance(tensor, torch.Tensor) or tensor.numel() == 0:
                continue
            storage = tensor.untyped_storage()
            memory = memories.setdefault(storage.data_ptr(), _Memory(storage.data_ptr(), storage.nbytes()))
            span = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
            valid = torch.zeros(span, dtype=torch.bool)
            valid.as_strided(tensor.shape, tensor.stride()).fill_(True)
            self._views.append(_View(argument, tensor.data_ptr(), tensor.element_size(), valid.numpy(), memory))

    @property
    def moved(self) -> int:
        """Bytes of all its tensors, loaded and stored, in sectors."""
        return sum(one.moved for one in self.traffic.values())

    @property
    def unique_moved(self) -> int:
        """Those that a perfect cache would leave."""
        return sum(one.unique_moved for one in self.traffic.values())

    def access(self, kind: str, pointers: Handle, mask: Handle | np.ndarray, program: tuple[int, int, int]) -> None:
        """Note a "load", "store" or "update" (atomic) of `program`; AccessError if it must not be."""
        nbytes = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        mask = getattr(mask, "data", mask)
        addresses, mask = np.broadcast_arrays(pointers.data, np.asarray(mask, dtype=bool))
        touched = addresses[mask]
        if touched.size == 0:
            return
        view = self._owner(kind, touched, nbytes, program)
        self._meet(kind, touched, nbytes, program, view)
        self._count(kind, addresses, mask, nbytes, view)

    def _owner(self, kind: str, touched: np.ndarray, nbytes: int, program) -> _View:
        best, most = None, 0
        for view in self._views:
            inside = int(view.has(touched, nbytes).sum())
            if inside == touched.size:
                return view
            if inside > most:
                best, most = view, inside
        if best is None:
            distance = {abs(int(touched[0]) - view.start): view for view in self._views}
            if not distance:
                raise AccessError(f"{self.name}: a {kind} out of bounds: no argument is a tensor with elements.")
            best = distance[min(distance)]
        stray = touched[~best.has(touched, nbytes)]
        place = (int(stray[0]) - best.start) / best.element_bytes
        raise AccessError(
            f"{self.name}: a {kind} out of bounds by program {program}: {stray.size} of {touched.size} lanes, the first at element "
            f"{place:g} of a span of {best.valid.size} from the start of {best.name!r}."
        )

    def _meet(self, kind: str, touched: np.ndarray, nbytes: int, program, view: _View) -> None:
        memory = view.memory
        places = ((touched.astype(np.int64) - memory.start)[:, None] + np.arange(nbytes)).reshape(-1)
        if kind == "store" and np.unique(touched).size < touched.size:
            raise AccessError(f"{self.name}: two lanes of program {program} store to one element of {view.name!r}.")
        me = (program[0] * 65536 + program[1]) * 65536 + program[2]
        others = {"store": ("stored", "loaded", "updated"), "load": ("stored", "updated"), "update": ("stored", "loaded")}[kind]
        for other in others:
            seen = getattr(memory, other)[places]
            foreign = (seen != -1) & (seen != me)
            if foreign.any():
                place = (int(places[foreign][0]) + memory.start - view.start) // nbytes
                raise AccessError(f"{self.name}: a race: element {place} of {view.name!r} is {other} by one program and needed for a {kind} "
                                  f"by program {program}; a grid has no order.")  # fmt: skip
        mine = getattr(memory, {"store": "stored", "load": "loaded", "update": "updated"}[kind])
        mine[places] = np.where((mine[places] == -1) | (mine[places] == me), me, -2)

    def _count(self, kind: str, addresses: np.ndarray, mask: np.ndarray, nbytes: int, view: _View) -> None:
        """Count sectors as warps would ask for them, along the axis of a tile that needs fewest: so the compiler lays the lanes."""
        sectors = np.where(mask, addresses // np.uint64(SECTOR_BYTES), _NO_SECTOR)
        orders = [np.moveaxis(sectors, axis, -1) for axis in range(sectors.ndim)] or [sectors]
        moved = min(_sectors_asked(one) for one in orders) * SECTOR_BYTES
        traffic = self.traffic.setdefault(view.name, Traffic())
        unique = np.unique(sectors[mask]).tolist()
        if kind in ("load", "update"):
            traffic.useful_loaded += int(mask.sum()) * nbytes
            traffic.loaded += moved
            traffic._loaded_sectors.update(unique)
        if kind in ("store", "update"):
            traffic.useful_stored += int(mask.sum()) * nbytes
            traffic.stored += moved
            traffic._stored_sectors.update(unique)


def _sectors_asked(sectors: np.ndarray) -> int:
    """How many sectors each 32 neighbours along the last axis ask for, summed; a lane without a load has the number _NO_SECTOR."""
    lanes = sectors.reshape(-1, sectors.shape[-1]) if sectors.ndim else sectors.reshape(1, 1)
    padding = -lanes.shape[1] % WARP_LANES
    lanes = np.pad(lanes, ((0, 0), (0, padding)), constant_values=_NO_SECTOR).reshape(-1, WARP_LANES)
    lanes = np.sort(lanes, axis=1)
    first = np.ones_like(lanes, dtype=bool)
    first[:, 1:] = lanes[:, 1:] != lanes[:, :-1]
    return int((first & (lanes != _NO_SECTOR)).sum())


_watched: list[list[Launch]] = []  # innermost last


@contextlib.contextmanager
def watch() -> Iterator[list[Launch]]:
    """Check the accesses of every launch inside; gives the list of launches, with the bytes that each moved."""
    install()
    launches: list[Launch] = []
    _watched.append(launches)
    try:
        yield launches
    finally:
        _watched.pop()


def _current() -> Launch | None:
    return _watched[-1][-1] if _watched and _watched[-1] else None


def _masked_load(original):
    def create_masked_load(self, ptrs, mask, *rest, **named):
        if launch := _current():
            launch.access("load", ptrs, mask, self.grid_idx)
        return original(self, ptrs, mask, *rest, **named)

    return create_masked_load


def _masked_store(original):
    def create_masked_store(self, ptrs, value, mask, *rest, **named):
        if launch := _current():
            launch.access("store", ptrs, mask, self.grid_idx)
        return original(self, ptrs, value, mask, *rest, **named)

    return create_masked_store


def _atomic_rmw(original):
    def create_atomic_rmw(self, op, ptr, value, mask, *rest):
        if launch := _current():
            launch.access("update", ptr, mask, self.grid_idx)
        return original(self, op, ptr, value, mask, *rest)

    return create_atomic_rmw


def _atomic_cas(original):
    def create_atomic_cas(self, ptr, *rest):
        if launch := _current():
            launch.access("update", ptr, np.ones_like(ptr.data, dtype=bool), self.grid_idx)
        return original(self, ptr, *rest)

    return create_atomic_cas


def _grid_call(original):
    def call(self, *args, **kwargs):
        if not _watched:
            return original(self, *args, **kwargs)
        _watched[-1].append(Launch(self.fn.__name__, {**dict(zip(self.arg_names, args, strict=False)), **kwargs}))
        try:
            return original(self, *args, **kwargs)
        except upstream.InterpreterError as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, AccessError):
                cause = cause.__cause__
            if cause is None:
                raise
            raise cause from None

    return call


# --- putting it in place ----------------------------------------------------------------------------------------------

_PATCHES = [
    (upstream.InterpreterBuilder, "binary_op", _binary_op),
    (upstream.InterpreterBuilder, "unary_op", _unary_op),
    (upstream.InterpreterBuilder, "ternary_op", _ternary_op),
    (upstream.InterpreterBuilder, "create_fma", _fma),
    (upstream.InterpreterBuilder, "create_rsqrt", _rsqrt),
    (upstream.InterpreterBuilder, "create_dot", _dot),
    (upstream.InterpreterBuilder, "cast_impl", _cast),
    (upstream.InterpreterBuilder, "create_fp_to_fp", _fp_to_fp),
    (upstream.InterpreterBuilder, "get_bf16", _get_bf16),
    (upstream.ReduceOps, "apply_impl", _reduction),
    (upstream.ScanOps, "apply_impl", _reduction),
    (autotuner.Autotuner, "run", _autotuned_run),
    (upstream.InterpreterBuilder, "create_masked_load", _masked_load),
    (upstream.InterpreterBuilder, "create_masked_store", _masked_store),
    (upstream.InterpreterBuilder, "create_atomic_rmw", _atomic_rmw),
    (upstream.InterpreterBuilder, "create_atomic_cas", _atomic_cas),
    (upstream.GridExecutor, "__call__", _grid_call),
]
_originals: list = []


def install() -> None:
    """Repair the interpreter for the rest of the process; again is nothing."""
    if _originals:
        return
    if not triton.knobs.runtime.interpret:
        raise RuntimeError("the interpreter is off; set TRITON_INTERPRET=1 before triton is imported.")
    for owner, name, patched in _PATCHES:
        original = getattr(owner, name, None)  # get_bf16 is missing upstream
        _originals.append((owner, name, original))
        setattr(owner, name, patched(original))


@contextlib.contextmanager
def unrepaired() -> Iterator[None]:
    """The interpreter as Triton ships it: shows that a repair still has something to repair."""
    install()
    originals = list(_originals)
    for owner, name, original in originals:
        if original is None:
            delattr(owner, name)
        else:
            setattr(owner, name, original)
    _originals.clear()
    try:
        yield
    finally:
        install()
