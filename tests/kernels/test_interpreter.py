"""The repairs and checks of interpreter.py, each with a broken kernel that it catches and with the wrong number it prevents."""

import interpreter
import pytest
import torch
import triton
import triton.language as tl
from triton.runtime.errors import InterpreterError

BF16 = torch.bfloat16


@triton.jit
def arithmetic_kernel(x, y, out, OP: tl.constexpr, N: tl.constexpr):
    n = tl.arange(0, N)
    a = tl.load(x + n)
    b = tl.load(y + n)
    if OP == "add":
        value = a + b
    elif OP == "multiply":
        value = a * b
    elif OP == "divide":
        value = a / b
    elif OP == "maximum":
        value = tl.maximum(a, b)
    elif OP == "clamp":
        value = tl.clamp(a, -b, b)
    elif OP == "fma":
        value = tl.fma(a, b, a)
    elif OP == "negate":
        value = -a
    elif OP == "where":
        value = tl.where(a < b, a, b)
    elif OP == "constant":
        value = a + 0.3
    else:
        value = tl.abs(a)
    tl.store(out + n, value)


@triton.jit
def cast_kernel(x, out, N: tl.constexpr):
    n = tl.arange(0, N)
    tl.store(out + n, tl.load(x + n).to(out.dtype.element_ty))


@triton.jit
def reduce_kernel(x, out, OP: tl.constexpr, M: tl.constexpr, N: tl.constexpr):
    m = tl.arange(0, M)
    n = tl.arange(0, N)
    value = tl.load(x + m[:, None] * N + n[None, :])
    if OP == "sum":
        result = tl.sum(value, 1)
    elif OP == "max":
        result = tl.max(value, 1)
    elif OP == "argmax":
        result = tl.argmax(value, 1)
    elif OP == "combine":
        result = tl.reduce(value, 1, _smaller)
    else:
        result = tl.sum(tl.cumsum(value, 1), 1)
    tl.store(out + m, result)


@triton.jit
def _smaller(a, b):
    return tl.minimum(a, b)


@triton.jit
def dot_kernel(x, y, out, N: tl.constexpr):
    n = tl.arange(0, N)
    place = n[:, None] * N + n[None, :]
    tl.store(out + place, tl.dot(tl.load(x + place), tl.load(y + place)))


@triton.autotune([triton.Config({"BLOCK": 16}), triton.Config({"BLOCK": 32})], key=["size"])
@triton.jit
def autotuned_kernel(x, out, size, BLOCK: tl.constexpr):
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + n, tl.load(x + n, mask=n < size) * 2, mask=n < size)


@triton.jit
def copy_kernel(x, out, size, LOAD_BEYOND: tl.constexpr, STORE_BEYOND: tl.constexpr, BLOCK: tl.constexpr):
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + n, mask=n < size + LOAD_BEYOND, other=0.0)
    tl.store(out + n, value, mask=n < size + STORE_BEYOND)


@triton.jit
def meet_kernel(x, out, HOW: tl.constexpr, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    if HOW == "store":
        tl.store(out + n, tl.program_id(0).to(tl.float32))
    elif HOW == "read what another stores":
        tl.store(out + tl.program_id(0) * BLOCK + n, tl.load(out + n))
    elif HOW == "store what another reads":
        value = tl.load(out + BLOCK + n)
        tl.store(out + tl.program_id(0) * BLOCK + n, value)
    elif HOW == "lanes":
        tl.store(out + tl.program_id(0) * BLOCK + n // 2, n.to(tl.float32))
    elif HOW == "update and read":
        tl.atomic_add(out + n, 1.0)
        tl.load(out + n)
    else:
        tl.atomic_add(out + n, 1.0)


@triton.jit
def strided_kernel(x, out, STRIDE: tl.constexpr, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    tl.store(out + n, tl.load(x + n * STRIDE))


@triton.jit
def repeat_kernel(x, out, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    tl.store(out + tl.program_id(0) * BLOCK + n, tl.load(x + n))


@triton.jit
def transposed_kernel(x, out, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    place = tl.arange(0, ROWS)[None, :] * COLUMNS + tl.arange(0, COLUMNS)[:, None]
    tl.store(out + place, tl.load(x + place))


@triton.jit
def distance_kernel(x, out, TWICE: tl.constexpr, BLOCK: tl.constexpr):
    at = x + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row = tl.load(at)
    mean = tl.sum(row, 0) / BLOCK
    if TWICE:
        row = tl.load(at)
    tl.store(out + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), row - mean)


def pair(generator, size=64):
    x, y = (torch.randn(size, generator=generator).to(BF16) for _ in range(2))
    return x, y.abs() + 0.5


ARITHMETIC = {
    "add": lambda a, b: a + b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "maximum": torch.maximum,
    "clamp": lambda a, b: torch.clamp(a, -b, b),
    "fma": lambda a, b: (a.float() * b.float() + a.float()).to(BF16),
    "negate": lambda a, b: -a,
    "where": lambda a, b: torch.where(a < b, a, b),
    "constant": lambda a, b: a + torch.tensor(0.3, dtype=BF16),
    "abs": lambda a, b: a.abs(),
}


@pytest.mark.parametrize("op", ARITHMETIC)
def test_bfloat16_arithmetic(op, generator):
    x, y = pair(generator)
    out = torch.empty_like(x)
    arithmetic_kernel[(1,)](x, y, out, OP=op, N=64)
    assert torch.equal(out, ARITHMETIC[op](x, y))


# Absolute value, negation and where move bits, maximum compares those of positive numbers rightly by luck: the others are wrong upstream.
@pytest.mark.parametrize("op", ["add", "multiply", "divide", "clamp", "fma", "constant"])
def test_upstream_still_gets_bfloat16_arithmetic_wrong(op, generator):
    x, y = pair(generator)
    out = torch.zeros_like(x)
    with interpreter.unrepaired():
        try:
            arithmetic_kernel[(1,)](x, y, out, OP=op, N=64)
        except InterpreterError:
            return  # refusing is better than a wrong number, but it is no result either
    assert not torch.equal(out, ARITHMETIC[op](x, y)), "Triton repaired it: the repair in interpreter.py can go"


@pytest.mark.parametrize("source", [BF16, torch.float16, torch.float32, torch.float64, torch.int32], ids=str)
@pytest.mark.parametrize("target", [BF16, torch.float16, torch.float32, torch.float64], ids=str)
def test_casts(source, target, generator):
    x = (torch.randn(64, generator=generator, dtype=torch.float64) * 8).to(source)
    out = torch.empty(64, dtype=target)
    cast_kernel[(1,)](x, out, N=64)
    assert torch.equal(out, x.to(target))


def test_rounding_to_bfloat16_is_to_nearest_even_and_keeps_nan_and_infinity():
    x = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 3.4e38, float("nan"), float("inf"), -float("inf"), 1e-40, -0.0])
    out = torch.empty(8, dtype=BF16)
    cast_kernel[(1,)](x, out, N=8)
    assert torch.equal(out.view(torch.int16)[[0, 1, 2, 4, 5, 6, 7]], x.to(BF16).view(torch.int16)[[0, 1, 2, 4, 5, 6, 7]])
    assert out[3].isnan()


def test_upstream_still_truncates_on_the_way_to_bfloat16():
    x = torch.full((64,), 1.999)
    out = torch.empty(64, dtype=BF16)
    with interpreter.unrepaired():
        cast_kernel[(1,)](x, out, N=64)
    assert not torch.equal(out, x.to(BF16)), "Triton repaired it: the repair in interpreter.py can go"


REDUCTIONS = {
    "sum": lambda x: x.float().sum(1),
    "max": lambda x: x.float().amax(1),
    "argmax": lambda x: x.float().argmax(1).float(),
    "combine": lambda x: x.float().amin(1),
    "cumsum": lambda x: x.float().cumsum(1).sum(1),
}


@pytest.mark.parametrize("op", REDUCTIONS)
def test_bfloat16_reductions(op, generator):
    x = torch.randn(4, 32, generator=generator).to(BF16)
    out = torch.empty(4)
    reduce_kernel[(1,)](x, out, OP=op, M=4, N=32)
    torch.testing.assert_close(out, REDUCTIONS[op](x), rtol=2**-7, atol=2**-5)


@pytest.mark.parametrize("op", ["sum", "combine"])
def test_upstream_still_gets_bfloat16_reductions_wrong(op, generator):
    x = -torch.rand(4, 32, generator=generator).to(BF16) - 1
    out = torch.zeros(4)
    with interpreter.unrepaired():
        try:
            reduce_kernel[(1,)](x, out, OP=op, M=4, N=32)
        except InterpreterError:
            return
    assert not torch.allclose(out, REDUCTIONS[op](x), rtol=2**-7, atol=2**-5), "Triton repaired it: the repair in interpreter.py can go"


def test_bfloat16_dot(generator):
    x, y = (torch.randn(16, 16, generator=generator).to(BF16) for _ in range(2))
    out = torch.empty(16, 16)
    dot_kernel[(1,)](x, y, out, N=16)
    torch.testing.assert_close(out, x.float() @ y.float())
    with interpreter.unrepaired():
        dot_kernel[(1,)](x, y, out, N=16)
    assert not torch.allclose(out, x.float() @ y.float(), rtol=1e-2), "Triton repaired it: the repair in interpreter.py can go"


def test_autotune_runs_its_first_configuration(generator):
    x = torch.randn(40, generator=generator)
    out = torch.empty(40)
    autotuned_kernel[lambda meta: (triton.cdiv(40, meta["BLOCK"]),)](x, out, 40)
    assert torch.equal(out, 2 * x)
    assert autotuned_kernel.best_config.kwargs["BLOCK"] == 16


def test_upstream_still_has_no_autotune():
    x, out = torch.zeros(40), torch.zeros(40)
    with interpreter.unrepaired(), pytest.raises(Exception):  # noqa: B017  the class depends on what it meets first
        autotuned_kernel[(3,)](x, out, 40)


def test_a_right_copy_passes(generator):
    x = torch.randn(40, generator=generator)
    out = torch.empty(40)
    copy_kernel[(3,)](x, out, 40, LOAD_BEYOND=0, STORE_BEYOND=0, BLOCK=16)
    assert torch.equal(out, x)


@pytest.mark.parametrize("kind", ["load", "store"])
def test_an_access_out_of_bounds_is_caught(kind):
    x, out = torch.zeros(40), torch.zeros(40)
    with pytest.raises(interpreter.AccessError, match=f"copy_kernel: a {kind} out of bounds by program .2, 0, 0.: 1 of"):
        copy_kernel[(3,)](x, out, 40, LOAD_BEYOND=int(kind == "load"), STORE_BEYOND=int(kind == "store"), BLOCK=16)


def test_a_store_between_the_rows_of_a_view_is_caught():
    x, out = torch.zeros(16), torch.zeros(4, 8)[:, :4]
    with pytest.raises(interpreter.AccessError, match="store out of bounds"):
        copy_kernel[(1,)](x, out, 16, LOAD_BEYOND=0, STORE_BEYOND=0, BLOCK=16)


@pytest.mark.parametrize("how", ["store", "read what another stores", "store what another reads", "update and read"])
def test_two_programs_at_one_address_are_caught(how):
    with pytest.raises(interpreter.AccessError, match="a race"):
        meet_kernel[(2,)](None, torch.zeros(32), HOW=how, BLOCK=16)


def test_two_lanes_that_store_to_one_address_are_caught():
    with pytest.raises(interpreter.AccessError, match="two lanes"):
        meet_kernel[(2,)](None, torch.zeros(32), HOW="lanes", BLOCK=16)


def test_a_race_through_another_view_of_the_same_memory_is_caught():
    memory = torch.zeros(48)
    with pytest.raises(interpreter.AccessError, match="a race"):
        copy_kernel[(2,)](memory[8:40], memory[:32], 32, LOAD_BEYOND=0, STORE_BEYOND=0, BLOCK=16)


def test_atomic_updates_may_meet():
    out = torch.zeros(16)
    meet_kernel[(3,)](None, out, HOW="atomic", BLOCK=16)
    assert torch.equal(out, torch.full((16,), 3.0))


def test_traffic_is_counted_in_sectors(launches):
    x, out = torch.zeros(128 * 8), torch.zeros(128)
    copy_kernel[(1,)](x, out, 128, LOAD_BEYOND=0, STORE_BEYOND=0, BLOCK=128)
    assert launches[-1].traffic["x"].loaded == launches[-1].traffic["x"].useful_loaded == launches[-1].traffic["out"].stored == 512
    strided_kernel[(1,)](x, out, STRIDE=8, BLOCK=128)  # one value of 4 bytes from each sector of 32
    assert launches[-1].traffic["x"].useful_loaded == 512
    assert launches[-1].traffic["x"].loaded == launches[-1].traffic["x"].unique_loaded == 8 * 512


def test_loads_that_repeat_are_told_from_what_a_cache_would_leave(launches):
    x, out = torch.zeros(16), torch.zeros(32)
    repeat_kernel[(2,)](x, out, BLOCK=16)
    assert launches[-1].traffic["x"].loaded == 2 * 64
    assert launches[-1].traffic["x"].unique_loaded == 64


def test_a_tile_is_counted_along_its_memory(counted):
    """As the compiler lays it out: lanes along the rows of x, whichever axis of the tile these are."""
    x, out = torch.zeros(64, 32), torch.zeros(64, 32)
    transposed_kernel[(1,)](x, out, ROWS=64, COLUMNS=32)
    assert counted[-1].moved == counted[-1].unique_moved == 2 * 64 * 32 * 4


@pytest.mark.parametrize("twice", [False, True])
def test_rows_that_are_read_twice_exceed_the_bound(counted, twice):
    """The bounds of the kernels' tests are 1.2 of what must move and less."""
    x, out = torch.zeros(8, 64), torch.zeros(8, 64)
    distance_kernel[(8,)](x, out, TWICE=twice, BLOCK=64)
    assert (counted[-1].moved > 1.2 * 2 * 8 * 64 * 4) == twice
    assert counted[-1].unique_moved == 2 * 8 * 64 * 4  # which alone would not tell
