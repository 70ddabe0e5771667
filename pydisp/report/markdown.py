"""A report as Markdown."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from pydisp.report.metric import Metric
from pydisp.report.picture import Picture
from pydisp.report.section import Section, picture_files
from pydisp.report.words import Cell, cell_text, direction, flat_facts, numeric_columns, value_text

if TYPE_CHECKING:
    from pydisp.report import Report


def markdown(report: "Report") -> str:
    """The whole report as Markdown, with links to its pictures, which are files beside it."""
    parts = [f"# {_escaped(report.title)}", *map(_escaped, report.summary)]
    if report.metrics:
        parts.append(_metrics(report.metrics))
    files = picture_files(report.sections)
    for section in report.sections:
        parts += _section(section, files, 2)
    if report.facts:
        parts += ["## Facts", _table(("fact", "value"), flat_facts(report.facts))]
    return "\n\n".join(parts) + "\n"


def _section(section: Section, files: Mapping[Picture, str], level: int) -> Iterator[str]:
    yield f"{'#' * level} {_escaped(section.title)}"
    for kind, parts in groupby(section.parts, type):
        if kind is Metric:
            yield _metrics(list(parts))
            continue
        for part in parts:
            if kind is str:
                yield _escaped(part)
            elif kind is Section:
                yield from _section(part, files, level + 1)
            else:
                if part.title != section.title:
                    yield f"{'#' * (level + 1)} {_escaped(part.title)}"
                if kind is Picture:
                    yield f"![{_escaped(part.title)}]({files[part]})"
                    yield _escaped(part.caption)
                else:
                    yield _table(part.columns, part.rows)


def _metrics(metrics: Sequence[Metric]) -> str:
    rows = [(m.name, value_text(m), m.unit, m.n, direction(m), m.note) for m in metrics]
    return _table(("metric", "value", "unit", "n", "better", "note"), rows)


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))


def _table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    numeric = numeric_columns(columns, rows)
    lines = [[_escaped(c) for c in columns], ["---:" if right else "---" for right in numeric]]
    lines += [[_escaped(cell_text(cell)) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
