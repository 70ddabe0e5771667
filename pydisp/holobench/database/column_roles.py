"""Column roles: the key of a table, the references between tables, and what can be asked of each other column."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pydisp.holobench.database.nouns import nouns
from pydisp.holobench.database.tables import Column, Reference, Table, Value

_ID_ENDS = ("id", "no", "code")
_NO_MEASURE_ENDS = (*_ID_ENDS, "number", "zip", "phone")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
_LABEL_CHARACTERS, _CATEGORY_CHARACTERS = 60, 40


@dataclass
class Declared:
    """What a file says about a table.

    Args:
        key: its primary key, if that is one column. references: of one column each; the target "" is the other table's primary key.
    """

    key: str | None = None
    references: list[Reference] = field(default_factory=list)


@dataclass
class Draft:
    """A table whose columns have kinds, and no roles yet; values by column."""

    name: str
    columns: list[Column]
    values: list[list[Value]]
    declared: Declared
    key: str | None = None
    references: list[Reference] = field(default_factory=list)

    def named(self, name: str) -> tuple[Column, list[Value]] | None:
        for column, values in zip(self.columns, self.values, strict=True):
            if column.name.casefold() == name.casefold():
                return column, values
        return None

    @property
    def count(self) -> int:
        return len(self.values[0])


def is_unique(values: Sequence[Value]) -> bool:
    """Whether each row has a value of its own."""
    return None not in values and len(set(values)) == len(values)


def tables_of(drafts: list[Draft]) -> tuple[tuple[Table, ...], list[str]]:
    """The tables with keys, references and roles, and a sentence on each that is not as the file declares it."""
    notes: list[str] = []
    for draft in drafts:
        draft.key = _key(draft, notes)
    for draft in drafts:
        _add_declared(draft, drafts, notes)
    for draft in drafts:
        _add_inferred(draft, drafts, notes)
    return tuple(_table(draft) for draft in drafts), notes


def _key(draft: Draft, notes: list[str]) -> str | None:
    if draft.declared.key and (found := draft.named(draft.declared.key)):
        if is_unique(found[1]):
            return found[0].name
        notes.append(f"{draft.name}.{found[0].name} is no key, because it has no value or the same value in some rows.")
    for place, (column, values) in enumerate(zip(draft.columns, draft.values, strict=True)):
        is_id = column.name.casefold().endswith(_ID_ENDS) and column.kind in ("integer", "text")
        if (is_id or (place == 0 and column.kind == "integer")) and is_unique(values):
            return column.name
    return None


def _holds(values: list[Value], targets: list[Value]) -> bool:
    return set(values) - {None} <= set(targets)


def _add_declared(draft: Draft, drafts: list[Draft], notes: list[str]) -> None:
    for reference in draft.declared.references:
        column = draft.named(reference.column)
        other = next((other for other in drafts if other.name.casefold() == reference.table.casefold()), None)
        target = other and other.named(reference.target or other.declared.key or "")
        if not (column and other and target):
            continue  # a part of it was left out, which has its own note
        what = f"the reference {draft.name}.{column[0].name} to {other.name}.{target[0].name} is left out, because"
        if column[0].kind != target[0].kind:
            notes.append(f"{what} one is {column[0].kind} and the other {target[0].kind}.")
        elif not is_unique(target[1]):
            notes.append(f"{what} {other.name} has several rows or none for a value.")
        elif not _holds(column[1], target[1]):
            notes.append(f"{what} some of its values are not there.")
        elif all(have.column != column[0].name for have in draft.references):
            draft.references.append(Reference(column[0].name, other.name, target[0].name))


def _add_inferred(draft: Draft, drafts: list[Draft], notes: list[str]) -> None:
    """References that the file does not declare: the same name, and no value that the other table lacks."""
    taken = {draft.key} | {reference.column for reference in draft.references}
    for column, values in zip(draft.columns, draft.values, strict=True):
        if column.name in taken or column.kind not in ("integer", "text"):
            continue
        others = sorted(
            (other for other in drafts if other is not draft), key=lambda other: (other.key or "").casefold() != column.name.casefold()
        )
        for other in others:
            target = _target(column, values, other)
            if target and Reference(target.name, draft.name, column.name) not in other.references:
                draft.references.append(Reference(column.name, other.name, target.name))
                notes.append(f"{draft.name}.{column.name} is taken to refer to {other.name}.{target.name}, because names and values fit.")
                break


def _target(column: Column, values: list[Value], other: Draft) -> Column | None:
    found = other.named(column.name)
    if not found or found[0].kind != column.kind or not is_unique(found[1]) or not _holds(values, found[1]):
        return None
    # Small numbers of two measures may fit by chance; numbers that are a key are there to be referred to.
    return found[0] if column.kind == "text" or found[0].name == other.key else None


def _table(draft: Draft) -> Table:
    referring = {reference.column for reference in draft.references}
    roles = {}
    for column, values in zip(draft.columns, draft.values, strict=True):
        if column.name == draft.key:
            roles[column.name] = "key"
        else:
            roles[column.name] = "reference" if column.name in referring else _role(column, values)
    for label in _labels(draft, roles)[1:]:
        roles[label] = "other"  # one name is enough; the others may be addresses
    return Table(
        draft.name,
        tuple(replace(column, role=roles[column.name]) for column in draft.columns),
        tuple(zip(*draft.values, strict=True)),
        key=draft.key,
        references=tuple(draft.references),
        **nouns(draft.name),
    )


def _labels(draft: Draft, roles: dict[str, str]) -> list[str]:
    """The best first: called a name or title, and shared by few rows."""
    labels = [
        (not column.name.casefold().endswith(("name", "title")), -len(set(values)), column.name)
        for column, values in zip(draft.columns, draft.values, strict=True)
        if roles[column.name] == "label"
    ]
    return [name for *_, name in sorted(labels, key=lambda label: label[:2])]


def _role(column: Column, values: list[Value]) -> str:
    name = column.name.casefold()
    present = [value for value in values if value is not None]
    if column.kind == "date":
        return "date"
    if column.kind == "text":
        return _text_role(values, present)
    if column.kind == "integer" and "year" in name and all(1000 <= value <= 2100 for value in present):
        return "year"
    return "other" if name.endswith(_NO_MEASURE_ENDS) else "measure"


def _text_role(values: list[Value], present: list[str]) -> str:
    if len(present) < len(values) or all(_NUMBER.fullmatch(value) for value in present):
        return "other"
    distinct, lengths = len(set(present)), sorted(map(len, present))
    # A few long ones may stand among names, as the titles of some albums do.
    if distinct * 10 >= len(values) * 9 and lengths[(len(lengths) - 1) * 9 // 10] <= _LABEL_CHARACTERS:
        return "label"
    return "category" if distinct <= max(2, len(values) / 4) and lengths[-1] <= _CATEGORY_CHARACTERS else "other"
