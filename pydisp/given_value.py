"""A value that a user writes as JSON, YAML or CSV: what would hang or break a parser, or what comes after it, is refused here in one sentence.

json_value('{"hidden_size": 64}', "config.json", "copy the whole folder again.")
yaml_value("keep_ratio: 0.5", "pydisp.yaml", "write lines such as 'keep_ratio: 0.5'.")
csv_rows("a,b", "matrix.csv", "give a CSV file.")

`place` is where the value stands, `needed` what to do about it: the end of a sentence with its full stop.

A value of JSON may take thirty times the memory that it has in the file. So a document has MOST_VALUES at most, which are 250 MiB, or 460
if all are keys of one object (measured); its text comes to this, up to four bytes a character, once as it stands and once in the values.
"""

import contextlib
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator

MOST_VALUES = 2_000_000  # of JSON
JSON_DEEPEST = 64  # schemas of tools have lists in lists 20 deep
YAML_DEEPEST = 20  # yaml reads deeper parts by recursion, to the end of Python's stack
YAML_MOST_VALUES = 200_000  # about 100 MiB and 2 s, or 6 s where yaml comes without its library in C
_LARGE_YAML, _MOST_YAML_WITHOUT_C = 1 << 17, 2 << 20  # characters; without it a million take up to 4 s
# A string of JSON, or what begins as one and has no end. The repeats are possessive: they keep no way back, so no text takes memory or long.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_MOST_LETTERS, _MOST_WORDS = 60, 400  # of a value that a sentence repeats, and of a library's message


def short(value) -> str:
    """The value as Python writes it, cut to a length that a sentence can hold."""
    try:
        words = repr(value)
    except (RecursionError, ValueError):  # a whole number of thousands of digits is not written either
        words = f"a value of type {type(value).__name__}, too large to be shown"
    return words if len(words) <= _MOST_LETTERS else f"{words[:_MOST_LETTERS]}…"


def first_line(error: Exception) -> str:
    """What a library says, cut to one line that a sentence can hold, or two after a colon: some repeat a whole file."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    words = (" ".join(lines[:2]) if lines[0].endswith(":") else lines[0]).rstrip(":")
    return words if len(words) <= _MOST_WORDS else f"{words[:_MOST_WORDS]}…"


def json_value(text: str | bytes, place: str, needed: str, *, strictly: bool = False, most_values: int = MOST_VALUES):
    """The value of JSON.

    Args:
        strictly: refuse also a key that stands twice in an object, and NaN and infinities, which are no JSON.
        most_values: lists, objects and what stands between their commas.
    Raises: ValueError for what is no JSON (from json.JSONDecodeError, which knows where it ends), is nested deeper than JSON_DEEPEST, has more
        values, or a number of thousands of digits.
    """
    text = _decoded(text, place, needed) if isinstance(text, bytes) else text
    check_values(text, place, needed, most_values)
    options = {"object_pairs_hook": _once, "parse_constant": _refuse_constant} if strictly else {}
    try:
        value = json.loads(text, **options)
    except _Refused as error:
        raise ValueError(f"{place}: {error}; {needed}") from None
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in error.doc.rstrip() else ""
        raise ValueError(f"{place} is no JSON ({error.msg.removesuffix(' at')} at {line}column {error.colno}); {needed}") from error
    except RecursionError:
        raise ValueError(_too_deep(place, JSON_DEEPEST, needed)) from None
    except ValueError:  # of `int`, which reads no more digits than these
        raise ValueError(f"{place} holds a number of thousands of digits; {needed}") from None
    check_depth(value, place, needed)
    return value


def _decoded(data: bytes, place: str, needed: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{place} is not UTF-8; {needed}") from None


def _has_more_values(text: str, most: int) -> bool:
    """Whether there are more commas and opening brackets outside of strings."""
    if _marks(text, 0, len(text)) <= most:  # those in strings too: most texts need no closer look
        return False
    count = end = 0
    for number, string in enumerate(_STRING.finditer(text)):
        count += _marks(text, end, string.start())
        if count > most or number > 2 * most:  # each value has one string, and perhaps one for its key
            return True
        end = string.end()
    return count + _marks(text, end, len(text)) > most


def _marks(text: str, start: int, end: int) -> int:
    return text.count(",", start, end) + text.count("[", start, end) + text.count("{", start, end)


def check_values(text: str, place: str, needed: str, most_values: int = MOST_VALUES) -> None:
    """Raises: ValueError if JSON, or lines of it that are kept together, hold more values; nothing is parsed to see that."""
    if _has_more_values(text, most_values):
        raise ValueError(f"{place} holds more than {most_values:,} values, and no more are read at once; {needed}")


def check_depth(value, place: str, needed: str, deepest: int = JSON_DEEPEST) -> None:
    """Raises: ValueError if lists, tuples or dicts are nested more than `deepest` deep; it takes no recursion to see that."""
    level = [value]
    for _ in range(deepest):
        inside = (inner for one in level for inner in _inside(one) if isinstance(inner, dict | list | tuple))
        level = list({id(inner): inner for inner in inside}.values())  # a list that holds itself twice would double at each step
        if not level:
            return
    raise ValueError(_too_deep(place, deepest, needed))


def _inside(value) -> Iterable:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()


def _too_deep(place: str, deepest: int, needed: str) -> str:
    return f"{place} holds lists in lists, more than {deepest} deep; {needed}"


class _Refused(Exception):
    """What strict JSON does not have."""


def _once(pairs: list[tuple]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise _Refused(f"the key {short(twice)} stands twice in one object, leave one out")
    return found


def _refuse_constant(constant: str):
    raise _Refused(f"{constant} is no value of JSON")


def csv_rows(text: str, place: str, needed: str, *, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """The rows of CSV that are not blank, each with the line on which it ends; cells without the white space before them.

    Raises: ValueError, naming the line, for quotes that are not closed or go on behind their end, and for a cell of more than 131,072 letters.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise ValueError(f"{place}, line {reader.line_num}: this is no CSV ({error}); {needed}") from None


def yaml_value(text: str, place: str, needed: str):
    """The value of YAML.

    Raises: as `yaml_root` and `yaml_part`.
    """
    root = yaml_root(text, place, needed)
    return None if root is None else yaml_part(root, place, needed)


def yaml_root(text: str, place: str, needed: str):
    """The node of YAML's value, for readers that tell the lines of its parts; None for an empty text.

    Raises: ValueError, naming the line, for what is no YAML, aliases (which may hold themselves, or grow a line to gigabytes), nesting of
        more than YAML_DEEPEST, more than YAML_MOST_VALUES, and a key that is no word or stands twice (yaml would take the last one).
    """
    import yaml

    loader = yaml.SafeLoader
    if len(text) > _LARGE_YAML:  # for smaller ones the reader in Python, whose messages say more; they differ in a few uses of tabs only
        loader = getattr(yaml, "CSafeLoader", loader)
    if loader is yaml.SafeLoader and len(text) > _MOST_YAML_WITHOUT_C:
        raise ValueError(
            f"{place} has more than {_MOST_YAML_WITHOUT_C:,} characters, and no more are read without libyaml; install a PyYAML that has it, "
            "as its wheels have, or split the file."
        )
    with _telling(text, place, needed):
        _check_characters(text, place)
        _check_events(text, place, needed, loader)
        root = yaml.compose(text, Loader=loader)
    _check_keys(root, place)
    return root


def yaml_part(node, place: str, needed: str):
    """The value of one node of `yaml_root`.

    Raises: ValueError, naming the line, for a tag that is not known or a value that Python cannot hold.
    """
    import yaml

    with _telling("", place, needed):
        try:
            return yaml.SafeLoader("").construct_document(node)
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError):  # whatever a value's type makes of its letters
            raise ValueError(
                f"{yaml_place(node, place)}: a value here cannot be read, such as a date that does not exist or a number of thousands of "
                "digits; put it in quotes."
            ) from None


def yaml_place(node, place: str) -> str:
    """`concepts.yaml, line 12`, of a node or an event."""
    return f"{place}, line {node.start_mark.line + 1}"


@contextlib.contextmanager
def _telling(text: str, place: str, needed: str) -> Iterator[None]:
    import yaml

    try:
        yield
    except yaml.reader.ReaderError as error:
        line, words = text.count("\n", 0, error.position), f"the character {short(chr(error.character))} is not allowed"
        raise ValueError(f"{place}, line {line + 1}: this is no YAML ({words}); {needed}") from None
    except yaml.YAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ValueError(f"{place}, line {mark.line + 1}: this is no YAML ({error.problem or error.context}); {needed}") from None


def _check_characters(text: str, place: str) -> None:
    """As yaml's own reader does; the one in C names other places for the same."""
    import yaml

    if found := yaml.reader.Reader.NON_PRINTABLE.search(text):
        raise yaml.reader.ReaderError(place, found.start(), ord(found[0]), "unicode", "")


def _check_events(text: str, place: str, needed: str, loader: type) -> None:
    """A stream of events needs no recursion and little memory."""
    import yaml

    depth = count = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"{yaml_place(event, place)}: there is the alias *{event.anchor}; write the value itself.")
        count += isinstance(event, yaml.NodeEvent)
        if count > YAML_MOST_VALUES:
            raise ValueError(
                f"{yaml_place(event, place)}: here the value {count:,} begins, and no more are read of one YAML file; split it."
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > YAML_DEEPEST:
            raise ValueError(f"{yaml_place(event, place)}: there are lists in lists, more than {YAML_DEEPEST} deep; {needed}")


def _check_keys(node, place: str) -> None:
    import yaml

    if isinstance(node, yaml.SequenceNode):
        for one in node.value:
            _check_keys(one, place)
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ValueError(f"{yaml_place(key, place)}: a list or a mapping stands for a key; write a word.")
            if key.value in seen:
                raise ValueError(f"{yaml_place(key, place)}: the key {short(key.value)} stands twice in one mapping; leave one out.")
            seen.add(key.value)
            _check_keys(value, place)
