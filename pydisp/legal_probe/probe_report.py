"""The report of a probe: sentences, cards, tables and pictures. `report.json` has in its facts all that `pydisp probe run --json` prints."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pydisp.legal_probe import pictures
from pydisp.legal_probe.figures import ConceptFigures
from pydisp.legal_probe.head_map import HeadMap, fits, head_maps, percentile_scale, ratio_scale, share_scale
from pydisp.legal_probe.method_section import method_section
from pydisp.legal_probe.probe_words import (
    PERCENTILE,
    cautions,
    distinct,
    has_chance,
    heads_words,
    in_words,
    interval_words,
    label,
    p_phrase,
    p_words,
    summary,
)
from pydisp.legal_probe.reference_section import reference_section
from pydisp.legal_probe.strip_section import strip_section
from pydisp.progress import Bar, silence
from pydisp.report import Metric, Picture, Report, Section, Table

if TYPE_CHECKING:
    from pydisp.legal_probe.probing import Probe

__all__ = ["in_words", "report"]

_MOST_METRICS = 8
_MOST_CONCEPT_METRICS = 7


def report(probe: "Probe", say: Callable[[str], None] = silence) -> Report:
    """The report; its facts hold the JSON of the probe. `say` receives the progress of drawing its sections."""
    names = [one.model for one in probe.references]
    against = f" against {', '.join(names)}" if names else ""
    titles = distinct([f"Against {name}" for name in names])
    sections: list[Section] = []
    with Bar(3 + len(names), say, title="drawing the report", unit="section") as bar:
        for draw in (_concepts, _layers_and_heads):
            sections.append(draw(probe))
            bar.advance(1)
        for number, both in enumerate(zip(titles, names, strict=True)):
            sections.append(reference_section(probe, number, *both))
            bar.advance(1)
        sections += [*strip_section(probe), method_section(probe)]
        bar.advance(1)
    return Report(
        title=f"{probe.model}{against}: attention to the concepts of {probe.concepts.name}",
        summary=[*summary(probe), *cautions(probe)],
        metrics=_differences(probe, names) if names else _enrichments(probe),
        sections=sections,
        facts={"result": probe.as_dict(), **probe.facts},
    )


def _enrichments(probe: "Probe") -> list[Metric]:
    return [
        Metric(
            f"enrichment, {label(probe, name)}",
            one.enrichment.value,
            "× even attention",
            interval=one.enrichment.interval,
            n=one.passages,
            note=_against_null(one),
            decimals=2,
        )
        for name, one in list(probe.figures.items())[:_MOST_CONCEPT_METRICS]
        if math.isfinite(one.enrichment.value)
    ]


def _against_null(one: ConceptFigures) -> str:
    if not has_chance(one):
        return "no null spans"
    return f"percentile {100 * one.percentile.value:.0f} %, {p_phrase(one.percentile.p)}"


def _differences(probe: "Probe", names: Sequence[str]) -> list[Metric]:
    """The difference of the share of each concept, of as many as there are cards, from each reference."""
    most = max(1, _MOST_METRICS // len(names))
    metrics = []
    for reference, compared in list(zip(names, probe.comparisons, strict=True))[:_MOST_METRICS]:
        for name, one in list(compared.items())[:most]:
            if not math.isfinite(one.share.value):
                continue
            interval = None if one.share.interval is None else tuple(100 * end for end in one.share.interval)
            note = "" if one.share.p is None else p_phrase(one.share.p)
            metrics.append(
                Metric(
                    f"{label(probe, name)}, share minus that of {reference}",
                    100 * one.share.value,
                    "points",
                    interval=interval,
                    n=one.passages,
                    note=note,
                    decimals=3,
                )
            )
    return metrics


def _concepts(probe: "Probe") -> Section:
    figures = probe.figures
    rows = [_row(probe, one) for one in figures.values()]
    shown = [
        pictures.Point(label(probe, name), one.enrichment, *((one.chance.enrichment, one.percentile) if has_chance(one) else ()))
        for name, one in figures.items()
    ]
    tests = sum(map(has_chance, figures.values()))
    chance = " Of concepts that are like any other words, about one in 20 has p ≤ 0.05 by chance." if tests > 1 else ""
    return Section(
        "Concepts",
        [
            "Share: of the attention that all counted tokens of a passage receive, the part that the concept's tokens receive. Enrichment: the "
            "share over the share that they would have if each word looked evenly at all words before it; 2 is twice as much. By chance: the "
            f"enrichment of null spans, spans drawn from the same passages that are like the marked ones. {PERCENTILE} For their place: over what "
            "such places receive in the same head, whatever the words. All are means over passages and heads, intervals are 95 % over passages.",
            "p is of the percentile, two-sided: attention sits on few words, so that one passage can decide a mean enrichment, but not a "
            "percentile. Heads found have the concept above or below null spans; about one in 20 of them may be false." + chance,
            Table(
                "Concepts",
                [
                    "concept",
                    "spans in passages",
                    "share, %",
                    "enrichment",
                    "95 % interval",
                    "by chance",
                    "percentile, %",
                    "p",
                    "heads found",
                ],
                rows,
            ),
            Picture(
                "Enrichment of the concepts",
                f"Left: mean enrichment of each concept in {probe.model}; open marks: mean of the null spans. Right: the percentile, 50 % by "
                "chance. Bars: 95 % intervals over passages.",
                pictures.points(shown),
            ),
        ],
    )


def _row(probe: "Probe", one: ConceptFigures) -> list:
    return [
        label(probe, one.name),
        f"{one.spans} in {one.passages}",
        _cell(100 * one.share.value),
        _cell(one.enrichment.value),
        interval_words(one.enrichment),
        *(_against_null_cells(one) if has_chance(one) else [None] * 4),
    ]


def _against_null_cells(one: ConceptFigures) -> list:
    percentile = 100 * one.percentile.value
    return [
        _cell(one.chance.enrichment),
        round(percentile) if math.isfinite(percentile) else None,
        p_words(one.percentile.p),
        heads_words(one.found, ~np.isnan(one.q)),
    ]


def _cell(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _layers_and_heads(probe: "Probe") -> Section:
    figures = probe.figures
    all_have_chance = all(map(has_chance, figures.values()))
    shares = _maps(probe, {name: 100 * one.head_share for name, one in figures.items()})
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = {
            name: one.head_enrichment / one.chance.enrichment_by_head if all_have_chance else one.head_enrichment
            for name, one in figures.items()
        }
    enrichments = _maps(probe, ratios)
    marks = (
        "A mark: a head found by its percentile." + (" Crossed out: no figure." if _has_nan(shares) else "")
        if fits(shares)
        else f"The {len(probe.reading.heads):,} heads are too many to be drawn for each concept, so these are means over the heads of a layer."
    )
    middle = "the enrichment of null spans in the same head" if all_have_chance else "1, even attention"
    curves = [
        pictures.LayerCurve(
            label(probe, name),
            [one.layer for one in probe.reading.layers],
            [estimate.value for estimate in figure.layer_enrichment],
            [estimate.interval for estimate in figure.layer_enrichment],
        )
        for name, figure in figures.items()
    ]
    return Section(
        "Layers and heads",
        [
            Picture(
                "Share by head",
                f"The share of each concept in each head of {probe.model}, in %, mean over passages; layer 0, the first, is at the bottom. {marks}",
                head_maps(shares, share_scale, "share of the attention, %"),
            ),
            Picture(
                "Enrichment by head",
                f"The enrichment of each concept in each head; the palest colour is {middle}, blue is less and orange more. {marks}",
                head_maps(enrichments, ratio_scale, "enrichment over that of null spans in the head" if all_have_chance else "enrichment"),
            ),
            *_percentile_maps(probe),
            Picture(
                "Enrichment by layer",
                "Mean over the heads of each layer, with 95 % intervals over passages; the line is even attention.",
                pictures.layer_curves(curves, "enrichment", level=1),
            ),
        ],
    )


def _percentile_maps(probe: "Probe") -> list[Picture]:
    """The percentile of each concept in each head, of the concepts that have null spans."""
    percentiles = _maps(probe, {name: 100 * one.head_percentile for name, one in probe.figures.items() if has_chance(one)})
    if not percentiles:
        return []
    return [
        Picture(
            "Percentile by head",
            "The percentile of each concept in each head; the palest colour is 50 %, chance; blue is less and orange more. This is what "
            "p-values of heads are of." + (" A mark: a head found." if fits(percentiles) else ""),
            head_maps(percentiles, percentile_scale, "percentile, %"),
        )
    ]


def _maps(probe: "Probe", values: dict[str, np.ndarray]) -> list[HeadMap]:
    layers, heads = np.array(probe.reading.heads).T
    return [HeadMap(label(probe, name), layers, heads, one, probe.figures[name].found) for name, one in values.items()]


def _has_nan(maps: list[HeadMap]) -> bool:
    return any(np.isnan(one.values).any() for one in maps)
