"""A report as one HTML page: inline style and pictures, no script, nothing fetched."""

import html
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydisp.report.words import Cell, cell_text, direction, error_text, fact_text, flat_facts, number, numeric_columns

if TYPE_CHECKING:
    from pydisp.report import Measured, Metric, Picture, Report


def page(report: "Report", measured: "Measured | None" = None) -> str:
    """The whole report, and what was measured beside it, as one HTML page that needs no other file."""
    parts = [f"<header><h1>{_escaped(report.title)}</h1>", *(f"<p>{_escaped(s)}</p>" for s in report.summary), "</header>"]
    if report.metrics:
        parts += ['<section class="metrics" aria-label="Metrics">', *map(_metric, report.metrics), "</section>"]
    parts += [_picture(position, picture) for position, picture in enumerate(report.pictures, 1)]
    parts += [f"<section><h2>{_escaped(t.title)}</h2>{_table(t.columns, t.rows)}</section>" for t in report.tables]
    if measured:
        parts.append(_measured(measured))
    if report.facts:
        parts.append(f"<section><h2>Facts</h2>{_facts(report.facts)}</section>")
    return _PAGE.format(title=_escaped(report.title), style=_CSS, body="\n".join(parts))


def _escaped(text: str) -> str:
    return html.escape(text, quote=True)


def _metric(metric: "Metric") -> str:
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
    detail = f'<p class="detail">{_escaped(" · ".join(small))}</p>' if small else ""
    return f'<div class="metric"><h3>{_escaped(metric.name)}</h3><p class="value">{number(metric.value)}{unit}</p>{detail}</div>'


def _picture(position: int, picture: "Picture") -> str:
    return (
        f'<section><h2>{_escaped(picture.title)}</h2><figure><div class="scroll" tabindex="0">{_inline_svg(position, picture)}</div>'
        f"<figcaption>{_escaped(picture.caption)}</figcaption></figure></section>"
    )


def _measured(measured: "Measured") -> str:
    sentences = "".join(f"<p>{_escaped(s)}</p>" for s in measured.sentences)
    table = _table(measured.table.columns, measured.table.rows) if measured.table else ""
    return f'<section id="measured"><h2>{_escaped(measured.title)}</h2>{sentences}{table}</section>'


def _inline_svg(position: int, picture: "Picture") -> str:
    """The <svg> element alone, named for screen readers, its ids made this page's own: each picture has its `figure_1`."""
    svg = picture.svg[re.search(r"<svg[\s>]", picture.svg).start() :].rstrip()
    svg = re.sub(r'(\sid="|href="#|url\(#)', rf"\1p{position}-", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{_escaped(picture.title)}: {_escaped(picture.caption)}"', 1)


def _table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    numeric = numeric_columns(columns, rows)
    kinds = [' class="number"' if right else "" for right in numeric]
    head = "".join(f'<th scope="col"{kind}>{_escaped(c)}</th>' for c, kind in zip(columns, kinds, strict=True))
    body = "".join(f"<tr>{''.join(_cell(i, cell, kinds[i]) for i, cell in enumerate(row))}</tr>\n" for row in rows)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>'


def _cell(index: int, cell: Cell, kind: str) -> str:
    text = _escaped(cell_text(cell))
    return f'<th scope="row"{kind}>{text}</th>' if index == 0 else f"<td{kind}>{text}</td>"


def _facts(facts: dict) -> str:
    """One open list for plain facts, one list that folds for each nested group."""
    groups = {key: value for key, value in facts.items() if isinstance(value, dict) and value}
    parts = [_definitions([(k, fact_text(facts[k])) for k in sorted(facts) if k not in groups])]
    parts += [f"<details><summary>{_escaped(k)}</summary>{_definitions(flat_facts(groups[k]))}</details>" for k in sorted(groups)]
    return "".join(parts)


def _definitions(rows: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<div><dt>{_escaped(k)}</dt><dd>{_escaped(v)}</dd></div>\n" for k, v in rows)
    return f"<dl>\n{items}</dl>" if rows else ""


_CSS = """
:root { color-scheme: light dark; --paper: #fdfdfc; --card: #ffffff; --ink: #1d232b; --soft: #5b6572; --line: #e2e5e9; --accent: #0b62a4; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #12151a; --card: #1a1e25; --ink: #e4e8ee; --soft: #9aa5b4; --line: #2c323c; --accent: #6cb6f0; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 54rem; margin: 0 auto; padding: clamp(1.5rem, 5vw, 4rem) clamp(1rem, 4vw, 2rem); }
header { border-bottom: 1px solid var(--line); padding-bottom: 1.25rem; margin-bottom: 2rem; }
header p { max-width: 42rem; margin: .5rem 0; }
h1 { font-size: clamp(1.6rem, 4.5vw, 2.3rem); line-height: 1.2; letter-spacing: -.015em; margin: 0 0 .75rem; text-wrap: balance; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 3rem 0 .75rem; }
h3 { font-size: .85rem; font-weight: 600; color: var(--soft); margin: 0; }
.metrics { display: grid; grid-template-columns: repeat(auto-fill, minmax(14.5rem, 1fr)); gap: .75rem; }
.metric { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .85rem 1rem; }
.value { font-size: 1.75rem; line-height: 1.25; font-weight: 650; font-variant-numeric: tabular-nums; margin: .2rem 0 0; }
.unit { display: inline-block; font-size: .85rem; line-height: 1.3; font-weight: 400; color: var(--soft); }
.detail { font-size: .8rem; line-height: 1.45; color: var(--soft); margin: .3rem 0 0; }
.scroll { overflow-x: auto; }
.scroll:focus-visible, summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
figure { margin: 0; }
figure .scroll { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; }
figure svg { display: block; margin: 0 auto; max-width: 100%; min-width: min(100%, 34rem); height: auto; }
figcaption { font-size: .9rem; color: var(--soft); margin-top: .6rem; max-width: 42rem; }
table { border-collapse: collapse; min-width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .7rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
thead th { color: var(--soft); font-weight: 600; white-space: nowrap; border-bottom-width: 2px; }
th:first-child { padding-left: 0; }
tbody th { font-weight: 500; }
.number { text-align: right; white-space: nowrap; }
dl { margin: 0; font-size: .92rem; }
dl div { display: grid; grid-template-columns: minmax(9rem, 16rem) 1fr; gap: 0 1rem;
  padding: .3rem 0; border-bottom: 1px solid var(--line); }
dt { color: var(--soft); overflow-wrap: anywhere; }
dd { margin: 0; overflow-wrap: anywhere; font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .88em; }
details { margin-top: .75rem; }
summary { cursor: pointer; color: var(--accent); font-weight: 600; padding: .25rem 0; }
@media (max-width: 36rem) {
  dl div { grid-template-columns: 1fr; }
  figure svg { min-width: 34rem; }
  figure .scroll { padding: .5rem; }
}
@media print { .metric, figure, tr { break-inside: avoid; } main { max-width: none; } }
"""

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
