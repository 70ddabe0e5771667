"""Definition: a tool from an importable Python function, or from a JSON schema.

    @tool(examples=[("Question: What is half of 9?\\nAnswer:", "9")])
    def half(x: float) -> float:
        "Half of a number."
        return x / 2

The decorated function stays as it is and has its tool as `half.tool`.
"""

import inspect
import types
import typing
from collections.abc import Callable, Iterable
from decimal import Decimal

from pydisp.arguments import check, iterable_of
from pydisp.given_value import short
from pydisp.toolken.tools.arguments import ArgumentsError, bound, parse
from pydisp.toolken.tools.limits import LimitError
from pydisp.toolken.tools.tool import Example, Parameter, Tool, ToolError

_TYPES = {int: "integer", float: "number", Decimal: "number", str: "string", bool: "boolean", list: "list"}
_SCHEMA_TYPES = {"integer": "integer", "number": "number", "string": "string", "boolean": "boolean", "array": "list"}
_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def tool(function: Callable | None = None, /, *, examples: Iterable[Example | tuple[str, str]] = (), name: str | None = None) -> Callable:
    """A decorator, written @tool or @tool(...): the function's name, annotations and docstring become a tool.

    Args:
        function: what it decorates, where it is written without brackets.
        examples: calls, each a text and the arguments that follow it. name: another than the function's.
    Raises: ToolError as `from_function`.
    """
    if callable(examples) or not (function is None or callable(function)):
        found = function if function is not None else examples
        raise ToolError(f"the decorator got {found!r:.60}; it is written @tool or @tool(examples=[...], name='...').")

    def decorated(function: Callable) -> Callable:
        function.tool = from_function(function, examples=examples, name=name)
        return function

    return decorated if function is None else decorated(function)


def from_function(function: Callable, *, examples: Iterable[Example | tuple[str, str]] = (), name: str | None = None) -> Tool:
    """The tool of an importable function.

    The first paragraph of its docstring is the documentation. Parameters are annotated with int, float, Decimal, str, bool, list, or a Literal of
    texts or whole numbers; one with a default may be left out. A keyword-only `limits` is not one of them: it gets the `Limits` of the call.
    Raises: ToolError for a lambda, a function inside another, one of a program's main file, one that takes any number of arguments.
    """
    _check_importable(function)
    hints = typing.get_type_hints(function)
    parameters = []
    for one in inspect.signature(function).parameters.values():
        if one.name == "limits" and one.kind is inspect.Parameter.KEYWORD_ONLY:
            continue
        if one.kind not in _KINDS:
            raise ToolError(
                f"{function.__name__!r} takes {one}; give every argument of a tool a name of its own, by which it can be given."
            )
        kind, choices = _of_hint(function.__name__, one.name, hints.get(one.name))
        parameters.append(Parameter(one.name, kind, choices, one.default is inspect.Parameter.empty))
    documentation = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
    shown = tuple(_example(function.__name__, one) for one in check("examples", examples, iterable_of("examples")))
    made = Tool(name or function.__name__, documentation, tuple(parameters), shown, f"{function.__module__}:{function.__qualname__}")
    check_examples(made)
    return made


def _check_importable(function: Callable) -> None:
    needed = "a tool is a function that stands in a module by its own name, so that another process can import it"
    if not inspect.isfunction(function):
        raise ToolError(f"{function!r:.80} is no plain Python function; {needed}.")
    if function.__name__ == "<lambda>":
        raise ToolError(f"a lambda cannot be a tool; {needed}: write it with def.")
    if "." in function.__qualname__:
        raise ToolError(f"{function.__qualname__!r} stands inside a function or a class; {needed}: move it out.")
    if function.__module__ == "__main__":
        raise ToolError(f"{function.__name__!r} stands in the main file of this program; {needed}: move it to a file of its own.")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ToolError(f"{function.__name__!r} is a coroutine or a generator; let it return its result.")


def _example(function: str, one) -> Example:
    if isinstance(one, Example):
        return one
    if not isinstance(one, list | tuple) or len(one) != 2 or not all(isinstance(part, str) for part in one):
        raise ToolError(f"an example of {function!r} is {short(one)}; give a text and the arguments that follow it.")
    return Example(*one)


def _of_hint(function: str, name: str, hint) -> tuple[str, tuple]:
    """The type and the choices that an annotation stands for."""
    parts = [one for one in typing.get_args(hint) if one is not types.NoneType]
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        kinds = {type(one) for one in parts}
        if kinds in ({str}, {int}):
            return _TYPES[kinds.pop()], tuple(parts)
    elif origin in (typing.Union, types.UnionType):
        if len(parts) == 1:
            return _of_hint(function, name, parts[0])
        if set(parts) <= {int, float, Decimal}:
            return "number", ()
    elif origin is list:
        return "list", ()
    elif hint in _TYPES:
        return _TYPES[hint], ()
    found = "no annotation" if hint is None else f"the annotation {hint}"
    raise ToolError(f"parameter {name!r} of {function!r} has {found}; annotate it with int, float, Decimal, str, bool, list or a Literal.")


def check_examples(made: Tool) -> None:
    """Raises: ToolError for an example that is no valid call of its tool."""
    for one in made.examples:
        try:
            bound(made, parse(one.arguments))
        except (ArgumentsError, LimitError) as error:
            raise ToolError(f"an example of tool {made.name!r} has the arguments {one.arguments[:80]!r}: {error}") from None


def from_json_schema(values: dict) -> Tool:
    """The tool that a JSON schema describes, known by its documentation only.

    Args:
        values: {"type": "function", "function": {...}}, as chat interfaces take it; or {"name", "description", "parameters": schema}, where
            "parameters" may be named "input_schema" or "inputSchema"; or a schema alone, {"title", "description", "properties", "required"}.
    Raises: ToolError for what is none of these, and for parameters that are neither numbers, texts, booleans nor lists.
    """
    values = values.get("function", values) if isinstance(values, dict) else values
    if not isinstance(values, dict):
        raise ToolError(f"a tool is described by {short(values)}; give a JSON object with a name, a description and parameters.")
    name = values.get("name", values.get("title"))
    schema = next((values[key] for key in ("parameters", "input_schema", "inputSchema") if key in values), values)
    schema = {} if schema is None else schema
    properties, required = (schema.get("properties", {}), schema.get("required", [])) if isinstance(schema, dict) else (None, None)
    if not isinstance(properties, dict) or not isinstance(required, list):
        raise ToolError(
            f'the schema of tool {short(name)} has no object "properties" or no list "required"; write them as JSON Schema does.'
        )
    for one in required:
        if not isinstance(one, str) or one not in properties:
            raise ToolError(f"the schema of tool {short(name)} requires {short(one)}, which it does not have; add it to the properties.")
    parameters = tuple(_of_schema(name, key, one, key in required) for key, one in properties.items())
    return Tool(name, values.get("description"), parameters)


def _of_schema(tool_name: str, name: str, schema: dict, is_required: bool) -> Parameter:
    schema = schema if isinstance(schema, dict) else {}
    choices = [schema["const"]] if "const" in schema else schema.get("enum", [])
    if not isinstance(choices, list):
        raise ToolError(f'parameter {short(name)} of tool {short(tool_name)} has the enum {short(choices)}; an "enum" is a list of values.')
    kinds = schema.get("type")
    if kinds is None and choices:
        kinds = sorted({_schema_type(one) for one in choices})
    kinds = [kinds] if isinstance(kinds, str) else [] if kinds is None else kinds
    if not isinstance(kinds, list) or not all(isinstance(one, str) for one in kinds):
        raise ToolError(
            f'parameter {short(name)} of tool {short(tool_name)} has the type {short(kinds)}; a "type" is a word or a list of words.'
        )
    if "null" in kinds:
        kinds, is_required = [one for one in kinds if one != "null"], False
    if set(kinds) == {"integer", "number"}:
        kinds = ["number"]
    if len(kinds) != 1 or kinds[0] not in _SCHEMA_TYPES:
        raise ToolError(
            f"parameter {short(name)} of tool {short(tool_name)} is of type {', '.join(kinds)[:80] or 'nothing that is said'}; "
            f"it must be one of {', '.join(_SCHEMA_TYPES)}: leave it out or describe it as a string."
        )
    # a list of choices or a boolean with choices is not held to them
    kept = tuple(one for one in choices if one is not None) if kinds[0] in ("integer", "number", "string") else ()
    for one in kept:
        if not isinstance(one, str | int | float):
            raise ToolError(
                f"parameter {short(name)} of tool {short(tool_name)} has the choice {short(one)}; choices are texts or numbers."
            )
    return Parameter(name, _SCHEMA_TYPES[kinds[0]], kept, is_required, str(schema.get("description", "")))


def _schema_type(value) -> str:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", types.NoneType: "null"}
    return kinds.get(type(value), "object")
