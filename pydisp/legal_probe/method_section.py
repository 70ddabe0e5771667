"""The section of a probe's report that says how its figures were measured."""

from itertools import groupby
from typing import TYPE_CHECKING

from pydisp.legal_probe.comparison import FEWEST_PASSAGES_OF_A_HALF
from pydisp.legal_probe.figures import FEWEST_PASSAGES
from pydisp.legal_probe.null_spans import FEWEST, MATCHES
from pydisp.legal_probe.passages import shipped
from pydisp.legal_probe.probe_words import label
from pydisp.legal_probe.reading import Reading
from pydisp.report import Section, Table

if TYPE_CHECKING:
    from pydisp.legal_probe.probing import Probe

_SHIPPED = "passages.jsonl"
_MOST_SKIPPED = 50
_RULES = {
    "special": "special tokens",
    "first": "the first token",
    "punctuation": "tokens of punctuation only",
    "space": "tokens of white space only",
}
_ATTRIBUTION = (
    "The passages are those that pydisp ships. Six kinds are from the D.C. Code (District of Columbia), which is in the public domain. Fact "
    "elements are from LegalBench (Guha et al. 2023, https://github.com/HazyResearch/legalbench), licence CC BY 4.0 "
    "(https://creativecommons.org/licenses/by/4.0/), excerpted and marked."
)


def method_section(probe: "Probe") -> Section:
    """Formulas in words, tables of null spans, layers and skipped spans, and where the passages are from."""
    parts: list = [*_formulas(probe), *_null_spans(probe)]
    if probe.references:
        parts.append(
            "Differences: passage by passage, each model's mean over the heads that both have, by layer and number, in passages whose spans "
            "both measured. p flips the sign of whole passages; the null hypothesis is that model and reference are interchangeable on each "
            "passage, so that a difference is as likely with the other sign. All flips are taken for up to 13 passages (up to 16 where there "
            "are many heads), otherwise drawn ones. Heads that differ are those with p ≤ 5 % after Benjamini and Hochberg. Heads that stand "
            "out: one half of the passages, drawn by chance, finds them (Student's t, 10 % after Benjamini and Hochberg), the other half "
            f"tries them (Student's t, corrected after Holm); needs {2 * FEWEST_PASSAGES_OF_A_HALF} passages."
        )
    parts += _windows(probe)
    parts += [*_layers(probe), *_skipped(probe)]
    if probe.concepts.name == _SHIPPED and probe.concepts.sha256 == shipped().sha256:
        parts.append(_ATTRIBUTION)
    return Section("Method", parts)


def _formulas(probe: "Probe") -> list[str]:
    left_out = [_RULES[rule] for rule in probe.exclusion.rules]
    if probe.exclusion.tokens:
        left_out.append(f"the tokens {', '.join(map(repr, probe.exclusion.tokens))}")
    excluded = f"Left out, in a concept and in the whole: {', '.join(left_out)}." if left_out else "No token is left out."
    queries = (
        "All queries count, a token's own too."
        if probe.queries == "all"
        else "Only queries of later tokens count: what a token gives to itself is left out."
    )
    sinks = [100 * one.sink for one in probe.figures.values()]
    sink = f"{min(sinks):.1f} %" if f"{min(sinks):.1f}" == f"{max(sinks):.1f}" else f"{min(sinks):.1f} to {max(sinks):.1f} %"
    return [
        f"Share: what the concept's tokens receive from all queries of the passage over what all counted tokens receive, a ratio of sums, in "
        f"each head; then the mean over heads, then over passages. {queries} {excluded} The first token receives {sink} of all attention, "
        "mean over heads and passages of a concept.",
        "Enrichment: the share over the share under uniform causal attention, where each query gives the same to every token that it sees: "
        "itself and those before it, in a layer with a sliding window the newest ones. This accounts for how many words see a word, not for "
        "heads that look at near words, or at the first ones, whatever these are.",
        f"Null spans: spans of the same passage with the length, the tenth of the passage and the share of excluded tokens of the marked one, "
        f"beginning and ending with whole words if it does, at most {probe.null_spans:,} for each span; they may overlap it. Where fewer than {FEWEST} fit, the match is relaxed step by step: "
        f"{'; '.join(MATCHES[1:])}. A quarter is rounded down, so that null spans of one to three tokens always have the length of the marked "
        "one. Grammar and punctuation around them are not matched: a term between quotation marks is like few other spans. So a percentile "
        "away from 50 % says that words of this kind are treated unlike others at such places, not that a model knows the concept.",
        "Percentile: the share of a span's null spans that received less for their place, half of those that received as much; mean over heads, "
        "spans and passages; 50 % is chance. For their place: what a span received is divided by what its places receive in this head. That "
        "is a trend of each head over the distance from both ends of the text, fitted over all passages, whatever the words; what of the percentiles "
        "still follows the place in a straight line is taken out. Words at the very ends of their texts cannot be told from their place.",
        "p: each draw replaces every span by one of its null spans or leaves it, and the percentile is taken again; p is twice the smaller "
        "share of draws that reach the concept's percentile from above or below, the real one among them. All combinations are taken where "
        "they are few. Exact but for relaxed matches. Heads: the same for each head, found at 5 % after Benjamini and Hochberg.",
        "Intervals are 95 % over passages: a studentized bootstrap from 8 passages on, Student's t for fewer; they end where a figure cannot "
        f"be. Figures of fewer than {FEWEST_PASSAGES} passages have none. The metric is that of https://arxiv.org/abs/2410.12001; null spans, "
        "percentiles, intervals and p-values are not in it.",
    ]


def _null_spans(probe: "Probe") -> list:
    rows = [
        [label(probe, name), sum(one.chance.matches), round(one.chance.null_spans, 1), *one.chance.matches, one.chance.draws]
        for name, one in probe.figures.items()
        if one.chance is not None
    ]
    columns = ["concept", "spans", "null spans of each, mean", *MATCHES, "draws"]
    return [Table("Spans by how alike their null spans are", columns, rows)] if rows else []


def _windows(probe: "Probe") -> list[str]:
    if not probe.cut:
        return []
    return [
        "Windows: a passage that is longer than a model reads is cut. All models are read in windows of the fewest positions of any of them. "
        "A window starts with the special tokens that the text begins with and repeats up to 32 tokens before; its places are counted from "
        "its own ends. Windows without a span are left out; sums are over the windows of a passage."
    ]


def _layers(probe: "Probe") -> list:
    """Tables of the layers where not all are alike, or the models are not."""
    readings = [probe.reading, *probe.references]
    kinds = [[(one.layer, one.heads, one.key_heads, one.kind, one.window) for one in reading.layers] for reading in readings]
    is_mixed = any(len({one[1:] for one in layers}) > 1 for layers in kinds)
    if not is_mixed and all(layers == kinds[0] for layers in kinds) and all(one.window is None for one in probe.reading.layers):
        return []
    rows = [[reading.model, *row] for reading in readings for row in layer_rows(reading)]
    return [Table("Layers that have attention", ["model", "layers", "heads", "key heads", "kind", "window, tokens"], rows)]


def layer_rows(reading: Reading) -> list[list]:
    """A row for each kind of layer, with the numbers of its layers as runs."""
    kinds: dict[tuple, list[int]] = {}
    for one in reading.layers:
        kinds.setdefault((one.heads, one.key_heads, one.kind, one.window), []).append(one.layer)
    return [[_runs(layers), *kind] for kind, layers in kinds.items()]


def _runs(numbers: list[int]) -> str:
    """`0–3, 5`."""
    runs = [[number for _, number in group] for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def _skipped(probe: "Probe") -> list:
    if not probe.skipped:
        return []
    rows = [list(one) for one in probe.skipped[:_MOST_SKIPPED]]
    more = len(probe.skipped) - len(rows)
    parts: list = [Table("Spans that could not be measured", ["model", "passage", "concept", "reason"], rows)]
    return [*parts, f"{more:,} more are in report.json."] if more else parts
