"""The junctions' Triton kernels against float64: values, gradients, strides, edges, same bits, and the bytes that they move.

Under the interpreter each launch is checked for bounds and races as well (conftest.py), and torch.empty is NaN (tests/conftest.py).
"""

# D hidden, K kept, A added dimensions

from dataclasses import dataclass

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pydisp.kernels import add_norm_select as kernel
from pydisp.kernels import index_add, index_select, norm_select

# Beyond the reference's own error: some roundings of the largest values, because sums may run in another order.
TOLERANCE = {torch.float32: 4e-6, torch.bfloat16: 1.6e-2, torch.float16: 2e-3}
EPS = 0.1  # so large that a norm without it would show; and with D = 1 the norm is a sign, its gradient all cancellation, unless eps counts


@dataclass(frozen=True)
class Shape:
    rows: tuple[int, ...]
    hidden: int
    kept: int
    added: int


SHAPES = {
    "one": Shape((1,), 1, 1, 1),
    "all kept": Shape((3,), 5, 5, 5),
    "odd": Shape((2, 3), 40, 13, 7),
    "over a power of two": Shape((7,), 129, 100, 65),
    "one kept": Shape((4,), 64, 1, 64),
    "a vector": Shape((), 24, 8, 8),
    "nothing kept": Shape((5,), 33, 0, 0),
    "no rows": Shape((0,), 16, 4, 4),
}


@dataclass(frozen=True)
class Norm:
    weight: bool = True
    bias: bool = False
    weight_offset: float = 0.0
    center: bool = False
    wide_weight: bool = False  # float32 gain and bias, whatever x is


NORMS = {
    "rms": Norm(),
    "rms + 1, float32 gain": Norm(weight_offset=1.0, wide_weight=True),
    "layer": Norm(bias=True, center=True),
    "plain": Norm(weight=False),
    "bias alone": Norm(weight=False, bias=True),
}


@pytest.fixture(params=[torch.float32, torch.bfloat16, torch.float16], ids=["f32", "bf16", "f16"])
def dtype(request) -> torch.dtype:
    return request.param


# Every shape with one norm, every norm with an odd shape: their full product takes minutes in the interpreter and finds no more.
CASES = dict(zip(SHAPES, ["rms", "layer", "rms + 1, float32 gain", "layer", "plain", "rms", "bias alone", "layer"], strict=True))
CASES = [(shape, norm) for shape, norm in CASES.items()] + [("odd", "layer"), ("odd", "bias alone")]


@pytest.fixture(params=CASES, ids=" - ".join)
def case(request) -> tuple[Shape, Norm]:
    return SHAPES[request.param[0]], NORMS[request.param[1]]


@pytest.fixture(params=["rows", "tiles"])
def form(request, monkeypatch) -> str:
    """Both forms at every width: rows held by one program, and the tiles of rows that are wider than WIDEST_ROW."""
    if request.param == "tiles":
        for module in (kernel, index_add, index_select, norm_select):
            monkeypatch.setattr(module, "WIDEST_ROW", 0)
            monkeypatch.setattr(module, "TILE_ROWS", 2)
            monkeypatch.setattr(module, "TILE_WIDTH", 32)
        monkeypatch.setattr(norm_select, "WEIGHT_PARTIALS", 2)
    return request.param


class Inputs:
    """Everything a junction takes, drawn for a shape, a norm and a dtype."""

    def __init__(self, shape: Shape, norm: Norm, dtype: torch.dtype, generator: torch.Generator, device: torch.device):
        def normal(*size: int, dtype: torch.dtype = dtype) -> Tensor:
            return torch.randn(size, generator=generator).to(device, dtype)

        def choose(count: int) -> Tensor:
            return torch.randperm(shape.hidden, generator=generator)[:count].sort().values.int().to(device)

        own = torch.float32 if norm.wide_weight else dtype
        self.norm = norm
        self.residual, self.update = normal(*shape.rows, shape.hidden) * 2 + 0.5, normal(*shape.rows, shape.added)
        self.weight = normal(shape.hidden, dtype=own) if norm.weight else None
        self.bias = normal(shape.hidden, dtype=own) if norm.bias else None
        self.add_index, self.select_index = choose(shape.added), choose(shape.kept)
        self.grad_residual, self.grad_selected = normal(*shape.rows, shape.hidden), normal(*shape.rows, shape.kept)

    @property
    def norm_options(self) -> tuple[float, float, bool]:
        return EPS, self.norm.weight_offset, self.norm.center

    def select_arguments(self, x: Tensor | None = None) -> tuple:
        x = self.residual if x is None else x
        return (x, self.weight, self.bias, self.select_index, None, None, *self.norm_options)

    def junction_arguments(self, residual: Tensor | None = None) -> tuple:
        residual = self.residual if residual is None else residual
        select = self.weight, self.bias, self.select_index, None, None
        return (residual, self.update, self.add_index, None, None, *select, *self.norm_options)


@pytest.fixture
def inputs(case, dtype, generator, device) -> Inputs:
    return Inputs(*case, dtype, generator, device)


@pytest.fixture
def usual(generator, device) -> Inputs:
    """One ordinary case, for what does not depend on shapes."""
    return Inputs(Shape((4,), 64, 32, 32), NORMS["layer"], torch.bfloat16, generator, device)


def reference_select(x: Tensor, weight, bias, index: Tensor, weight_offset: float, center: bool, dtype: torch.dtype) -> Tensor:
    """The norm in `dtype`, then the kept dimensions."""
    x = x.to(dtype)
    if center:
        x = x - x.mean(-1, keepdim=True)
    x = (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS)).index_select(-1, index)
    if weight is not None:
        x = x * (weight.to(dtype) + weight_offset).index_select(0, index)
    return x if bias is None else x + bias.to(dtype).index_select(0, index)


def reference(inputs: Inputs, add: bool, dtype: torch.dtype, own: torch.dtype) -> dict[str, Tensor]:
    """Values and gradients of norm_select, or of add_norm_select if `add`, computed in `dtype` and rounded to each tensor's own dtype
    where `own` is that dtype; unrounded for gold (own float64)."""

    def rounded(tensor: Tensor, like: torch.dtype) -> Tensor:
        return tensor if own == torch.float64 else tensor.to(like)

    leaves = {"residual": inputs.residual, "update": inputs.update, "weight": inputs.weight, "bias": inputs.bias}
    leaves = {name: one.detach().to(dtype).requires_grad_() for name, one in leaves.items() if one is not None}
    new = leaves["residual"]
    if add:
        new = new.index_add(-1, inputs.add_index, leaves["update"])
        new = new + (rounded(new.detach(), inputs.residual.dtype).to(dtype) - new.detach())  # the norm is that of what is stored
    selected = reference_select(
        new, leaves.get("weight"), leaves.get("bias"), inputs.select_index, inputs.norm.weight_offset, inputs.norm.center, dtype
    )
    loss = (selected * inputs.grad_selected.to(dtype)).sum()
    if add:
        loss = loss + (new * inputs.grad_residual.to(dtype)).sum()
    loss.backward()
    tensors = {"new": rounded(new.detach(), inputs.residual.dtype), "selected": rounded(selected.detach(), inputs.residual.dtype)}
    for name, leaf in leaves.items():
        grad = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        tensors[f"grad_{name}"] = rounded(grad, getattr(inputs, name).dtype)
    return tensors


def assert_as_good(inputs: Inputs, results: dict[str, Tensor], add: bool) -> None:
    """`|results - gold| <= |reference in the same dtype - gold| + tolerance`, gold in float64, for each tensor."""
    gold = reference(inputs, add, torch.float64, torch.float64)
    same = reference(inputs, add, torch.float32, inputs.residual.dtype)
    for name, tensor in results.items():
        assert tensor.dtype == same[name].dtype and tensor.shape == gold[name].shape, name
        if tensor.numel() == 0:
            continue
        assert not tensor.isnan().any(), name
        scale = max(1.0, gold[name].abs().amax().item())  # at least 1: a gradient may be what is left of terms that cancel
        own = (same[name].double() - gold[name]).abs().amax().item()
        assert (tensor.double() - gold[name]).abs().amax().item() <= own + TOLERANCE[tensor.dtype] * scale, name


def test_norm_select(inputs, form):
    assert_as_good(inputs, {"selected": norm_select.norm_select(*inputs.select_arguments())}, add=False)


def test_norm_select_backward(inputs, form):
    needs = True, inputs.weight is not None, inputs.bias is not None
    grads = norm_select.norm_select_backward(inputs.grad_selected, *inputs.select_arguments(), *needs)
    names = "grad_residual", "grad_weight", "grad_bias"
    assert_as_good(inputs, {name: grad for name, grad, needed in zip(names, grads, needs, strict=True) if needed}, add=False)


def test_add_norm_select(inputs, form):
    before = inputs.residual.clone()
    new, selected = kernel.add_norm_select(*inputs.junction_arguments())
    assert torch.equal(inputs.residual, before)
    assert_as_good(inputs, {"new": new, "selected": selected}, add=True)
    changed = kernel.add_norm_select_(*inputs.junction_arguments())
    assert torch.equal(inputs.residual, new) and torch.equal(changed, selected)


def test_add_norm_select_backward(inputs, form):
    needs = True, True, inputs.weight is not None, inputs.bias is not None
    new, _ = kernel.add_norm_select(*inputs.junction_arguments())
    grads = kernel.add_norm_select_backward(inputs.grad_residual, inputs.grad_selected, new, *inputs.junction_arguments()[2:], *needs)
    names = "grad_residual", "grad_update", "grad_weight", "grad_bias"
    assert_as_good(inputs, {name: grad for name, grad, needed in zip(names, grads, needs, strict=True) if needed}, add=True)


@pytest.mark.parametrize("needs", [(False, False, True), (True, False, False), (False, True, False), (False, False, False)])
def test_a_gradient_that_nobody_needs_has_no_elements(usual, form, needs):
    everything = norm_select.norm_select_backward(usual.grad_selected, *usual.select_arguments(), True, True, True)
    some = norm_select.norm_select_backward(usual.grad_selected, *usual.select_arguments(), *needs)
    for one, full, needed in zip(some, everything, needs, strict=True):
        assert torch.equal(one, full) if needed else one.numel() == 0


@pytest.mark.parametrize("needs", [(False, True, False, False), (True, False, False, False)])
def test_a_junction_gradient_that_nobody_needs_has_no_elements(usual, form, needs):
    arguments = usual.grad_residual, usual.grad_selected, usual.residual, *usual.junction_arguments()[2:]
    everything = kernel.add_norm_select_backward(*arguments, True, True, True, True)
    some = kernel.add_norm_select_backward(*arguments, *needs)
    for one, full, needed in zip(some, everything, needs, strict=True):
        assert torch.equal(one, full) if needed else one.numel() == 0


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_index_add_and_index_select_give_the_same_bits_as_torch(shape, dtype, form, generator, device):
    inputs = Inputs(shape, NORMS["plain"], dtype, generator, device)
    expected = inputs.residual.index_add(-1, inputs.add_index, inputs.update)
    assert torch.equal(index_add.index_add(inputs.residual, inputs.update, inputs.add_index, None, None), expected)
    assert torch.equal(
        index_select.index_select(inputs.residual, inputs.select_index, None, None), inputs.residual.index_select(-1, inputs.select_index)
    )
    leaf = inputs.residual.clone().requires_grad_()  # the gradient of each is the other
    (grad,) = torch.autograd.grad(leaf.index_select(-1, inputs.select_index), leaf, inputs.grad_selected)
    zeros = torch.zeros_like(inputs.residual)
    assert torch.equal(index_add.index_add(zeros, inputs.grad_selected, inputs.select_index, None, None), grad)
    leaf = inputs.update.clone().requires_grad_()
    (grad,) = torch.autograd.grad(inputs.residual.index_add(-1, inputs.add_index, leaf), leaf, inputs.grad_residual)
    assert torch.equal(index_select.index_select(inputs.grad_residual, inputs.add_index, None, None), grad)
    assert index_add.index_add_(inputs.residual, inputs.update, inputs.add_index, None, None) is None
    assert torch.equal(inputs.residual, expected)


@st.composite
def any_shape(draw) -> Shape:
    hidden = draw(st.integers(0, 100))
    rows = draw(st.lists(st.integers(0, 3), max_size=2))
    return Shape(tuple(rows), hidden, draw(st.integers(0, hidden)), draw(st.integers(0, hidden)))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=any_shape(),
    norm=st.builds(Norm, st.booleans(), st.booleans(), st.sampled_from([0.0, 1.0]), st.booleans(), st.booleans()),
    dtype=st.sampled_from(list(TOLERANCE)),
    seed=st.integers(0, 2**31),
)
def test_any_shape(form, device, shape, norm, dtype, seed):
    inputs = Inputs(shape, norm, dtype, torch.Generator().manual_seed(seed), device)
    for claim in (test_norm_select, test_norm_select_backward, test_add_norm_select_backward, test_add_norm_select):
        claim(inputs, form)
    test_index_add_and_index_select_give_the_same_bits_as_torch(shape, dtype, form, torch.Generator().manual_seed(seed), device)


STRIDED = {
    "columns": lambda x: x.t().contiguous().t(),
    "rows of a wider tensor": lambda x: torch.cat([x, x], 1)[:, : x.shape[1]],
    "every second element": lambda x: x.repeat_interleave(2, 1)[:, ::2],
    "an odd address": lambda x: torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape),
    "no rows of one stride": lambda x: torch.stack([x.view(2, 2, -1)] * 2, 1)[:, 0],
}


@pytest.mark.parametrize("strided", STRIDED.values(), ids=STRIDED)
def test_any_strides(usual, form, strided):
    new, selected = kernel.add_norm_select(*usual.junction_arguments())
    grads = kernel.add_norm_select_backward(
        usual.grad_residual, usual.grad_selected, new, *usual.junction_arguments()[2:], True, True, True, True
    )
    usual.residual, usual.update, usual.grad_residual, usual.grad_selected, new_strided = (
        strided(one) for one in (usual.residual, usual.update, usual.grad_residual, usual.grad_selected, new)
    )
    again, selected_again = kernel.add_norm_select(*usual.junction_arguments())
    assert torch.equal(again.flatten(), new.flatten()) and torch.equal(selected_again.flatten(), selected.flatten())
    gradients = kernel.add_norm_select_backward(
        usual.grad_residual, usual.grad_selected, new_strided, *usual.junction_arguments()[2:], True, True, True, True
    )
    for one, expected in zip(gradients, grads, strict=True):
        assert torch.equal(one.flatten(), expected.flatten())
    residual = usual.residual
    copy = torch.empty_strided(residual.shape, residual.stride(), dtype=residual.dtype, device=residual.device).copy_(residual)
    index_add.index_add_(copy, usual.update, usual.add_index, None, None)
    assert torch.equal(copy.flatten(), new.flatten())
    assert torch.equal(kernel.add_norm_select_(*usual.junction_arguments()).flatten(), selected.flatten())
    assert torch.equal(usual.residual.flatten(), new.flatten())


def test_a_gradient_of_stride_zero(usual, form):
    usual.grad_selected = usual.grad_selected.new_ones(()).expand(usual.grad_selected.shape)  # what .sum().backward() gives
    grads = norm_select.norm_select_backward(usual.grad_selected, *usual.select_arguments(), True, True, True)
    assert_as_good(usual, dict(zip(("grad_residual", "grad_weight", "grad_bias"), grads, strict=True)), add=False)


def test_same_bits_twice_and_in_another_batch(usual, form):
    arguments = usual.grad_residual, usual.grad_selected, usual.residual, *usual.junction_arguments()[2:], True, True, True, True
    first = *kernel.add_norm_select(*usual.junction_arguments()), *kernel.add_norm_select_backward(*arguments)
    again = *kernel.add_norm_select(*usual.junction_arguments()), *kernel.add_norm_select_backward(*arguments)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    usual.update = usual.update[3:]
    alone = kernel.add_norm_select(*usual.junction_arguments(usual.residual[3:]))
    assert torch.equal(alone[0], first[0][3:]) and torch.equal(alone[1], first[1][3:])


def test_a_row_that_is_not_a_number_spoils_no_other(usual, form):
    clean, _ = kernel.add_norm_select(*usual.junction_arguments())
    usual.residual[1, 5] = float("nan")
    new, selected = kernel.add_norm_select(*usual.junction_arguments())
    assert selected[1].isnan().all() and new[1].isnan().sum() == 1
    others = [0, 2, 3]
    assert torch.equal(new[others], clean[others]) and not selected[others].isnan().any()


def test_a_given_inverse_is_used(usual, form):
    inverse = torch.full((64,), -1, dtype=torch.int32, device=usual.residual.device)  # adds nothing, and no gradient comes back
    new = index_add.index_add(usual.residual, usual.update, usual.add_index, inverse, None)
    assert torch.equal(new, usual.residual)
    x, weight, bias, index, _, mask, *options = usual.select_arguments()
    grads = norm_select.norm_select_backward(usual.grad_selected, x, weight, bias, index, inverse, mask, *options, True, True, True)
    assert not any(grad.any() for grad in grads)


def test_rows_wider_than_a_program_holds(generator, device):
    inputs = Inputs(Shape((2,), 8192 + 40, 4001, 4003), NORMS["layer"], torch.bfloat16, generator, device)
    new, selected = kernel.add_norm_select(*inputs.junction_arguments())
    assert_as_good(inputs, {"new": new, "selected": selected}, add=True)


@pytest.fixture
def moved(counted):
    """`moved()`: bytes that the launches so far moved in sectors, and of them the sectors that a perfect cache would still move."""

    def count() -> tuple[int, int]:
        bytes_moved = sum(one.moved for one in counted), sum(one.unique_moved for one in counted)
        counted.clear()
        return bytes_moved

    return count


def test_bytes_moved_are_those_that_must_be(generator, device, moved):
    """48 rows: all traffic within 1.2 of the rows themselves; the rest are index, gain, bias and partial sums, once a program."""
    inputs = Inputs(Shape((48,), 512, 256, 256), NORMS["rms"], torch.bfloat16, generator, device)
    row, part = 48 * 512 * 2, 48 * 256 * 2
    index_select.index_select(inputs.residual, inputs.select_index, None, None)
    assert moved()[0] <= 1.2 * (row + part)
    index_add.index_add_(inputs.residual, inputs.update, inputs.add_index, None, None)
    assert moved()[0] <= 1.2 * (2 * row + part)
    norm_select.norm_select(*inputs.select_arguments())
    assert moved()[0] <= 1.2 * (row + part)
    kernel.add_norm_select_(*inputs.junction_arguments())
    assert moved()[0] <= 1.2 * (2 * row + 2 * part)
    norm_select.norm_select_backward(inputs.grad_selected, *inputs.select_arguments(), True, True, False)
    assert moved()[0] <= 1.2 * (2 * row + part)
    arguments = inputs.grad_residual, inputs.grad_selected, inputs.residual, *inputs.junction_arguments()[2:]
    kernel.add_norm_select_backward(*arguments, True, True, True, False)
    assert moved()[0] <= 1.2 * (3 * row + 2 * part)


def test_tiles_read_a_row_twice_and_touch_nothing_else(generator, device, moved):
    inputs = Inputs(Shape((16,), 8192 + 512, 4096, 4096), NORMS["rms"], torch.bfloat16, generator, device)
    row, part = 16 * (8192 + 512) * 2, 16 * 4096 * 2
    norm_select.norm_select(*inputs.select_arguments())
    everything, unique = moved()
    assert unique <= 1.3 * (row + part) and everything <= 1.5 * (2 * row + part)
    kernel.add_norm_select(*inputs.junction_arguments())
    everything, unique = moved()
    assert unique <= 1.5 * (2 * row + 2 * part) and everything <= 1.5 * (4 * row + 2 * part)
