"""The report of an evaluation: cards, pictures, tables, examples; `report.json` has in its facts all that `Evaluated.as_dict` gives.

report(evaluated).write("out")
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydisp.report import Metric, Picture, Report, Section, Table
from pydisp.report.words import counted
from pydisp.toolken.evaluating import pictures
from pydisp.toolken.evaluating.claims import p_words
from pydisp.toolken.evaluating.confidence_sections import confidence_section, confusion_section
from pydisp.toolken.evaluating.estimates import Estimate
from pydisp.toolken.evaluating.example_traces import example_tables
from pydisp.toolken.evaluating.figures import ModeFigures
from pydisp.toolken.evaluating.method_section import method_section
from pydisp.toolken.evaluating.report_words import NO_BREAK, decimals, ends_words, percent_words, with_ends

if TYPE_CHECKING:
    from pydisp.toolken.evaluating.evaluated import Evaluated

_MEASURES = {
    "selection": "selection",
    "accuracy": "accuracy",
    "unneeded_answers": "unneeded calls",
    "unneeded_problems": "unneeded calls, teacher-forced",
}


def report(evaluated: "Evaluated") -> Report:
    """The report of one model's toolkens on one set of problems."""
    return Report(
        title=f"Tools for {evaluated.model}: {evaluated.data}",
        summary=[one.sentence for one in evaluated.claims] or ["No claim could be tried."],
        metrics=_cards(evaluated),
        sections=[
            *_accuracy(evaluated),
            *_selection(evaluated),
            *_unneeded(evaluated),
            _claims(evaluated),
            *_differences(evaluated),
            *confidence_section(evaluated),
            *confusion_section(evaluated),
            *_examples(evaluated),
            _run_on(evaluated),
            method_section(evaluated),
        ],
        facts={**evaluated.facts, "result": evaluated.as_dict()},
    )


def _cards(evaluated: "Evaluated") -> list[Metric]:
    main, cards = evaluated.main_mode, []
    named = {"accuracy": True, "selection": True, main.unneeded_problems: False}
    for measure, is_better in named.items():
        estimate = main.estimate(measure)
        if estimate is not None:
            interval = None if estimate.interval is None else tuple(100 * end for end in estimate.interval)
            name = _MEASURES[measure].split(",")[0]
            cards.append(
                Metric(
                    f"{name}, {main.mode}", 100 * estimate.value, "%", interval=interval, n=estimate.items, higher_is_better=is_better,
                    note=_card_note(evaluated, main, measure), decimals=1,
                )
            )  # fmt: skip
    if main.need is not None:
        cards.append(
            Metric(
                f"needs-a-tool AUROC, {main.mode}", main.need.value, interval=main.need.interval, n=main.need.items, higher_is_better=True,
                decimals=3,
            )
        )  # fmt: skip
    if main.ece is not None:
        cards.append(Metric(f"ECE, {main.mode}", main.ece, higher_is_better=False, decimals=3))
    return cards


def _card_note(evaluated: "Evaluated", main: ModeFigures, measure: str) -> str:
    if measure == "selection" and evaluated.figures.chance:
        return f"chance {100 * max(evaluated.figures.chance.values()):.1f} %"
    other = evaluated.figures.modes.get("none" if measure == "accuracy" else "toolkengpt")
    estimate = other.estimate(measure) if other is not None and other is not main else None
    name = "plain model" if measure == "accuracy" else "toolkengpt"
    return "" if estimate is None else f"{name} {100 * estimate.value:.1f} %"


def _estimates(evaluated: "Evaluated", measure: str) -> dict[str, Estimate]:
    found = {mode: one.estimate(measure) for mode, one in evaluated.figures.modes.items()}
    return {mode: one for mode, one in found.items() if one is not None}


def _has_seeds(evaluated: "Evaluated") -> bool:
    return len(evaluated.seeds) > 1


def _table(evaluated: "Evaluated", title: str, measure: str, columns: dict[str, Callable[[ModeFigures], object]]) -> Table:
    """A row for each mode that has the measure: its share, intervals, seeds, and further columns."""
    rows = []
    for mode, one in _estimates(evaluated, measure).items():
        row = [mode, percent_words(one), ends_words(one.interval)]
        if _has_seeds(evaluated):
            seeds = NO_BREAK.join(f"{100 * value:.1f}" for value in one.by_seed) if len(one.by_seed) > 1 else None
            row += [ends_words(one.interval_with_seeds), seeds]
        rows.append([*row, *(column(evaluated.figures.modes[mode]) for column in columns.values())])
    heads = [
        "mode",
        f"{_MEASURES[measure].split(',')[0]}, %",
        "95 % interval",
        *(["with seeds", "each seed"] if _has_seeds(evaluated) else []),
    ]
    return Table(title, [*heads, *columns], rows)


def _n(one: Estimate, things: str) -> str:
    return f"{counted(one.items, things)} of {counted(one.groups, 'group')}"


def _accuracy(evaluated: "Evaluated") -> list[Section]:
    estimates = _estimates(evaluated, "accuracy")
    if not estimates:
        return [Section("Accuracy", ["No answers were written: these figures are teacher-forced selection only."])]
    count = _n(next(iter(estimates.values())), "problem")
    words = f"Share of {count} whose written answer is exactly right; thick: 95 % interval over groups"
    words += ", thin: with seeds, rings: each seed." if _has_seeds(evaluated) else "."
    parts: list = [Picture("Accuracy", words, pictures.mode_points(estimates, "right answers, %"))]
    parts.append(
        _table(
            evaluated, "Accuracy by mode", "accuracy",
            {"within 0.1 %, %": lambda one: percent_words(one.estimate("within")), "needed, not called, %": lambda one: percent_words(one.estimate("missed"))},
        )
    )  # fmt: skip
    kinds = evaluated.figures.kinds
    if len(kinds) > 1:
        modes = list(estimates)
        rows = [
            [kind or "other", max(one.items for one in of.values()), *(percent_words(of.get(mode)) for mode in modes)]
            for kind, of in kinds.items()
            if of
        ]
        parts.append(Table("Accuracy by kind of problem, %", ["kind", "problems", *modes], rows))
    return [Section("Accuracy", parts)]


def _selection(evaluated: "Evaluated") -> list[Section]:
    estimates = _estimates(evaluated, "selection")
    if not estimates:
        return []
    chance = evaluated.figures.chance
    levels = [pictures.Level(chance["uniform"], "one of all tools"), pictures.Level(chance["commonest"], "the commonest tool")]
    count = _n(next(iter(estimates.values())), "gold call")
    parts = [
        Picture(
            "Selection",
            f"Share of {count} at which the right tool is called when the text before is the gold one. Dashed and dotted: chance.",
            pictures.mode_points(estimates, "right tool called, %", levels),
        ),
        _table(evaluated, "Selection by mode", "selection", {}),
        Table(
            "Order of the tools, and who needs one: 95 % intervals over groups",
            ["mode", "right tool first, %", f"in the first {evaluated.k}, %", "MRR", "needs-a-tool AUROC"],
            [
                [
                    mode,
                    with_ends(one.estimate("top_1"), 1, 100),
                    with_ends(one.estimate("top_k"), 1, 100),
                    with_ends(one.estimate("mrr")),
                    with_ends(one.need),
                ]
                for mode, one in evaluated.figures.modes.items()
                if mode in estimates
            ],
        ),
    ]
    return [Section("Selection", parts)]


def _unneeded(evaluated: "Evaluated") -> list[Section]:
    measure = "unneeded_answers" if _estimates(evaluated, "unneeded_answers") else "unneeded_problems"
    estimates = _estimates(evaluated, measure)
    if not estimates:
        return []
    is_written = measure == "unneeded_answers"
    how = "while the answer was written" if is_written else "somewhere in the gold text (teacher-forced)"
    parts: list = [
        Picture(
            "Unneeded calls",
            f"Share of {_n(next(iter(estimates.values())), 'problem')} that need no tool in which one was called all the same, {how}. Fewer is better.",
            pictures.mode_points(estimates, "problems with an unneeded call, %", is_whole=False),
        ),
        _table(
            evaluated,
            "Unneeded calls by mode",
            measure,
            {"needed, none made, %": lambda one: percent_words(one.estimate("missed_problems"))} if not is_written else {},
        ),
    ]
    names = ("calls", "unneeded", "failed", "rejected", "repeated", "beyond") if is_written else ("calls", "unneeded", "rejected")
    rows = [
        [mode, *(None if one.counts.get(name) is None else f"{one.counts[name]:,.1f}" for name in names)]
        for mode, one in evaluated.figures.modes.items()
        if one.counts
    ]
    heads = {"calls": "calls that ran" if is_written else "calls", "beyond": "no room left", "failed": "tried and failed"}
    of = "written answers" if is_written else "labelled positions"
    parts.append(
        f"Counts over all {of}, mean over seeds. Unneeded calls ran or failed where the gold text has none. No room left: the text had its most calls or tokens."
    )
    parts.append(Table("Calls by what became of them", ["mode", *(heads.get(name, name) for name in names)], rows))
    return [Section("Calls", parts)]


def _claims(evaluated: "Evaluated") -> Section:
    found = evaluated.claims
    if not found:
        return Section("Claims", ["The modes that were run and what was measured leave no claim to try."])
    columns = ["claim", "verdict", *(["with other seeds"] if _has_seeds(evaluated) else []), "figures"]
    rows = [
        [
            one.statement,
            one.verdict,
            *([one.verdict_with_seeds or "-"] if _has_seeds(evaluated) else []),
            one.words[0].upper() + one.words[1:],
        ]
        for one in found
    ]
    return Section("Claims", [Table("Claims", columns, rows)])


def _differences(evaluated: "Evaluated") -> list[Section]:
    rows = []
    for (mode, other, measure), one in evaluated.figures.differences.items():
        has_written = (mode, other, "unneeded_answers") in evaluated.figures.differences
        if other == "none" and measure.startswith("unneeded") or measure == "unneeded_problems" and has_written:
            continue  # the plain model calls nothing; what was written says more than what would be called in the gold text
        row = [f"{mode} - {other}", _MEASURES[measure], f"{100 * one.value:+.1f}", ends_words(one.interval, "+")]
        rows.append(
            [
                *row,
                *([ends_words(one.interval_with_seeds, "+")] if _has_seeds(evaluated) else []),
                None if one.p is None else p_words(one.p),
            ]
        )
    if not rows:
        return []
    columns = ["modes", "measure", "points", "95 % interval", *(["with seeds"] if _has_seeds(evaluated) else []), "p"]
    words = "Problem by problem (selection: call by call). For unneeded calls less is better. p values are not corrected for their number."
    return [Section("Differences", [words, Table("Differences", columns, rows)])]


def _examples(evaluated: "Evaluated") -> list[Section]:
    main = evaluated.main_mode
    seeds = {one.seed for one in evaluated.outcomes if one.mode == main.mode}
    if not seeds:
        return []
    seed = min(seeds, key=lambda one: -1 if one is None else one)
    tables = example_tables([one for one in evaluated.outcomes if one.mode == main.mode and one.seed == seed], evaluated.prompts)
    words = f"Under {main.mode}{'' if seed is None else f', seed {seed}'}; the first of each kind of problem. In brackets: the confidence."
    return [Section("Examples", [words, *tables])] if tables else []


def _run_on(evaluated: "Evaluated") -> Section:
    of = evaluated.problems
    sentences = [
        f"Model {evaluated.model}; {counted(len(evaluated.tools), 'tool')}; {of.get('problems', 0):,} problems of {counted(of.get('groups', 0), 'group')} from {evaluated.data}, "
        f"of which {of.get('need_a_tool', 0):,} need a tool; {of.get('answered', 0):,} were answered end to end; toolkens of "
        f"{'seed' if len(evaluated.seeds) == 1 else 'seeds'} {', '.join(map(str, evaluated.seeds))}; k = {evaluated.k}."
    ]
    rows = [
        [seed, *(decimals(one.get(name)) for name in ("temperature", "threshold")), *(one.get(name) for name in ("positions", "fired"))]
        for seed, one in zip(evaluated.seeds, evaluated.calibrations, strict=False)
    ]
    tables = (
        [Table("Calibration by seed", ["seed", "temperature", "threshold", "validation positions", "of these a tool on top"], rows)]
        if rows
        else []
    )
    return Section("What it was run on", [*sentences, *tables, *evaluated.left_out])
