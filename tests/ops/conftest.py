"""What the tests of all ops share: dtypes with their tolerance, shapes at the edges, and the comparison with float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pydisp.ops import native

# Beyond the reference's own error: some roundings of the largest values, because sums may run in another order.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 4e-6, torch.bfloat16: 1.6e-2, torch.float16: 2e-3}


@pytest.fixture(params=[torch.float32, torch.bfloat16, torch.float16], ids=["f32", "bf16", "f16"])
def dtype(request) -> torch.dtype:
    return request.param


@pytest.fixture
def draw(generator) -> Callable[..., Tensor]:
    """`draw(2, 3, dtype=...)`: normal values; `strided=True` gives them with the last two dimensions swapped in memory."""

    def normal(*shape: int, dtype=torch.float64, strided=False, requires_grad=False) -> Tensor:
        values = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        if strided:
            values = values.transpose(-1, -2).contiguous().transpose(-1, -2) if values.dim() > 1 else values.repeat_interleave(2)[::2]
        return values.requires_grad_(requires_grad)

    return normal


@pytest.fixture
def draw_index(generator) -> Callable[[int, int], Tensor]:
    """`draw_index(K, D)`: K sorted, unique int32 indices of D."""

    def choose(kept: int, size: int) -> Tensor:
        return torch.randperm(size, generator=generator)[:kept].sort().values.int()

    return choose


@pytest.fixture
def assert_as_good() -> Callable[..., None]:
    """`|result - gold| <= |reference in the same dtype - gold| + tolerance`, gold in float64.

    `rounded_to`: what it was computed in; `terms`: the size of the numbers that it is a difference of, where they are larger than itself.
    """

    def check(result: Tensor, reference: Tensor, gold: Tensor, rounded_to: torch.dtype | None = None, terms: float = 1.0) -> None:
        assert result.dtype == reference.dtype and result.shape == gold.shape
        if gold.numel() == 0:
            return
        assert not result.isnan().any()
        scale = max(1.0, terms, gold.abs().amax().item())  # at least 1: a gradient may be what is left of terms that cancel
        own = (reference.double() - gold).abs().amax().item()
        assert (result.double() - gold).abs().amax().item() <= own + TOLERANCE[rounded_to or result.dtype] * scale

    return check


@pytest.fixture(params=native.instruction_sets() or ["torch"])
def isa(request) -> str:
    """Runs the test once for every instruction set that was compiled and that this processor has; "torch" without the C++ ops."""
    if request.param == "torch":
        yield request.param
        return
    before = native.instruction_set()
    native.use_instruction_set(request.param)
    yield request.param
    native.use_instruction_set(before)
