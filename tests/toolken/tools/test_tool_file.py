"""Tool files: JSON, Python files and modules give tools that can be called; what is none says why."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import toolken_sample_tools

from pydisp.toolken.tools.builtin import BUILTIN
from pydisp.toolken.tools.calling import Caller
from pydisp.toolken.tools.tool import ToolError
from pydisp.toolken.tools.tool_file import read_tools
from pydisp.toolken.tools.tools import Tools

IMPORT = "from pydisp.toolken.tools.definition import tool\n"
NAMES = ("half", "greet.politely", "total")


def test_builtin_is_a_name():
    assert read_tools("builtin") is BUILTIN


def check_calls(tools: Tools):
    with Caller(tools) as caller:
        assert caller.call("half", "9").text == "4.5"
        assert caller.call("greet.politely", "'Ann', times=2, loud=true").text == "Hello, AnnHello, Ann!"
        assert caller.call("total", "[1, 2.5], 3").text == "3.5 Decimal 2.0", (
            "floats where floats are asked for, and the limits of the call"
        )


def test_a_module_gives_its_functions_once_and_in_order():
    tools = read_tools("toolken_sample_tools")
    assert tools.names == NAMES
    check_calls(tools)


def test_a_file_gives_functions_that_the_worker_finds_again(tmp_path, monkeypatch):
    shutil.copy(toolken_sample_tools.__file__, tmp_path / "json.py")  # a name that would hide another module
    monkeypatch.chdir(tmp_path)
    tools = read_tools("json.py")
    assert tools.names == NAMES and tools["half"].function == f"{tmp_path.resolve()}/json.py:half"
    monkeypatch.chdir("/")
    check_calls(tools)
    assert sys.modules["json"] is json


def test_a_file_can_import_its_neighbours(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "neighbour_of_a_tool.py").write_text("def triple(x): return 3 * x\n")
    (tmp_path / "late_neighbour.py").write_text("ONE = 1\n")
    (tmp_path / "json.py").write_text("raise RuntimeError('a file that hides a module')\n")
    (tmp_path / "mine.py").write_text(
        "import json\nfrom neighbour_of_a_tool import triple\nfrom pydisp.toolken.tools.definition import tool\n"
        "@tool()\ndef three(x: int) -> int:\n    'Three times it, and one.'\n    import late_neighbour\n    return triple(x) + late_neighbour.ONE\n"
    )
    before = list(sys.path)
    tools = read_tools(tmp_path / "mine.py")
    assert sys.path == before
    with Caller(tools) as caller:
        assert caller.call("three", "4").text == "13"


def test_a_file_that_fails_leaves_the_path_as_it_was(tmp_path):
    (tmp_path / "fails.py").write_text("import no_such_module_at_all\n")
    before = list(sys.path)
    with pytest.raises(ToolError, match="cannot be imported"):
        read_tools(tmp_path / "fails.py")
    assert sys.path == before


def test_functions_from_elsewhere_are_not_a_file_s_own(tmp_path):
    (tmp_path / "more.py").write_text("from toolken_sample_tools import half\n")
    with pytest.raises(ToolError, match="no function with the decorator"):
        read_tools(tmp_path / "more.py")


def test_json_gives_both_forms(tmp_path):
    path = tmp_path / "tools.json"
    path.write_text(json.dumps([BUILTIN["add"].as_dict(), {"name": "now", "description": "The time."}]))
    tools = read_tools(str(path))
    assert tools["add"] == BUILTIN["add"] and tools["now"].function is None


@pytest.mark.parametrize(
    "content, says",
    [("[", "no JSON"), ("{}", "no list"), ("[" * 100_000, "lists in lists, more than 64 deep"), ("[]", "no tool"), ("[5]", "JSON object"), ('[{"documentation": "x"}]', "lacks or misnames"),
     (json.dumps([BUILTIN["add"].as_dict()] * 2), "two tools are named 'add'"), ("\xff", "is not UTF-8"),
     (json.dumps([{**BUILTIN["add"].as_dict(), "examples": [{"text": "t", "arguments": "1"}]}]), "an example of tool 'add'"),
     (json.dumps([{**BUILTIN["add"].as_dict(), "function": "os"}]), "written 'module:name'"),
     (json.dumps([{**BUILTIN["add"].as_dict(), "parameters": [{"name": 5, "type": "number", "choices": []}]}]), "parameter named 5")],
)  # fmt: skip
def test_json_that_is_no_tools_says_why(tmp_path, content, says):
    path = tmp_path / "tools.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(ToolError, match=says):
        read_tools(path)


@pytest.mark.parametrize("source", ["/no/such.json", "/no/such.py", "no_such_module", "", "a b", "..", "no.such.module", "/tmp"])
def test_sources_that_are_not_there_are_refused(source):
    with pytest.raises(ToolError, match="give 'builtin'"):
        read_tools(source)


def test_json_and_python_files_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "tools.json").write_text(json.dumps([{"name": "now", "description": "The time."}]), encoding="utf-8-sig")
    assert read_tools(tmp_path / "tools.json").names == ("now",)
    (tmp_path / "bare.py").write_text(f"{IMPORT}@tool\ndef twice(x: int):\n    'Twice it.'\n    return 2 * x\n", encoding="utf-8-sig")
    tools = read_tools(tmp_path / "bare.py")
    with Caller(tools) as caller:
        assert tools.names == ("twice",) and caller.call("twice", "4").text == "8"


@pytest.mark.parametrize(
    "code, says",
    [("@tool\ndef f(a):\n    'One.'\n", "parameter 'a' of 'f' has no annotation; annotate it with int, float, Decimal, str, bool, list or a Literal."),
     ("@tool\ndef f(a: int):\n    pass\n", "tool 'f' has no documentation; give it a docstring or a description."),
     ("@tool(name='g')\ndef f(a: int):\n    'One.'\n@tool(name='g')\ndef h(a: int):\n    'One.'\n", "two tools are named 'g'; a name stands for one tool: rename one.")],
)  # fmt: skip
def test_an_error_of_a_tool_in_a_file_is_passed_on_with_the_name_of_the_file(tmp_path, monkeypatch, code, says):
    path = tmp_path / "mine_with_an_error.py"
    path.write_text(IMPORT + code)
    with pytest.raises(ToolError) as caught:
        read_tools(path)
    assert str(caught.value) == f"{str(path)!r}: {says}"
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ToolError) as caught:
        read_tools("mine_with_an_error")
    assert str(caught.value) == f"'mine_with_an_error': {says}"


@pytest.mark.parametrize(
    "content, says", [([{"name": "a"}], "tool 'a' has no documentation"), ([5], "a tool is described by 5"), ([], "there is no tool")]
)
def test_an_error_of_a_tool_in_json_has_the_name_of_the_file(tmp_path, content, says):
    (tmp_path / "tools.json").write_text(json.dumps(content))
    with pytest.raises(ToolError) as caught:
        read_tools(tmp_path / "tools.json")
    assert str(caught.value).startswith(f"{str(tmp_path / 'tools.json')!r}: {says}")


@pytest.mark.parametrize("name", ["tools.json", "tools.py"])
def test_a_pipe_is_refused_at_once(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ToolError, match=f"{name} is a pipe; give 'builtin', a .json or .py file"):
        read_tools(tmp_path / name)


def test_an_empty_json_file_is_said_to_be_empty(tmp_path):
    (tmp_path / "tools.json").write_text(" \n")
    with pytest.raises(ToolError, match="^'.*tools.json' is empty; give a list of tools or of JSON schemas.$"):
        read_tools(tmp_path / "tools.json")


@pytest.mark.parametrize("code", ["def f(:", "raise RuntimeError('no')", "import no_such_module", "exit()"])
def test_a_file_that_cannot_be_imported_says_why(tmp_path, code):
    Path(tmp_path / "broken.py").write_text(code)
    with pytest.raises(ToolError, match=r"broken.py' cannot be imported \(.*\); correct the file.$"):
        read_tools(tmp_path / "broken.py")


def test_a_lambda_in_a_file_says_what_a_tool_is(tmp_path):
    Path(tmp_path / "made.py").write_text("from pydisp.toolken.tools.definition import tool\nf = tool()(lambda a: a)\n")
    with pytest.raises(ToolError, match="a lambda cannot be a tool"):
        read_tools(tmp_path / "made.py")
