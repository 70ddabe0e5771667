"""The names of pydisp are the same for a program, which gets them when it uses them, and for a type checker, which reads the file."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pydisp


def test_type_checkers_see_what_a_program_gets():
    tree = ast.parse(Path(pydisp.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == pydisp._LAZY
    # `from a import b as b` is how a typed package says that b is its own to give
    assert all(alias.asname == alias.name for node in block.body for alias in node.names)


def test_every_name_is_there_and_no_module_hides_it():
    import importlib

    for name, module in pydisp._LAZY.items():
        assert getattr(pydisp, name) is getattr(importlib.import_module(module), name)
    importlib.import_module("pydisp.commands.evaluate")
    assert callable(pydisp.evaluate) and callable(pydisp.prune) and set(pydisp.__all__) == {*pydisp._LAZY, "__version__"}


def test_a_type_checker_knows_every_name(tmp_path):
    pytest.importorskip("mypy")
    lines = ["import pydisp", *(f"reveal_type(pydisp.{name})" for name in pydisp.__all__), "pydisp.prun"]
    (tmp_path / "names.py").write_text("\n".join(lines))
    # without torch and the like, whose types would take minutes
    others = ",".join(f"{name}.*" for name in ("torch", "transformers", "numpy", "scipy", "matplotlib", "datasets", "peft", "accelerate"))
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nignore_missing_imports = True\n[mypy-{others}]\nfollow_imports = skip\n")
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--cache-dir", tmp_path / "cache", tmp_path / "names.py"]
    root = {"MYPYPATH": str(Path(pydisp.__file__).parents[1])}
    done = subprocess.run(command, env=os.environ | root, cwd=tmp_path, capture_output=True, text=True)
    seen = [line.partition("Revealed type is ")[2] for line in done.stdout.splitlines() if "Revealed" in line]
    assert len(seen) == len(pydisp.__all__) and not any(line.startswith('"Any"') for line in seen), done.stdout + done.stderr
    assert any("report.Report]" in line for line in seen) and seen[-1] == '"str"'
    assert 'error: Module has no attribute "prun"' in done.stdout
