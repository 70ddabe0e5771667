"""Results in words: the sentences of a report's summary, and a few lines for a terminal."""

import textwrap
from collections.abc import Hashable, Iterator, Sequence

from pydisp.holobench.figures.breakdowns import Figures, group_words
from pydisp.holobench.figures.claims import WEAK
from pydisp.holobench.figures.effective_length import HELD, KEPT, LOST, EffectiveLength
from pydisp.holobench.figures.results import Results
from pydisp.intervals import Estimate
from pydisp.report.words import counted

COLUMNS = 80
_MOST_LINES = 25
_MOST_ROWS = 11
_LONGEST_NAME = 40
_NO_BREAK_TO = "\u00a0to\u00a0"
MEASURE_NAMES = {"f1": "F1", "recall": "recall", "strict": "strict", "exact": "exact rows", "accuracy": "accuracy"}


def percent(value: float | None) -> int | None:
    """A share as whole per cent, for tables; None for none."""
    return None if value is None else round(100 * value)


def interval_words(estimate: Estimate | None) -> str | None:
    """`54 to 70` in per cent, on one line; None without an interval."""
    if estimate is None or estimate.interval is None:
        return None
    return _NO_BREAK_TO.join(f"{100 * end:.0f}" for end in estimate.interval)


def points_interval(difference: Estimate) -> str | None:
    """`-8.2 to +1.0` in percentage points, on one line; None without an interval."""
    if difference.interval is None:
        return None
    return _NO_BREAK_TO.join(f"{100 * end:+.1f}" for end in difference.interval)


def share_words(estimate: Estimate) -> str:
    """`62 % (54 to 70)`."""
    ends = interval_words(estimate)
    return f"{100 * estimate.value:.0f} %" + ("" if ends is None else f" ({ends})")


def p_words(p: float | None) -> str | None:
    """`<0.001`, `0.034`; None for none."""
    if p is None:
        return None
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def summary(results: Results) -> list[str]:
    """What was asked, the scores, what holds at longer lengths, and which findings of the paper were seen."""
    lines = [what_was_asked(results), *scores(results)]
    lines += [effective_words(one) for one in results.effective]
    lines += [claim.sentence for claim in results.claims if claim.verdict != WEAK]
    weak = [claim.statement.rstrip(".") for claim in results.claims if claim.verdict == WEAK]
    if weak:
        lines.append(f"Too weak to tell whether these findings of the paper hold: {'; '.join(weak)}.")
    return lines


def what_was_asked(results: Results) -> str:
    overall = results.overall
    words = (
        f"{shortened(results.model)} on {results.data}: {counted(overall.items, 'item')} from "
        f"{counted(len({one.item.draw for one in results.scored}), 'draw')}"
    )
    words += f", {overall.skipped:,} of them skipped." if overall.skipped else ", none skipped."
    if results.not_asked:
        words += f" {counted(results.not_asked, 'more item')} of the benchmark have no prediction and count nowhere."
    if results.is_without_context:
        words += " Asked without the facts: this is a control, not a result."
    return words


def shortened(name: str, letters: int = _LONGEST_NAME) -> str:
    """A name whose middle is left out if it is long."""
    half = letters // 2 - 1
    return name if len(name) <= letters else f"{name[:half]}…{name[-half:]}"


def scores(results: Results) -> Iterator[str]:
    """F1 and its companions, then the accuracy against chance; as far as there are such."""
    overall = results.overall
    if overall.f1 is not None:
        words = (
            f"F1 {share_words(overall.f1)} over {counted(overall.answered, 'answer')}; recall {percent(overall.recall.value)} %, "
            f"strict {percent(overall.strict.value)} %."
        )
        if overall.skipped:
            words += f" With skipped items as 0, F1 is {100 * overall.f1_of_all:.0f} %."
        if overall.unparsable:
            words += f" {counted(overall.unparsable, 'answer')} could not be read and count 0."
        if overall.unfinished:
            words += f" {counted(overall.unfinished, 'answer')} ran out of room."
        yield words
    if overall.accuracy is not None:
        yield (
            f"Accuracy among near misses {share_words(overall.accuracy)} over {counted(overall.chosen, 'item')}; "
            f"chance is {percent(overall.chance)} %, {_chance_words(overall)}."
        )


def _chance_words(overall: Figures) -> str:
    interval = overall.above_chance.interval
    if interval is None:
        return "too few draws to compare them"
    if interval[0] > 0:
        return "and the accuracy is above it"
    return "and the accuracy is below it" if interval[1] < 0 else "from which the accuracy cannot be told"


def effective_words(one: EffectiveLength) -> str:
    """The effective length in a sentence or two."""
    name = "F1" if one.measure == "f1" else "accuracy above chance"
    kept = f"{100 * KEPT:.0f} %"
    if not one.is_claimed:
        return f"{name[0].upper()}{name[1:]} in the shortest contexts ({one.shortest:,} tokens) cannot be told from 0, so nothing is said of longer ones."
    parts = []
    if one.held == one.steps[-1].length:
        parts.append(f"At least {kept} of the {name} at {one.shortest:,} tokens is kept at every tested length, up to {one.held:,} tokens.")
    elif one.held > one.shortest:
        parts.append(f"At least {kept} of the {name} at {one.shortest:,} tokens is kept up to {one.held:,} tokens.")
    lost = [f"{step.length:,}" for step in one.steps if step.verdict == LOST]
    if lost:
        parts.append(f"Less than {kept} of the {name} at {one.shortest:,} tokens is left at {' and '.join(lost)} tokens.")
    weak = [f"{step.length:,}" for step in one.steps if step.verdict not in (HELD, LOST)]
    if weak:
        parts.append(f"Too weak to tell whether {kept} of the {name} at {one.shortest:,} tokens is kept at {' and '.join(weak)} tokens.")
    return " ".join(parts)


def in_words(results: Results) -> str:
    """The figures in at most 25 lines of 80 columns, for a terminal."""
    lines = [line for text in (what_was_asked(results), *scores(results)) for line in _wrapped(text)]
    measures = [measure for measure, has in (("f1", results.has_answers), ("accuracy", results.has_choices)) if has]
    if measures:
        lines += ["", *_side_by_side(*(_columns(results, breakdown, measures) for breakdown in ("class", "length")))]
    if results.effective:
        lines += _wrapped(effective_words(results.effective[0]))
    return "\n".join(line[:COLUMNS] for line in lines[:_MOST_LINES])


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, COLUMNS)


def _columns(results: Results, breakdown: str, measures: Sequence[str]) -> list[str]:
    """The rows of one breakdown, aligned."""
    head = [breakdown, "n", *(f"{MEASURE_NAMES[measure]}, %" if measure == "f1" else "acc." for measure in measures)]
    rows = [head, *(_row(breakdown, name, figures, measures) for name, figures in list(results.by[breakdown].items())[:_MOST_ROWS])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _row(breakdown: str, name: Hashable, figures: Figures, measures: Sequence[str]) -> list[str]:
    cells = [group_words(breakdown, name), str(figures.items - figures.skipped)]
    for place, measure in enumerate(measures):
        estimate = figures.estimate(measure)
        value = "" if estimate is None else f"{100 * estimate.value:.0f}"
        if place == 0 and estimate is not None and estimate.interval is not None:
            value += " ({:.0f}-{:.0f})".format(*(100 * end for end in estimate.interval)).rjust(9)
        cells.append(value)
    return cells


def _side_by_side(left: list[str], right: list[str]) -> list[str]:
    width = max(map(len, left))
    count = max(len(left), len(right))
    left, right = (side + [""] * (count - len(side)) for side in (left, right))
    return [f"{one.ljust(width)}   {other}".rstrip() for one, other in zip(left, right, strict=True)]
