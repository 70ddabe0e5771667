import os
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pydisp import ops
from pydisp.ops.library import REFERENCES, has_kernel, wide
from pydisp.ops.norm_select import reference

# (rows..., D), K: one token, odd widths, nothing kept, no rows, more than one block of a kernel
SHAPES = [((1, 1), 1), ((1, 63), 1), ((63, 65), 65), ((2, 5, 129), 40), ((3, 8), 0), ((0, 16), 4), ((7,), 3), ((2, 3, 4100), 2050)]
SHAPES += [((3, 0), 0)]  # no dimensions
# center, has_weight, has_bias, weight_offset
SETTINGS = [(False, True, False, 0.0), (False, True, False, 1.0)]
SETTINGS += [(False, False, False, 0.0), (True, True, True, 0.0), (True, False, True, 0.5)]


def by_torch(x, weight, bias, index, eps, weight_offset=0.0, center=False):
    """The definition by torch's own norms, at full width, then select."""
    gain = None if weight is None else weight + weight_offset
    if center:
        full = F.layer_norm(x, x.shape[-1:], gain, bias, eps)
    else:
        full = F.rms_norm(x, x.shape[-1:], gain, eps)
        full = full if bias is None else full + bias
    return full.index_select(-1, index)


def inputs(draw, draw_index, shape, kept, center, has_weight, has_bias, **how):
    x = draw(*shape, **how)
    weight = draw(shape[-1], **how) if has_weight else None
    bias = draw(shape[-1], **how) if has_bias else None
    return x, weight, bias, draw_index(kept, shape[-1])


def compare(x, weight, bias, index, cotangent, weight_offset, center, assert_as_good):
    def run(op, wide=None):
        leaves = [None if t is None else t.detach().to(wide or t.dtype).requires_grad_() for t in (x, weight, bias)]
        # eps 0.1: with D = 1 the norm is a sign, its gradient all cancellation, unless eps counts
        out = op(*leaves, index, 0.1, weight_offset=weight_offset, center=center)
        given = [t for t in leaves if t is not None]
        return [out, *torch.autograd.grad(out, given, cotangent.to(out.dtype))]

    for result, own, gold in zip(run(ops.norm_select), run(reference), run(by_torch, torch.float64), strict=True):
        assert_as_good(result, own, gold)


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize(("center", "has_weight", "has_bias", "weight_offset"), SETTINGS)
@pytest.mark.parametrize(("shape", "kept"), SHAPES)
def test_forward_and_gradients_equal_full_norm_then_select(
    shape, kept, center, has_weight, has_bias, weight_offset, strided, dtype, isa, draw, draw_index, assert_as_good
):
    x, weight, bias, index = inputs(draw, draw_index, shape, kept, center, has_weight, has_bias, dtype=dtype, strided=strided)
    compare(x, weight, bias, index, draw(*shape[:-1], kept, dtype=dtype), weight_offset, center, assert_as_good)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 9), st.integers(1, 300), st.floats(0, 1), st.sampled_from(SETTINGS), st.integers(0, 2**31),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)  # fmt: skip
def test_any_shape(isa, assert_as_good, rows, width, ratio, options, seed, dtype):
    center, has_weight, has_bias, weight_offset = options
    generator = torch.Generator().manual_seed(seed)
    index = (torch.rand(width, generator=generator) < ratio).nonzero().squeeze(1).int()
    x, cotangent, weight, bias = (
        torch.randn(shape, generator=generator).to(dtype) for shape in ((rows, width), (rows, len(index)), (width,), (width,))
    )
    compare(x, weight if has_weight else None, bias if has_bias else None, index, cotangent, weight_offset, center, assert_as_good)


def test_result_is_contiguous_and_input_unchanged(draw, draw_index):
    x = draw(4, 6, 33, dtype=torch.float32, strided=True)
    before = x.clone()
    out = ops.norm_select(x, None, None, draw_index(9, 33), 1e-6)
    assert out.is_contiguous() and torch.equal(x, before)


@pytest.mark.parametrize("center", [False, True])
def test_gradcheck(center, isa, draw, draw_index):
    x, weight, bias = draw(3, 7, requires_grad=True), draw(7, requires_grad=True), draw(7, requires_grad=True)
    index = draw_index(4, 7)
    assert torch.autograd.gradcheck(lambda *t: ops.norm_select(*t, index, 1e-3, weight_offset=1.0, center=center), (x, weight, bias))


@pytest.mark.parametrize("needed", [(0,), (1,), (2,), (0, 2)])
def test_gradients_are_the_same_whichever_are_asked_for(needed, dtype, isa, draw, draw_index):
    tensors = [draw(40, 65, dtype=dtype), draw(65, dtype=dtype), draw(65, dtype=dtype)]
    index, cotangent = draw_index(33, 65), draw(40, 33, dtype=dtype)

    def run(wanted):
        leaves = [t.detach().requires_grad_(i in wanted) for i, t in enumerate(tensors)]
        return torch.autograd.grad(ops.norm_select(*leaves, index, 1e-3, center=True), [leaves[i] for i in wanted], cotangent)

    every = run((0, 1, 2))
    for gradient, number in zip(run(needed), needed, strict=True):
        torch.testing.assert_close(gradient, every[number], rtol=1e-6 if dtype == torch.float32 else 0, atol=1e-6)


FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("weight_dtype", FLOATS, ids=lambda kind: f"weight {kind}")
@pytest.mark.parametrize("x_dtype", FLOATS, ids=lambda kind: f"x {kind}")
@pytest.mark.parametrize("center", [False, True])
def test_every_pair_of_dtypes(center, x_dtype, weight_dtype, isa, draw, draw_index):
    index, cotangent = draw_index(19, 37), draw(6, 19, dtype=x_dtype)
    tensors = [draw(6, 37, dtype=x_dtype), draw(37, dtype=weight_dtype), draw(37, dtype=weight_dtype)]

    def run(op):
        leaves = [t.detach().requires_grad_() for t in tensors]
        out = op(*leaves, index, 0.1, weight_offset=0.5, center=center)
        return [out, *torch.autograd.grad(out, leaves, cotangent)]

    rounding = {torch.float64: 1e-12, torch.float32: 4e-6, torch.bfloat16: 2**-7, torch.float16: 2**-10}
    for result, wanted in zip(run(ops.norm_select), run(reference), strict=True):
        tolerance = max(rounding[result.dtype], rounding[wide(x_dtype)])  # the arithmetic is x's, the result has its leaf's dtype
        torch.testing.assert_close(result, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("center", [False, True])
def test_rows_that_are_not_finite_are_the_references_and_stay_alone(center, dtype, isa, draw):
    x, weight, bias = draw(6, 37, dtype=dtype), draw(37, dtype=torch.float32), draw(37, dtype=torch.float32)
    index, cotangent = torch.arange(8, 28, dtype=torch.int32), draw(6, 20, dtype=dtype)
    x[1, 9], x[2, 9], x[3, 30] = float("nan"), float("inf"), float("inf")  # a kept dimension twice, then one that is not
    x[4], x[5] = 2.0**15 if dtype == torch.float16 else 2.0**120, 0

    def run(rows):
        leaves = [t.detach().requires_grad_() for t in (x[rows], weight, bias)]
        out = ops.norm_select(*leaves, index, 1e-6, center=center)
        return [out, *torch.autograd.grad(out, leaves, cotangent[rows])]

    results = run(slice(6))
    wanted = [reference(x, weight, bias, index, 1e-6, center=center)]
    arguments = (cotangent, x, weight, bias, index, None, None, 1e-6, 0.0, center, True, True, True)
    wanted += REFERENCES[torch.ops.pydisp.norm_select_backward.default](*arguments)
    one_rounding = {torch.float32: 4e-6, torch.bfloat16: 2**-7, torch.float16: 2**-10}[dtype]
    for a, b in zip(results, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=one_rounding, atol=1e-2, equal_nan=True)  # rstd is 1000 where a row is all one value
    for a, alone in zip(results[:2], run(slice(1))[:2], strict=True):
        assert a[0].isfinite().all() and torch.equal(a[:1], alone)


@pytest.mark.parametrize("kept", [1, 3, 5])
def test_a_large_row_of_one_value_has_a_finite_gradient(kept, isa):
    # less its mean it is 0; lanes behind the last kept dimension would be -mean / std, which is no float32
    x, index = torch.full((1, 5), 2.0**120, requires_grad=True), torch.arange(kept, dtype=torch.int32)
    ops.norm_select(x, None, None, index, 1e-6, center=True).sum().backward()
    torch.testing.assert_close(x.grad[0], 1000 * (torch.arange(5) < kept).float() - 200 * kept)


@pytest.mark.parametrize("rank", [17, 64])
def test_many_dimensions(rank, draw, draw_index):
    shape = (*[1] * (rank - 2), 2, 9)
    index, x, update = draw_index(4, 9), draw(2, 9, dtype=torch.float32), draw(2, 4, dtype=torch.float32)
    for op in (
        lambda x, update: ops.norm_select(x, None, None, index, 1e-6),
        lambda x, update: ops.index_select(x, index),
        lambda x, update: ops.index_add(x, update, index),
        lambda x, update: ops.add_norm_select(x, update, index, None, None, index, 1e-6)[1],
    ):
        leaf, high = x.clone().requires_grad_(), x.clone().view(shape).requires_grad_()
        wanted, result = op(leaf, update), op(high, update.view(*shape[:-1], 4))
        assert result.shape == (*shape[:-1], wanted.shape[-1]) and torch.equal(result.view(wanted.shape), wanted)
        wanted.square().sum().backward(), result.square().sum().backward()
        assert torch.equal(high.grad.view(2, 9), leaf.grad)


def test_second_derivatives_are_refused(draw, draw_index):
    x = draw(3, 7, requires_grad=True)
    (first,) = torch.autograd.grad(ops.norm_select(x, None, None, draw_index(4, 7), 1e-6).square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="norm_select has no second derivative"):
        first.sum().backward()


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(dtype, strided, draw, draw_index):
    x, weight = draw(2, 5, 9, dtype=dtype, strided=strided).requires_grad_(), draw(9, dtype=dtype, requires_grad=True)
    kept = ops.features(draw_index(4, 9), 9)
    torch.library.opcheck(torch.ops.pydisp.norm_select.default, (x, weight, None, *kept, 1e-6, 0.0, False))
    torch.library.opcheck(torch.ops.pydisp.norm_select.default, (x, weight, None, kept.index, None, None, 1e-6, 0.0, False))
    plain = (draw(2, 5, 4, dtype=dtype), x.detach(), weight.detach(), None, *kept, 1e-6, 0.0, False)
    for needs in ((True, True, False), (False, True, False), (True, False, False)):
        torch.library.opcheck(torch.ops.pydisp.norm_select_backward.default, (*plain, *needs))


@pytest.mark.parametrize("rows", [3, 40])
def test_compiles_without_graph_break(rows, draw, draw_index):
    x, weight, index = draw(rows, 33, dtype=torch.float32), draw(33, dtype=torch.float32), draw_index(7, 33)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def doubled(x, weight):
        return 2 * ops.norm_select(x, weight, None, index, 1e-6)

    compiled, eager = [x.clone().requires_grad_() for _ in range(2)]
    doubled(compiled, weight).sum().backward()
    (2 * ops.norm_select(eager, weight, None, index, 1e-6)).sum().backward()
    torch.testing.assert_close(compiled.grad, eager.grad)


def test_select_comes_after_the_norm():
    x = torch.tensor([[3.0, 4.0, 0.0, 0.0]])
    out = ops.norm_select(x, None, None, torch.tensor([0, 2], dtype=torch.int32), 0.0)
    torch.testing.assert_close(out, torch.tensor([[3 / 2.5, 0.0]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_large_small_and_not_finite_values(dtype, isa):
    big = torch.tensor([[1e4, -1e4, 1e-4, 0.0], [6e-8, -6e-8, 0.0, 1e-7], [float("nan"), 1, 2, 3], [float("inf"), 1, 2, 3]], dtype=dtype)
    index = torch.arange(4, dtype=torch.int32)
    torch.testing.assert_close(
        ops.norm_select(big, None, None, index, 1e-15), reference(big, None, None, index, 1e-15), equal_nan=True, rtol=1e-2, atol=1e-3
    )


def test_bad_input_is_refused(draw, draw_index):
    with pytest.raises(TypeError, match="x is torch.int32"):
        ops.norm_select(torch.zeros(2, 4, dtype=torch.int32), None, None, draw_index(2, 4), 1e-6)
    for vectors in ((draw(5), None), (None, draw(1, 4))):
        with pytest.raises(ValueError, match=r"it must be \(4,\)"):
            ops.norm_select(draw(2, 4), *vectors, draw_index(2, 4), 1e-6)


@pytest.mark.parametrize("name", ["weight", "bias"])
@pytest.mark.parametrize(
    "vector", [torch.ones(4, dtype=torch.int64), torch.ones(4, dtype=torch.bool), [1.0] * 4], ids=["int", "bool", "list"]
)
def test_vectors_of_another_kind_are_refused(name, vector, draw, draw_index):
    with pytest.raises(TypeError, match=f"norm_select: {name} is (torch.int64|torch.bool|of type list), it must be"):
        ops.norm_select(draw(2, 4), **{"weight": None, "bias": None, name: vector}, index=draw_index(2, 4), eps=1e-6)
    with pytest.raises(TypeError, match=f"add_norm_select: {name} is"):
        index = draw_index(2, 4)
        ops.add_norm_select(draw(2, 4), draw(2, 2), index, *((vector, None) if name == "weight" else (None, vector)), index, 1e-6)


@pytest.mark.parametrize("settings", [{"eps": "1e-6"}, {"eps": None}, {"weight_offset": "1"}, {"weight_offset": True}], ids=str)
def test_settings_that_are_no_numbers_are_refused(settings, draw, draw_index):
    x, update, index = draw(2, 4), draw(2, 2), draw_index(2, 4)
    (name,) = settings
    settings = {"eps": 1e-6} | settings
    calls = {
        "norm_select": lambda: ops.norm_select(x, None, None, index, **settings),
        "add_norm_select": lambda: ops.add_norm_select(x, update, index, None, None, index, **settings),
        "add_norm_select_": lambda: ops.add_norm_select_(x, update, index, None, None, index, **settings),
    }
    for op, call in calls.items():
        with pytest.raises(TypeError, match=f"^{op}: {name} is {settings[name]!r}, it must be a number"):
            call()


@pytest.mark.parametrize("name", ["eps", "weight_offset"])
def test_a_whole_number_that_no_float_holds_is_refused(name, draw, draw_index):
    with pytest.raises(ValueError, match=f"norm_select: {name} is a whole number beyond the largest float"):
        ops.norm_select(draw(2, 4), None, None, draw_index(2, 4), **{"eps": 1e-6, name: -(10**5000)})


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (None, TypeError, "is of type NoneType, it must be a tensor"),
        ([1.0, 2.0], TypeError, "is of type list, it must be a tensor"),
        (torch.tensor(1.0), ValueError, "has no dimension"),
        (torch.ones(2, 4).numpy(), TypeError, "is of type ndarray, it must be a tensor"),
        (torch.ones(2, 4).to(torch.float8_e4m3fn), TypeError, "(is|residual) torch.float8_e4m3fn"),
    ],
    ids=["none", "list", "0-d", "numpy", "float8"],
)
def test_other_streams_are_refused(x, error, message, draw, draw_index):
    index, update = draw_index(2, 4), draw(2, 2)
    if error is TypeError and isinstance(x, torch.Tensor):
        update = update.to(x.dtype)
    calls = {
        "norm_select: x": lambda: ops.norm_select(x, None, None, index, 1e-6),
        "index_select: x": lambda: ops.index_select(x, index),
        "index_add: (residual|update)": lambda: ops.index_add(x, update, index),
        "index_add_: (residual|update)": lambda: ops.index_add_(x, update, index),
        "add_norm_select: (residual|update)": lambda: ops.add_norm_select(x, update, index, None, None, index, 1e-6),
        "add_norm_select_: (residual|update)": lambda: ops.add_norm_select_(x, update, index, None, None, index, 1e-6),
    }
    for start, call in calls.items():
        with pytest.raises(error, match=f"^{start}.*{message}"):
            call()


def test_index_of_another_dtype_or_shape_is_refused(draw):
    x = draw(2, 4)
    for index in (torch.tensor([0, 1]), torch.zeros(1, 1, dtype=torch.int32)):
        with pytest.raises(ValueError, match="vector of torch.int32"):
            ops.norm_select(x, None, None, index, 1e-6)


@pytest.mark.parametrize("index", [[0, 4], [-1, 2]])
def test_index_outside_is_refused(index, draw):
    with pytest.raises(ValueError, match="runs from"):
        ops.norm_select(draw(2, 4, dtype=torch.float32), None, None, torch.tensor(index, dtype=torch.int32), 1e-6)


@pytest.mark.skipif(not ops.native.is_loaded(), reason="csrc/ was not built here; PYDISP_REQUIRE_NATIVE=1 makes that an error")
class TestNative:
    def test_more_dimensions_than_torchs_loops_take_are_refused(self, draw, draw_index):
        with pytest.raises(ValueError, match="^norm_select: x has 65 dimensions, it must have 1 to 64"):
            ops.norm_select(draw(*[1] * 64, 9), None, None, draw_index(4, 9), 1e-6)

    def test_registration_is_live(self):
        assert ops.implementations()["norm_select"]["cpu"] == "c++" and has_kernel("norm_select_backward", "CPU")

    @pytest.mark.parametrize("name", ["weight", "bias"])
    @pytest.mark.parametrize(
        "other",
        [torch.ones(1), torch.ones(39), torch.ones(41), torch.ones(1, 40), torch.ones(40).int()],
        ids=["one", "short", "long", "row", "int"],
    )
    def test_the_backward_refuses_vectors_that_are_not_the_norms(self, name, other, draw, draw_index):
        vectors = (other, None) if name == "weight" else (None, other)
        problem = f"{name} must be (a vector of 40 values|float16, bfloat16, float32 or float64)"
        x, grad, index = draw(3, 40, dtype=torch.float32), draw(3, 4, dtype=torch.float32), draw_index(4, 40)
        with pytest.raises(RuntimeError, match=f"norm_select_backward: {problem}"):
            torch.ops.pydisp.norm_select_backward(grad, x, *vectors, index, None, None, 1e-5, 0.0, False, False, True, True)
        junction = (index, None, None, *vectors, index, None, None, 1e-5, 0.0, False)
        with pytest.raises(RuntimeError, match=f"add_norm_select_backward: {problem}"):
            torch.ops.pydisp.add_norm_select_backward(x, grad, x, *junction, False, False, True, True)

    def test_gradients_of_vectors_do_not_depend_on_the_threads(self, dtype, isa, draw, draw_index):
        x, index = draw(1000, 129, dtype=dtype), draw_index(70, 129)
        weight, bias, cotangent = draw(129, dtype=dtype), draw(129, dtype=torch.float32), draw(1000, 70, dtype=dtype)

        def run(threads):
            before = torch.get_num_threads()
            torch.set_num_threads(threads)
            try:
                leaves = [t.detach().requires_grad_() for t in (x, weight, bias)]
                return torch.autograd.grad(ops.norm_select(*leaves, index, 1e-6, center=True), leaves, cotangent)
            finally:
                torch.set_num_threads(before)

        assert all(torch.equal(a, b) for a, b in zip(run(1), run(2), strict=True))

    def test_nan_weights_stay_nan(self, dtype, isa):
        # every payload, also one that rounding to 16 bits would carry into infinity
        weight = torch.tensor([0x7FFFFFFF, 0x7FC00000, 0x7F800001, -1], dtype=torch.int32).view(torch.float32).repeat(8)
        index = torch.arange(32, dtype=torch.int32)
        assert ops.norm_select(torch.ones(1, 32, dtype=dtype), weight, None, index, 1e-6).isnan().all()
        assert ops.norm_select(torch.ones(1, 32, dtype=dtype), None, weight, index, 1e-6).isnan().all()

    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("center", [False, True])
    def test_equals_the_reference_to_one_rounding(self, center, dtype, threads, isa, draw, draw_index):
        x, weight, bias, index = draw(301, 517, dtype=dtype), draw(517, dtype=torch.float32), draw(517, dtype=dtype), draw_index(203, 517)
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            result = ops.norm_select(x, weight, bias, index, 1e-6, weight_offset=1.0, center=center)
        finally:
            torch.set_num_threads(before)
        one_rounding = {torch.float64: 1e-13, torch.float32: 2e-6, torch.bfloat16: 2**-7, torch.float16: 2**-10}[dtype]
        torch.testing.assert_close(result, reference(x, weight, bias, index, 1e-6, 1.0, center), rtol=one_rounding, atol=one_rounding)

    def test_every_half_survives_reading_and_rounding(self, isa):
        # With a gain of 1, eps huge and rstd exactly 2**-k, values pass through load and store alone.
        every = torch.arange(-(2**15), 2**15).to(torch.int16)
        for dtype in (torch.float16, torch.bfloat16):
            values = every.view(dtype)
            gain = values.float()
            x = torch.ones(1, values.shape[0], dtype=dtype)
            index = torch.arange(values.shape[0], dtype=torch.int32)
            result = ops.norm_select(x, values, None, index, 0.0)  # reading: 1 * gain, rounded back to the dtype
            torch.testing.assert_close(result[0], gain.to(dtype), rtol=0, atol=0, equal_nan=True)

    def test_rounding_is_torchs(self, isa, generator):
        # float32 gains around every half, subnormals, overflow and ties included
        bits = torch.randint(-(2**31), 2**31, (200_000,), generator=generator).to(torch.int32)
        ties = (torch.arange(0, 2**31, 2**12) + torch.tensor([[0], [2**12], [2**15], [1]])).flatten().clamp(max=2**31 - 1).to(torch.int32)
        gain = torch.cat([bits, ties, -ties]).view(torch.float32)
        gain = gain[gain.isfinite()]
        index = torch.arange(gain.shape[0], dtype=torch.int32)
        for dtype in (torch.float16, torch.bfloat16):
            result = ops.norm_select(torch.ones(1, gain.shape[0], dtype=dtype), gain, None, index, 0.0)
            torch.testing.assert_close(result[0], gain.to(dtype), rtol=0, atol=0)


def test_missing_library_is_an_error_where_it_is_required():
    code = (
        "from pydisp.ops import native; from pathlib import Path; native.load.cache_clear();"
        "native.LIBRARY_FILE = Path('nowhere.so'); native.load()"
    )
    # the first load is not strict, so that the test runs without csrc/ too
    code = "import os; import pydisp.ops; os.environ['PYDISP_REQUIRE_NATIVE'] = '1'; " + code
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYDISP_REQUIRE_NATIVE": ""})
    assert run.returncode == 1 and "ImportError: PYDISP_REQUIRE_NATIVE is set" in run.stderr


def test_fallback_says_so_once():
    code = (
        "from pydisp.ops import native; from pathlib import Path; native.load.cache_clear();"
        "native.LIBRARY_FILE = Path('nowhere.so'); print(native.is_loaded(), native.is_loaded())"
    )
    # where csrc/ is not built, the import has said it already
    code = "import logging; logging.disable(); import pydisp.ops; logging.disable(logging.NOTSET); " + code
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYDISP_REQUIRE_NATIVE": ""})
    assert run.stdout.split() == ["False", "False"] and run.stderr.count("run in plain torch") == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_triton_kernel_equals_the_reference_on_a_gpu(dtype, draw, draw_index, assert_as_good):
    for shape, kept in SHAPES:
        x, weight, bias, index = inputs(draw, draw_index, shape, kept, True, True, True, dtype=dtype)
        result = ops.norm_select(*(t.cuda() for t in (x, weight, bias, index)), 1e-5, center=True).cpu()
        gold = by_torch(x.double(), weight.double(), bias.double(), index, 1e-5, center=True)
        assert_as_good(result, reference(x, weight, bias, index, 1e-5, center=True), gold)
