"""The report of an audit: sentences, cards, pictures and tables."""

from typing import TYPE_CHECKING

import numpy as np

from pydisp.fairness import pictures
from pydisp.fairness.documents import FEWEST_DOCUMENTS
from pydisp.fairness.measures import Figures, reliability
from pydisp.intervals import Estimate
from pydisp.report import Metric, Picture, Report, Section, Table

if TYPE_CHECKING:
    from pydisp.fairness.auditing import Audit

_EXTREMES = 12
_FEWEST_UNITS_OF_A_TYPE = 10


def report(audit: "Audit") -> Report:
    """The report; its facts hold the JSON of the audit."""
    against = f" against {audit.reference}" if audit.reference else ""
    sections = [
        _frequency(audit),
        *([_difference(audit)] if audit.comparison else []),
        _calibration(audit),
        _classes(audit),
        _extremes(audit),
    ]
    return Report(
        title=f"{audit.model}{against}: loss by frequency of the {audit.unit}",
        summary=[*_summary(audit), *_warnings(audit)],
        metrics=_headlines(audit),
        sections=[*sections, _method(audit)],
        facts={"result": audit.as_dict(), **audit.facts},
    )


def in_words(audit: "Audit") -> str:
    """The figures in a few lines, for a terminal."""
    return "\n".join([*_summary(audit), *_warnings(audit)])


def _summary(audit: "Audit") -> list[str]:
    unit, whole = audit.unit, audit.whole
    lines = [
        f"{audit.model} on {audit.text}: {audit.average.value:.4f}{_range(audit.average)} nats a token"
        f"{'' if unit == 'token' else f', {whole.nats.value:.4f} nats a word'}, {audit.nats_per_byte:.4f} nats a byte; "
        f"balanced over types {whole.balanced.value:.4f}{_range(whole.balanced)} nats a {unit}.",
        "; ".join(f"{name}: {_part_words(audit, name)}" for name in audit.parts) + ".",
    ]
    if audit.comparison is not None:
        compared = audit.comparison
        lines.append(
            f"Against {audit.reference}, on average: {_change(compared.average, f'nats a {compared.average_unit}')}; balanced over types: "
            f"{_change(compared.balanced, f'nats a {unit}')}; in all {compared.whole.nats_per_byte:+.4f} nats a byte."
        )
        if compared.tail is not None:
            lines.append(
                f"The tail: {_change(compared.tail.nats, f'nats a {unit}')}; tail minus all {unit}s: {_change(compared.excess, 'nats')}."
            )
    return lines


def _part_words(audit: "Audit", name: str) -> str:
    group, found = audit.parts[name]
    if found is None:
        return "none in the text"
    limits = "" if group.low is None else f" (counts {group.low:,} to {group.high:,})"
    return f"{found.nats.value:.4f} nats a {audit.unit}, {found.accuracy:.1%} right, {found.units:,} {audit.unit}s{limits}"


def _warnings(audit: "Audit") -> list[str]:
    lines = []
    if audit.counts.is_biased:
        lines.append(
            "Counts are those of the scored text itself, which is biased: a type is rare here by chance too. "
            "Give counts of the training text with --counts or --counts-text."
        )
    if audit.documents.are_blocks:
        lines.append(f"The text has few documents, so blocks of about 1,024 tokens serve as documents ({len(audit.documents)}).")
    if audit.average.interval is None:
        lines.append(f"The scored text has fewer than {FEWEST_DOCUMENTS} documents, so there are no intervals.")
    whole, touched = int(audit.scores.is_whole.sum()), int(audit.scores.is_touched.sum())
    if whole < 0.9 * touched:
        lines.append(
            f"{whole:,} of {touched:,} {audit.unit}s were scored whole, the windows of {audit.context_tokens} tokens cut the others: "
            "figures of words are of these only; ask for a longer --context, or count ids with --mode id."
        )
    for name, share in audit.unknown.items():
        if share > 0.005:
            lines.append(f"{share:.1%} of the tokens of {name} are unknown to its tokenizer: it predicts that they are, not what they are.")
    if audit.comparison is not None and audit.comparison.average_unit == "word":
        lines.append("The tokenizers differ: a word ends where both end a token, so a few are longer than in an audit of one model.")
    if audit.comparison is not None:
        mine, both = int(audit.scores.is_whole.sum()), audit.comparison.whole.units
        if both < 0.9 * mine:
            lines.append(f"{both:,} of {mine:,} {audit.unit}s are compared: the windows of the two models cut the others.")
    empty = [group.name for group, found in audit.bins if found is None]
    if empty:
        lines.append(f"No {audit.unit} of the text has a count of {', '.join(empty)}.")
    return lines


def _range(estimate: Estimate) -> str:
    return "" if estimate.interval is None else f" ({estimate.interval[0]:.4f} to {estimate.interval[1]:.4f})"


def _change(estimate: Estimate | None, unit: str) -> str:
    """A difference in words, which say so where it cannot be told from none."""
    if estimate is None:
        return "nothing to compare"
    words = f"{estimate.value:+.4f}{_range(estimate)} {unit}"
    if estimate.p is None:
        return words
    if estimate.standard_error == 0:
        return f"{words}, the same in every document"
    if estimate.p <= 0.05:
        return f"{words}, p {_p(estimate.p)}"
    return f"{words}, p {_p(estimate.p)}: no difference could be seen smaller than {estimate.smallest_visible:.4f}"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _headlines(audit: "Audit") -> list[Metric]:
    unit = f"nats a {audit.unit}"
    tail = audit.parts["tail"][1]
    metrics = [
        _metric("average loss", audit.average, "nats a token", int(audit.scores.tokens_by_document.sum())),
        _metric("balanced loss", audit.whole.balanced, f"{unit}, over types", audit.whole.types),
    ]
    if tail is not None:
        metrics.append(_metric("loss of the tail", tail.nats, unit, tail.units))
    compared = audit.comparison
    if compared is not None:
        metrics.append(_metric("difference, average", compared.average, f"nats a {compared.average_unit}", compared.whole.units))
        if compared.tail is not None:
            metrics.append(_metric("difference, tail", compared.tail.nats, unit, compared.tail.units))
            metrics.append(_metric("tail excess", compared.excess, f"{unit}, tail minus all", compared.tail.units))
    return metrics


def _metric(name: str, estimate: Estimate, unit: str, n: int) -> Metric:
    return Metric(name, estimate.value, unit, interval=estimate.interval, n=n, higher_is_better=False, decimals=3)


def _frequency(audit: "Audit") -> Section:
    compared = audit.comparison
    labels = [group.name for group, _ in audit.bins]
    curve = pictures.Curve(audit.model, *_column([found for _, found in audit.bins]))
    curves = [curve]
    if compared is not None:
        values = audit.reference_scores.values.nats
        chosen = [group.holds & compared.is_whole for group, _ in audit.bins]
        curves.append(pictures.Curve(audit.reference, [float(values[c].mean()) if c.any() else None for c in chosen]))
    rows = [[_limits(group), *_cells(found)] for group, found in audit.bins]
    return Section(
        "Loss by frequency",
        [
            f"Each {audit.unit} by how often {audit.counts.source} has it. Bands are 95 % intervals whose replicate is the document.",
            Picture(
                "Loss by frequency",
                f"Mean loss of a {audit.unit} by its count; dashed: all {audit.unit}s.",
                pictures.by_frequency(labels, curves, f"nats a {audit.unit}", level=audit.whole.nats.value),
            ),
            Table("Bins by count", _columns(audit, "count"), rows),
            Table(
                "Head, torso and tail",
                _columns(audit, "part", "count"),
                [[name, _limits(group), *_cells(found)] for name, (group, found) in audit.parts.items()],
            ),
            Table(
                "Tenths of the occurrences, the most frequent first",
                _columns(audit, "tenth", "count"),
                [[f"{place + 1}", _limits(group), *_cells(found)] for place, (group, found) in enumerate(audit.deciles)],
            ),
        ],
    )


def _limits(group) -> str:
    """The counts of a group, short enough for a column."""
    if group.low is None:
        return ""
    return f"{group.low:,}" if group.low == group.high else f"{group.low:,}–{group.high:,}"


def _columns(audit: "Audit", *first: str) -> list[str]:
    return [*first, "types", f"{audit.unit}s", "documents", "nats", "95 % interval", "balanced", "accuracy", "ECE"]


def _cells(found: Figures | None) -> list:
    if found is None:
        return [0, 0, 0, *[None] * 5]
    figures = (found.balanced.value, found.accuracy, found.ece)
    return [
        found.types,
        found.units,
        found.documents,
        round(found.nats.value, 3),
        _interval(found.nats),
        *(round(one, 3) for one in figures),
    ]


def _interval(estimate: Estimate) -> str:
    return "" if estimate.interval is None else f"{estimate.interval[0]:.3f} to {estimate.interval[1]:.3f}"


def _column(found: list[Figures | None]) -> tuple[list, list]:
    return [None if one is None else one.nats.value for one in found], [None if one is None else one.nats.interval for one in found]


def _difference(audit: "Audit") -> Section:
    compared = audit.comparison
    labels = [group.name for group, _ in audit.bins]
    values = [None if one is None else one.nats.value for one in compared.bins]
    intervals = [None if one is None else one.nats.interval for one in compared.bins]
    names = [*(_limits(group) for group, _ in audit.bins), *compared.parts]
    rows = [[name, *_difference_cells(one)] for name, one in zip(names, [*compared.bins, *compared.parts.values()], strict=True)]
    same = compared.whole.agreement
    agreement = "" if same is None else f" Both have the same first choice on {same:.1%} of the {audit.unit}s."
    return Section(
        "Difference by frequency",
        [
            f"{audit.model} minus {audit.reference}, {audit.unit} by {audit.unit}; above zero the first one is worse. p-values flip the sign of "
            f"whole documents and are not corrected for the number of rows.{agreement}",
            Picture(
                "Difference by frequency",
                f"Mean difference of a {audit.unit} by its count, with 95 % intervals; dashed: all {audit.unit}s.",
                pictures.by_frequency(
                    labels,
                    [pictures.Curve("difference", values, intervals)],
                    f"nats a {audit.unit}",
                    has_zero=True,
                    level=compared.whole.nats.value,
                ),
            ),
            Table(
                "Differences",
                _difference_columns(audit, "count or part"),
                rows,
            ),
        ],
    )


def _difference_columns(audit: "Audit", first: str) -> list[str]:
    return [first, f"{audit.unit}s", "documents", "nats", "95 % interval", "p", "smallest visible", "accuracy", "agreement"]


def _difference_cells(one) -> list:
    if one is None:
        return [0, 0, *[None] * 6]
    hidden = round(one.nats.smallest_visible, 3) if one.nats.p is not None and one.nats.p > 0.05 else None
    same = None if one.agreement is None else round(one.agreement, 3)
    p = None if one.nats.p is None else round(one.nats.p, 4)
    return [one.units, one.documents, round(one.nats.value, 3), _interval(one.nats), p, hidden, round(one.accuracy.value, 3), same]


def _calibration(audit: "Audit") -> Section:
    scores = audit.scores
    curves = []
    for name, (group, found) in audit.parts.items():
        if found is not None:
            inside = group.holds & scores.is_whole
            curves.append((name, *reliability(scores.values.confidence[inside], scores.values.is_correct[inside])[1:]))
    what = "the first choice" if audit.unit == "token" else "all first choices (the product of its tokens' probabilities)"
    return Section(
        "Calibration",
        [
            f"How sure the model is of {what} of a {audit.unit}, and how often that is right. The expected calibration error is "
            f"{audit.whole.ece:.4f}; with few {audit.unit}s it is too large by chance.",
            Picture(
                "Calibration",
                "Below the diagonal the model is too sure. Steps with fewer than 20 are left out.",
                pictures.reliability(curves),
            ),
        ],
    )


def _classes(audit: "Audit") -> Section:
    rows = [[name, *_cells(found)] for name, (_, found) in audit.classes.items()]
    parts: list = [Table("Classes", _columns(audit, "class"), rows)]
    if audit.comparison is not None:
        there = {name: one for name, one in audit.comparison.classes.items() if one is not None}
        parts.append(
            Picture(
                "Difference by class",
                f"{audit.model} minus {audit.reference}. Lines are 95 % intervals; orange: fewer than {FEWEST_DOCUMENTS} documents, no interval.",
                pictures.classes(
                    list(there), [o.nats.value for o in there.values()], [o.nats.interval for o in there.values()], f"nats a {audit.unit}"
                ),
            )
        )
        parts.append(
            Table(
                "Differences by class",
                _difference_columns(audit, "class"),
                [[name, *_difference_cells(one)] for name, one in there.items()],
            )
        )
    return Section("Classes", parts)


def _extremes(audit: "Audit") -> Section:
    """Documents and types with the largest and the smallest loss, or difference."""
    compared = audit.comparison
    what = "difference" if compared is not None else "nats"
    title = "Who lost most and least" if compared is not None else "Hardest and easiest"
    documents, types = document_rows(audit), type_rows(audit)
    common = [row for row in types if row[3] >= _FEWEST_UNITS_OF_A_TYPE]
    parts: list = [
        f"By {what}, {'MODEL minus REFERENCE, ' if compared is not None else ''}in nats a {audit.unit}. Types are those with "
        f"{_FEWEST_UNITS_OF_A_TYPE} {audit.unit}s or more in the text; the files types.csv and documents.csv have all."
    ]
    for name, columns, rows in (
        ("documents", ["document", "begins with", f"{audit.unit}s", what], [[r[0], r[1], r[2], r[-1]] for r in documents]),
        ("types", ["type", "count", f"{audit.unit}s", what], [[_visible(r[1]), r[2], r[3], r[-1]] for r in common]),
    ):
        if rows:
            parts.append(Table(f"Most, {name}", columns, rows[:_EXTREMES]))
            if len(rows) > _EXTREMES:
                parts.append(Table(f"Least, {name}", columns, rows[: -_EXTREMES - 1 : -1]))
    return Section(title, parts)


def document_rows(audit: "Audit") -> list[list]:
    """For each document: number, first words, units, mean loss; with a reference its mean loss and the difference. The largest first."""
    return _rows(audit, audit.scores.units.document, lambda n: [n + 1, _visible(audit.documents.excerpt(n))])


def type_rows(audit: "Audit") -> list[list]:
    """For each type: id or word, text, count, units, mean loss; with a reference its mean loss and the difference. The largest first."""
    keys = audit.scores.units.keys.tolist()
    return _rows(audit, audit.scores.units.type, lambda n: [keys[n], audit.texts[n], int(audit.counts_of_units[n])])


def _rows(audit: "Audit", place: np.ndarray, front) -> list[list]:
    compared = audit.comparison
    inside = audit.scores.is_whole if compared is None else compared.is_whole
    place = place[inside]
    counts = np.bincount(place)
    columns = [audit.scores.values.nats[inside]]
    if compared is not None:
        columns += [audit.reference_scores.values.nats[inside], compared.nats[inside]]
    means = [np.bincount(place, weights=column) / np.maximum(counts, 1) for column in columns]
    order = [n for n in np.argsort(-means[-1], kind="stable").tolist() if counts[n]]
    return [[*front(n), int(counts[n]), *(float(mean[n]) for mean in means)] for n in order]


def _visible(text: str) -> str:
    """A type as a table can show it: white space and signs without a shape by their names."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if shown.strip() else repr(text)


def _method(audit: "Audit") -> Section:
    unit = audit.unit
    words = [
        f"Windows of {audit.context_tokens} tokens, as `pydisp eval` takes them; the first token of a window is not scored. "
        "Average: mean over tokens. Balanced: mean over types of their mean loss. "
        "Head, torso, tail: the most frequent types that make up 50 % of the occurrences in the counted text, the next 45 %, the last 5 %.",
        "Intervals hold the true value 95 times in 100: for means over tokens by a studentized bootstrap of documents, for means over types by a "
        f"jackknife over documents. Groups in fewer than {FEWEST_DOCUMENTS} documents have none.",
    ]
    if unit == "word":
        words.append(
            "A word is a run of tokens; its loss and entropy are the sums of its tokens', it is right if each of them is, and its rank is that "
            "of its worst token. Words of which a token was not scored are left out."
        )
    return Section("How it was measured", words)
