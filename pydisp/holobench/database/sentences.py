"""Sentences: each row of a table as one line of text, and the row read back from it.

    writer = Writer(table, Draws(seed, "sentences", table.name))
    text = writer.sentence(row, writer.wording(number))     # "Order 101: Lisa Palmer bought Ruby Belt for 612."
    parse(table, text) == row

A table has wordings of its own or plain ones: "wine 12: grape Zinfandel, year 2008, price 35." NULL is the bare word `unknown`. A text stands as
it is, or in quotes where it could be misread: `"` is doubled there, `\\` too, and a line end or control character is `\\n` or `\\u` with four digits.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache

from pydisp.draws import Draws
from pydisp.holobench.database.tables import Column, Table, TableError, Value

NULL = "unknown"
_QUOTED = r'"(?:[^"\\]|""|\\.)*+"'
_NUMBERS = {"integer": r"-?[0-9]+", "date": r"[0-9]{4}-[0-9]{2}-[0-9]{2}"}
# Line ends of every kind, other control characters, and halves of pairs, which no file can hold.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ESCAPE = re.compile(r'""|\\n|\\\\|\\u([0-9a-f]{4})')


def _quoted(text: str) -> str:
    text = text.replace("\\", "\\\\").replace('"', '""').replace("\n", "\\n")
    return '"' + _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + '"'


def _unquoted(text: str) -> str:
    plain = {'""': '"', "\\n": "\n", "\\\\": "\\"}
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else plain[found[0]], text[1:-1])


def _needs_quotes(text: str) -> bool:
    return not text or text == NULL or '"' in text or text != text.strip() or _HIDDEN.search(text) is not None


def _written(value: Value, quote: bool) -> str:
    if value is None:
        return NULL
    if isinstance(value, str):
        return _quoted(value) if quote or _needs_quotes(value) else value
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _text(found: str) -> str:
    return _unquoted(found) if found.startswith('"') else found


def _reader(column: Column) -> Callable[[str], Value]:
    return {"integer": int, "decimal": Decimal, "date": str, "text": _text}[column.kind]


class Wording:
    """One form of a table's sentences: literals with a column between each two.

    Args:
        literals: one more than places. places: of the columns, in the order of the sentence.
    """

    def __init__(self, columns: tuple[Column, ...], literals: list[str], places: list[int]):
        self.literals, self.places = literals, places
        self.quoted_only, self.any_form = (re.compile(self._pattern(columns, bare)) for bare in (False, True))

    def _pattern(self, columns: tuple[Column, ...], bare: bool) -> str:
        """What matches the sentence. A bare text ends where the next literal first comes, and is never tried longer: no text makes it slow."""
        pattern = re.escape(self.literals[0])
        for literal, place in zip(self.literals[1:], self.places, strict=True):
            column, after = columns[place], re.escape(literal)
            if column.kind == "text":
                is_last = place == self.places[-1]
                shortest = "" if is_last else "?"
                value = f'{_QUOTED}|[^"]+{shortest}' if bare else f"{_QUOTED}|{NULL}"
                pattern += f"({value}){after}" if is_last else f"(?>({value}){after})"
            else:
                number = _NUMBERS.get(column.kind) or r"-?[0-9]+" + (rf"\.[0-9]{{{column.decimals}}}" if column.decimals else "")
                pattern += f"({number}|{NULL}){after}"
        return pattern

    def text(self, row: tuple[Value, ...], quote: bool) -> str:
        parts = [self.literals[0]]
        for literal, place in zip(self.literals[1:], self.places, strict=True):
            parts += (_written(row[place], quote), literal)
        return "".join(parts)


def _from_template(table: Table, template: str) -> Wording:
    names = "|".join(re.escape(column.name) for column in table.columns)
    literals_and_names = re.split(rf"\{{({names})\}}", template)
    literals, named = literals_and_names[::2], literals_and_names[1::2]
    if sorted(named) != sorted(table.places):
        raise TableError(f"the wording {template!r} of {table.name} must name each column once: {', '.join(table.places)}.")
    if any(not literal or literal[0] in '0123456789"' for literal in literals[1:]) or "\n" in template:
        raise TableError(f"the wording {template!r} of {table.name} must have words or signs after each column, and no line end.")
    return Wording(table.columns, literals, [table.places[name] for name in named])


def _one_line(name: str) -> str:
    return " ".join(_HIDDEN.sub(" ", name).split())


def _plain(table: Table) -> list[Wording]:
    """`wine 12: grape Zinfandel, year 2008.` and `wine 12 has grape Zinfandel, year 2008.`"""
    keyed = [] if table.key is None else [table.places[table.key]]
    others = [place for place in range(len(table.columns)) if place not in keyed]
    if not others:
        return [Wording(table.columns, [f"{_one_line(table.name)} ", "."], keyed)]
    first, *more = (f"{_one_line(table.columns[place].words)} " for place in others)
    ends = [*(f", {words}" for words in more), "."]
    wordings = []
    for between in (": ", " has "):
        start = [f"{_one_line(table.name)} ", between + first] if keyed else [_one_line(table.name) + between + first]
        wordings.append(Wording(table.columns, [*start, *ends], keyed + others))
    return wordings


@lru_cache(maxsize=64)
def _wordings(name: str, columns: tuple[Column, ...], key: str | None, templates: tuple[str, ...]) -> tuple[Wording, ...]:
    table = Table(name, columns, (), key=key)
    return tuple(_from_template(table, template) for template in templates) or tuple(_plain(table))


def wordings_of(table: Table) -> tuple[Wording, ...]:
    """The forms of a table's sentences, read once for all tables with the same columns.

    Raises: TableError if a template does not name each column once.
    """
    return _wordings(table.name, table.columns, table.key, table.wordings)


def _parsed(columns: tuple[Column, ...], wordings: tuple[Wording, ...], text: str) -> tuple[Value, ...] | None:
    # Sentences with all texts in quotes first: they can be read in one way only, and are written when the other reading went wrong.
    for pattern_of in (lambda wording: wording.quoted_only, lambda wording: wording.any_form):
        for wording in wordings:
            if found := pattern_of(wording).fullmatch(text):
                row: list[Value] = [None] * len(columns)
                for place, value in zip(wording.places, found.groups(), strict=True):
                    row[place] = None if value == NULL else _reader(columns[place])(value)
                return tuple(row)
    return None


def parse(table: Table, text: str) -> tuple[Value, ...]:
    """The row that a sentence tells, with values typed as in the table.

    Raises: TableError for a text that is no sentence of this table.
    """
    row = _parsed(table.columns, wordings_of(table), text)
    if row is None:
        raise TableError(f"{text[:200]!r} is no sentence on a row of {table.name}; give one as it was written.")
    return row


class Writer:
    """Writes the rows of a table.

    Two rows that are the same, which a table without a key may have, give the same sentence if their wordings are the same. Both sentences stand in
    the text then, and both count: a reader must not take the second for a repetition.

    Args:
        draws: choose the wording of each row.
    """

    def __init__(self, table: Table, draws: Draws):
        self.table, self.wordings, self._draws = table, wordings_of(table), draws

    def wording(self, row_number: int) -> int:
        """Which wording the row with this number has; it depends on nothing but the draws' key and the number."""
        return self._draws.child("wording", row_number).below(len(self.wordings))

    def sentence(self, row: tuple[Value, ...], wording_number: int) -> str:
        """The row in one line, with all texts in quotes if it could not be read back otherwise.

        Raises: TableError if the table's own wordings cannot be told apart.
        """
        wording = self.wordings[wording_number]
        for quote in (False, True):
            text = wording.text(row, quote)
            if _parsed(self.table.columns, self.wordings, text) == row:
                return text
        raise TableError(f"the sentence {text[:200]!r} of {self.table.name} fits two of its wordings; change one of them.")


def sentences_of(table: Table, seed: int) -> list[str]:
    """A sentence for each row, in their order."""
    writer = Writer(table, Draws(seed, "sentences", table.name))
    return [writer.sentence(row, writer.wording(number)) for number, row in enumerate(table.rows)]
