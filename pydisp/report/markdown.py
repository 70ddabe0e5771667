"""A report as Markdown."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydisp.report.words import Cell, cell_text, direction, flat_facts, numeric_columns, value_text

if TYPE_CHECKING:
    from pydisp.report import Report


def markdown(report: "Report") -> str:
    """The whole report as Markdown; its pictures are files beside it."""
    parts = [f"# {_escaped(report.title)}", *map(_escaped, report.summary)]
    if report.metrics:
        rows = [(m.name, value_text(m), m.unit, m.n, direction(m), m.note) for m in report.metrics]
        parts.append(_table(("metric", "value", "unit", "n", "better", "note"), rows))
    for table in report.tables:
        parts += [f"## {_escaped(table.title)}", _table(table.columns, table.rows)]
    for picture in report.pictures:
        parts += [f"## {_escaped(picture.title)}", f"![{_escaped(picture.title)}]({picture.file_name})", _escaped(picture.caption)]
    if report.facts:
        parts += ["## Facts", _table(("fact", "value"), flat_facts(report.facts))]
    return "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))


def _table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    numeric = numeric_columns(columns, rows)
    lines = [[_escaped(c) for c in columns], ["---:" if right else "---" for right in numeric]]
    lines += [[_escaped(cell_text(cell)) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
