"""The section of a report that says how its figures were measured, in plain words and with their limits."""

from typing import TYPE_CHECKING

from pydisp.report import Section, Table
from pydisp.toolken.evaluating.claims import LEAST_KEPT, MARGIN

if TYPE_CHECKING:
    from pydisp.toolken.evaluating.evaluated import Evaluated

MODES = (
    ("none", "the plain model"),
    ("toolkengpt", "a tool that is above every word is called (ToolkenGPT)"),
    ("rerank", "the documentation of the k best tools is read, and the best of these is called"),
    ("reject", "the same, but the choice to call none can win too (Toolken+)"),
    (
        "calibrated",
        "the best tool is called if its probability, at a temperature, reaches a threshold; both chosen on validation problems (ours)",
    ),
    ("no_docs", "control: reject with the names and parameters of the tools only, without the sentences of their documentation"),
    ("shuffled_docs", "control: reject with each tool under the documentation of another"),
)


def method_section(evaluated: "Evaluated") -> Section:
    """Modes, measures, replicate, intervals, limits, in that order."""
    seeds = len(evaluated.seeds)
    has_answers = any("accuracy" in one.measured for one in evaluated.figures.modes.values())
    rows = [[mode, words] for mode, words in MODES if mode in evaluated.figures.modes]
    parts: list = [Table("Modes", ["mode", "what it does where a tool is above every word"], rows)]
    parts.append(
        "Selection is teacher-forced: at each labelled token the text before it is the gold one. At a gold call it counts as right if the right "
        "tool is called, so a tool that is not above every word, or is rejected, counts as wrong: chance, which is told when to call, has it easier. "
        "The AUROC asks whether the scores order problems that need a tool (at their first call) above those that need none (at their "
        "first token). ECE is over the positions at which a tool is above every word: its confidence against how often it is the right one; "
        "ten bins of equal width. With few such positions it is biased upwards."
    )
    if has_answers:
        parts.append(
            "Answers are written by greedy decoding, calls run, and the answer is compared by fixed rules: the last numbers of the first line "
            "(of the last line after ####, where solutions have several lines) or, for other answers, its text. Exact means equal value or equal text; "
            "within means at most 0.1 % away. Called, rejected, failed, repeated are counted apart: a call that was tried and failed is never "
            "an abstention, and where no tool is needed it counts as unneeded like one that ran."
        )
    parts.append(
        "The replicate is the group of problems: paraphrases stand or fall together. What the "
        + ("seed gives" if seeds == 1 else f"{seeds} seeds of the training give")
        + " for a problem is averaged first. So the 95 % intervals say what other problems of this kind would give with these trained rows. The interval "
        "of a share is the exact binomial one of as many independent answers as the groups are worth (Korn and Graubard); that of a difference is Student's "
        "over groups with two groups more, one that differs fully to either side, and its p flips the signs of whole groups. In simulations with 2 to 300 groups, "
        "shares from 0.5 to 99.5 % and groups that agree fully or not at all they hold at least 93 % of the time (bench/toolken_coverage.py). "
        + (
            "The wider interval, the thin line, adds other seeds: Student's t over the means of the seeds, added in squares. "
            if seeds > 1
            else "With one seed nothing is known of other trainings. "
        )
        + "Intervals are not corrected for their number: one in 20 misses."
    )
    parts.append(
        "A claim holds, or does not, if its interval lies on one side; else the results are too weak to tell. Equal or better means: not lower in what was seen, "
        f"and an interval that leaves no room for a loss of more than {100 * MARGIN:.0f} points. That fewer unneeded calls are tried is void "
        f"where calibrated tries nothing, or gets fewer than {100 * LEAST_KEPT:.0f} % as many gold calls right as toolkengpt. Threshold and temperature were "
        "chosen on validation problems, never on these: the threshold on those positions at which a tool was on top."
    )
    if "no_docs" in evaluated.figures.modes or "shuffled_docs" in evaluated.figures.modes:
        parts.append(
            "A limit of the controls: the second rows were trained with the tools' own sentences. So what reject has over no_docs or shuffled_docs is what these "
            "rows lose without them, not what rows that were trained without sentences would lack."
        )
    parts.append(
        "Limits: the problems are short, and those of this project's generator have few forms. Curves of confidence are teacher-forced and put all "
        "seeds together, so they have no intervals. The gold text is one way to solve a problem; a model may call a tool rightly elsewhere."
    )
    return Section("How it was measured", parts)
