"""The check that Triton kernels make of themselves: right ones pass, and each kind of broken kernel is seen, by the interpreter or a GPU."""

import contextlib
import importlib
import json
import logging
import re

import pytest
import torch
import triton
import triton.language as tl
from as_on_cuda import INTERPRETED, AsOnCuda

from pydisp import ops
from pydisp.ops import cuda, verdicts
from pydisp.ops.self_check import CALLS, first_error

LEFT_OUT = r"result 0 of index_add for \(\d+, 256\) x \(\d+, 80\) is off by "
FORMS = [(op, name) for op, forms in cuda.FORMS.items() for name in forms]


@pytest.fixture(params=cuda.DTYPES, ids=["bf16", "f16", "f32"])
def dtype(request) -> torch.dtype:
    return request.param


def test_every_op_with_kernels_is_checked():
    assert set(cuda.FORMS) == set(CALLS)


@pytest.mark.parametrize("op", CALLS)
def test_right_kernels_pass(op, dtype, device):
    assert cuda.check(op, device, dtype)[0].error is None


@pytest.mark.parametrize(("op", "name"), FORMS)
def test_every_kernel_is_run_and_one_wrong_value_is_seen(op, name, device):
    kernel, plain = cuda.FORMS[op][name]
    runs = []

    def wrong(*arguments):
        runs.append(name)
        returned = kernel(*arguments)
        results = [one for one in (returned if isinstance(returned, tuple) else (returned,)) if one is not None and one.numel()]
        changed = results[0] if results else arguments[0]
        changed.view(-1)[-1] += 0.1 * max(1.0, changed.abs().max().item())
        return returned

    # plain torch stands in for the others, which have their own turn
    forms = {other: (cuda.FORMS[op][other][1],) * 2 for other in cuda.FORMS[op]} | {name: (wrong, plain)}
    error = first_error(op, forms, device, torch.float32)
    assert runs and f" of {name} for " in error and "is allowed" in error
    forms[name] = plain, plain
    assert first_error(op, forms, device, torch.float32) is None


BREAKS = {
    "not finite": lambda x: x.fill_(torch.nan),
    "(7, 5)": lambda x: x.new_empty(7, 5),
    "torch.float64": lambda x: x.double(),
    "wrong": lambda x: x + 1,
}


@pytest.mark.parametrize("break_", BREAKS)
def test_what_else_may_be_wrong(break_, device):
    places = {"wrong": 5}  # argmax, whole numbers
    for_all = cuda.FORMS["token_statistics"]
    plain = for_all["token_statistics"][1]

    def kernel(*arguments):
        results = list(plain(*arguments))
        place = places.get(break_, 0)
        results[place] = BREAKS[break_](results[place])
        return tuple(results)

    forms = {"token_statistics": (kernel, plain), "token_statistics_backward": (for_all["token_statistics_backward"][1],) * 2}
    assert break_ in first_error("token_statistics", forms, device, torch.bfloat16)


def test_a_kernel_that_does_not_compile_is_seen(device, monkeypatch):
    module = importlib.import_module("pydisp.kernels.index_select")

    @triton.jit
    def _index_select_fwd_kernel(x, index, out, M, D, K, x_stride, BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr):
        tl.store(out, nowhere)  # noqa: F821

    monkeypatch.setattr(module, "_index_select_fwd_kernel", _index_select_fwd_kernel)
    verdict, is_lasting = cuda.check("index_select", device, torch.float32)
    assert "nowhere" in verdict.error and "\n" not in verdict.error and is_lasting


def test_a_kernel_that_leaves_its_update_out_is_seen(device, broken_index_add):
    for dtype in cuda.DTYPES:
        verdict, is_lasting = cuda.check("index_add", device, dtype)
        assert re.match(LEFT_OUT, verdict.error) and is_lasting


@pytest.fixture
def broken_index_add(monkeypatch):
    """The source of the kernel itself is wrong, not only what it returns."""
    module = importlib.import_module("pydisp.kernels.index_add")
    monkeypatch.setattr(module, "_index_add_fwd_kernel", _index_add_without_update_kernel)


@triton.jit
def _index_add_without_update_kernel(
    residual, update, inverse, out, M, D, A, residual_stride, update_stride, out_stride, BLOCK_D: tl.constexpr, BLOCK_A: tl.constexpr
):
    d = tl.arange(0, BLOCK_D)
    for m in range(tl.program_id(0), M, tl.num_programs(0)):
        row = tl.load(residual + m * residual_stride + d, mask=d < D, other=0.0)
        tl.store(out + m * out_stride + d, row, mask=d < D)


@pytest.fixture
def on_cuda(monkeypatch, tmp_path):
    """The ops as CUDA tensors get them, in a process that has decided nothing, with an empty cache folder."""
    for name in ("_decided", "_verdicts"):
        monkeypatch.setattr(cuda, name, {})
    monkeypatch.setenv("PYDISP_TRITON", "auto")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with AsOnCuda() if INTERPRETED else contextlib.nullcontext():
        yield tmp_path / "pydisp" / "triton"


def test_right_kernels_serve_after_one_check(on_cuda, device, dtype, monkeypatch, caplog, counted):
    checks = []
    monkeypatch.setattr(cuda, "check", lambda *place, check=cuda.check: checks.append(place) or check(*place))
    x, index = torch.ones(2, 8, device=device, dtype=dtype).requires_grad_(), ops.features(torch.tensor([1, 5]).int().to(device), 8)
    with caplog.at_level(logging.INFO, "pydisp"):
        for process in range(2):
            for call in range(2):
                before = len(counted)
                ops.norm_select(x, None, None, index, 0.1).sum().backward()
                ran = [launch.name for launch in counted[before:]]
                assert checks == [("norm_select", device, dtype)]
                if process or call:
                    assert ran == ["_norm_select_fwd_kernel", "_norm_select_bwd_kernel"]
            for name in ("_decided", "_verdicts"):  # as another process
                monkeypatch.setattr(cuda, name, {})
    assert len(list(on_cuda.iterdir())) == 1
    assert [record.levelname for record in caplog.records] == ["INFO"] * 2
    assert "Triton kernels of norm_select serve " in caplog.text and "so says" in caplog.records[1].getMessage()


def test_a_backward_goes_where_its_forward_went(on_cuda, device, dtype, caplog):
    """By the dtype of the hidden states: the gradients of a loss are float32."""
    hidden, weight = (torch.ones(*shape, device=device, dtype=dtype).requires_grad_() for shape in ((3, 16), (5, 16)))
    ops.linear_cross_entropy(hidden, weight, torch.tensor([0, 4, 1], device=device)).sum().backward()
    assert {(op, decided) for (op, _, decided), serves in cuda._decided.items() if serves} == {("token_statistics", dtype)}
    assert len(cuda._decided) == 1 and not caplog.records


def test_plain_torch_serves_where_a_kernel_is_wrong(on_cuda, device, dtype, broken_index_add, caplog):
    x, index = torch.ones(2, 8, device=device, dtype=dtype), torch.tensor([1, 5]).int().to(device)
    for _ in range(2):
        assert ops.index_add(x, x[:, :2] * 3, index).tolist() == [[1, 4, 1, 1, 1, 4, 1, 1]] * 2
    assert ops.index_select(x, index).tolist() == [[1, 1]] * 2
    (record,) = caplog.records
    place = f"{verdicts.name_of(dtype)} on {verdicts.name_of_device(device)}"
    before, after = record.getMessage().split(", because its Triton kernels fail: ")
    assert record.levelname == "WARNING" and before == f"pydisp: plain torch serves index_add of {place}" and re.match(LEFT_OUT, after)
    (kept,) = on_cuda.glob("index_add-*")
    assert "is off by" in json.loads(kept.read_text())["error"]
