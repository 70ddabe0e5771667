"""The sections of a report on confidence and on the confusion of tools; both teacher-forced."""

from typing import TYPE_CHECKING

import numpy as np

from pydisp.report import Picture, Section, Table
from pydisp.toolken.evaluating import pictures
from pydisp.toolken.evaluating.report_words import decimals

if TYPE_CHECKING:
    from pydisp.toolken.evaluating.evaluated import Evaluated

_MOST_TOOLS = 24  # a map of more is not readable
_MOST_CONFUSIONS = 15


def confidence_section(evaluated: "Evaluated") -> list[Section]:
    """Reliability, risk over coverage, and calls saved against right decisions; nothing where no tool is on top anywhere."""
    curves = {mode: one for mode, one in evaluated.curves.items() if mode in ("toolkengpt", "rerank", "reject", "calibrated")}
    if not curves:
        return []
    counts = ", ".join(f"{mode} {one.count:,}" for mode, one in curves.items())
    rows = [
        [
            mode,
            one.count,
            decimals(evaluated.figures.modes[mode].ece),
            decimals(one.risk.area),
        ]
        for mode, one in curves.items()
    ]
    parts = [
        "All of this is at positions where a tool is above every word, over all seeds; the confidence is the probability of the best tool. "
        "Toolkengpt and rerank know no choice of none, so theirs is high also where no tool is needed.",
        Picture(
            "Reliability",
            f"How often the best tool is the right one, by the confidence in it; larger dots hold more decisions; dashed: confidence that is true. Decisions: {counts}.",
            pictures.reliability(curves),
        ),
        Picture(
            "Risk over coverage",
            "The share that is wrong when only the most confident decisions are kept. Lower is better.",
            pictures.risk_coverage(curves),
        ),
        Picture(
            "Calls saved against right decisions",
            "A threshold on the confidence saves calls from left to right. A decision is right if the right tool is called, or none before a word.",
            pictures.calls_saved(curves),
        ),
        Table("Confidence by mode", ["mode", "decisions", "ECE", "mean risk over coverage"], rows),
    ]
    return [Section("Confidence", parts)]


def confusion_section(evaluated: "Evaluated") -> list[Section]:
    """Which tools are called in place of which, under the main mode; nothing without gold calls."""
    main = evaluated.main_mode
    if main.confusion is None or not main.confusion.sum():
        return []
    tools = len(evaluated.tools)
    names = [*evaluated.tools, "no tool on top", "rejected"]
    rows = np.flatnonzero(main.confusion.sum(1))
    columns = np.array([one for one in range(tools + 2) if main.confusion[:, one].sum() or one in rows or one >= tools])
    words = f"Gold calls under {main.mode}, over all seeds: the right tool, and what was called."
    wrong = [
        (int(main.confusion[row, column]), evaluated.tools[row], names[column])
        for row in rows
        for column in columns
        if row != column and main.confusion[row, column]
    ]
    table = Table(
        "Most frequent confusions", ["right tool", "called", "gold calls"],
        [[right, called, count] for count, right, called in sorted(wrong, key=lambda one: (-one[0], one[1], one[2]))[:_MOST_CONFUSIONS]],
    )  # fmt: skip
    if len(rows) > _MOST_TOOLS or len(columns) > _MOST_TOOLS + 2:
        return [
            Section(
                "Confusion of tools",
                [f"{words} A map of {len(rows)} tools is left out.", *([table] if wrong else ["No gold call went wrong."])],
            )
        ]
    picture = Picture(
        "Confusion of tools", f"{words} Darker: a larger share of the row.",
        pictures.confusion_map(main.confusion[np.ix_(rows, columns)], [evaluated.tools[row] for row in rows], [names[column] for column in columns]),
    )  # fmt: skip
    return [Section("Confusion of tools", [picture])]
