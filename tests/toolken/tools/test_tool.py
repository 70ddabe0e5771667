"""A tool is complete or refused; a set of tools has each name once; both survive JSON."""

import json

import pytest

from pydisp.toolken.tools.tool import Example, Parameter, Tool, ToolError
from pydisp.toolken.tools.tools import Tools

ADD = Tool(
    "add", "The sum.", (Parameter("a", "number", (1, 2.5)), Parameter("b", "string", ("x",), False, "a word")), (Example("t", "1"),), "m:f"
)


def test_a_tool_survives_json():
    assert Tool.from_dict(json.loads(json.dumps(ADD.as_dict()))) == ADD
    assert ADD.signature == "add(a: number, b?: string)"


@pytest.mark.parametrize(
    "values, says",
    [({"name": ""}, "named ''"), ({"name": "a b"}, "named 'a b'"), ({"name": "REJ"}, "is not REJ"), ({"name": "9"}, "named '9'"), ({"name": "é"}, "named"),
     ({"name": "a\n"}, "named"), ({"name": "a" * 81}, "named"), ({"name": None}, "named None"), ({"documentation": " "}, "no documentation"),
     ({"documentation": None}, "no documentation"), ({"parameters": (Parameter("a"), Parameter("a"))}, "two parameters"),
     ({"parameters": (Parameter("a b"),)}, "named 'a b'"), ({"parameters": (Parameter("é"),)}, "named 'é'"), ({"parameters": (Parameter("a", "object"),)}, "type 'object'"),
     ({"parameters": (Parameter("a", "number", ("x",)),)}, "choice 'x'"), ({"parameters": (Parameter("a", "integer", (1.0,)),)}, "choice 1.0"),
     ({"parameters": (Parameter("a", "integer", (True,)),)}, "choice True"), ({"parameters": (Parameter("a", "boolean", (True,)),)}, "choice True"),
     ({"parameters": (Parameter("a", "number", (float("nan"),)),)}, "choice nan"), ({"parameters": (Parameter("a", "number", (float("inf"),)),)}, "choice inf"),
     ({"parameters": (Parameter("a", "list", ("x",)),)}, "choice 'x'"), ({"function": "os"}, "function 'os'"), ({"function": ":f"}, "function ':f'"),
     ({"function": "os:"}, "function"), ({"function": "os:a b"}, "function"), ({"function": 5}, "function 5")],
)  # fmt: skip
def test_what_cannot_be_a_tool_is_refused(values, says):
    with pytest.raises(ToolError, match=says):
        Tool(**{"name": "t", "documentation": "A tool.", **values})


def test_a_set_has_each_name_once_and_an_order():
    other = Tool("t", "A tool.")
    tools = Tools([ADD, other])
    assert tools.names == ("add", "t") and tools.index("t") == 1 and tools["t"] is other and "t" in tools and len(tools) == 2
    assert tools.without("add") == Tools([other]) and Tools([ADD]).merged(Tools([other])) == tools
    assert tools.digest == Tools([ADD, Tool("t", "A tool.")]).digest != Tools([other, ADD]).digest
    for call, says in (
        (lambda: Tools([]), "no tool"), (lambda: Tools([ADD, ADD]), "two tools are named 'add'"), (lambda: tools["u"], "known: add, t"),
        (lambda: tools.merged(tools), "two tools"), (lambda: Tools([other]).without("t"), "no tool"),
    ):  # fmt: skip
        with pytest.raises(ToolError, match=says):
            call()
