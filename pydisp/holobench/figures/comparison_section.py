"""The section of a report that compares two models on the same items."""

from collections.abc import Hashable

from pydisp.holobench.figures import pictures
from pydisp.holobench.figures.breakdowns import group_words
from pydisp.holobench.figures.comparison import P_LIMIT, Comparison, Difference
from pydisp.holobench.figures.result_words import MEASURE_NAMES, p_words, percent, points_interval, shortened
from pydisp.report import Picture, Section, Table
from pydisp.report.words import counted

_LETTERS_OF_A_COLUMN = 18


def comparison_section(compared: Comparison, number: int = 1) -> Section:
    """First minus second: all items, then by class, length, and what else has several groups.

    Args:
        number: of the comparison in its report, so that two of one name have two titles.
    """
    first, second = shortened(compared.first), shortened(compared.second)
    parts: list = [
        difference_words(compared),
        f"Points: {first} minus {second} in percentage points, item by item; above 0 {first} is better. Intervals are 95 %, p flips the signs "
        "of whole draws. In the tables of groups p is corrected for the number of groups (Holm). Smallest visible: the difference that such "
        "data show four times in five.",
        Table(
            "All items",
            ["measure", "items", *_columns(first, second, "p")],
            [[MEASURE_NAMES[m], one.pairs, *_cells(one)] for m, one in compared.overall.items()],
        ),
    ]
    measure = "f1" if "f1" in compared.overall else next(iter(compared.overall))
    for breakdown in ("class", "length", compared.share, "placement"):
        groups = {name: found[measure] for name, found in compared.by[breakdown].items() if measure in found}
        if len(groups) > 1:
            parts += _group_parts(breakdown, MEASURE_NAMES[measure], groups, first, second)
    return Section(f"{'' if number == 1 else f'{number}: '}Against {second}", parts)


def difference_words(compared: Comparison) -> str:
    """What differs over all items, in a sentence or two."""
    first, second = shortened(compared.first), shortened(compared.second)
    words = f"{first} minus {second} over {counted(compared.pairs, 'item')} that both answered"
    if compared.left_out:
        words += f" ({compared.left_out:,} left out, because one of them skipped them)"
    has_numbers = len({one.pairs for one in compared.overall.values()}) > 1
    changes = []
    for measure, one in compared.overall.items():
        over = f" over {counted(one.pairs, 'item')}" if has_numbers else ""
        changes.append(f"{MEASURE_NAMES[measure]}{over} {_change(one)}")
    return f"{words}: {'; '.join(changes)}.{''.join(_asked_of_one(compared, first, second))}"


def _asked_of_one(compared: Comparison, first: str, second: str) -> list[str]:
    first, second = (first, second) if first != second else ("the first", "the second")
    return [
        f" Left out: {counted(count, 'item')} that only {name} has predictions of."
        for name, count in ((first, compared.only_first), (second, compared.only_second))
        if count
    ]


def _change(one: Difference) -> str:
    words = f"{100 * one.estimate.value:+.1f} points"
    ends = points_interval(one.estimate)
    words += "" if ends is None else f" ({ends})"
    if one.estimate.p is None:
        return f"{words}, too few draws for a test"
    p = p_words(one.estimate.p)
    words += f", p {p.replace('<', '< ') if p.startswith('<') else f'= {p}'}"
    visible = one.estimate.smallest_visible
    return words if one.estimate.p <= P_LIMIT or visible is None else f"{words} (only {100 * visible:.1f} points or more would be seen)"


def _columns(first: str, second: str, p: str) -> list[str]:
    first, second = (shortened(name.rpartition("/")[2], _LETTERS_OF_A_COLUMN) for name in (first, second))
    if first == second:
        first, second = f"{first}, first", f"{second}, second"
    return [f"{first}, %", f"{second}, %", "points", "95 % interval", p, "smallest visible"]


def _cells(one: Difference) -> list:
    is_hidden = one.adjusted_p is not None and one.adjusted_p > P_LIMIT and one.estimate.smallest_visible is not None
    return [
        percent(one.first),
        percent(one.second),
        f"{100 * one.estimate.value:+.1f}",
        points_interval(one.estimate),
        p_words(one.adjusted_p),
        f"{100 * one.estimate.smallest_visible:.1f}" if is_hidden else None,
    ]


def _group_parts(breakdown: str, measure: str, groups: dict[Hashable, Difference], first: str, second: str) -> list:
    names = [group_words(breakdown, name) for name in groups]
    series = pictures.Series(
        "difference",
        [100 * one.estimate.value for one in groups.values()],
        [None if (ends := one.estimate.interval) is None else (100 * ends[0], 100 * ends[1]) for one in groups.values()],
    )
    title = f"Difference of {measure} by {breakdown}"
    table = Table(
        f"{measure} by {breakdown}",
        [breakdown, *_columns(first, second, "p (Holm)")],
        [[name, *_cells(one)] for name, one in zip(names, groups.values(), strict=True)],
    )
    if breakdown not in ("class", "length"):
        return [table]
    caption = f"{first} minus {second} in percentage points, with 95 % intervals over draws."
    return [Picture(title, caption, pictures.points(names, [series], "points", middle=0)), table]
