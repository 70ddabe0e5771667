"""The names of pydisp are the same for a program, which gets them when it uses them, and for a type checker, which reads the file."""

import ast
from pathlib import Path

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
