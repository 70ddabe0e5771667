"""The figures of a probe in words: what stands out, what to be careful with, and a few lines for a terminal."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pydisp.intervals import Estimate
from pydisp.legal_probe.comparison import ConceptComparison
from pydisp.legal_probe.figures import FEWEST_PASSAGES, ConceptFigures
from pydisp.legal_probe.null_spans import FEWEST, MATCHES
from pydisp.report.values import slug
from pydisp.report.words import counted

if TYPE_CHECKING:
    from pydisp.legal_probe.probing import Probe

SEEN = 0.05  # a p-value up to this is called a finding
_NEAR_END = 0.05  # of a text
_FEWEST_FLIPS = 6  # passages: with one less, the smallest p-value of a sign flip is 1/16
_MOST_LISTED = 8
COLUMNS = ["concept", "share", "enrichment (95 %)", "chance", "pct.", "p", "heads"]  # on a terminal, of 80 columns
_LONGEST_NAME = 18  # letters of a concept beside its figures
PERCENTILE = "Percentile: the share of null spans that received less for their place; 50 % is chance."
_SKEW = (
    "A positive skew of the differences over the heads is not more attention: it says that the few heads far from the mean lie above it. "
    "Whether there is more attention, the difference of the share says."
)


def summary(probe: "Probe") -> list[str]:
    """What was read, what stands out against null spans, and what differs from each reference."""
    lines = [_what(probe), *_against_chance(probe)]
    for reference, compared in zip(probe.references, probe.comparisons, strict=True):
        lines.append(_changes(probe, reference.model, compared))
    return [*lines, *([_SKEW] if probe.comparisons else [])]


def in_words(probe: "Probe") -> str:
    """The figures in a few lines, for a terminal: a table of the concepts, what to be careful with, the differences from each reference."""
    rows = [COLUMNS, *(_cells(probe, one) for one in probe.figures.values())]
    lines = [_what(probe), "", *_aligned(rows)]
    if any(map(has_chance, probe.figures.values())):
        lines += [
            "",
            "Chance: the enrichment of null spans, spans drawn from the same passages that are like the marked ones. "
            f"Pct. is the percentile. {PERCENTILE} Heads: those found above or below null spans, of those tested.",
        ]
    careful = cautions(probe)
    lines += ["", *careful] if careful else []
    for reference, compared in zip(probe.references, probe.comparisons, strict=True):
        lines += ["", f"Share of {probe.model} minus that of {reference.model}:"]
        lines += _aligned([[label(probe, name), _difference_line(probe, name, one)] for name, one in compared.items()])
        lines += [f"{label(probe, name)}: no passage whose spans both measured" for name in _not_compared(probe, compared)]
    return "\n".join(lines)


def cautions(probe: "Probe") -> list[str]:
    """What could not be measured, or is less sure than it looks."""
    figures = {name: one for name, one in probe.figures.items() if name not in probe.concepts.groups}
    lines = []
    for (model, reason), count in Counter((model, reason) for model, _, _, reason in probe.skipped).items():
        lines.append(f"{counted(count, 'span')} could not be measured in {model}: {reason}.")
    for model, passages in probe.cut.items():
        longer = f"longer than {model} reads" if not probe.references else f"longer than one of the models reads, for {model}"
        lines.append(
            f"Cut into windows, because {longer}: {counted(len(passages), 'passage')}; a window sees little of what stands before it (Method)."
        )
    for name, one in probe.figures.items():
        if one.chance is None:
            lines.append(f"{label(probe, name)}: there is no null span, so nothing says what is chance.")
    matches = [sum(one.chance.matches[kind] for one in figures.values() if one.chance is not None) for kind in range(len(MATCHES))]
    if sum(matches[1:]):
        kinds = "; ".join(f"{MATCHES[kind]}: {matches[kind]}" for kind in range(1, len(MATCHES)) if matches[kind])
        lines.append(
            f"For {sum(matches[1:])} of {counted(sum(matches), 'span')} fewer than {FEWEST} null spans have the same length, tenth of the "
            f"passage and share of excluded tokens, so the match was relaxed ({kinds}); their p-values are not exact."
        )
    at_ends = [name for name, one in figures.items() if has_chance(one) and _stands_at_ends(probe, name)]
    if at_ends:
        lines.append(
            f"Half of the spans or more lie within {100 * _NEAR_END:.0f} % of an end of their texts, where it is less certain what a place "
            f"receives whatever the words, and so is the percentile: {', '.join(at_ends)}."
        )
    few = [label(probe, name) for name, one in probe.figures.items() if one.passages < FEWEST_PASSAGES]
    if few:
        lines.append(f"Fewer than {FEWEST_PASSAGES} passages, so no interval: {', '.join(few)}.")
    compared = [one for both in probe.comparisons for one in both.values()]
    if any(one.passages < _FEWEST_FLIPS for one in compared):
        few = dict.fromkeys(label(probe, name) for both in probe.comparisons for name, one in both.items() if one.passages < _FEWEST_FLIPS)
        lines.append(f"Fewer than {_FEWEST_FLIPS} passages, so no difference can reach p ≤ {SEEN}: {', '.join(few)}.")
    for reference, both in zip(probe.references, probe.comparisons, strict=True):
        if missing := _not_compared(probe, both):
            lines.append(f"Not compared with {reference.model}, as there is no passage whose spans both measured: {', '.join(missing)}.")
    return lines


def _stands_at_ends(probe: "Probe", concept: str) -> bool:
    """Whether the middles of its spans are, in the median, nearer to an end of their text than 5 % of its tokens."""
    strips = [probe.reading.strips[passage] for passage in probe.reading.passages[concept]]
    spans = [((span.first + span.stop) / 2 / len(strip.texts), span) for strip in strips for span in strip.spans]
    middles = [middle for middle, span in spans if span.concept == concept]
    return bool(middles) and float(np.median([min(middle, 1 - middle) for middle in middles])) < _NEAR_END


def label(probe: "Probe", name: str) -> str:
    """The name of a concept; of a group with a word that says so."""
    return f"{name} (group)" if name in probe.concepts.groups else name


def distinct(titles: Sequence[str]) -> list[str]:
    """The titles, with their number in front where an earlier one has the same address in a page."""
    seen, out = set(), []
    for number, title in enumerate(titles, 1):
        address = slug(title)
        out.append(f"{number}: {title}" if address in seen else title)
        seen |= {address, slug(out[-1])}
    return out


def p_words(p: float | None) -> str | None:
    """`<0.001`, `0.034` for a column; None for none."""
    if p is None or math.isnan(p):
        return None
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def p_phrase(p: float) -> str:
    """`p < 0.001`, `p = 0.034` for a sentence."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def interval_words(estimate: Estimate, factor: float = 1.0) -> str | None:
    """`0.91 to 1.20`; None without one."""
    if estimate.interval is None:
        return None
    places = max(2, decimals(*(factor * end for end in estimate.interval)))
    return " to ".join(f"{factor * end:.{places}f}" for end in estimate.interval)


def decimals(*values: float) -> int:
    """Decimals that show the largest of the values with three digits."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0)
    return 2 if largest == 0 else min(6, max(0, 2 - math.floor(math.log10(largest))))


def change(difference: Estimate) -> str:
    """A difference of shares or percentiles in words, in percentage points; they say so where it cannot be told from none."""
    ends = [100 * end for end in difference.interval or ()]
    places = decimals(100 * difference.value, *ends)
    words = f"{100 * difference.value:+.{places}f} points"
    if ends:
        words += f" ({ends[0]:.{places}f} to {ends[1]:.{places}f})"
    if difference.p is None:
        return f"{words}; too few passages for a test"
    if difference.standard_error == 0 and difference.value == 0:
        return f"{words}, the same in every passage"
    words += f", {p_phrase(difference.p)}"
    if difference.p <= SEEN or difference.smallest_visible is None:
        return words
    return f"{words}: no difference could be seen smaller than {100 * difference.smallest_visible:.{places}f} points"


def heads_words(found, tests) -> str | None:
    """`3 of 36`: heads found of those that have a test; None if there is no test."""
    return f"{int(found.sum())} of {int(tests.sum())}" if tests.any() else None


def _what(probe: "Probe") -> str:
    groups = len([name for name in probe.figures if name in probe.concepts.groups])
    more = f" and {counted(groups, 'group')}" if groups else ""
    queries = "" if probe.queries == "all" else "; only attention from later tokens counts"
    return (
        f"{probe.model} on {probe.concepts.name}: {counted(len(probe.concepts.passages), 'passage')}, "
        f"{counted(len(probe.figures) - groups, 'concept')}{more}{queries}."
    )


def _against_chance(probe: "Probe") -> list[str]:
    tested = {name: one for name, one in probe.figures.items() if has_chance(one) and math.isfinite(one.percentile.value)}
    if not tested:
        return ["There are no null spans, so nothing says what is chance."]
    found = {name: one for name, one in tested.items() if one.percentile.p <= SEEN}
    what = "null spans, spans drawn from the same passages that are like the marked ones"
    if not found:
        return [f"No concept could be told from {what} (p > {SEEN})."]
    lines = []
    for word, is_more in (("More", True), ("Less", False)):
        having = {name: one for name, one in found.items() if (one.percentile.value > 0.5) == is_more}
        if having:
            lines.append(f"{word} attention than {what}: {'; '.join(_finding(probe, *item) for item in having.items())}.")
            what = "null spans"
    others = [label(probe, name) for name in tested if name not in found]
    if others:
        lines.append(f"Could not be told from null spans (p > {SEEN}): {_listed(others)}.")
    return [*lines, PERCENTILE]


def _finding(probe: "Probe", name: str, one: ConceptFigures) -> str:
    return f"{label(probe, name)} (percentile {100 * one.percentile.value:.0f} %, {p_phrase(one.percentile.p)})"


def _changes(probe: "Probe", reference: str, compared: dict[str, ConceptComparison]) -> str:
    """The concepts whose share differs, and those whose percentile does."""
    shares = {name: one.share for name, one in compared.items() if one.share.p is not None}
    if not shares:
        return f"Against {reference}: too few passages were read by both to test a difference."
    parts = _found(probe, shares, ("a larger share of its attention to", "a smaller share of its attention to"))
    others = [label(probe, name) for name, share in shares.items() if share.p > SEEN]
    if parts:
        words = f"Against {reference}: {probe.model} gives {', and '.join(parts)}."
        words += f" No difference of the share could be seen (p > {SEEN}) for {_listed(others)}." if others else ""
    else:
        words = f"Against {reference}: no concept's share could be seen to differ (p > {SEEN})."
    percentiles = {name: one.percentile for name, one in compared.items() if has_percentile_test(probe, name, one)}
    moved = _found(probe, percentiles, ("higher for", "lower for"))
    if moved:
        return f"{words} The percentile is {', and '.join(moved)}."
    return f"{words} No concept's percentile could be seen to differ." if percentiles else words


def _found(probe: "Probe", differences: dict[str, Estimate], words: tuple[str, str]) -> list[str]:
    """Of the differences that are found, those above and those below 0, each with its words in front."""
    parts = []
    for word, sign in zip(words, (1, -1), strict=True):
        found = [f"{label(probe, name)}: {change(one)}" for name, one in differences.items() if one.p <= SEEN and one.value * sign > 0]
        if found:
            parts.append(f"{word} {'; '.join(found)}")
    return parts


def has_chance(one: ConceptFigures) -> bool:
    """Whether null spans could be drawn for a concept."""
    return one.chance is not None


def has_percentile_test(probe: "Probe", name: str, compared: ConceptComparison) -> bool:
    """Whether the percentiles of a concept were compared: it has null spans and passages enough."""
    return has_chance(probe.figures[name]) and compared.percentile.p is not None


def _difference_line(probe: "Probe", name: str, one: ConceptComparison) -> str:
    """The difference of the share, and that of the percentile if it is found."""
    is_moved = has_percentile_test(probe, name, one) and one.percentile.p <= SEEN
    return change(one.share) + (f"; percentile {change(one.percentile)}" if is_moved else "")


def _listed(names: Sequence[str]) -> str:
    """Names with commas, and of many the first with the number of the others."""
    more = len(names) - _MOST_LISTED
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:_MOST_LISTED])} and {more} more"


def _not_compared(probe: "Probe", compared: dict[str, ConceptComparison]) -> list[str]:
    return [label(probe, name) for name in probe.figures if name not in compared]


def _cells(probe: "Probe", one: ConceptFigures) -> list[str]:
    interval = interval_words(one.enrichment)
    return [
        label(probe, one.name),
        f"{100 * one.share.value:.2f} %",
        f"{one.enrichment.value:.2f}" + ("" if interval is None else f" ({interval.replace(' to ', '–')})"),
        f"{one.chance.enrichment:.2f}" if has_chance(one) else "",
        f"{100 * one.percentile.value:.0f} %" if has_chance(one) else "",
        p_words(one.percentile.p) if has_chance(one) else "",
        (heads_words(one.found, ~np.isnan(one.q)) or "").replace(" of ", "/") if has_chance(one) else "",
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for each row; a first cell too long to leave the others room in 80 columns has a line of its own above them."""
    names, *columns = zip(*rows, strict=True)
    widths = [max((len(name) for name in names if len(name) <= _LONGEST_NAME), default=0), *(max(map(len, column)) for column in columns)]
    lines = []
    for name, *cells in rows:
        if len(name) > widths[0]:
            lines.append(name)
            name = ""
        lines.append("  ".join(cell.ljust(width) for cell, width in zip([name, *cells], widths, strict=True)).rstrip())
    return lines
