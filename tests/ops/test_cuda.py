"""Who serves CUDA tensors: Triton kernels that passed their check, else plain torch with one warning; checked once a device and dtype."""

import importlib.util
import logging
import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch

from pydisp.ops import cuda, verdicts
from pydisp.ops.index_select import reference
from pydisp.ops.verdicts import Verdict

pytest.importorskip("triton")
X, INDEX = torch.arange(10.0).view(2, 5), torch.tensor([0, 3], dtype=torch.int32)


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """A process that has decided nothing yet, with an empty cache folder."""
    for name, empty in (("_decided", {}), ("_verdicts", {}), ("_captured", set())):
        monkeypatch.setattr(cuda, name, empty)
    monkeypatch.delenv("PYDISP_TRITON", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


class Kernel:
    """Stands in for index_select's Triton kernel; counts its calls."""

    def __init__(self, change=lambda result: result):
        self.calls, self.change = 0, change

    def __call__(self, x, index, inverse, mask):
        self.calls += 1
        return self.change(plain(x, index, inverse, mask))


def plain(x, index, inverse, mask):
    return x.index_select(-1, index)


@pytest.fixture
def serve(monkeypatch):
    """`serve(kernel)`: what the dispatcher would call for CUDA tensors, with `kernel` in the place of the Triton kernel."""

    def hand_over(kernel):
        monkeypatch.setitem(cuda.FORMS, "index_select", {"index_select": (kernel, plain)})
        return cuda.guarded("index_select", "index_select")

    return hand_over


def another_process(monkeypatch):
    for name in ("_decided", "_verdicts"):
        monkeypatch.setattr(cuda, name, {})


def test_a_right_kernel_is_checked_once_and_serves(serve, monkeypatch, caplog):
    kernel = Kernel()
    call = serve(kernel)
    with caplog.at_level(logging.INFO, "pydisp"):
        assert torch.equal(call(X, INDEX, None, None), reference(X, INDEX))
        in_check = kernel.calls - 1
        call(X, INDEX, None, None)
        assert in_check == 3 and kernel.calls == in_check + 2
        another_process(monkeypatch)
        call(X, INDEX, None, None)
        assert kernel.calls == in_check + 3
    assert len(caplog.records) == 2 and "index_select serve float32 on cpu, interpreted." in caplog.messages[0]
    assert caplog.messages[1].endswith("delete it to have them checked again).")


@pytest.mark.parametrize("changed", ["pydisp.__version__", "torch.__version__", "triton.__version__", "kernel"])
def test_it_is_checked_again_after_a_change(changed, serve, monkeypatch):
    kernel = Kernel()
    call = serve(kernel)
    call(X, INDEX, None, None)
    before = kernel.calls
    another_process(monkeypatch)
    if changed == "kernel":
        monkeypatch.setattr(verdicts, "sources_digest", lambda: "another")
    else:
        monkeypatch.setattr(changed, "9.9")
    call(X, INDEX, None, None)
    assert kernel.calls == 2 * before


def test_it_is_checked_again_where_the_cache_is_damaged_or_cannot_be_written(serve, monkeypatch, tmp_path):
    kernel = Kernel()
    call = serve(kernel)
    call(X, INDEX, None, None)
    before = kernel.calls
    (file,) = (tmp_path / "pydisp" / "triton").iterdir()
    file.write_text(file.read_text()[:-5])
    another_process(monkeypatch)
    call(X, INDEX, None, None)
    assert kernel.calls == 2 * before
    (tmp_path / "file").write_text("here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        another_process(monkeypatch)
        call(X, INDEX, None, None)
        call(X, INDEX, None, None)
    assert kernel.calls == 4 * before + 2


def test_each_dtype_is_checked_by_itself(serve, caplog):
    kernel = Kernel(lambda result: result + 1 if result.dtype == torch.float16 else result)
    call = serve(kernel)
    for dtype in cuda.DTYPES:
        assert torch.equal(call(X.to(dtype), INDEX, None, None), reference(X.to(dtype), INDEX))
    (warning,) = caplog.messages
    assert "plain torch serves index_select of float16 on cpu" in warning and "is off by 1.00e+00" in warning
    assert {place[2]: serves for place, serves in cuda._decided.items()} == {dtype: dtype != torch.float16 for dtype in cuda.DTYPES}


def test_float64_is_nothing_to_check(serve):
    kernel = Kernel(lambda result: 1 / 0)
    assert torch.equal(serve(kernel)(X.double(), INDEX, None, None), reference(X.double(), INDEX)) and not cuda._decided


def test_a_wrong_kernel_is_named_in_each_process_and_checked_in_one(serve, monkeypatch, caplog):
    kernel = Kernel(lambda result: result + 1)
    call = serve(kernel)
    for process in range(2):
        for _ in range(2):
            assert torch.equal(call(X, INDEX, None, None), reference(X, INDEX))
        assert kernel.calls == 1 and len(caplog.records) == process + 1
        another_process(monkeypatch)
    assert "(so says " in caplog.messages[1] and caplog.messages[1].startswith(caplog.messages[0][:-1])


def refused_by(module: str) -> Exception:
    return type("OutOfResources", (RuntimeError,), {"__module__": module})("out of resource:\n  shared memory.")


@pytest.mark.parametrize(("module", "is_kept"), [("triton.runtime.errors", True), ("builtins", False)])
def test_a_kernel_that_raises_does_not_serve(module, is_kept, serve, monkeypatch, caplog, tmp_path):
    """What is not Triton's verdict on the kernel, as a C compiler that is missing, may be mended until the next process."""

    def refuse(result):
        raise refused_by(module)

    kernel = Kernel(refuse)
    call = serve(kernel)
    for _ in range(2):
        assert torch.equal(call(X, INDEX, None, None), reference(X, INDEX))
    assert kernel.calls == 1 and len(caplog.records) == 1
    assert "its Triton kernels fail: OutOfResources: out of resource: shared memory." in caplog.text
    another_process(monkeypatch)
    call(X, INDEX, None, None)
    assert kernel.calls == (1 if is_kept else 2)


def test_a_call_that_triton_refuses_later_goes_to_plain_torch_and_all_after_it(serve, monkeypatch, caplog, tmp_path):
    kernel = Kernel()
    call = serve(kernel)
    call(X, INDEX, None, None)
    kernel.change = lambda result: (_ for _ in ()).throw(refused_by("triton.runtime.errors"))
    before = kernel.calls
    for _ in range(2):
        assert torch.equal(call(X, INDEX, None, None), reference(X, INDEX))
    assert kernel.calls == before + 1 and len(caplog.records) == 1
    kernel.change = lambda result: (_ for _ in ()).throw(ValueError("not Triton's"))
    another_process(monkeypatch)
    with pytest.raises(ValueError, match="not Triton's"):
        call(X, INDEX, None, None)


def test_equal_gpus_share_a_verdict(serve, monkeypatch, caplog):
    kernel = Kernel(lambda result: result + 1)
    serve(kernel)
    monkeypatch.setattr(verdicts, "name_of_device", lambda device: "Some GPU (9, 0)")
    places = [("index_select", torch.device("cpu", number), torch.float32) for number in range(2)]
    assert cuda._verdict(*places[0]) is cuda._verdict(*places[1]) and kernel.calls == 1 and len(caplog.records) == 1


def test_one_of_many_threads_checks(serve):
    kernel = Kernel(lambda result: time.sleep(0.02) or result)
    call = serve(kernel)
    threads = [threading.Thread(target=call, args=(X, INDEX, None, None)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kernel.calls == 3 + 8


@pytest.mark.parametrize("where", ["inference mode", "autocast", "grad", "another seed"])
def test_a_check_leaves_nothing_behind(where, serve):
    call = serve(Kernel())
    state = torch.get_rng_state()
    places = {"inference mode": torch.inference_mode(), "autocast": torch.autocast("cpu"), "grad": torch.enable_grad()}
    with places.get(where, torch.no_grad()):
        call(X, INDEX, None, None)
        assert cuda._decided["index_select", X.device, X.dtype]
        assert torch.is_grad_enabled() == (where in ("grad", "autocast"))
    assert torch.equal(torch.get_rng_state(), state) and torch.are_deterministic_algorithms_enabled()


def test_a_check_runs_its_plain_form_under_no_rule_of_the_callers(serve, monkeypatch):
    """autocast would round the products of both, and a GPU refuses some plain ops in the deterministic mode that every test has."""
    seen = []

    def kernel(*arguments):
        seen.append(("kernel", torch.is_autocast_enabled("cpu"), torch.are_deterministic_algorithms_enabled()))
        return plain(*arguments)

    def watched(*arguments):
        seen.append(("plain", torch.is_autocast_enabled("cpu"), torch.are_deterministic_algorithms_enabled()))
        return plain(*arguments)

    monkeypatch.setitem(cuda.FORMS, "index_select", {"index_select": (kernel, watched)})
    with torch.autocast("cpu"):
        cuda.check("index_select", X.device, X.dtype)
    assert set(seen) == {("kernel", False, True), ("plain", False, False)}


def test_nothing_is_decided_while_a_graph_is_captured(serve, monkeypatch, caplog):
    kernel = Kernel()
    call = serve(kernel)
    monkeypatch.setattr(cuda, "_is_captured", lambda x: True)
    for _ in range(2):
        assert torch.equal(call(X, INDEX, None, None), reference(X, INDEX))
    assert kernel.calls == 0 and not cuda._decided and len(caplog.records) == 1
    assert "a CUDA graph captures index_select in plain torch" in caplog.text
    monkeypatch.setattr(cuda, "_is_captured", lambda x: False)
    call(X, INDEX, None, None)
    monkeypatch.setattr(cuda, "_is_captured", lambda x: True)
    before = kernel.calls
    call(X, INDEX, None, None)
    assert kernel.calls == before + 1


def test_nothing_is_decided_where_nothing_has_values(serve, monkeypatch):
    kernel = Kernel()
    call = serve(kernel)
    monkeypatch.setattr(cuda, "has_values", lambda x: False)
    call(X, INDEX, None, None)
    assert kernel.calls == 0 and not cuda._decided


@pytest.mark.parametrize(("value", "mode"), [(None, "auto"), ("", "auto"), ("auto", "auto"), ("0", "0"), ("1", "1")])
def test_the_variable_says_who_serves(value, mode, serve, monkeypatch):
    if value is not None:
        monkeypatch.setenv("PYDISP_TRITON", value)
    assert cuda.triton_mode() == mode and cuda.may_use_triton() == (mode != "0")
    kernel = Kernel(lambda result: result + 1)
    result = serve(kernel)(X, INDEX, None, None)
    assert torch.equal(result, reference(X, INDEX) + (mode == "1")) and kernel.calls == (0 if mode == "0" else 1)


def test_asked_to_serve_a_kernel_raises_what_it_raises(serve, monkeypatch):
    monkeypatch.setenv("PYDISP_TRITON", "1")
    with pytest.raises(RuntimeError, match="out of resource"):
        serve(Kernel(lambda result: (_ for _ in ()).throw(refused_by("triton.runtime.errors"))))(X, INDEX, None, None)


def test_without_triton_nothing_is_registered(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not cuda.may_use_triton() and cuda.status() == "off: triton is not installed"
    monkeypatch.setattr(cuda, "FORMS", {})
    cuda.on_cuda("norm_select", "norm_select", plain)
    assert cuda.FORMS == {}


def test_a_triton_that_does_not_import_leaves_plain_torch(serve, monkeypatch, caplog, tmp_path):
    monkeypatch.setitem(sys.modules, "triton", None)
    kernel = Kernel()
    call = serve(kernel)
    for _ in range(2):
        assert torch.equal(call(X, INDEX, None, None), reference(X, INDEX))
    assert kernel.calls == 0 and len(caplog.records) == 1 and not list(tmp_path.iterdir())
    assert "fail: they cannot be checked (ModuleNotFoundError" in caplog.text


@pytest.mark.parametrize(("value", "registered"), [("0", False), ("1", True), ("auto", True)])
def test_the_variable_is_read_when_pydisp_is_imported(value, registered):
    code = "from pydisp import ops; print([ops.has_kernel(name, 'CUDA') for name in ('norm_select', 'token_statistics_backward')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYDISP_TRITON": value})
    assert done.stdout.strip() == str([registered] * 2), done.stderr


def test_another_value_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.setenv("PYDISP_TRITON", "yes")
    for refuse in (cuda.triton_mode, cuda.status):
        with pytest.raises(ValueError, match=r"^PYDISP_TRITON is 'yes'; set it to 0 \(plain torch serves on CUDA\), 1 "):
            refuse()
    done = subprocess.run([sys.executable, "-m", "pydisp", "env"], capture_output=True, text=True)
    loading, refused = done.stderr.strip().splitlines()
    assert done.returncode == 1 and done.stdout == "" and loading.startswith("loading") and "'yes'; set it to" in refused


def test_status_tells_what_is_known_of_the_gpus_here(monkeypatch):
    monkeypatch.setenv("PYDISP_TRITON", "0")
    assert cuda.status() == "off: PYDISP_TRITON=0"
    monkeypatch.setenv("PYDISP_TRITON", "1")
    assert cuda.status() == "serves unchecked: PYDISP_TRITON=1"
    monkeypatch.delenv("PYDISP_TRITON")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert cuda.status() == "auto: each op serves once it has checked itself on a GPU; no GPU is seen here"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    properties = SimpleNamespace(name="Some GPU", major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    assert cuda.status().endswith("GPU; Some GPU (9, 0): nothing checked yet")
    place = torch.device("cuda", 0)
    verdicts.keep(verdicts.circumstances("norm_select", place, torch.bfloat16), Verdict(None, 0.5))
    verdicts.keep(verdicts.circumstances("index_add", place, torch.float32), Verdict("is off", 0.5))
    words = cuda.status().partition("(9, 0): ")[2]
    assert set(words.split(", ")) == {"norm_select bfloat16 serves", "index_add float32 fails (is off)"}


@pytest.mark.parametrize("name", ["index_select", "index_add", "index_add_", "norm_select", "add_norm_select", "add_norm_select_"])
def test_below_the_edge_a_bare_index_is_checked_before_a_triton_kernel_trusts_it(name, monkeypatch):
    monkeypatch.setenv("PYDISP_TRITON", "1")
    op = name.rstrip("_")
    values = {"x": torch.ones(2, 5), "residual": torch.ones(2, 5), "update": torch.ones(2, 3), "eps": 0.1}
    values |= {"weight_offset": 0.0, "center": False, "mask": None, "weight": None, "bias": None}
    schema = getattr(torch.ops.pydisp, name).default._schema.arguments
    indices = [argument.name for argument in schema if argument.name.endswith("index")]
    kernel = cuda.guarded(op, name)
    for wrong in indices:
        given = [
            torch.tensor([-1, 2, 3] if a.name == wrong else [0, 2, 3]).int() if a.name in indices else values.get(a.name) for a in schema
        ]
        with pytest.raises(ValueError, match=f"{name}: {wrong} runs from -1 to 3"):
            kernel(*given)
