"""Claims: what the HoloBench paper (arXiv 2410.11996) found of other models, tried on one model's scores.

    for claim in claims(scored, "f1"):
        print(claim.sentence)

1. The amount of relevant facts matters more than the length of the context.
2. Classes of questions differ.
3. Finding a largest or smallest value (extreme) is easier than sums and averages (aggregate).

Each is "seen", its "opposite was seen", or the results are "too weak to tell". That classes are alike is never said: a few draws a class in
which all went well look alike too. Intervals are 95 %, by a jackknife over draws.
"""

# D draws, N items, K classes

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pydisp.holobench.figures.estimates import FEWEST_DRAWS, jackknife_estimate, left_out, widened_interval
from pydisp.holobench.figures.scored_items import ScoredItem
from pydisp.intervals import Estimate

SEEN, OPPOSITE, WEAK = "seen", "the opposite was seen", "too weak to tell"
FEWEST_FOR_SLOPES = 5  # draws
_LEAST_SPREAD = 0.25  # in doublings: of the amount where the length is given, and the other way round
_PERMUTATIONS = 1999
_SIGNIFICANT = 0.05
_NAMES = {"f1": "F1", "accuracy": "accuracy"}


@dataclass(frozen=True, eq=False)
class Claim:
    """One finding of the paper and what became of it.

    Args:
        name: for JSON. statement: what the paper says. verdict: SEEN, OPPOSITE or WEAK. words: the figures, or why there are none.
        figures: plain values for JSON.
    """

    name: str
    statement: str
    verdict: str
    words: str
    figures: dict = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        return f"{self.statement} {self.verdict[0].upper()}{self.verdict[1:]}: {self.words}"

    def as_dict(self) -> dict:
        return {"name": self.name, "statement": self.statement, "verdict": self.verdict, "words": self.words, **self.figures}


def claims(scored: Sequence[ScoredItem], measure: str, *, seed: int = 0) -> tuple[Claim, ...]:
    """All claims, tried on the items that have the measure.

    Args:
        measure: "f1" or "accuracy". seed: of the permutations of classes.
    """
    having = [one for one in scored if one.value(measure) is not None]
    return amount_against_length(having, measure), class_differences(having, measure, seed=seed), extreme_against_aggregate(having, measure)


def _places(names: Sequence) -> np.ndarray:
    """(N,) the number of each name, by the order in which they come first."""
    found: dict = {}
    return np.array([found.setdefault(name, len(found)) for name in names], dtype=np.int64)


def _centred(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(N, ...) values minus the mean of their group."""
    counts = np.bincount(groups)
    sums = np.zeros((len(counts), *values.shape[1:]))
    np.add.at(sums, groups, values)
    return values - (sums / counts.reshape(-1, *[1] * (values.ndim - 1)))[groups]


def _points(estimate: Estimate) -> str:
    """`-6.1 points (-8.2 to -4.0)`."""
    ends = "" if estimate.interval is None else " ({:+.1f} to {:+.1f})".format(*(100 * end for end in estimate.interval))
    return f"{100 * estimate.value:+.1f} points{ends}"


def _plain(estimate: Estimate) -> dict:
    return {"mean": estimate.value, "interval": estimate.interval}


def amount_against_length(scored: Sequence[ScoredItem], measure: str) -> Claim:
    """Least squares of the score on log2 of the amount and of the length within each draw and class, so that only items of one draw and class
    are compared with each other. Both slopes are per doubling; the claim is of their difference."""
    statement = "More relevant facts cost more than a longer context."
    name = "amount_against_length"
    scored = [one for one in scored if one.item.amount > 0]
    draws = _places([one.item.draw for one in scored])
    if len({one.value(measure) for one in scored}) == 1:
        return Claim(name, statement, WEAK, f"every {_NAMES[measure]} is {100 * scored[0].value(measure):.0f} %.")
    if not len(draws) or draws.max() + 1 < FEWEST_FOR_SLOPES:
        return Claim(name, statement, WEAK, f"slopes need {FEWEST_FOR_SLOPES} draws or more.")
    logs = np.log2([[one.item.amount, one.item.length] for one in scored])
    groups = _places([(one.item.draw, one.item.kind) for one in scored])
    inputs = _centred(logs, groups)
    if not _can_be_told_apart(inputs):
        words = "amount and length do not vary apart from each other within draws; build with several amounts, or densities, and several lengths."
        return Claim(name, statement, WEAK, words)
    value = _centred(np.array([one.value(measure) for one in scored]), groups)
    amount, length, difference = _slopes(inputs, value, draws)
    is_below = [one.interval[1] < 0 for one in (amount, length)]
    verdict = WEAK
    if difference.interval[1] < 0 and is_below[0]:
        verdict = SEEN
    elif difference.interval[0] > 0 and is_below[1]:
        verdict = OPPOSITE
    words = (
        f"a doubling of the relevant facts moves {_NAMES[measure]} by {_points(amount)}, a doubling of the length by {_points(length)}; "
        f"difference {_points(difference)}."
    )
    figures = {"amount": _plain(amount), "length": _plain(length), "difference": _plain(difference)}
    return Claim(name, statement, verdict, words, figures)


def _can_be_told_apart(inputs: np.ndarray) -> bool:
    """Whether each of two columns, (N, 2), varies where the other is given."""
    squares = inputs.T @ inputs
    for one, other in ((0, 1), (1, 0)):
        left = squares[one, one] - (squares[one, other] ** 2 / squares[other, other] if squares[other, other] > 0 else 0.0)
        if left < _LEAST_SPREAD**2 * len(inputs):
            return False
    return True


def _slopes(inputs: np.ndarray, value: np.ndarray, draws: np.ndarray) -> tuple[Estimate, Estimate, Estimate]:
    """The slopes of (N, 2) inputs, and the first minus the second."""
    count = int(draws.max()) + 1
    squares, products = np.zeros((count, 2, 2)), np.zeros((count, 2))
    np.add.at(squares, draws, inputs[:, :, None] * inputs[:, None, :])
    np.add.at(products, draws, inputs * value[:, None])
    whole = np.linalg.lstsq(squares.sum(0), products.sum(0), rcond=None)[0]
    without = np.array(
        [np.linalg.lstsq(squares.sum(0) - s, products.sum(0) - p, rcond=None)[0] for s, p in zip(squares, products, strict=True)]
    )
    moves = whole - without  # (D, 2)
    columns = [(whole[0], moves[:, 0]), (whole[1], moves[:, 1]), (whole[0] - whole[1], moves[:, 0] - moves[:, 1])]
    first, second, difference = (jackknife_estimate(float(one), of) for one, of in columns)
    return first, second, difference


def class_differences(scored: Sequence[ScoredItem], measure: str, *, seed: int = 0) -> Claim:
    """The spread of the means of classes: their standard deviation without the part that chance adds, and a permutation test.

    Scores count against the mean of their length. Classes change places among the questions of a draw, or, where draws have one class each,
    among draws. The verdict is SEEN or WEAK. The spread has no interval: where nearly all scores are equal none is to be relied on.
    """
    name, statement = "class_differences", "Classes of questions differ."
    draws_of: dict[str, set] = {}
    for one in scored:
        draws_of.setdefault(one.item.kind, set()).add(one.item.draw)
    scored = [one for one in scored if len(draws_of[one.item.kind]) >= FEWEST_DRAWS]
    kinds = sorted({one.item.kind for one in scored})
    if len(kinds) < 2:
        return Claim(name, statement, WEAK, "two classes or more with two draws each are needed.")
    value = np.array([one.value(measure) for one in scored])
    if np.ptp(value) == 0:
        return Claim(name, statement, WEAK, f"every {_NAMES[measure]} is {100 * value[0]:.0f} %.")
    units = _Units.of(scored, _centred(value, _places([one.item.length for one in scored])))
    p = units.permutation_p(np.random.default_rng([seed, 3]))
    spread = units.spread()
    verdict = SEEN if p <= _SIGNIFICANT else WEAK
    means = {kind: float(value[[one.item.kind == kind for one in scored]].mean()) for kind in kinds}
    best, worst = max(kinds, key=means.get), min(kinds, key=means.get)
    words = (
        f"means of {_NAMES[measure]} run from {100 * means[worst]:.0f} % ({worst.replace('_', ' ')}) to {100 * means[best]:.0f} % "
        f"({best.replace('_', ' ')}); their standard deviation is about {100 * spread:.1f} points "
        f"beyond chance, p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}."
    )
    return Claim(name, statement, verdict, words, {"spread": spread, "p": p, "means": means})


@dataclass(frozen=True, eq=False)
class _Units:
    """Sums and counts of the scores of one class in one draw, (U,) each; classes are numbered below K, draws below D."""

    sums: np.ndarray
    counts: np.ndarray
    classes: np.ndarray
    draws: np.ndarray

    @classmethod
    def of(cls, scored: Sequence[ScoredItem], value: np.ndarray) -> "_Units":
        unit = _places([(one.item.draw, one.item.kind) for one in scored])
        first = np.unique(unit, return_index=True)[1]
        kinds, draws = _places([one.item.kind for one in scored]), _places([one.item.draw for one in scored])
        return cls(np.bincount(unit, weights=value), np.bincount(unit).astype(np.float64), kinds[first], draws[first])

    def between(self, classes: np.ndarray, is_left: np.ndarray | None = None) -> np.ndarray:
        """(...) the variance of the means of classes, for (..., U) classes of the units; `is_left`: only of some units."""
        kept = np.ones(len(self.sums)) if is_left is None else is_left.astype(np.float64)
        is_of = (classes[..., None, :] == np.arange(self.classes.max() + 1)[:, None]) * kept  # (..., K, U)
        counts = is_of @ self.counts
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.nanvar(np.where(counts > 0, is_of @ self.sums / counts, np.nan), axis=-1)

    def permutation_p(self, generator: np.random.Generator) -> float:
        """The share of permutations of classes whose variance is as large, with the real one among them."""
        per_draw = np.bincount(self.draws)
        blocks = np.where(per_draw[self.draws] > 1, self.draws + 1, 0)  # draws of one class are one block
        order = np.argsort(blocks, kind="stable")
        reached, real = 1, float(self.between(self.classes))
        for _ in range(_PERMUTATIONS):
            classes = np.empty_like(self.classes)
            classes[order] = self.classes[np.lexsort((generator.random(len(blocks)), blocks))]
            reached += float(self.between(classes)) >= real * (1 - 1e-9)
        return reached / (_PERMUTATIONS + 1)

    def spread(self) -> float:
        """The standard deviation of the means of classes. A jackknife takes out what the noise of the means adds to their variance."""
        count = int(self.draws.max()) + 1
        value = float(self.between(self.classes))
        without = np.array([float(self.between(self.classes, self.draws != draw)) for draw in range(count)])
        corrected = count * value - (count - 1) * float(without.mean())
        return float(np.sqrt(max(0.0, corrected)))


def extreme_against_aggregate(scored: Sequence[ScoredItem], measure: str) -> Claim:
    """The difference of two class means; a draw that has both classes counts as a pair."""
    name, statement = "extreme_against_aggregate", "A largest or smallest value is easier than a sum or an average."
    groups = [[one for one in scored if one.item.kind == kind] for kind in ("extreme", "aggregate")]
    draws = [{one.item.draw for one in group} for group in groups]
    if min(map(len, draws)) < FEWEST_DRAWS:
        return Claim(name, statement, WEAK, "two draws or more of each of the two classes are needed.")
    difference = difference_of_groups(*([(one.value(measure), one.item.draw) for one in group] for group in groups))
    verdict = SEEN if difference.interval[0] > 0 else OPPOSITE if difference.interval[1] < 0 else WEAK
    words = f"{_NAMES[measure]} of extreme minus that of aggregate is {_points(difference)}."
    return Claim(name, statement, verdict, words, {"difference": _plain(difference)})


def difference_of_groups(first: Sequence[tuple[float, str]], second: Sequence[tuple[float, str]]) -> Estimate:
    """The mean of the first minus that of the second, of (score, draw) pairs; each has two draws or more, and both may share some."""
    names = list(dict.fromkeys(draw for _, draw in (*first, *second)))
    shared = {draw for _, draw in first} & {draw for _, draw in second}
    value, moves, differences = 0.0, np.zeros(len(names)), np.zeros(len(names))
    for sign, group in ((1, first), (-1, second)):
        sums, counts = (
            np.bincount([names.index(draw) for _, draw in group], weights=w, minlength=len(names)) for w in ([v for v, _ in group], None)
        )
        mean = sums.sum() / counts.sum()
        value += sign * mean
        moves += sign * left_out(sums, counts.astype(np.float64))
        differences += sign * np.where(counts > 0, sums / np.maximum(counts, 1), mean)
    degrees = len(names) - 1 - (not shared)
    interval, error = widened_interval(float(value), moves, differences, degrees)
    return Estimate(float(value), interval, error)
