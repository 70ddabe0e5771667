"""Arguments: what stands between the brackets of a call, read by a small grammar; nothing is evaluated.

parse("12, 7")                               Arguments((12, 7), {})
parse("5, from_unit='km', to_unit='m'")      Arguments((5,), {"from_unit": "km", "to_unit": "m"})

arguments  [argument ("," argument)*]        named ones after the others; spaces may stand around everything
argument   value | name "=" value
value      number | string | true | false | null | "[" [value ("," value)*] "]"
number     -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?    ASCII digits; int, or Decimal where it has a point or an exponent
string     "..." or '...' with \\\\ \\" \\' \\/ \\n \\t \\r \\uXXXX; no control characters and no lone surrogates
"""

import re
from dataclasses import dataclass, field
from decimal import Decimal

from pydisp.toolken.tools.limits import LimitError, Limits
from pydisp.toolken.tools.tool import Parameter, Tool

Value = int | Decimal | str | bool | list | None

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
WORDS = {"true": True, "false": False, "null": None}
ESCAPES = {"\\": "\\", '"': '"', "'": "'", "/": "/", "n": "\n", "t": "\t", "r": "\r"}
# What may stand in a string as it is: no control characters, line ends or surrogates.
PLAIN = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\\\"']+")
UNICODE_ESCAPE = re.compile(r"u(?:[0-9a-cefA-CEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2})")
SPACES = re.compile(r"[ \t\n]*")
_NUMBER_START = re.compile(r"[-0-9]")
_NOT_AFTER_NUMBER = re.compile(r"[\w.]")


class ArgumentsError(ValueError):
    """Arguments that cannot be read, or do not fit the tool.

    Attributes:
        place: of the character that is wrong; None where the values are.
    """

    def __init__(self, message: str, place: int | None = None):
        super().__init__(message)
        self.place = place


@dataclass(frozen=True)
class Arguments:
    """The arguments of a call, not yet compared with the signature of a tool."""

    positional: tuple[Value, ...] = ()
    named: dict[str, Value] = field(default_factory=dict)


class _Reader:
    """Reads one text from left to right; `place` is where it stands."""

    def __init__(self, text: str, limits: Limits):
        self.text, self.limits, self.place = text, limits, 0

    def wrong(self, needed: str) -> ArgumentsError:
        found = repr(self.text[self.place]) if self.place < len(self.text) else "the end"
        return ArgumentsError(f"at character {self.place + 1} of the arguments stands {found}; {needed}.", self.place)

    def matched(self, pattern: re.Pattern) -> str | None:
        found = pattern.match(self.text, self.place)
        if found is None:
            return None
        self.place = found.end()
        return found[0]

    def skip_spaces(self) -> None:
        self.matched(SPACES)

    def took(self, character: str) -> bool:
        """Whether the character stands here; spaces after it are skipped."""
        if not self.text.startswith(character, self.place):
            return False
        self.place += 1
        self.skip_spaces()
        return True

    def arguments(self) -> Arguments:
        positional, named = [], {}
        self.skip_spaces()
        while self.place < len(self.text) or positional or named:
            start = self.place
            name = self.matched(NAME)
            self.skip_spaces()
            if name is not None and self.took("="):
                if name in named:
                    self.place = start
                    raise self.wrong(f"{name[:40]!r} is given twice; give each argument once")
                named[name] = self.value(0)
            else:
                self.place = start
                if named:
                    raise self.wrong("after a named argument every other is named too")
                positional.append(self.value(0))
            self.skip_spaces()
            if self.place == len(self.text):
                break
            if not self.took(","):
                raise self.wrong("a comma or the end must follow a value")
        return Arguments(tuple(positional), named)

    def value(self, depth: int) -> Value:
        first = self.text[self.place : self.place + 1]
        if first in ("'", '"'):
            return self.string(first)
        if first == "[":
            return self.list(depth + 1)
        if _NUMBER_START.match(first):
            return self.number()
        start = self.place
        word = self.matched(NAME)
        if word in WORDS:
            return WORDS[word]
        self.place = start
        raise self.wrong("a number, a string in quotation marks, true, false, null or a list is needed")

    def number(self) -> int | Decimal:
        start = self.place
        found = NUMBER.match(self.text, start)
        if found is None:
            raise self.wrong("a number is digits with at most one '-' before and one '.' inside")
        self.place = found.end()
        if _NOT_AFTER_NUMBER.match(self.text, self.place):
            raise self.wrong("a number ends with a digit and is followed by a comma or the end; it has no zeros in front")
        text, exponent = found[0], found[2]
        digits = sum(map(str.isdigit, text.removesuffix(exponent or "")))
        if digits > self.limits.digits:
            raise LimitError(f"a number has {digits} digits; it can have {self.limits.digits} at most.")
        if exponent and not exponent_fits(exponent[1:], self.limits):
            raise LimitError(f"the exponent of a number is {exponent[1:9]!r}; it can be {self.limits.exponent} at most.")
        return Decimal(text) if found[1] or exponent else int(text)

    def string(self, quote: str) -> str:
        self.place += 1
        parts, length = [], 0
        while True:
            if (part := self.matched(PLAIN)) is None:
                mark = self.text[self.place : self.place + 1]
                if mark == quote:
                    self.place += 1
                    return "".join(parts)
                if mark == "\\":
                    part = self.escape()
                elif mark in ("'", '"'):
                    part = mark
                    self.place += 1
                else:
                    raise self.wrong(f"a string ends with {quote} and has no control characters in it")
            parts.append(part)
            length += len(part)
            if length > self.limits.text_length:
                raise LimitError(f"a string has more than {self.limits.text_length} characters; give a shorter one.")

    def escape(self) -> str:
        self.place += 1
        mark = self.text[self.place : self.place + 1]
        if mark in ESCAPES:
            self.place += 1
            return ESCAPES[mark]
        if (code := self.matched(UNICODE_ESCAPE)) is not None:
            return chr(int(code[1:], 16))
        raise self.wrong("after a backslash stands one of \\ \" ' / n t r, or u and four hexadecimal digits of a character")

    def list(self, depth: int) -> list:
        if depth > self.limits.nesting:
            raise LimitError(f"lists stand inside each other more than {self.limits.nesting} deep; give flatter ones.")
        self.took("[")
        values = []
        if self.took_end():
            return values
        while True:
            if len(values) == self.limits.list_length:
                raise LimitError(f"a list has more than {self.limits.list_length} values; give a shorter one.")
            values.append(self.value(depth))
            self.skip_spaces()
            if self.took_end():
                return values
            if not self.took(","):
                raise self.wrong("a comma or ']' must follow a value of a list")

    def took_end(self) -> bool:
        if not self.text.startswith("]", self.place):
            return False
        self.place += 1
        return True


def exponent_fits(text: str, limits: Limits) -> bool:
    """Whether an exponent, as it is written, is within the limits; no more zeros in front than the limit has digits."""
    digits = text.lstrip("+-")
    return len(digits) <= len(str(limits.exponent)) and int(digits) <= limits.exponent


def parse(text: str, limits: Limits = Limits()) -> Arguments:  # noqa: B008 (frozen)
    """The arguments that a text, without the brackets around it, stands for.

    Raises: ArgumentsError with the place of what is wrong; LimitError for numbers, strings and lists that are too large.
    """
    return _Reader(text, limits).arguments()


def bound(tool: Tool, arguments: Arguments) -> dict[str, Value]:
    """The arguments by the names of the tool's parameters; null stands for one that is left out.

    Raises: ArgumentsError for too many, unknown, doubled or missing ones, and for values of another type or outside the choices.
    """
    names = [one.name for one in tool.parameters]
    if len(arguments.positional) > len(names):
        raise ArgumentsError(f"{len(arguments.positional)} arguments are given; {tool.signature} takes {len(names)} at most.")
    given = dict(zip(names, arguments.positional, strict=False))
    for name, value in arguments.named.items():
        if name not in names:
            raise ArgumentsError(f"there is no argument {name[:40]!r}; the tool is {tool.signature}.")
        if name in given:
            raise ArgumentsError(f"the argument {name!r} is given twice; the tool is {tool.signature}.")
        given[name] = value
    result = {}
    for one in tool.parameters:
        value = given.get(one.name)
        if value is not None:
            check(one, value)
            result[one.name] = value
        elif one.is_required:
            raise ArgumentsError(f"the argument {one.name!r} is missing; the tool is {tool.signature}.")
    return result


def check(parameter: Parameter, value: Value) -> None:
    """Raises: ArgumentsError if the parameter cannot have the value."""
    is_number = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
    fits = {
        "number": is_number,
        "integer": is_number and isinstance(value, int),
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "list": isinstance(value, list),
    }
    if not fits[parameter.type]:
        article = "an" if parameter.type == "integer" else "a"
        raise ArgumentsError(f"the argument {parameter.name!r} is {written([value])[:60]}; it must be {article} {parameter.type}.")
    if parameter.choices and value not in choices(parameter):
        known = written(choices(parameter)[:12]) + (", ..." if len(parameter.choices) > 12 else "")
        raise ArgumentsError(f"the argument {parameter.name!r} is {written([value])[:60]}; it must be one of {known}.")


def choices(parameter: Parameter) -> list[Value]:
    """The choices as `parse` would read them: floats become the decimals that they are written as."""
    return [Decimal(repr(one)) if isinstance(one, float) else one for one in parameter.choices]


def written(values: list | tuple | dict) -> str:
    """The text that `parse` reads as these values: positional ones for a list or tuple, named ones for a dict.

    A number is written as Python does, whatever it was read from: 123456e200 as 1.23456E+205, which may lie outside the limits it was within.
    Raises: TypeError for a value that has no such text.
    """
    if isinstance(values, dict):
        return ", ".join(f"{name}={_written(value)}" for name, value in values.items())
    return ", ".join(map(_written, values))


def _written(value: Value) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal) and value.is_finite():
        return str(value)
    if isinstance(value, list):
        return f"[{written(value)}]"
    if isinstance(value, str):
        return f'"{"".join(map(written_character, value))}"'
    raise TypeError(
        f"{type(value).__name__} {value!r:.60} is no value of a call; give numbers, strings, true, false, null or lists of them."
    )


def written_character(character: str) -> str:
    """A character of a string as it stands between quotation marks, escaped where it must be."""
    if character in '\\"':
        return f"\\{character}"
    if character in "\n\t\r":
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}[character]
    if character == "'" or PLAIN.fullmatch(character):
        return character
    if "\ud800" <= character <= "\udfff":
        raise TypeError(f"a string has the lone surrogate \\u{ord(character):04x}; give whole characters.")
    return f"\\u{ord(character):04x}"
