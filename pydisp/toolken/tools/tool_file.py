"""Tool files: read_tools("builtin"), read_tools("tools.json"), read_tools("tools.py") and read_tools("package.module").

A .json file is a list of tools: as `Tool.as_dict` writes them, or as JSON schemas. A .py file or a module has functions with the decorator `tool`.
A .py file may import other files of its folder, by names that no installed module has.
"""

import dataclasses
import importlib
import os
from os import PathLike
from pathlib import Path
from types import ModuleType

from pydisp.given_file import check_kind, read_text
from pydisp.given_value import json_value
from pydisp.toolken.tools.definition import check_examples, from_json_schema
from pydisp.toolken.tools.tool import Tool, ToolError
from pydisp.toolken.tools.tools import Tools
from pydisp.toolken.tools.worker import module_of_file

_MOST_BYTES = 1 << 26


def read_tools(source: str | PathLike) -> Tools:
    """The tools of a source, in the order in which they stand there.

    Args:
        source: "builtin", a path that ends in .json or .py, or the dotted name of a module that can be imported.
    Raises: ToolError with one sentence.
    """
    source = str(source)
    if source == "builtin":
        from pydisp.toolken.tools.builtin import BUILTIN

        return BUILTIN
    if source.endswith((".json", ".py")):
        path = Path(source)
        try:
            check_kind(path, "give 'builtin', a .json or .py file, or the name of a module.")
        except (OSError, ValueError) as error:
            raise ToolError(str(error)) from None
        return _of_json(path) if source.endswith(".json") else _of_module(_imported(source, path), source, path)
    if os.sep in source:
        what = "is a folder" if Path(source).is_dir() else "is no file of tools"
        raise ToolError(f"{source!r} {what}; give 'builtin', a .json or .py file, or the name of a module.")
    return _of_module(_imported(source, None), source, None)


def _of_json(path: Path) -> Tools:
    needed = "give a list of tools or of JSON schemas."
    try:
        text = read_text(path, needed, most_bytes=_MOST_BYTES)
        values = json_value(text, repr(str(path)), needed) if text.strip() else None
    except (OSError, ValueError) as error:
        raise ToolError(str(error)) from None
    if not text.strip():
        raise ToolError(f"{str(path)!r} is empty; {needed}")
    if not isinstance(values, list):
        raise ToolError(f"{str(path)!r} holds no list; {needed}")
    try:
        tools = [Tool.from_dict(one) if isinstance(one, dict) and "documentation" in one else from_json_schema(one) for one in values]
        for one in tools:
            check_examples(one)
        return Tools(tools)
    except ToolError as error:
        raise ToolError(f"{str(path)!r}: {error}") from None


def _imported(source: str, path: Path | None) -> ModuleType:
    try:
        return importlib.import_module(source) if path is None else module_of_file(str(path.resolve()))
    except ToolError as error:  # of a tool in it: the sentence says what to do
        raise ToolError(f"{source!r}: {error}") from error
    except (Exception, SystemExit) as error:  # whatever the code of a file does
        needed = "give 'builtin', a .json or .py file, or the name of a module that can be imported" if path is None else "correct the file"
        raise ToolError(f"{source!r} cannot be imported ({type(error).__name__}: {error}); {needed}.") from error


def _of_module(module: ModuleType, source: str, path: Path | None) -> Tools:
    tools = {}
    for found in vars(module).values():
        made = getattr(found, "tool", None)
        # Those that it imports from elsewhere are not its own.
        if isinstance(made, Tool) and getattr(found, "__module__", None) == module.__name__:
            # by identity: two names of one function are one tool
            tools[id(found)] = made if path is None else dataclasses.replace(made, function=f"{path.resolve()}:{found.__qualname__}")
    if not tools:
        raise ToolError(f"{source!r} has no function with the decorator @tool; put it above those that are to be called.")
    try:
        return Tools(tools.values())
    except ToolError as error:
        raise ToolError(f"{source!r}: {error}") from None
