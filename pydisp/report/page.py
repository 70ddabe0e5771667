"""A report as one HTML page with inline style and pictures, without scripts or downloads."""

import html
import re
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from pydisp.report.metric import Metric
from pydisp.report.picture import Picture
from pydisp.report.section import Section
from pydisp.report.style import CSS
from pydisp.report.table import Table
from pydisp.report.values import require_distinct, slug
from pydisp.report.words import cell_text, direction, error_text, fact_text, flat_facts, number, numeric_columns

if TYPE_CHECKING:
    from pydisp.report import Report

# From so many estimated letters in a row, a table is wider than a phone, and wider than the column of the page.
_WIDE, _WIDEST = 44, 110


def page(report: "Report", measured: Sequence[Section] = ()) -> str:
    """The whole report as one HTML page that needs no other file; the measured sections come first, because readers ask for them first.

    Raises: ValueError if a measured section has the title of another one.
    """
    sections = [*measured, *report.sections]
    require_distinct([section.anchor for section in sections] + ["facts"], "sections (by address)")
    parts = [f"<header><h1>{_escaped(report.title)}</h1>", *map(_paragraph, report.summary), "</header>"]
    if report.metrics:
        parts.append(_metrics(report.metrics))
    if len(sections) > 1:
        facts = ['<li><a href="#facts">Facts</a></li>'] * bool(report.facts)
        parts.append(f'<nav aria-label="Contents">{_contents(sections, "", facts)}</nav>')
    parts += [_section(section, "", 2, ' class="measured"') for section in measured]
    parts += [_section(section, "", 2) for section in report.sections]
    if report.facts:
        parts.append(f'<section id="facts"><h2>Facts</h2>{_facts(report.facts)}</section>')
    return _PAGE.format(title=_escaped(report.title), style=CSS, body="\n".join(parts))


def _escaped(text: str) -> str:
    return html.escape(text, quote=True)


def _paragraph(text: str) -> str:
    return f"<p>{_escaped(text)}</p>"


def _contents(sections: Sequence[Section], above: str, more: Sequence[str] = ()) -> str:
    """Links to the sections, and under each to its own sections."""
    items = []
    for section in sections:
        within = [part for part in section.parts if isinstance(part, Section)]
        address = above + section.anchor
        inner = _contents(within, f"{address}--") if within else ""
        items.append(f'<li><a href="#{address}">{_escaped(section.title)}</a>{inner}</li>')
    return f"<ol>{''.join([*items, *more])}</ol>"


def _section(section: Section, above: str, level: int, attributes: str = "") -> str:
    """A section under a heading of the given level; `above` is the address of the sections around it."""
    address = above + section.anchor
    body = []
    for kind, parts in groupby(section.parts, type):
        if kind is Metric:
            body.append(_metrics(parts))
            continue
        for part in parts:
            if kind is str:
                body.append(_paragraph(part))
            elif kind is Section:
                body.append(_section(part, f"{address}--", level + 1))
            else:
                heading = "" if part.title == section.title else f"<h{level + 1}>{_escaped(part.title)}</h{level + 1}>"
                # no address has an underscore in it
                body.append(heading + (_picture(part, f"{address}--{slug(part.title)}_") if kind is Picture else _table(part)))
    return f'<section id="{address}"{attributes}><h{level}>{_escaped(section.title)}</h{level}>{"".join(body)}</section>'


def _metrics(metrics) -> str:
    return f'<dl class="metrics">{"".join(map(_metric, metrics))}</dl>'


def _metric(metric: Metric) -> str:
    small = []
    if metric.standard_error is not None:
        small.append(f"± {error_text(metric)} s.e.")
    if metric.interval is not None:
        small.append(f"{number(metric.interval[0])} to {number(metric.interval[1])}")
    if metric.n is not None:
        small.append(f"n = {number(metric.n)}")
    if metric.higher_is_better is not None:
        small.append(f"{direction(metric)} is better")
    if metric.note:
        small.append(metric.note)
    unit = f' <span class="unit">{_escaped(metric.unit)}</span>' if metric.unit else ""
    detail = f'<dd class="detail">{" · ".join(f"<span>{_escaped(words)}</span>" for words in small)}</dd>' if small else ""
    return f'<div><dt>{_escaped(metric.name)}</dt><dd class="value">{number(metric.value)}{unit}</dd>{detail}</div>\n'


def _picture(picture: Picture, prefix: str) -> str:
    """A figure with its caption; on a phone it scrolls, with a hint that it does."""
    return (
        f'<figure class="wide">{_scrolling(picture.title, _inline_svg(picture, prefix))}'
        f"<figcaption>{_escaped(picture.caption)}</figcaption></figure>"
    )


def _inline_svg(picture: Picture, prefix: str) -> str:
    """Only the <svg> element, with a name for screen readers. A prefix makes its ids unique, because every picture has a `figure_1`."""
    svg = picture.svg[re.search(r"<svg[\s>]", picture.svg).start() :].rstrip()
    svg = re.sub(r'(\sid="|href="#|url\(#)', rf"\1{prefix}", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{_escaped(picture.title)}: {_escaped(picture.caption)}"', 1)


def _scrolling(title: str, content: str) -> str:
    """A box in which contents wider than the screen scroll, by the keyboard too; the style shows the hint only if they do."""
    hint = '<p class="hint" aria-hidden="true">wider than the screen: scroll sideways →</p>'
    return f'{hint}<div class="scroll" role="region" aria-label="{_escaped(title)}" tabindex="0">{content}</div>'


def _table(table: Table) -> str:
    kinds = [' class="number"' if right else "" for right in numeric_columns(table.columns, table.rows)]
    head = "".join(f'<th scope="col"{kind}>{_escaped(c).replace("_", "_<wbr>")}</th>' for c, kind in zip(table.columns, kinds, strict=True))
    body = "".join(f"<tr>{''.join(_cell(i, cell, kinds[i]) for i, cell in enumerate(row))}</tr>\n" for row in table.rows)
    width = _letters(table)
    size = "widest" if width > _WIDEST else "wide" if width > _WIDE else "narrow"
    content = f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>"
    return f'<div class="table {size}">{_scrolling(table.title, content)}</div>'


def _cell(index: int, cell, kind: str) -> str:
    text = _escaped(cell_text(cell))
    return f'<th scope="row"{kind}>{text}</th>' if index == 0 else f"<td{kind}>{text}</td>"


def _letters(table: Table) -> int:
    """The least number of letters in a row: the longest word of each column, and the space beside it. Heads also break at underscores."""
    heads = [column.replace("_", "_ ") for column in table.columns]
    columns = zip(heads, *([cell_text(cell) for cell in row] for row in table.rows), strict=True)
    return sum(2 + max(len(word) for text in column for word in text.split(" ")) for column in columns)


def _facts(facts: dict) -> str:
    """Plain facts as one open list, each nested group as a folding list."""
    groups = {key: value for key, value in facts.items() if isinstance(value, dict) and value}
    parts = [_definitions([(k, fact_text(facts[k])) for k in sorted(facts) if k not in groups])]
    parts += [f"<details><summary>{_escaped(k)}</summary>{_definitions(flat_facts(groups[k]))}</details>" for k in sorted(groups)]
    return "".join(parts)


def _definitions(rows: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<div><dt>{_escaped(k)}</dt><dd>{_escaped(v)}</dd></div>\n" for k, v in rows)
    return f'<dl class="facts">\n{items}</dl>' if rows else ""


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
