"""Benchmarks whose answers have known scores: items as a build makes them, and predictions that score what a test says."""

from collections.abc import Callable, Sequence

import numpy as np

from pydisp.holobench.answers.predictions import Prediction
from pydisp.holobench.figures.results import Results, results
from pydisp.holobench.figures.scored_items import Choice, ScoredItem
from pydisp.holobench.items import CLASSES, Gold, Item
from pydisp.holobench.scorer.scoring import Score

NAMES = ["amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "islet", "jetty"]
GOLD = Gold(("name",), ("text",), tuple((name,) for name in NAMES))


def item(draw: str = "000", *, kind: str = "filter", length: int = 512, placement: str = "uniform", amount: int = 200, **changes) -> Item:
    """One item; its id says where it stands, its gold has ten rows, its first choice is right."""
    name = f"{length}-{placement}-a{amount}-{draw}"
    values = dict(
        id=f"{name}-{kind}", context_id=name, draw=draw, question=f"Which names have {kind}?", sql="SELECT name FROM trees", kind=kind,
        length=length, context="Facts.", prompt_tokens=length - 64, gold=GOLD, choices=("amber", "birch", "cedar", "dune"), correct=0,
        offsets=(), placement=placement, amount=amount, asked=amount, density=round(min(1.0, amount / (length * 0.8)), 4), seed=0, sha256=f"{name}-{kind}",
    )  # fmt: skip
    return Item(**(values | changes))


def benchmark(
    draws: int = 18,
    *,
    lengths: Sequence[int] = (512, 1024),
    placements: Sequence[str] = ("uniform",),
    amounts: Sequence[int] = (),
    densities: Sequence[float] = (0.5,),
    kinds: Sequence[str] = CLASSES,
) -> list[Item]:
    """Items of every length, placement and share; draw d asks a question of class d, as in a build of one question a context."""
    return [
        item(
            f"{draw:03d}", kind=kinds[draw % len(kinds)], length=length, placement=placement,
            amount=round(share if amounts else share * length * 0.8),
        )
        for length in lengths
        for placement in placements
        for share in (amounts or densities)
        for draw in range(draws)
    ]  # fmt: skip


def answer(f1: float) -> str:
    """An answer to `GOLD` with an F1, recall and exact of tenths: as many right rows, the others wrong."""
    right = round(10 * f1)
    return "\n".join([*NAMES[:right], *(f"something else, number {place}" for place in range(10 - right))])


def answered(one: Item, f1: float, margin: float | None = None) -> Prediction:
    """A prediction with an answer, and if there is a margin, with log-likelihoods."""
    return Prediction(one.id, answer(f1), log_likelihoods=None if margin is None else (-2.0 + margin, -2.0, -3.0, -4.0))


def found(
    items: Sequence[Item], f1_of: Callable[[Item], float | None], manifest: dict | None = None, *, margin_of=None, model="model"
) -> Results:
    """Results whose F1 is as `f1_of` says, None for a skipped item; `margin_of` gives nats."""
    predictions = []
    for one in items:
        f1 = f1_of(one)
        if f1 is None:
            predictions.append(Prediction(one.id, skipped="too long for the model"))
        else:
            predictions.append(answered(one, f1, None if margin_of is None else margin_of(one)))
    return results(items, predictions, {"database": "trees"} if manifest is None else manifest, {"model": model})


def scored(one: Item, f1: float, accuracy: float | None = None) -> ScoredItem:
    """An item with scores as they are said to be, of any value."""
    choice = None if accuracy is None else Choice(accuracy, 0.25, accuracy - 0.5)
    return ScoredItem(one, "", Score(f1, f1, int(f1 == 1), f1, False, 1), False, choice)


def draws_effects(generator: np.random.Generator, items: Sequence[Item], spread: float) -> dict[str, float]:
    """An effect of each draw, normal."""
    return {draw: spread * float(generator.standard_normal()) for draw in sorted({one.draw for one in items})}
