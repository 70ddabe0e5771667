"""A report as one HTML page with inline style and pictures, without scripts or downloads."""

from collections.abc import Sequence
from itertools import groupby, takewhile
from typing import TYPE_CHECKING

from pydisp.report.box import box_style, picture_box, table_box
from pydisp.report.metric import Metric
from pydisp.report.picture import Picture
from pydisp.report.prose import escaped, name, prose
from pydisp.report.section import Section
from pydisp.report.style import CSS
from pydisp.report.values import require_distinct, slug
from pydisp.report.words import direction, ends_text, error_text, fact_text, flat_facts, number

if TYPE_CHECKING:
    from pydisp.report import Report

_MEASURED = ' class="measured"'


def page(report: "Report", measured: Sequence[Section] = ()) -> str:
    """The whole report as one HTML page that needs no other file; the measured sections come first, because readers ask for them first.

    The metrics with which a measured section begins stand beside the headlines of the report.

    Raises: ValueError if a measured section has the title of another one.
    """
    sections = [*measured, *report.sections]
    require_distinct([section.anchor for section in sections] + ["facts"], "sections (by address)")
    parts = [f"<header><h1>{escaped(report.title)}</h1>", *map(_paragraph, report.summary), "</header>"]
    cards = [*map(_metric, report.metrics), *(_metric(metric, _MEASURED) for section in measured for metric in _headlines(section))]
    if cards:
        parts.append(_cards(cards))
    if len(sections) > 1:
        facts = ['<li><a href="#facts">Facts</a></li>'] * bool(report.facts)
        parts.append(f'<nav aria-label="Contents">{_contents(sections, "", facts)}</nav>')
    parts += [_section(section, "", 2, _MEASURED, after=len(_headlines(section))) for section in measured]
    parts += [_section(section, "", 2) for section in report.sections]
    if report.facts:
        parts.append(f'<section id="facts"><h2>Facts</h2>{_facts(report.facts)}</section>')
    body = "\n".join(parts)
    return _PAGE.format(title=escaped(report.title), style=CSS, boxes=box_style(body), body=body)


def _headlines(section: Section) -> list[Metric]:
    """The metrics with which a section begins, unless it has nothing else."""
    first = list(takewhile(lambda part: isinstance(part, Metric), section.parts))
    return first if len(first) < len(section.parts) else []


def _paragraph(text: str) -> str:
    return f"<p>{prose(text)}</p>"


def _contents(sections: Sequence[Section], above: str, more: Sequence[str] = ()) -> str:
    """Links to the sections, and under each to its own sections."""
    items = []
    for section in sections:
        within = [part for part in section.parts if isinstance(part, Section)]
        address = above + section.anchor
        inner = _contents(within, f"{address}--") if within else ""
        items.append(f'<li><a href="#{address}">{escaped(section.title)}</a>{inner}</li>')
    return f"<ol>{''.join([*items, *more])}</ol>"


def _section(section: Section, above: str, level: int, attributes: str = "", after: int = 0) -> str:
    """A section under a heading of the given level; `above` is the address of the sections around it, `after` the parts shown elsewhere."""
    address = above + section.anchor
    body = []
    for kind, parts in groupby(section.parts[after:], type):
        if kind is Metric:
            body.append(_cards(map(_metric, parts)))
            continue
        for part in parts:
            if kind is str:
                body.append(_paragraph(part))
            elif kind is Section:
                body.append(_section(part, f"{address}--", level + 1))
            else:
                heading = "" if part.title == section.title else f"<h{level + 1}>{prose(part.title)}</h{level + 1}>"
                # no address has an underscore in it
                body.append(heading + (picture_box(part, f"{address}--{slug(part.title)}_") if kind is Picture else table_box(part)))
    return f'<section id="{address}"{attributes}><h{level}>{escaped(section.title)}</h{level}>{"".join(body)}</section>'


def _cards(cards) -> str:
    return f'<dl class="metrics">\n{"".join(cards)}</dl>'


def _metric(metric: Metric, attributes: str = "") -> str:
    """A card: name, value and unit, then a line each for what else is known of it."""
    lines = []
    if metric.standard_error is not None:
        lines.append(f"± {error_text(metric)} s.e.")
    if metric.interval is not None:
        lines.append(" to ".join(ends_text(metric)))
    if metric.n is not None:
        lines.append(f"n = {number(metric.n)}")
    if metric.higher_is_better is not None:
        lines.append(f"{direction(metric)} is better")
    if metric.note:
        lines.append(metric.note)
    unit = f' <span class="unit">{prose(metric.unit)}</span>' if metric.unit else ""
    details = "".join(f'<dd class="detail">{prose(line)}</dd>' for line in lines)
    value = number(metric.value, metric.decimals)
    return f'<div{attributes}><dt>{prose(metric.name)}</dt><dd class="value">{value}{unit}</dd>{details}</div>\n'


def _facts(facts: dict) -> str:
    """Plain facts as one open list, each nested group as a folding list."""
    groups = {key: value for key, value in facts.items() if isinstance(value, dict) and value}
    parts = [_definitions([(k, fact_text(facts[k])) for k in sorted(facts) if k not in groups])]
    parts += [f"<details><summary>{escaped(k)}</summary>{_definitions(flat_facts(groups[k]))}</details>" for k in sorted(groups)]
    return "".join(parts)


def _definitions(rows: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<div><dt>{name(k)}</dt><dd>{name(v)}</dd></div>\n" for k, v in rows)
    return f'<dl class="facts">\n{items}</dl>' if rows else ""


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}{boxes}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
