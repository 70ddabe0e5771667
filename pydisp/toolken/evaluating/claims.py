"""Claims: what is said of tools, tried on the figures.

    for claim in claims(figures): print(claim.sentence)

Each "holds", "does not hold", or is "too weak to tell": the interval over groups of problems must lie on one side. `verdict_with_seeds` is the same
by the interval that also asks for other seeds of the training. That two modes are alike is never said. A claim for which nothing was measured is left
out. That fewer unneeded calls are tried is "void" where too few right calls are left: whoever tries nothing tries no unneeded call.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from pydisp.toolken.evaluating.estimates import Estimate
from pydisp.toolken.evaluating.figures import Figures, ModeFigures
from pydisp.toolken.evaluating.measured import compared

HOLDS, FAILS, WEAK, VOID = "holds", "does not hold", "too weak to tell", "void, for too few right calls are made"
MARGIN = 0.05  # of accuracy: "not worse" means that the interval leaves no room for a loss of more than so much
LEAST_KEPT = 0.5  # of the gold calls that toolkengpt gets right: a mode that keeps fewer says nothing of unneeded ones
_NAMES = {"accuracy": "accuracy", "selection": "selection"}


@dataclass(frozen=True)
class Claim:
    """One claim and what became of it.

    Args:
        name: for JSON. statement: what is claimed. verdict, verdict_with_seeds: HOLDS, FAILS, WEAK or VOID; the second None for fewer than two seeds.
        words: the figures. figures: plain values for JSON.
    """

    name: str
    statement: str
    verdict: str
    verdict_with_seeds: str | None
    words: str
    figures: dict = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """The verdict, the claim, the figures, in this order: a claim that stood first would be read as a finding."""
        verdict, said = _capital(self.verdict), self.statement[0].lower() + self.statement[1:].rstrip(".")
        return f"{verdict} whether {said}: {self.words}" if self.verdict == WEAK else f"{verdict}: {said}. {_capital(self.words)}"

    def as_dict(self) -> dict:
        """Plain values for JSON."""
        return {
            "name": self.name, "statement": self.statement, "verdict": self.verdict, "verdict_with_seeds": self.verdict_with_seeds,
            "words": self.words, "figures": self.figures,
        }  # fmt: skip


def claims(figures: Figures) -> list[Claim]:
    """All claims whose modes were run and of which something was measured."""
    modes = figures.modes
    found = [_selection_above_chance(modes[mode], figures.chance) for mode in ("toolkengpt", "rerank") if mode in modes]
    if "calibrated" in modes and "toolkengpt" in modes:
        found.append(_half_unneeded(modes["calibrated"], modes["toolkengpt"]))
    if "calibrated" in modes and "none" in modes:
        found.append(_tools_help(modes["calibrated"], modes["none"]))
    return [one for one in found if one is not None]


def _selection_above_chance(of: ModeFigures, chance: dict[str, float]) -> Claim | None:
    statement = f"With {of.mode} the right tool is called more often than by guessing."
    name = f"selection_above_chance_{of.mode}"
    estimate = of.estimate("selection")
    if estimate is None or not chance:
        return None
    level = max(chance.values())
    words = (
        f"{percent(estimate)} of {estimate.items:,} gold calls; one tool in {round(1 / chance['uniform']):,} is {100 * chance['uniform']:.1f} %, "
        f"always the commonest one {100 * chance['commonest']:.1f} %."
    )
    return Claim(
        name,
        statement,
        *_verdicts([estimate], lambda low, high: _side(low - level, high - level)),
        words,
        {"selection": estimate.as_dict(), "chance": chance},
    )


def _half_unneeded(calibrated: ModeFigures, toolkengpt: ModeFigures) -> Claim | None:
    """Both parts must hold: fewer than half as many, by the interval of the one less half the other; and an accuracy that is not lower in what
    was seen and whose interval leaves no room for a loss of more than MARGIN. VOID in place of HOLDS and WEAK where calibrated tries nothing, or
    keeps less than LEAST_KEPT of the right calls. A call that failed is a call that was tried, needed or not."""
    statement, name = (
        "With calibrated at most half as many unneeded calls are tried as with toolkengpt, at equal or better accuracy.",
        "half_unneeded",
    )
    measure = calibrated.unneeded_problems
    mine, others = calibrated.measured.get(measure), toolkengpt.measured.get(measure)
    if mine is None or others is None:
        return None
    quality = "accuracy" if "accuracy" in calibrated.measured and "accuracy" in toolkengpt.measured else "selection"
    if quality not in calibrated.measured or quality not in toolkengpt.measured:
        return None
    halved = compared(mine, others, factor=0.5)
    better = compared(calibrated.measured[quality], toolkengpt.measured[quality])
    if halved is None or better is None:
        return None
    calls, all_calls = _ran(calibrated), _ran(toolkengpt)
    tried, all_tried = _tried(calibrated), _tried(toolkengpt)
    kept = _kept(calibrated, toolkengpt)
    is_void = tried == 0 or kept is not None and kept < LEAST_KEPT
    made = "" if tried is None or all_tried is None else f"{tried:,.1f} calls are tried, against {all_tried:,.1f}; "
    if made and calibrated.counts_of == "answers":  # the decisions at labelled positions run nothing
        made += f"calls that ran: {calls:,.1f}, against {all_calls:,.1f}; "
    right = "" if kept is None else f"{100 * kept:.1f} % of the gold calls that toolkengpt gets right are kept; "
    words = (
        f"{made}{right}a call is tried in {percent(mine.estimate)} of {mine.estimate.items:,} problems that need none, against {percent(others.estimate)}; "
        f"less half of that: {points(halved)}; {_NAMES[quality]}: {points(better)}, where a loss of more than {100 * MARGIN:.0f} points must be ruled out."
    )

    def verdict(halved_low: float, halved_high: float, better_low: float, better_high: float) -> str:
        fewer = HOLDS if halved_high <= 0 else FAILS if halved_low > 0 else WEAK
        equal = HOLDS if better.value >= 0 and better_low >= -MARGIN else FAILS if better_high < 0 else WEAK
        if FAILS in (fewer, equal):
            return FAILS
        return VOID if is_void else HOLDS if fewer == equal == HOLDS else WEAK

    found = {
        "measure": measure,
        "less_half": halved.as_dict(),
        "quality": quality,
        "quality_difference": better.as_dict(),
        "margin": MARGIN,
        "calls": {"calibrated": calls, "toolkengpt": all_calls},
        "tried": {"calibrated": tried, "toolkengpt": all_tried},
        "kept": kept,
        "least_kept": LEAST_KEPT,
    }
    return Claim(name, statement, *_verdicts([halved, better], verdict), words, found)


def _ran(of: ModeFigures) -> float | None:
    """Calls that ran; at labelled positions those that would be made."""
    return of.counts.get("calls")


def _tried(of: ModeFigures) -> float | None:
    """Those, and the calls that failed."""
    calls = _ran(of)
    return None if calls is None else calls + (of.counts.get("failed") or 0.0)


def _kept(calibrated: ModeFigures, toolkengpt: ModeFigures) -> float | None:
    """How many gold calls calibrated gets right for each that toolkengpt does; None where that is none."""
    mine, others = (one.measured.get("selection") for one in (calibrated, toolkengpt))
    if mine is None or others is None or not others.values.any():
        return None
    return float(mine.values.mean() / others.values.mean())


def _tools_help(calibrated: ModeFigures, plain: ModeFigures) -> Claim | None:
    statement, name = "With calibrated more problems are answered right than by the plain model.", "tools_help"
    mine, others = (one.measured.get("accuracy") for one in (calibrated, plain))
    gain = None if mine is None or others is None else compared(mine, others)
    if gain is None:
        return None
    words = (
        f"{percent(calibrated.estimate('accuracy'))} against {percent(plain.estimate('accuracy'))} of {gain.items:,} problems; "
        f"difference {points(gain)}{'' if gain.p is None else f', p {p_words(gain.p)}'}."
    )
    return Claim(name, statement, *_verdicts([gain], _side), words, {"difference": gain.as_dict()})


def _side(low: float, high: float) -> str:
    return HOLDS if low > 0 else FAILS if high < 0 else WEAK


def _verdicts(estimates: list[Estimate], verdict: Callable[..., str]) -> tuple[str, str | None]:
    """By the intervals over groups, and by those with seeds."""
    if any(one.interval is None for one in estimates):
        return WEAK, None
    plain = verdict(*(end for one in estimates for end in one.interval))
    has_seeds = all(one.interval_with_seeds is not None for one in estimates)
    return plain, verdict(*(end for one in estimates for end in one.interval_with_seeds)) if has_seeds else None


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def percent(estimate: Estimate | None) -> str:
    """`41.0 % (35.2 to 47.1)`."""
    if estimate is None:
        return "nothing"
    ends = "" if estimate.interval is None else " ({:.1f} to {:.1f})".format(*(100 * end for end in estimate.interval))
    return f"{100 * estimate.value:.1f} %{ends}"


def points(estimate: Estimate) -> str:
    """`-6.1 points (-8.2 to -4.0)`."""
    ends = "" if estimate.interval is None else " ({:+.1f} to {:+.1f})".format(*(100 * end for end in estimate.interval))
    return f"{100 * estimate.value:+.1f} points{ends}"


def p_words(p: float) -> str:
    """A p-value in three decimals."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
