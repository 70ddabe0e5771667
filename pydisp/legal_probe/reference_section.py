"""The section of a probe's report that compares the model with one reference, concept by concept."""

import math
from typing import TYPE_CHECKING

import numpy as np

from pydisp.legal_probe import pictures
from pydisp.legal_probe.comparison import FEWEST_PASSAGES_OF_A_HALF, ConceptComparison
from pydisp.legal_probe.head_map import HeadMap, difference_scale, fits, head_maps
from pydisp.legal_probe.probe_words import SEEN, has_chance, heads_words, interval_words, label, p_words
from pydisp.legal_probe.reading import Reading
from pydisp.report import Picture, Section, Table

if TYPE_CHECKING:
    from pydisp.legal_probe.probing import Probe

_MOST_ROWS = 10  # of heads that stand out, for each concept


def reference_section(probe: "Probe", number: int, title: str, name: str) -> Section:
    """MODEL minus the reference of that number, which is called `name`."""
    compared, reference = probe.comparisons[number], probe.references[number]
    if not compared:
        return Section(title, [f"{probe.model} and {name} have no passage whose spans both measured, so nothing can be compared."])
    parts = [
        f"Share of the attention, {probe.model} minus {name}, passage by passage; above 0 {probe.model} gives the concept more. Points are "
        "percentage points. p-values flip the sign of whole passages and are not corrected for the number of concepts. Smallest visible: the "
        "difference that such data show four times in five.",
        Table(
            "Difference of the share",
            [
                "concept",
                f"{probe.model}, %",
                f"{name}, %",
                "difference, points",
                "95 % interval",
                "p",
                "smallest visible",
                "heads that differ",
            ],
            [_row(probe, reference, one, concept) for concept, one in compared.items()],
        ),
        *_percentiles(probe, compared),
        *_by_head(probe, compared),
        *_by_layer(probe, compared),
        *_standing_out(probe, compared),
        *_spread(probe, compared),
    ]
    return Section(title, parts)


def _row(probe: "Probe", reference: Reading, one: ConceptComparison, concept: str) -> list:
    mine, its = common_shares(probe.reading, reference, one, concept)
    is_hidden = one.share.p is not None and one.share.p > SEEN and one.share.smallest_visible is not None
    return [
        label(probe, concept),
        _cell(mine),
        _cell(its),
        _cell(100 * one.share.value),
        interval_words(one.share, 100),
        p_words(one.share.p),
        100 * one.share.smallest_visible if is_hidden else None,
        heads_words(one.found, ~np.isnan(one.head_q)),
    ]


def _percentiles(probe: "Probe", compared: dict[str, ConceptComparison]) -> list:
    """The difference of the percentile."""
    rows = []
    for concept, one in compared.items():
        if has_chance(probe.figures[concept]):
            moved = one.percentile
            is_hidden = moved.p is not None and moved.p > SEEN and moved.smallest_visible is not None
            hidden = 100 * moved.smallest_visible if is_hidden else None
            rows.append([label(probe, concept), _cell(100 * moved.value), interval_words(moved, 100), p_words(moved.p), hidden])
    if not rows:
        return []
    return [
        "A share also changes when all words around a concept change. The percentile changes only if the concept gains or loses "
        "against spans like it.",
        Table("Difference of the percentile", ["concept", "difference, points", "95 % interval", "p", "smallest visible"], rows),
    ]


def common_shares(reading: Reading, reference: Reading, one: ConceptComparison, concept: str) -> tuple[float, float]:
    """The share of both models in per cent, over the passages whose spans both measured and the heads that both have, so that their difference is the comparison's."""
    its = reference.passages[concept]
    common = [
        passage for passage, mass in reading.passages[concept].items() if passage in its and len(mass.spans) == len(its[passage].spans)
    ]
    shares = []
    for model in (reading, reference):
        ids = list(model.passages[concept])
        values = model.share(concept)[[ids.index(passage) for passage in common]]
        if one.heads:
            place = {head: column for column, head in enumerate(model.heads)}
            values = values[:, [place[head] for head in one.heads]]
        shares.append(100 * float(np.nanmean(values, 1).mean()))
    return shares[0], shares[1]


def _cell(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _by_head(probe: "Probe", compared: dict[str, ConceptComparison]) -> list:
    with_heads = {concept: one for concept, one in compared.items() if one.heads}
    if not with_heads:
        return ["The two models have no head of the same layer and number, so heads and layers cannot be compared."]
    maps = []
    for concept, one in with_heads.items():
        layers, heads = np.array(one.heads).T
        maps.append(HeadMap(label(probe, concept), layers, heads, 100 * one.head_share, one.found))
    marks = (
        "A mark: a head that differs, of which about one in 20 may be false."
        if fits(maps)
        else "The heads are too many to be drawn for each concept, so these are means over the heads of a layer."
    )
    return [
        Picture(
            "Difference by head",
            f"Mean difference of the share in each head that both models have, in points; orange: {probe.model} gives more. {marks}",
            head_maps(maps, difference_scale, "difference of the share, points"),
        )
    ]


def _by_layer(probe: "Probe", compared: dict[str, ConceptComparison]) -> list:
    curves = [
        pictures.LayerCurve(
            label(probe, concept),
            one.layers,
            [100 * estimate.value for estimate in one.layer_share],
            [None if estimate.interval is None else tuple(100 * end for end in estimate.interval) for estimate in one.layer_share],
        )
        for concept, one in compared.items()
        if one.layers
    ]
    if not curves:
        return []
    return [
        Picture(
            "Difference by layer",
            "Mean difference of the share over the heads of each layer, in points, with 95 % intervals over passages.",
            pictures.layer_curves(curves, "difference, points", level=0),
        )
    ]


def _standing_out(probe: "Probe", compared: dict[str, ConceptComparison]) -> list:
    """The heads that one half of the passages finds, as the other half sees them."""
    too_few = [label(probe, concept) for concept, one in compared.items() if one.standing_out is None]
    none = [label(probe, concept) for concept, one in compared.items() if one.standing_out == ()]
    parts: list = []
    if too_few:
        parts.append(
            f"Too few passages to look for heads in one half and try them on the other ({2 * FEWEST_PASSAGES_OF_A_HALF} are needed): "
            f"{', '.join(too_few)}."
        )
    if none:
        parts.append(f"In one half of the passages no head stands out for {', '.join(none)}.")
    rows, left_out = [], 0
    for concept, one in compared.items():
        heads = one.standing_out or ()
        left_out += max(0, len(heads) - _MOST_ROWS)
        for head in heads[:_MOST_ROWS]:
            values = _cell(100 * head.found), _cell(100 * head.tried)
            rows.append([label(probe, concept), str(head.layer), str(head.head), *values, p_words(head.p), head.holds])
    if rows:
        more = f" {left_out} more are in report.json." if left_out else ""
        parts.append(
            "Heads whose difference one half of the passages finds, with the mean difference in points there and in the other half. p is of the "
            f"other half alone, in the same direction, corrected for the heads tried (Holm); one holds if p ≤ {SEEN}.{more}"
        )
        columns = ["concept", "layer", "head", "found on one half", "on the other half", "p", "holds"]
        parts.append(Table("Heads that stand out", columns, rows))
    return parts


def _spread(probe: "Probe", compared: dict[str, ConceptComparison]) -> list:
    rows = []
    for concept, one in compared.items():
        if one.moments is not None:
            of = one.moments
            sizes = [_cell(100 * value) for value in (of.mean, of.median, of.standard_deviation)]
            shape = [_cell(value) for value in (of.skewness, of.kurtosis, of.entropy)]
            rows.append([label(probe, concept), of.count, *sizes, *shape])
    if not rows:
        return []
    columns = ["concept", "heads", "mean, points", "median, points", "standard deviation", "skewness", "kurtosis", "entropy"]
    return [
        "How the differences of the heads are spread. These figures describe and are no test. A positive skewness is not more attention: the "
        "few heads far from the mean lie above it, while the mean may be below 0. Kurtosis is Pearson's, 3 for a normal distribution; entropy "
        "is that of a histogram of 11 bins, in nats.",
        Table("Spread over the heads", columns, rows),
    ]
