"""The check that the Triton kernels of an op must pass on a device before they serve there: a few small calls, compared with plain torch.

    first_error("norm_select", {"norm_select": (kernel, plain), ...}, device, torch.bfloat16)    # None: all of them are right

The calls take every path of the kernels: rows in registers and rows in tiles, products by tiles and in a workspace, split and whole
attention; sizes that vectorise and odd ones; a norm with and without each of its parts. A backward gets what the kernel of its forward
returned. A result may differ from the float64 result as much as plain torch in the call's dtype does, plus some roundings.
"""

# M rows, D hidden, A added, K kept dimensions, N tokens, V words, H query heads, Hk key heads, Tq queries, Tk keys, Dh head dimension

import importlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

# Allowed roundings, relative to a result's largest value: sums run in another order, and a GPU's exp2 is an approximation.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1.6e-2, torch.float16: 2e-3}
EPS = 1e-3
Calls = Generator[tuple, tuple, None]
"""Yields an op's name and its arguments, and is sent what the kernel returned."""


class Draw:
    """Draws inputs on a device in a dtype, the same ones every time."""

    def __init__(self, device: torch.device, dtype: torch.dtype):
        self.device, self.dtype = device, dtype
        self.generator = torch.Generator(device).manual_seed(0)

    def normal(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device).to(dtype or self.dtype)

    def whole(self, low: int, high: int, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Whole numbers from low to high - 1."""
        return torch.randint(low, high, shape, generator=self.generator, device=self.device).to(dtype or self.dtype)

    def mask(self, *shape: int) -> Tensor:
        """True for about two of three."""
        return torch.rand(shape, generator=self.generator, device=self.device) < 2 / 3

    def index(self, count: int, size: int) -> tuple[Tensor, Tensor]:
        """`count` sorted, unique dimensions of `size`, and their inverse."""
        index = torch.randperm(size, generator=self.generator, device=self.device)[:count].sort().values.int()
        inverse = torch.full((size,), -1, dtype=torch.int32, device=self.device)
        inverse[index.long()] = torch.arange(count, dtype=torch.int32, device=self.device)
        return index, inverse


def first_error(op: str, forms: dict[str, tuple[Callable, Callable]], device: torch.device, dtype: torch.dtype) -> str | None:
    """What is wrong with the kernels of `op` on `device` in `dtype`; None if nothing is.

    Args:
        forms: for each name of the op (itself, in place, backward) the kernel and the plain form; both take the same arguments.
    Raises: whatever a kernel raises.
    """
    calls = CALLS[op](Draw(device, dtype))
    name, arguments = next(calls)
    while True:
        kernel, plain = forms[name]
        results = _results(name, kernel, arguments)
        with _any_order():
            own, gold = _results(name, plain, arguments), _results(name, plain, [_in_float64(one) for one in arguments])
        for number, (result, other, exact) in enumerate(zip(results, own, gold, strict=True)):
            problem = _difference(result, other, exact)
            if problem:
                shapes = " x ".join(str(tuple(one.shape)) for one in arguments[:2] if isinstance(one, Tensor))
                return f"result {number} of {name} for {shapes} {problem}"
        try:
            name, arguments = calls.send(results)
        except StopIteration:
            return None


@contextmanager
def _any_order() -> Iterator[None]:
    """Switch torch.use_deterministic_algorithms off for the check, because a GPU has no deterministic form of some ops of plain torch.

    The setting belongs to the process: ops of another thread may run without it for these moments, once per device and dtype.
    """
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode(0)
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)


def _in_float64(argument):
    return argument.double() if isinstance(argument, Tensor) and argument.is_floating_point() else argument


def _results(name: str, form: Callable, arguments: tuple) -> tuple[Tensor, ...]:
    """The results of `form`; for an op in place, its changed first argument comes before them."""
    if not name.endswith("_"):
        returned = form(*arguments)
        return returned if isinstance(returned, tuple) else (returned,)
    changed = arguments[0].clone()
    returned = form(changed, *arguments[1:])
    return (changed,) if returned is None else (changed, returned)


def _difference(result: Tensor, own: Tensor, gold: Tensor) -> str | None:
    """How `result` differs from `gold` by more than `own`, the result of plain torch in the same dtype, does."""
    if result.shape != own.shape or result.dtype != own.dtype:
        return f"is {tuple(result.shape)} of {result.dtype}, it must be {tuple(own.shape)} of {own.dtype}"
    if result.numel() == 0:
        return None
    if not result.is_floating_point():
        count = int((result != gold).sum())
        return f"has {count} of {gold.numel()} numbers wrong" if count else None
    if not result.isfinite().all():
        return "is not finite"
    off, allowed = (one.double().sub(gold).abs().amax().item() for one in (result, own))
    allowed += TOLERANCE[result.dtype] * max(1.0, gold.abs().amax().item())
    return f"is off by {off:.2e}, {allowed:.2e} is allowed" if off > allowed else None


def _junctions(draw: Draw):
    """Three junctions: rows, D, A, K, weight, bias, inverses or None, weight_offset and center.

    The first has sizes that vectorise, and more rows than there are programs. The second has odd sizes. The third has a row too wide for
    registers.
    """
    rows = importlib.import_module("pydisp.kernels.rows")
    many = rows.programs(1 << 30, rows.row_warps(256), draw.device) + 3
    yield many, 256, 80, 128, draw.normal(256), None, True, 0.0, False
    yield 7, 129, 43, 65, draw.normal(129, dtype=torch.float32), draw.normal(129, dtype=torch.float32), False, 1.0, True
    yield 5, rows.WIDEST_ROW + 8, 2731, 4100, draw.normal(rows.WIDEST_ROW + 8), draw.normal(rows.WIDEST_ROW + 8), True, 1.0, True


def _index_select(draw: Draw) -> Calls:
    for count, width, _, kept, _, _, has_inverse, *_ in _junctions(draw):
        index, inverse = draw.index(kept, width)
        yield "index_select", (draw.normal(count, width + 8)[:, :width], index, inverse if has_inverse else None, None)


def _index_add(draw: Draw) -> Calls:
    for count, width, added, _, _, _, has_inverse, *_ in _junctions(draw):
        index, inverse = draw.index(added, width)
        arguments = draw.normal(count, width), draw.normal(count, added), index, inverse if has_inverse else None, None
        yield "index_add", arguments
        yield "index_add_", arguments


def _norm_select(draw: Draw) -> Calls:
    for count, width, _, kept, weight, bias, has_inverse, weight_offset, center in _junctions(draw):
        index, inverse = draw.index(kept, width)
        x = draw.normal(count, width + 8)[:, :width]
        norm = (weight, bias, index, inverse if has_inverse else None, None, EPS, weight_offset, center)
        yield "norm_select", (x, *norm)
        yield "norm_select_backward", (draw.normal(count, kept), x, *norm, True, weight is not None, bias is not None)


def _add_norm_select(draw: Draw) -> Calls:
    for count, width, added, kept, weight, bias, has_inverse, weight_offset, center in _junctions(draw):
        places = []
        for size in (added, kept):
            index, inverse = draw.index(size, width)
            places.append((index, inverse if has_inverse else None, None))
        norm = (*places[0], weight, bias, *places[1], EPS, weight_offset, center)
        residual, update = draw.normal(count, width), draw.normal(count, added)
        new_residual, _ = yield "add_norm_select", (residual, update, *norm)
        yield "add_norm_select_", (residual, update, *norm)
        grads = draw.normal(count, width), draw.normal(count, kept)
        yield "add_norm_select_backward", (*grads, new_residual, *norm, True, True, weight is not None, bias is not None)


def _token_statistics(draw: Draw) -> Calls:
    """By tiles at sizes that vectorise; by tiles with every statistic requested; and by the workspace, which float32 always takes.

    In calls that request rank and argmax, all products are small whole numbers: none is rounded, so that equal logits stay equal.
    """
    hidden, weight = draw.normal(37, 64), draw.normal(320, 64)
    yield from _loss(draw, hidden, weight, None, None, None, 1.0, (False, False, False, False))
    hidden, weight, appended = draw.whole(-2, 3, 71, 40), draw.whole(-1, 2, 131, 40), draw.whole(-1, 2, 7, 40)
    yield from _loss(draw, hidden, weight, appended, draw.whole(-2, 3, 138), 5.0, 0.125, (True, True, True, True))
    hidden, weight = draw.whole(-2, 3, 19, 33), draw.whole(-1, 2, 131, 33)
    yield from _loss(draw, hidden, weight, None, draw.whole(-2, 3, 131), None, 0.125, (True, True, True, True))


def _loss(draw: Draw, hidden, weight, appended, bias, softcap, scale, asked) -> Calls:
    tokens, words = hidden.shape[0], weight.shape[0] + (0 if appended is None else appended.shape[0])
    targets = draw.whole(0, words, tokens, dtype=torch.int64)
    targets[::5] = -100
    problem = (hidden, weight, appended, bias, targets, softcap, scale, weight.shape[0], -100)
    lse, *_ = yield "token_statistics", (*problem, *asked, 0)
    grads = draw.normal(tokens, dtype=torch.float32), draw.normal(tokens, dtype=torch.float32)
    grad_mean = draw.normal(tokens if asked[0] else 0, dtype=torch.float32)
    yield "token_statistics_backward", (*grads, grad_mean, lse, *problem, True, True, appended is not None, bias is not None, None)


def _attention_mass(draw: Draw) -> Calls:
    """A prompt of more than one block of queries; and a decoded token whose keys are cut in several parts, with every option."""
    q, k = draw.normal(1, 2, 131, 64), draw.normal(1, 1, 147, 64)
    settings = (True, 0, 64**-0.5, 0.0)
    *_, lse, _ = yield "attention_mass", (q, k, draw.whole(0, 1 << 17, 1, 147, dtype=torch.int64), 17, *settings, None, None, None, False)
    yield "attention_key_mass", (q, k, lse, *settings, None, None)
    q, k = draw.normal(2, 3, 1, 24), draw.normal(2, 1, 1041, 24)
    groups, masks = draw.whole(0, 1 << 40, 2, 1041, dtype=torch.int64), (draw.mask(2, 1041), draw.mask(2, 1))
    settings, sinks = (True, 1033, 24**-0.5, 3.0), draw.normal(3, dtype=torch.float32)
    *_, lse, _ = yield "attention_mass", (q, k, groups, 40, *settings, sinks, *masks, True)
    yield "attention_key_mass", (q, k, lse, *settings, *masks)


CALLS: dict[str, Callable[[Draw], Calls]] = {
    "index_select": _index_select,
    "index_add": _index_add,
    "norm_select": _norm_select,
    "add_norm_select": _add_norm_select,
    "token_statistics": _token_statistics,
    "attention_mass": _attention_mass,
}
