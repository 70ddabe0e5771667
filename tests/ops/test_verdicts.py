"""Verdicts are found again for exactly what they were about; a damaged, foreign or unwritable cache is no error."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pydisp.ops import verdicts
from pydisp.ops.verdicts import Verdict

ABOUT = {"op": "norm_select", "dtype": "bfloat16", "device": "Some GPU (9, 0)", "torch": "2.13.0", "kernels": "0123"}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_a_verdict_is_found_again(cache):
    for verdict in (Verdict(None, 0.5), Verdict("result 0 is off by ä", 1.5)):
        assert verdicts.keep(ABOUT, verdict) and verdicts.read(ABOUT) == verdict
    assert [file.name.partition("-bfloat16-")[0] for file in (cache / "pydisp" / "triton").iterdir()] == ["norm_select"]


@pytest.mark.parametrize("what", ABOUT)
def test_it_holds_for_nothing_else(what):
    verdicts.keep(ABOUT, Verdict(None, 0.5))
    assert verdicts.read(ABOUT | {what: "another"}) is None
    assert verdicts.read(ABOUT) is not None


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "null", "{}", b"\xff\xfe", '{"about": 1, "error": null, "seconds": 1}', "error", "seconds", "folder"]
)
def test_a_damaged_file_is_no_verdict_and_is_written_again(damage):
    verdicts.keep(ABOUT, Verdict(None, 0.5))
    file = verdicts.file_of(ABOUT)
    if damage == "folder":
        file.unlink(), file.mkdir()
        assert verdicts.read(ABOUT) is None and not verdicts.keep(ABOUT, Verdict(None, 0.5))
        assert [one.name for one in file.parent.iterdir()] == [file.name]  # nothing half written is left
        return
    if damage in ("error", "seconds"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {damage: ["x"]}))
    else:
        file.write_bytes(damage if isinstance(damage, bytes) else damage.encode())
    assert verdicts.read(ABOUT) is None
    assert verdicts.keep(ABOUT, Verdict("off", 0.25)) and verdicts.read(ABOUT) == Verdict("off", 0.25)


def test_a_folder_that_cannot_be_made_is_no_error(cache, monkeypatch):
    (cache / "file").write_text("here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "file"))
    assert not verdicts.keep(ABOUT, Verdict(None, 0.5)) and verdicts.read(ABOUT) is None


def test_where_there_is_no_home_nothing_is_kept(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(verdicts.Path, "home", no_home)
    assert verdicts.folder() is None and not verdicts.keep(ABOUT, Verdict(None, 0.5)) and verdicts.read(ABOUT) is None


@pytest.mark.parametrize(
    ("platform", "asked", "expected"),
    [
        ("linux", None, "HOME/.cache/pydisp/triton"),
        ("linux", "relative", "HOME/.cache/pydisp/triton"),
        ("darwin", None, "HOME/Library/Caches/pydisp/triton"),
        ("win32", None, "LOCAL/pydisp/triton"),
    ],
)
def test_the_folder_is_the_platforms(platform, asked, expected, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    if asked:
        monkeypatch.setenv("XDG_CACHE_HOME", asked)
    monkeypatch.setenv("LOCALAPPDATA", "LOCAL")
    monkeypatch.setattr(verdicts.sys, "platform", platform)
    monkeypatch.setattr(verdicts.Path, "home", lambda: Path("HOME"))
    assert verdicts.folder() == Path(expected)


def test_many_writers_leave_one_whole_file():
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda number: verdicts.keep(ABOUT, Verdict("off" * 1000 * number, 1.0)), range(40)))
        assert all(verdict is not None for verdict in pool.map(lambda _: verdicts.read(ABOUT), range(40)))
    assert len(list(verdicts.file_of(ABOUT).parent.iterdir())) == 1


def test_circumstances_change_with_what_they_name(monkeypatch):
    triton = pytest.importorskip("triton")
    cpu = torch.device("cpu")
    seen = [verdicts.circumstances("norm_select", cpu, torch.float16)]
    seen.append(verdicts.circumstances("index_add", cpu, torch.float16))
    seen.append(verdicts.circumstances("norm_select", cpu, torch.float32))
    monkeypatch.setattr(triton, "__version__", "9.9")
    seen.append(verdicts.circumstances("norm_select", cpu, torch.float16))
    monkeypatch.setattr(torch, "__version__", "9.9")
    seen.append(verdicts.circumstances("norm_select", cpu, torch.float16))
    monkeypatch.setattr("pydisp.__version__", "9.9")
    seen.append(verdicts.circumstances("norm_select", cpu, torch.float16))
    monkeypatch.setattr(verdicts, "sources_digest", lambda: "9")
    seen.append(verdicts.circumstances("norm_select", cpu, torch.float16))
    assert len({tuple(one.items()) for one in seen}) == len(seen) and all(isinstance(value, str) for one in seen for value in one.values())


def test_a_gpu_and_its_driver_are_named(monkeypatch):
    pytest.importorskip("triton")
    properties = SimpleNamespace(name="Some GPU", major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: 12040, raising=False)
    about = verdicts.circumstances("norm_select", torch.device("cuda", 1), torch.float16)
    assert about["device"] == "Some GPU (9, 0)" and about["driver"].endswith("CUDA 12040")
    properties.gcnArchName = "gfx942:sramecc+"
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert verdicts.name_of_device(torch.device("cuda", 1)) == "Some GPU (gfx942:sramecc+)"


def test_a_changed_kernel_has_another_digest(tmp_path, monkeypatch):
    from pydisp import kernels

    first = verdicts.sources_digest()
    assert verdicts.sources_digest() == first
    (tmp_path / "more.py").write_text("# one")
    monkeypatch.setattr(kernels, "__path__", [*kernels.__path__, str(tmp_path)])
    second = verdicts.sources_digest()
    (tmp_path / "more.py").write_text("# two")
    assert len({first, second, verdicts.sources_digest()}) == 3


def test_importing_the_ops_reads_no_cache_and_no_triton(cache):
    code = "import sys, pydisp.ops; assert not {'triton', 'pydisp.kernels'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not list(cache.iterdir())
