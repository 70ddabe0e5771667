"""From scores to a plan: the best features under one global threshold that meets the parameter budget.

Every mask keeps its features above the threshold; its width is rounded to a multiple. Bisection gives the lowest threshold within the
budget. The rest of the budget is filled with further groups of features, best first, as long as one fits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pydisp.indices import IndexSet
from pydisp.plan import SETS, AttentionPlan, LayerPlan, MLPPlan, PruningPlan
from pydisp.spec import ModelSpec

_ATTENTION, _MLP = SETS[:2], SETS[2:]


@dataclass(frozen=True)
class ScoredMask:
    """Scores of one mask, and the places (layer, name of the set) that use it; tied masks have several places."""

    scores: Tensor  # (width,) features with higher scores are kept first
    places: tuple[tuple[int, str], ...]


def untied(layers: Sequence[Sequence[Tensor]]) -> list[ScoredMask]:
    """Five masks per layer in the order of SETS, each used in one place."""
    return [ScoredMask(s, ((n, name),)) for n, layer in enumerate(layers) for name, s in zip(SETS, layer, strict=True)]


def tied(residual: Tensor, middles: Sequence[Tensor]) -> list[ScoredMask]:
    """One mask of the residual stream for all places that read or write it, and one mask per layer for its MLP middle."""
    everywhere = tuple((n, name) for n in range(len(middles)) for name in SETS if name != "mlp_middle")
    return [ScoredMask(residual, everywhere)] + [ScoredMask(m, ((n, "mlp_middle"),)) for n, m in enumerate(middles)]


def ranked(scores: Tensor) -> Tensor:
    """Scores replaced by their ranks, spread evenly over (0, 1), so that one threshold keeps the same share of every mask."""
    ranks = torch.empty(len(scores), dtype=torch.float64)
    ranks[scores.double().argsort(stable=True)] = torch.arange(len(scores), dtype=torch.float64)
    return (ranks + 0.5) / len(scores)


def convert(masks: Sequence[ScoredMask], spec: ModelSpec, budget: int, round_to: int) -> PruningPlan:
    """The plan that keeps at most `budget` parameters in the decoder layers, as close to it as whole groups of features allow.

    Args:
        masks: scores for every set of every layer.
        budget: see `ModelSpec.block_budget`.
        round_to: the size of a group; widths are multiples of it, or full.
    If one mask of a block keeps less than half a group, the whole block is removed.
    Raises: ValueError if round_to is below 1 or a score is NaN, or if no attention block is left.
    """
    if round_to < 1:
        raise ValueError(f"round_to is {round_to}; it must be a whole number of at least 1.")
    sorted_scores = []
    for mask in masks:
        scores = mask.scores.detach().double().cpu()
        if bool(scores.isnan().any()):
            raise ValueError(
                f"the scores of {mask.places[0][1]} in layer {mask.places[0][0]} hold NaN; check the model's weights and the text."
            )
        sorted_scores.append(scores.sort(descending=True, stable=True))
    allocation = _Allocation(masks, [s.values for s in sorted_scores], spec, round_to)
    widths = allocation.fill(allocation.below_threshold(budget), budget)
    kept: dict[tuple[int, str], IndexSet] = {}
    for mask, order, width in zip(masks, sorted_scores, widths, strict=True):
        if width:
            indices = order.indices[:width].sort().values.to(torch.int32)
            kept |= dict.fromkeys(mask.places, IndexSet(indices, len(mask.scores)))
    layers = []
    for number in range(len(spec.costs)):
        sets = {name: kept.get((number, name)) for name in SETS}
        attention = AttentionPlan(*(sets[n] for n in _ATTENTION)) if all(sets[n] for n in _ATTENTION) else None
        mlp = MLPPlan(*(sets[n] for n in _MLP)) if all(sets[n] for n in _MLP) else None
        layers.append(LayerPlan(attention, mlp))
    return PruningPlan(spec.family.model_type, spec.hidden_size, spec.middle_size, tuple(layers), spec.digest)


class _Allocation:
    """Widths of all masks, and the parameters they keep."""

    def __init__(self, masks: Sequence[ScoredMask], descending: list[Tensor], spec: ModelSpec, round_to: int):
        self.masks, self.descending, self.spec, self.round_to = masks, descending, spec, round_to
        self.where = {place: i for i, mask in enumerate(masks) for place in mask.places}

    def kept(self, widths: list[int]) -> int:
        return sum(self.kept_in(number, widths) for number in range(len(self.spec.costs)))

    def kept_in(self, number: int, widths: list[int]) -> int:
        cost = self.spec.costs[number]
        attention = [widths[self.where[number, name]] for name in _ATTENTION]
        mlp = [widths[self.where[number, name]] for name in _MLP]
        kept = cost.always_fixed + (cost.either_fixed if all(attention) or all(mlp) else 0)
        return kept + (cost.attention(*attention) if all(attention) else 0) + (cost.mlp(*mlp) if all(mlp) else 0)

    def rounded(self, count: int, size: int) -> int:
        return size if count == size else min(size, (count + self.round_to // 2) // self.round_to * self.round_to)

    def widths(self, threshold: float) -> list[int]:
        """Widths at a threshold; if no attention block would stay, the best one keeps a group of each mask."""
        widths = [self.rounded(int((scores > threshold).sum()), len(scores)) for scores in self.descending]
        places = [[self.where[number, name] for name in _ATTENTION] for number in range(len(self.spec.costs))]
        if not any(all(widths[i] for i in place) for place in places):
            best = max(places, key=lambda place: sum(self.descending[i][0].item() for i in place))
            for i in best:
                widths[i] = max(widths[i], min(self.round_to, len(self.descending[i])))
        return widths

    def below_threshold(self, budget: int) -> list[int]:
        """Widths at the lowest threshold within the budget; bisection works because a higher threshold keeps fewer parameters."""
        thresholds = torch.cat(self.descending).unique()
        low, high = 0, len(thresholds) - 1  # no score is above the last threshold
        while low < high:
            middle = (low + high) // 2
            if self.kept(self.widths(thresholds[middle].item())) <= budget:
                high = middle
            else:
                low = middle + 1
        return self.widths(thresholds[low].item())

    def fill(self, widths: list[int], budget: int) -> list[int]:
        """Spend the rest of the budget on further groups of features in the blocks that stay, best next feature first."""
        widths = list(widths)
        open_masks = {i for i, width in enumerate(widths) if 0 < width < len(self.descending[i])}
        while open_masks:
            best = max(open_masks, key=lambda i: (self.descending[i][widths[i]].item(), -i))
            wider = list(widths)
            wider[best] = min(widths[best] + self.round_to, len(self.descending[best]))
            if self.kept(wider) <= budget:
                widths = wider
                if widths[best] == len(self.descending[best]):
                    open_masks.remove(best)
            else:
                open_masks.remove(best)
        return widths
