"""The report of results: cards, tables, pictures, examples; `report.json` has in its facts all that `Results.as_dict` gives.

report(results, [compare(results, dense_results)]).write("out")
"""

from collections.abc import Hashable, Sequence

import numpy as np

from pydisp.holobench.figures import example_answers, pictures
from pydisp.holobench.figures.breakdowns import Figures, group_words
from pydisp.holobench.figures.comparison import Comparison
from pydisp.holobench.figures.comparison_section import comparison_section
from pydisp.holobench.figures.effective_length import KEPT, EffectiveLength
from pydisp.holobench.figures.method_section import method_section
from pydisp.holobench.figures.result_words import MEASURE_NAMES, effective_words, in_words, interval_words, percent, shortened, summary
from pydisp.holobench.figures.results import Results
from pydisp.intervals import Estimate
from pydisp.report import Metric, Picture, Report, Section, Table

__all__ = ["in_words", "report"]

_CARDS = ("f1", "recall", "strict", "accuracy")
_LINE_OF_PLACEMENTS = ("begin", "middle", "end")


def report(results: Results, comparisons: Sequence[Comparison] = ()) -> Report:
    """The report of one model, with a section for each comparison.

    Args:
        comparisons: of these results (first) with others.
    """
    facts = {"result": results.as_dict(), "benchmark": results.manifest, "predictions": results.predictions_manifest, "seed": results.seed}
    if comparisons:
        facts["comparisons"] = [one.as_dict() for one in comparisons]
    control = " without its facts" if results.is_without_context else ""
    return Report(
        title=f"{shortened(results.model)} on HoloBench{control}: {results.data}",
        summary=summary(results),
        metrics=_cards(results),
        sections=[
            *_by_length(results),
            *_by_class(results),
            *_by_share(results),
            *_by_placement(results),
            *_claims(results),
            *(comparison_section(one, number) for number, one in enumerate(comparisons, 1)),
            *_examples(results),
            *_skipped(results),
            method_section(results, has_comparisons=bool(comparisons)),
        ],
        facts=facts,
    )


def _cards(results: Results) -> list[Metric]:
    overall, cards = results.overall, []
    for measure in _CARDS:
        estimate = overall.estimate(measure)
        if estimate is not None:
            interval = None if estimate.interval is None else tuple(100 * end for end in estimate.interval)
            note = {"f1": _answered(overall), "accuracy": f"chance {100 * (overall.chance or 0):.0f} %"}.get(measure, "")
            count = overall.chosen if measure == "accuracy" else overall.answered
            cards.append(
                Metric(
                    MEASURE_NAMES[measure], 100 * estimate.value, "%", interval=interval, n=count, higher_is_better=True, note=note,
                    decimals=0,
                )
            )  # fmt: skip
    return cards


def _answered(overall: Figures) -> str:
    return f"{overall.skipped:,} more skipped" if overall.skipped else "none skipped"


def _measures(results: Results) -> list[str]:
    return [measure for measure, has in (("f1", results.has_answers), ("accuracy", results.has_choices)) if has]


def _table(results: Results, title: str, breakdown: str, groups: dict[Hashable, Figures]) -> Table:
    """A row for each group; columns only of what there is."""
    has_skipped = any(figures.skipped for figures in groups.values())
    heads = {"density": "density, about", "amount": "relevant tokens, about", "length": "length, tokens"}
    columns = [heads.get(breakdown, breakdown), "items", *(["skipped"] if has_skipped else [])]
    if results.has_answers:
        columns += ["F1, %", "95 % interval", "recall, %", "strict, %"]
    if results.has_choices:
        columns += ["accuracy, %", "95 % interval" + " " * results.has_answers, "chance, %"]
    rows = []
    for name, figures in groups.items():
        row = [group_words(breakdown, name), figures.items - figures.skipped, *([figures.skipped] if has_skipped else [])]
        if results.has_answers:
            row += [_share(figures.f1), interval_words(figures.f1), _share(figures.recall), _share(figures.strict)]
        if results.has_choices:
            row += [_share(figures.accuracy), interval_words(figures.accuracy), percent(figures.chance)]
        rows.append(row)
    return Table(title, columns, rows)


def _share(estimate: Estimate | None) -> int | None:
    return None if estimate is None else percent(estimate.value)


def _series(results: Results, groups: Sequence[Figures]) -> list[pictures.Series]:
    return [
        pictures.Series(
            MEASURE_NAMES[measure],
            [np.nan if (one := figures.estimate(measure)) is None else 100 * one.value for figures in groups],
            [_ends(figures.estimate(measure)) for figures in groups],
            [np.nan if figures.chance is None else 100 * figures.chance for figures in groups] if measure == "accuracy" else None,
        )
        for measure in _measures(results)
    ]


def _ends(estimate: Estimate | None) -> tuple[float, float] | None:
    return None if estimate is None or estimate.interval is None else (100 * estimate.interval[0], 100 * estimate.interval[1])


def _by_length(results: Results) -> list[Section]:
    groups = results.by["length"]
    parts: list = []
    if len(groups) > 1 and _measures(results):
        names = [group_words("length", name) for name in groups]
        parts.append(
            Picture(
                "Scores by length",
                "Mean at each length of the context, with 95 % intervals over draws.",
                pictures.curves(names, _series(results, list(groups.values())), "%", "length, tokens of prompt and answer"),
            )
        )
    parts.append(_table(results, "By length", "length", groups))
    for one in results.effective:
        parts += [effective_words(one), *_steps(one)]
    return [Section("Length", parts)]


def _steps(one: EffectiveLength) -> list[Table]:
    if not one.is_claimed:
        return []
    name = "F1" if one.measure == "f1" else "accuracy above chance"
    rows = [
        [f"{step.length:,}", step.draws, None if step.ratio is None else percent(step.ratio), _ratio_words(step.interval), step.verdict]
        for step in one.steps
    ]
    columns = ["length, tokens", "draws", f"kept of {one.shortest:,} tokens, %", "95 % interval", f"at least {100 * KEPT:.0f} %"]
    return [Table(f"What is kept of the {name}", columns, rows)]


def _ratio_words(interval: tuple[float, float | None] | None) -> str | None:
    if interval is None:
        return None
    return f"{100 * interval[0]:.0f} to {100 * interval[1]:.0f}" if interval[1] is not None else f"{100 * interval[0]:.0f} or more"


def _by_class(results: Results) -> list[Section]:
    groups = results.by["class"]
    parts: list = []
    if len(groups) > 1 and _measures(results):
        names = [group_words("class", name) for name in groups]
        parts.append(
            Picture(
                "Scores by class",
                "Mean of each class of questions, with 95 % intervals over draws.",
                pictures.points(names, _series(results, list(groups.values())), "%"),
            )
        )
    return [Section("Classes of questions", [*parts, _table(results, "By class", "class", groups)])]


def _by_share(results: Results) -> list[Section]:
    breakdown = results.shares.breakdown
    groups = results.by[breakdown]
    lengths = list(results.by["length"])
    parts: list = []
    if len(groups) > 1 or len(lengths) > 1:
        parts += [_map(results, measure, breakdown, lengths, list(groups)) for measure in _measures(results)]
    words = (
        "Density: the share that relevant facts have of all facts, in tokens."
        if breakdown == "density"
        else "Relevant tokens: those of the facts that the question is about; all others are filler."
    )
    return [Section("Relevant facts", [words, *parts, _table(results, f"By {breakdown}", breakdown, groups)])]


def _map(results: Results, measure: str, breakdown: str, lengths: list, shares: list) -> Picture:
    values = np.full((len(shares), len(lengths)), np.nan)
    counts = np.zeros((len(shares), len(lengths)), dtype=np.int64)
    for (length, share), figures in results.length_by_share.items():
        estimate = figures.estimate(measure)
        if estimate is not None:
            values[shares.index(share), lengths.index(length)] = 100 * estimate.value
            counts[shares.index(share), lengths.index(length)] = figures.items - figures.skipped
    label = "density, about" if breakdown == "density" else "relevant tokens"
    names = [group_words("length", one) for one in lengths], [group_words(breakdown, one) for one in shares]
    title = f"{MEASURE_NAMES[measure]} by length and {breakdown}"
    return Picture(
        title[0].upper() + title[1:],
        f"Mean {MEASURE_NAMES[measure]} in %, darker is higher; n: the number of items. An empty cell has none.",
        pictures.heat_map(*names, values, counts, "length, tokens", label),
    )


def _by_placement(results: Results) -> list[Section]:
    groups = results.by["placement"]
    if len(groups) < 2:
        return []
    names = list(groups)
    joined = [names.index(one) for one in _LINE_OF_PLACEMENTS if one in names]
    names = [names[place] for place in joined] + [name for name in names if name not in _LINE_OF_PLACEMENTS]
    parts: list = []
    if _measures(results):
        parts.append(
            Picture(
                "Scores by placement",
                "Where in the context the relevant facts stand: together at the beginning, in the middle, at the end, or spread, with 95 % "
                "intervals over draws.",
                pictures.curves(
                    names, _series(results, [groups[name] for name in names]), "%", "placement of the relevant facts",
                    joined=range(len(joined)),
                ),
            )
        )  # fmt: skip
    return [Section("Placement", [*parts, _table(results, "By placement", "placement", {name: groups[name] for name in names})])]


def _claims(results: Results) -> list[Section]:
    if results.is_without_context:
        return []
    measure = "F1" if results.has_answers else "accuracy"
    words = f"Findings of the HoloBench paper on other models, tried on the {measure} of this one."
    rows = [[claim.statement, claim.verdict, claim.words[0].upper() + claim.words[1:]] for claim in results.claims]
    if not rows:
        return [Section("What the paper found", ["No item was answered, so none of the paper's findings can be tried."])]
    return [Section("What the paper found", [words, Table("What the paper found", ["finding", "here", "figures"], rows)])]


def _examples(results: Results) -> list[Section]:
    worst, best = example_answers.worst_and_best(results.scored)
    columns = ["class", "tokens", "question", "gold", "answer", "F1, %"]
    tables = [
        Table(title, columns, [example_answers.row(one) for one in found])
        for title, found in (("Worst answers", worst), ("Best answers", best))
        if found
    ]
    return (
        [Section("Examples", ["The worst and the best answer of a class; of equal ones that in the shortest context.", *tables])]
        if tables
        else []
    )


def _skipped(results: Results) -> list[Section]:
    overall = results.overall
    parts: list = []
    if overall.skipped:
        first: dict[int, str] = {}
        for one in results.scored:
            if one.skipped is not None:
                first.setdefault(one.item.length, one.skipped)
        rows = [
            [group_words("length", length), figures.skipped, figures.items, example_answers.shown(first[length])]
            for length, figures in results.by["length"].items()
            if figures.skipped
        ]
        parts += [
            "Skipped items were not asked. They are in no mean; their ids and reasons are in report.json.",
            Table("Skipped items", ["length, tokens", "skipped", "of items", "reason of the first"], rows),
        ]
    if overall.unparsable or overall.unfinished:
        parts.append(
            f"Of {overall.answered:,} answers {overall.unparsable:,} could not be read and {overall.unfinished:,} ran out of room; they are "
            "scored as they stand."
        )
    return [Section("Skipped and unread", parts)] if parts else []
