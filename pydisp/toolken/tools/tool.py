"""Tool: a name, a typed signature, documentation, examples, and where its function is, if it has one.

    Tool("multiply", "The product of two numbers.", (Parameter("a", "number"), Parameter("b", "number")), (Example("Question: What is 3 times 4?\\nAnswer:", "3, 4"),),
         function="pydisp.toolken.tools.arithmetic:multiply")

A tool is data: it can be saved beside its toolkens, and its function is imported only in the process that calls it.
"""

import re
from dataclasses import dataclass

from pydisp.arguments import SWITCH, TEXT, check_fields, instance_of, list_of
from pydisp.given_value import short

TYPES = ("number", "integer", "string", "boolean", "list")
REJECT = "REJ"  # the name of the choice to call none; no tool may have it
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,79}")
_FUNCTION = re.compile(r"[^:].*:[A-Za-z_][A-Za-z0-9_.]*")
_CHOICES = {"number": (int, float), "integer": (int,), "string": (str,)}  # what a choice of a parameter of that type may be


class ToolError(ValueError):
    """A tool or a set of tools that cannot be; the message is one sentence."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a tool.

    Args:
        type: one of TYPES; a "number" may be whole or a decimal, a "list" holds values of any other type.
        choices: the only values allowed; () for any. is_required: whether a call must give it.
    """

    name: str
    type: str = "string"
    choices: tuple[str | int | float, ...] = ()
    is_required: bool = True
    documentation: str = ""

    def __post_init__(self):
        choices = list_of(instance_of((str, int, float), "give a text or a number"), "texts or numbers")
        check_fields(self, "Parameter: ", choices=choices, is_required=SWITCH, documentation=TEXT)


@dataclass(frozen=True)
class Example:
    """A call that shows how the tool is used.

    Args:
        text: what stands before the call, such as "Question: What is 3 times 4?\\nAnswer:". arguments: "3, 4".
    """

    text: str
    arguments: str

    def __post_init__(self):
        check_fields(self, "Example: ", text=TEXT, arguments=TEXT)


@dataclass(frozen=True)
class Tool:
    """A tool.

    Args:
        name: letters, digits, `_`, `.` and `-`, at most 80. documentation: sentences that say what it does; never empty.
        function: "module:qualified.name" of an importable function; None for a tool that is known by its documentation only.
    Raises: ToolError.
    """

    name: str
    documentation: str
    parameters: tuple[Parameter, ...] = ()
    examples: tuple[Example, ...] = ()
    function: str | None = None

    def __post_init__(self):
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name) or self.name == REJECT:
            raise ToolError(
                f"a tool is named {short(self.name)}; a name has letters, digits, '_', '.' and '-', begins with a letter or '_', and is not {REJECT}."
            )
        if not isinstance(self.documentation, str) or not self.documentation.strip():
            raise ToolError(f"tool {short(self.name)} has no documentation; give it a docstring or a description.")
        check_fields(
            self, f"tool {short(self.name)}: ", parameters=list_of(instance_of(Parameter, "give a Parameter"), "Parameter"),
            examples=list_of(instance_of(Example, "give an Example"), "Example"),
        )  # fmt: skip
        names = [one.name for one in self.parameters]
        for name in names:
            if names.count(name) > 1:
                raise ToolError(f"tool {short(self.name)} has two parameters named {short(name)}; name them apart.")
        for one in self.parameters:
            if not isinstance(one.name, str) or not _NAME.fullmatch(one.name):
                raise ToolError(
                    f"tool {short(self.name)} has a parameter named {short(one.name)}; its name needs letters, digits, '_', '.' and '-'."
                )
            if not isinstance(one.type, str) or one.type not in TYPES:
                raise ToolError(
                    f"parameter {short(one.name)} of tool {short(self.name)} is of type {short(one.type)}; known: {', '.join(TYPES)}."
                )
            for choice in one.choices:
                if type(choice) not in _CHOICES.get(one.type, ()) or choice != choice or choice in (float("inf"), float("-inf")):
                    raise ToolError(
                        f"parameter {short(one.name)} of tool {short(self.name)}, of type {one.type}, has the choice {short(choice)}; "
                        "choices are texts of a string, or finite numbers of a number or an integer."
                    )
        if self.function is not None and not (isinstance(self.function, str) and _FUNCTION.fullmatch(self.function)):
            raise ToolError(f"tool {short(self.name)} has the function {short(self.function)}; it is written 'module:name'.")

    @property
    def signature(self) -> str:
        """multiply(a: number, b: number); a parameter that may be left out ends with `?`."""
        parameters = [f"{one.name}{'?' * (not one.is_required)}: {one.type}" for one in self.parameters]
        return f"{self.name}({', '.join(parameters)})"

    def as_dict(self) -> dict:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "documentation": self.documentation,
            "parameters": [
                {"name": p.name, "type": p.type, "choices": list(p.choices), "is_required": p.is_required, "documentation": p.documentation}
                for p in self.parameters
            ],
            "examples": [{"text": one.text, "arguments": one.arguments} for one in self.examples],
            "function": self.function,
        }

    @classmethod
    def from_dict(cls, values: dict) -> "Tool":
        """The tool that `as_dict` wrote.

        Raises: ToolError for anything else.
        """
        try:
            return cls(
                values["name"],
                values["documentation"],
                tuple(Parameter(**{**one, "choices": tuple(one["choices"])}) for one in values["parameters"]),
                tuple(Example(**one) for one in values["examples"]),
                values["function"],
            )
        except ToolError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise ToolError(f"a saved tool lacks or misnames a part ({error}); copy the file again.") from None
