"""Definition: annotations and schemas become signatures; what another process could not import is no tool."""

import math

import pytest
from toolken_sample_tools import greet, half, total

from pydisp.toolken.tools.definition import from_function, from_json_schema, tool
from pydisp.toolken.tools.tool import Example, Parameter, ToolError


def module_level(a: int, *rest):
    """Many."""


def keywords(**options):
    """Many."""


def positional(a: int, /):
    """One."""


def unannotated(a):
    """One."""


def strange(a: dict):
    """One."""


def undocumented(a: int):
    return a


def documented(a: str):
    """One."""
    return a


def mixed(a: int | str):
    """One."""


async def later(a: int):
    """One."""


def generator(a: int):
    """One."""
    yield a


class Holder:
    def method(self, a: int):
        """One."""


def test_a_decorated_function_stays_and_has_its_tool():
    assert half(9) == 4.5
    assert half.tool.as_dict() == {
        "name": "half", "documentation": "Half of a number.", "function": "toolken_sample_tools:half",
        "parameters": [{"name": "x", "type": "number", "choices": [], "is_required": True, "documentation": ""}],
        "examples": [{"text": "Question: What is half of 9?\nAnswer:", "arguments": "9"}],
    }  # fmt: skip
    assert greet.tool.name == "greet.politely"
    assert greet.tool.parameters == (
        Parameter("name", "string"), Parameter("times", "integer", is_required=False), Parameter("tone", "string", ("warm", "cold"), False),
        Parameter("loud", "boolean", is_required=False),
    )  # fmt: skip
    assert total.tool.signature == "total(values: list, factor?: number)"


@pytest.mark.parametrize(
    "function, says",
    [(lambda a: a, "a lambda cannot be a tool"), (module_level, "rest"), (keywords, "options"), (positional, "a name of its own"), (unannotated, "no annotation"),
     (strange, "annotation <class 'dict'>"), (mixed, "annotation int | str"), (undocumented, "no documentation"), (later, "coroutine"), (generator, "generator"),
     (Holder.method, "inside a function or a class"), (Holder().method, "no plain Python function"), (math.sqrt, "no plain Python function"),
     (Holder, "no plain Python function"), ("half", "no plain Python function")],
)  # fmt: skip
def test_what_cannot_be_a_tool_says_why(function, says):
    with pytest.raises(ToolError, match=says.replace("|", r"\|")):
        from_function(function)


def test_a_nested_function_and_one_of_the_main_file_are_refused():
    def nested(a: int):
        """One."""

    with pytest.raises(ToolError, match="inside a function"):
        tool()(nested)
    space = {"__name__": "__main__"}
    exec("def f(a: int):\n    'One.'", space)
    with pytest.raises(ToolError, match="main file"):
        from_function(space["f"])


def test_the_decorator_stands_with_and_without_brackets():
    with_brackets = tool()(documented).tool
    del documented.tool
    assert tool(documented) is documented and documented("5") == "5"
    assert documented.tool == with_brackets and with_brackets.signature == "documented(a: string)"
    with pytest.raises(ToolError, match="no documentation"):
        tool(undocumented)
    with pytest.raises(ToolError, match="no plain Python function"):
        tool(Holder)


@pytest.mark.parametrize("given", [[("How?", "9")], "third", 5])
def test_the_decorator_takes_what_it_is_given_by_name(given):
    with pytest.raises(ToolError, match=r"written @tool or @tool\(examples=\[...\], name='...'\)"):
        tool(given)
    with pytest.raises(ToolError, match=r"written @tool or @tool\(examples"):
        tool(examples=undocumented)


@pytest.mark.parametrize("arguments", ["", "1, 2", "'x'", "1)", "9" * 100])
def test_examples_must_be_calls_of_the_tool(arguments):
    with pytest.raises(ToolError, match="an example of tool 'half'"):
        from_function(half, examples=[Example("How?", arguments)])


SCHEMA = {
    "type": "object", "required": ["city", "days", "exact"],
    "properties": {
        "city": {"type": "string", "description": "where"}, "days": {"type": "integer", "enum": [1, 2, None]}, "unit": {"enum": ["C", "F"]},
        "exact": {"type": ["boolean", "null"]}, "hours": {"type": "array", "items": {"type": "number"}}, "scale": {"type": ["integer", "number"]},
        "kind": {"const": "air"},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [{"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": SCHEMA}},
     {"name": "weather", "description": "The weather.", "parameters": SCHEMA}, {"name": "weather", "description": "The weather.", "input_schema": SCHEMA},
     {"name": "weather", "description": "The weather.", "inputSchema": SCHEMA}, {"title": "weather", "description": "The weather.", **SCHEMA}],
)  # fmt: skip
def test_every_form_of_a_schema_gives_the_same_tool(values):
    made = from_json_schema(values)
    assert (made.name, made.documentation, made.function) == ("weather", "The weather.", None)
    assert made.parameters == (
        Parameter("city", "string", (), True, "where"), Parameter("days", "integer", (1, 2)), Parameter("unit", "string", ("C", "F"), False),
        Parameter("exact", "boolean", is_required=False), Parameter("hours", "list", is_required=False), Parameter("scale", "number", is_required=False),
        Parameter("kind", "string", ("air",), False),
    )  # fmt: skip


def test_a_schema_without_parameters_is_a_tool_without_arguments():
    for values in ({"name": "now", "description": "The time."}, {"name": "now", "description": "The time.", "parameters": None}):
        assert from_json_schema(values).signature == "now()"


@pytest.mark.parametrize(
    "values, says",
    [([], "JSON object"), ({"function": "f"}, "JSON object"), ({"description": "x"}, "a tool is named None"), ({"name": "a"}, "no documentation"),
     ({"name": "a", "description": "x", "parameters": {"properties": []}}, "no object"), ({"name": "a", "description": "x", "required": ["b"]}, "requires 'b'"),
     ({"name": "a", "description": "x", "properties": {"b": {"type": "string"}}, "required": [[]]}, "requires"), ({"name": "a" * 500, "description": "x"}, "a tool is named 'a{59}…"),
     ({"name": "a", "description": "x", "properties": {"b": {"type": "object"}}}, "type object"), ({"name": "a", "description": "x", "properties": {"b": {}}}, "nothing"),
     ({"name": "a", "description": "x", "properties": {"b": {"anyOf": [{"type": "string"}]}}}, "nothing"), ({"name": "a", "description": 5}, "documentation"),
     ({"name": "a", "description": "x", "properties": {"b": {"type": ["string", "integer"]}}}, "string, integer"), ({"name": "a b", "description": "x"}, "'a b'"),
     ({"name": "a", "description": "x", "properties": {"b c": {"type": "string"}}}, "'b c'"), ({"name": "a", "description": "x", "parameters": [1]}, "no object"),
     ({"name": "a", "description": "x", "properties": {"b": {"type": "integer", "enum": ["x"]}}}, "choice 'x'"),
     ({"name": "a", "description": "x", "properties": {"b": {"type": "number", "enum": 5}}}, "enum"), ({"name": "a", "description": "x", "properties": {"b": {"type": 5}}}, "'b' of tool 'a' has the type 5"),
     ({"name": "a", "description": "x", "properties": {"b": {"type": ["x", [1]]}}}, "has the type"), ({"name": "REJ", "description": "x"}, "REJ")],
)  # fmt: skip
def test_a_schema_that_is_no_tool_says_why(values, says):
    with pytest.raises(ToolError, match=says):
        from_json_schema(values)
