"""What setup.py builds: a native wheel where torch and a compiler are, a pure one elsewhere, an sdist that can make both."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
SOURCES = ["setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "README.md", "CONTRIBUTING.md", "LOG.md", "constraints.txt", "Makefile"]
SOURCES += ["CHANGELOG.md", "CITATION.cff", "mkdocs.yml"]
SOURCES += ["pydisp", "kernels", "csrc", "docs"]
DATA = [f"data/one.{suffix}" for suffix in ("yaml", "json", "jsonl", "csv", "sqlite", "txt")]
DATA += ["data/deeper/still/two.csv", "tasks/three.yaml", "tasks/deeper/four.yaml", "tasks/deeper/functions.py", "tasks/five.jsonl"]


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of what a build reads, so that nothing is written into the real one."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def setup_file(monkeypatch):
    """setup.py as a module, with a site-packages that has no torch."""
    spec = importlib.util.spec_from_file_location("pydisp_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delenv("PYDISP_TORCH_DIR", raising=False)
    monkeypatch.setattr(module.sysconfig, "get_path", lambda name: "/nowhere")
    monkeypatch.setattr(module.sys, "path", [])
    return module


def build(checkout: Path, kind: str, **environment: str) -> subprocess.CompletedProcess:
    """Run setup.py with only what `environment` says of pydisp's variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYDISP_")}
    command = [sys.executable, "setup.py", "-q", kind, "--dist-dir", "dist"]
    return subprocess.run(command, cwd=checkout, env=kept | environment, capture_output=True, text=True)


def wheel_of(checkout: Path) -> tuple[str, set[str]]:
    """The name of the only wheel and the files in it."""
    (wheel,) = (checkout / "dist").glob("*.whl")
    return wheel.name, set(zipfile.ZipFile(wheel).namelist())


def files_of_sdist(checkout: Path) -> set[str]:
    """The files in the only sdist, below its top folder."""
    (archive,) = (checkout / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        return {name.partition("/")[2] for name in opened.getnames()}


def fake_torch(folder: Path) -> Path:
    header = folder / "torch" / "include" / "torch" / "csrc" / "stable" / "library.h"
    header.parent.mkdir(parents=True)
    header.touch()
    return folder / "torch"


def test_torch_is_found_in_site_packages(setup_file, monkeypatch, tmp_path):
    torch_folder = fake_torch(tmp_path)
    monkeypatch.setattr(setup_file.sysconfig, "get_path", lambda name: {"platlib": str(tmp_path)}.get(name))
    assert setup_file.torch_dir() == torch_folder


def test_the_variable_goes_first(setup_file, monkeypatch, tmp_path):
    fake_torch(tmp_path / "environment")
    chosen = fake_torch(tmp_path / "chosen")
    monkeypatch.setattr(setup_file.sysconfig, "get_path", lambda name: str(tmp_path / "environment"))
    monkeypatch.setenv("PYDISP_TORCH_DIR", str(chosen))
    assert setup_file.torch_dir() == chosen


def test_a_variable_that_names_no_torch_is_an_error(setup_file, monkeypatch, tmp_path):
    monkeypatch.setenv("PYDISP_TORCH_DIR", str(tmp_path))
    with pytest.raises(SystemExit, match="name the folder `torch` of a site-packages"):
        setup_file.torch_dir()


def test_without_torch_there_is_a_reason(setup_file):
    with pytest.raises(setup_file.NotBuilt, match="torch >= 2.10 is not in this environment"):
        setup_file.torch_dir()


def test_without_a_compiler_there_is_a_reason(setup_file, monkeypatch, tmp_path):
    monkeypatch.setenv("PYDISP_TORCH_DIR", str(fake_torch(tmp_path)))
    monkeypatch.setenv("CXX", "no-such-compiler -O1")
    with pytest.raises(setup_file.NotBuilt, match="there is no C\\+\\+ compiler 'no-such-compiler'"):
        setup_file.compile_native(tmp_path / "out.so")


@pytest.mark.parametrize(("given", "workers"), [("1", 1), ("3", 3), ("", os.cpu_count()), ("0", os.cpu_count()), ("many", os.cpu_count())])
def test_max_jobs_limits_how_many_compilers_run(setup_file, monkeypatch, tmp_path, given, workers):
    asked = []
    monkeypatch.setenv("PYDISP_TORCH_DIR", str(fake_torch(tmp_path)))
    monkeypatch.setenv("CXX", "true")
    monkeypatch.setenv("MAX_JOBS", given)
    monkeypatch.setattr(setup_file, "ThreadPoolExecutor", lambda most: asked.append(most) or ThreadPoolExecutor(1))
    setup_file.compile_native(tmp_path / "out.so")
    assert asked == [workers]


def test_wheel_without_compiler_is_pure_though_a_library_lies_about(checkout):
    for stale in (checkout / "pydisp", checkout / "build" / "lib" / "pydisp"):
        stale.mkdir(parents=True, exist_ok=True)
        (stale / "_native.so").touch()
        (stale / "removed_module.py").touch()
    (checkout / "pydisp" / "removed_module.py").unlink()
    run = build(checkout, "bdist_wheel", CXX="/bin/false")
    assert run.returncode == 0 and run.stderr.count("the C++ ops of pydisp are not built, plain torch serves: /bin/false failed") == 1
    name, files = wheel_of(checkout)
    assert name.endswith("-py3-none-any.whl")
    assert not [file for file in files if file.endswith(".so") or "removed_module" in file]
    assert {"pydisp/kernels/norm_select.py", "pydisp/kernels/__init__.py", "pydisp/py.typed", "pydisp/ops/native.py"} <= files
    models = {f"pydisp/demo/model/{path.name}" for path in (ROOT / "pydisp" / "demo" / "model").glob("*")}
    assert models <= files
    assert not [file for file in files if file.startswith(("tests", "kernels", "csrc", "bench"))]


def test_required_library_that_cannot_be_built_is_an_error(checkout):
    run = build(checkout, "bdist_wheel", CXX="/bin/false", PYDISP_REQUIRE_NATIVE="1")
    assert run.returncode != 0 and "error: PYDISP_REQUIRE_NATIVE is set" in run.stderr
    assert not (checkout / "dist").exists()


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("c++") is None, reason="needs a C++ compiler")
def test_wheel_with_torch_is_native(checkout):
    run = build(checkout, "bdist_wheel", PYDISP_REQUIRE_NATIVE="1", PYDISP_TORCH_DIR=str(Path(torch.__file__).parent))
    assert run.returncode == 0, run.stderr
    name, files = wheel_of(checkout)
    assert "-py3-none-linux_" in name and "pydisp/_native.so" in files
    wheel = next((checkout / "dist").glob("*.whl"))
    assert b"Root-Is-Purelib: false" in zipfile.ZipFile(wheel).read("pydisp_llm-0.1.0.dist-info/WHEEL")


def test_sdist_holds_what_a_build_needs(checkout):
    (checkout / "pydisp" / "_native.so").touch()
    run = build(checkout, "sdist", PYDISP_REQUIRE_NATIVE="1", CXX="/bin/false")  # an sdist compiles nothing
    assert run.returncode == 0, run.stderr
    files = files_of_sdist(checkout)
    assert {
        "csrc/add_norm_select.cpp",
        "csrc/add_norm_select.h",
        "kernels/norm_select.py",
        "setup.py",
        "LICENSE",
        "pydisp/py.typed",
    } <= files
    assert {"docs/kernels.md", "README.md", "CONTRIBUTING.md", "LOG.md"} <= files
    site = {"mkdocs.yml", "CHANGELOG.md", "docs/site/links.py", "docs/reference/ops.md", "docs/notebooks/prune_the_demo_model.ipynb"}
    assert {*site, "CITATION.cff"} <= files
    assert {f"pydisp/demo/model/{path.name}" for path in (ROOT / "pydisp" / "demo" / "model").glob("*")} <= files
    assert not [name for name in files if name.endswith((".so", ".pyc"))]


def test_data_and_tasks_of_every_package_are_in_wheel_and_sdist(checkout):
    """The files that the tasks of a method are made of; `pydisp` itself may have such folders too."""
    wanted = {f"pydisp/{package}{name}" for package in ("", "demo/") for name in DATA}
    for name in [*wanted, "pydisp/demo/data/notes.swp", "pydisp/demo/other/six.yaml"]:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("a: 1\n")
    for kind in ("bdist_wheel", "sdist"):
        assert build(checkout, kind, CXX="/bin/false").returncode == 0
    wheel, sdist = wheel_of(checkout)[1], files_of_sdist(checkout)
    assert wanted <= wheel and wanted <= sdist
    assert not {"pydisp/demo/data/notes.swp", "pydisp/demo/other/six.yaml"} & (wheel | sdist)


def test_every_extra_is_in_all_and_the_new_ones_are_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(extras["all"][0].partition("[")[2].rstrip("]").split(",")) == set(extras) - {"all"}
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    named = {re.split(r"[>\[;]", line)[0] for extra in ("gguf", "holobench", "train") for line in extras[extra]}
    assert named == {"gguf", "accelerate", "duckdb", "pyarrow"} <= pinned
