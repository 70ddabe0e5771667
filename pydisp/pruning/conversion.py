"""From scores to a plan: the best features under one global threshold that meets the parameter budget.

Every mask keeps its features above the threshold, its width rounded to a multiple; the threshold is bisected to the lowest one
within the budget, and what is then left goes to further groups of features, best first, as long as one fits.
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
    """Scores of one mask, and the places (layer, name of the set) that use it; several where masks are tied."""

    scores: Tensor  # (width,) higher is kept first
    places: tuple[tuple[int, str], ...]


def untied(layers: Sequence[Sequence[Tensor]]) -> list[ScoredMask]:
    """Five masks a layer, each used in one place; in the order of SETS."""
    return [ScoredMask(s, ((n, name),)) for n, layer in enumerate(layers) for name, s in zip(SETS, layer, strict=True)]


def tied(residual: Tensor, middles: Sequence[Tensor]) -> list[ScoredMask]:
    """One mask of the residual stream in every place that reads or writes it, and each layer's own MLP middle."""
    everywhere = tuple((n, name) for n in range(len(middles)) for name in SETS if name != "mlp_middle")
    return [ScoredMask(residual, everywhere)] + [ScoredMask(m, ((n, "mlp_middle"),)) for n, m in enumerate(middles)]


def ranked(scores: Tensor) -> Tensor:
    """Scores replaced by their rank, evenly in (0, 1): under one threshold every mask then keeps the same share."""
    ranks = torch.empty(len(scores), dtype=torch.float64)
    ranks[scores.double().argsort(stable=True)] = torch.arange(len(scores), dtype=torch.float64)
    return (ranks + 0.5) / len(scores)


def convert(masks: Sequence[ScoredMask], spec: ModelSpec, budget: int, round_to: int) -> PruningPlan:
    """The plan that keeps at most `budget` parameters in the decoder layers, and as many as whole groups of features allow.

    Args:
        masks: scores for every set of every layer.
        budget: see `ModelSpec.block_budget`.
        round_to: widths are multiples of it, or full.
    A block one of whose masks keeps less than half a group is removed whole.
    Raises: ValueError if round_to is below 1 or a score is NaN, or if no attention block is left.
    """
    if round_to < 1:
        raise ValueError(f"widths were to be rounded to multiples of {round_to}; needed is a whole number of at least 1.")
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
        """Widths above a threshold; the best attention block keeps a group of each mask when none else would stay."""
        widths = [self.rounded(int((scores > threshold).sum()), len(scores)) for scores in self.descending]
        places = [[self.where[number, name] for name in _ATTENTION] for number in range(len(self.spec.costs))]
        if not any(all(widths[i] for i in place) for place in places):
            best = max(places, key=lambda place: sum(self.descending[i][0].item() for i in place))
            for i in best:
                widths[i] = max(widths[i], min(self.round_to, len(self.descending[i])))
        return widths

    def below_threshold(self, budget: int) -> list[int]:
        """Widths at the lowest threshold that keeps at most the budget; the kept parameters fall as the threshold rises."""
        thresholds = torch.cat(self.descending).unique()
        low, high = 0, len(thresholds) - 1  # nothing is above the last
        while low < high:
            middle = (low + high) // 2
            if self.kept(self.widths(thresholds[middle].item())) <= budget:
                high = middle
            else:
                low = middle + 1
        return self.widths(thresholds[low].item())

    def fill(self, widths: list[int], budget: int) -> list[int]:
        """Give what is left of the budget to groups of features of the blocks that stay, best next feature first."""
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
