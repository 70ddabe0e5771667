"""Beginnings of calls, for decoding that is held to a tool's signature; the text is what stands after "name(".

    state('12, "a') == "incomplete"; state('12, "a")') == "complete"; state("12 7") == "broken"
    continues(BUILTIN["convert"], '5, "k'); not continues(BUILTIN["convert"], '5, "x'); completion(BUILTIN["add"], "5, ") == "b=0)"

`continues` is exact: it holds for every beginning of every call that `arguments.parse` and `arguments.bound` accept, and for no other text.
`completion` is the proof, for it gives an end with which the beginning becomes such a call. `plain_prefix` has the stricter rules of writing.
"""

from decimal import Decimal

from pydisp.toolken.tools.arguments import ESCAPES, NAME, PLAIN, SPACES, UNICODE_ESCAPE, WORDS, choices
from pydisp.toolken.tools.limits import Limits
from pydisp.toolken.tools.number_prefix import BEGUN, number_rest
from pydisp.toolken.tools.string_prefix import string_rest
from pydisp.toolken.tools.tool import Parameter, Tool

_SHORTEST = {"number": "0", "integer": "0", "string": '""', "boolean": "true", "list": "[]"}


class Broken(Exception):
    """No call begins like this."""


class Ended(Exception):
    """The text ends inside a value, which `rest` completes."""

    def __init__(self, rest: str | None):
        if rest is None:
            raise Broken
        self.rest = rest


def state(text: str, limits: Limits = Limits()) -> str:  # noqa: B008 (frozen)
    """What a text after "name(" is, whatever the tool.

    Returns: "complete" where its last character is the bracket that ends the call, "incomplete" where a call can go on like this, else "broken".
    """
    rest = Beginning(None, text, limits).completion()
    return "broken" if rest is None else "incomplete" if rest else "complete"


def closed_at(text: str, limits: Limits = Limits()) -> int | None:  # noqa: B008
    """The place behind the bracket that ends the call, None if none does; the text may go on behind it."""
    beginning = Beginning(None, text, limits)
    beginning.completion()
    return beginning.closed_at


def completion(tool: Tool, text: str, limits: Limits = Limits()) -> str | None:  # noqa: B008
    """An end with which the text becomes a valid call of the tool: "" where it is one, None where there is no such end."""
    return Beginning(tool, text, limits).completion()


def continues(tool: Tool, text: str, limits: Limits = Limits()) -> bool:  # noqa: B008
    """Whether a valid call of the tool begins with the text, or is it: names, types, choices, number of arguments, limits of values."""
    return completion(tool, text, limits) is not None


def _shortest(parameter: Parameter | None, limits: Limits) -> str | None:
    """A value that the parameter can have, as text; None if there is none."""
    if parameter is None:
        return "0"
    if not parameter.is_required:
        return "null"
    if not parameter.choices:
        return _SHORTEST[parameter.type]
    allowed = choices(parameter)
    if parameter.type == "string":
        rest = string_rest("", None, '"', allowed, limits)
        return None if rest is None else f'"{rest}'
    ends = {sign: number_rest(sign, parameter.type == "integer", allowed, limits) for sign in ("", "-")}
    return next((sign + rest for sign, rest in ends.items() if rest is not None), None)


def _takes_word(parameter: Parameter | None, meaning: bool | None) -> bool:
    if parameter is None:
        return True
    return not parameter.is_required if meaning is None else parameter.type == "boolean"


class Beginning:
    """Reads the beginning of a call from left to right; `place` is where it stands. A `tool` of None takes every argument."""

    def __init__(self, tool: Tool | None, text: str, limits: Limits):
        self.text, self.limits, self.place, self.closed_at = text, limits, 0, None
        self.takes_all, self.has_names = tool is None, False
        self.left = {} if tool is None else {one.name: one for one in tool.parameters}  # what is not given yet, in order
        self.names: set[str] = set()  # that were given to one that takes all

    @property
    def is_at_end(self) -> bool:
        return self.place == len(self.text)

    def is_at(self, character: str) -> bool:
        return self.text.startswith(character, self.place)

    def took(self, character: str) -> bool:
        is_here = self.is_at(character)
        self.place += len(character) * is_here
        return is_here

    def skip_spaces(self) -> None:
        self.place = SPACES.match(self.text, self.place).end()

    def skip_spaces_behind(self) -> None:
        """Behind a value or a name."""
        self.skip_spaces()

    def completion(self) -> str | None:
        try:
            return self.call()
        except Broken:
            return None

    def call(self) -> str:
        self.skip_spaces()
        separator = ""
        while separator or not (self.is_at_end or self.is_at(")")):
            try:
                self.argument()
            except Ended as ended:
                return ended.rest + self.rest(", ")
            self.skip_spaces_behind()
            separator = ", "
            if self.is_at_end or self.is_at(")"):
                break
            if not self.took(","):
                raise Broken
            self.skip_spaces()
        if self.is_at_end:
            return self.rest(separator)
        self.closed_at = self.place + 1
        if self.closed_at < len(self.text) or any(one.is_required for one in self.left.values()):
            raise Broken
        return ""

    def rest(self, separator: str) -> str:
        """What must still be given, by name, and the bracket."""
        values = {one.name: _shortest(one, self.limits) for one in self.left.values() if one.is_required}
        if None in values.values():
            raise Broken
        return (separator if values else "") + ", ".join(f"{name}={value}" for name, value in values.items()) + ")"

    def argument(self) -> None:
        if self.is_at_end:
            raise Ended(self.another())
        start = self.place
        if (found := NAME.match(self.text, start)) is not None:
            self.place = found.end()
            self.skip_spaces_behind()
            if self.took("="):
                self.skip_spaces()
                return self.value(self.taken(found[0]))
            if self.is_at_end:
                self.begun_word(found[0], is_open=found.end() == len(self.text))
        self.place = start
        self.value(self.taken())

    def taken(self, name: str | None = None) -> Parameter | None:
        """The parameter of that name, or the next one, which is not left from now on; None for one that takes any value."""
        if name is None and self.has_names:
            raise Broken
        self.has_names = name is not None
        if self.takes_all:
            if name in self.names:
                raise Broken
            self.names |= {name} if name is not None else set()
            return None
        name = next(iter(self.left), None) if name is None else name
        if name not in self.left:
            raise Broken
        return self.left.pop(name)

    def another(self) -> str:
        """An argument that can stand here."""
        if self.takes_all:
            return f"{self.free_name('a')}=0"
        # Required ones first: those that may be left out can be null.
        for name in sorted(self.left, key=lambda name: not self.left[name].is_required):
            if (value := _shortest(self.taken(name), self.limits)) is not None:
                return f"{name}={value}"
            break
        raise Broken

    def free_name(self, begun: str) -> str:
        while begun in self.names:
            begun += "_"
        return begun

    def begun_word(self, word: str, is_open: bool) -> None:
        """The text ends with a word, or with the beginning of one (`is_open`): a value that stands alone, or a name."""

        def can_be(whole: str) -> bool:
            return whole.startswith(word) if is_open else whole == word

        if not self.has_names and (self.takes_all or self.left):
            following = None if self.takes_all else next(iter(self.left.values()))
            for value, meaning in WORDS.items():
                if can_be(value) and _takes_word(following, meaning):
                    self.taken()
                    raise Ended(value[len(word) :])
        for name in [self.free_name(word)] if self.takes_all else list(self.left):
            if can_be(name) and (value := _shortest(self.taken(name), self.limits)) is not None:
                raise Ended(f"{name[len(word) :]}={value}")
        raise Broken

    def value(self, parameter: Parameter | None, depth: int = 0) -> None:
        """Reads a value that the parameter can have."""
        if self.is_at_end:
            raise Ended(_shortest(parameter, self.limits))
        kind = None if parameter is None else parameter.type
        first = self.text[self.place]
        allowed = choices(parameter) if parameter is not None and parameter.choices else None
        if first in "\"'" and kind in (None, "string"):
            self.string(first, allowed)
        elif first == "[" and kind in (None, "list"):
            self.list(depth + 1)
        elif first in "-0123456789" and kind in (None, "number", "integer"):
            self.number(kind == "integer", allowed)
        else:
            self.word(parameter)

    def word(self, parameter: Parameter | None) -> None:
        found = NAME.match(self.text, self.place)
        word = found[0] if found else " "
        self.place += len(word)
        for value in [value for value, meaning in WORDS.items() if _takes_word(parameter, meaning)]:
            if value == word:
                return
            if self.is_at_end and value.startswith(word):
                raise Ended(value[len(word) :])
        raise Broken

    def number(self, is_whole: bool, allowed: list[int | Decimal] | None) -> None:
        token = BEGUN.match(self.text, self.place)[0]
        self.place += len(token)
        rest = number_rest(token, is_whole, allowed, self.limits)
        if self.is_at_end:
            raise Ended(rest)
        if rest != "":
            raise Broken

    def string(self, quote: str, allowed: list[str] | None) -> None:
        self.place += 1
        content = ""
        while not self.is_at_end:
            if (found := PLAIN.match(self.text, self.place)) is not None:
                self.place = found.end()
                content += found[0]
            elif self.took(quote):
                if len(content) > self.limits.text_length or (allowed is not None and content not in allowed):
                    raise Broken
                return
            elif self.is_at("'") or self.is_at('"'):
                content += self.text[self.place]
                self.place += 1
            elif self.took("\\"):
                content += self.escaped(content, quote, allowed)
            else:
                raise Broken
        raise Ended(string_rest(content, None, quote, allowed, self.limits))

    def escaped(self, content: str, quote: str, allowed: list[str] | None) -> str:
        begun = self.text[self.place : self.place + 5]
        if begun[:1] in ESCAPES:
            self.place += 1
            return ESCAPES[begun[0]]
        if (found := UNICODE_ESCAPE.match(begun)) is not None:
            self.place += 5
            return chr(int(found[0][1:], 16))
        if self.place + len(begun) < len(self.text) or len(begun) == 5:
            raise Broken
        raise Ended(string_rest(content, begun, quote, allowed, self.limits))

    def list(self, depth: int) -> None:
        if depth > self.limits.nesting:
            raise Broken
        self.place += 1
        self.skip_spaces()
        count = 0
        while not (count == 0 and self.took("]")):
            if self.is_at_end and count == 0:
                raise Ended("]")
            if count == self.limits.list_length:
                raise Broken
            try:
                self.value(None, depth)
            except Ended as ended:
                raise Ended(f"{ended.rest}]") from None
            count += 1
            self.skip_spaces_behind()
            if self.took("]"):
                return
            if self.is_at_end:
                raise Ended("]")
            if not self.took(","):
                raise Broken
            self.skip_spaces()
