"""One offset for all logits, so that the expected number of kept parameters is a wanted number at every step of a search.

    logits = at_budget(layers, spec, wanted)      # expected_kept(logits, spec) is wanted

The offset depends on the logits, and so does its gradient: what raises one logit lowers all others by what the feature costs. A step then
compares what a feature is worth with what the same parameters are worth elsewhere, which is a Lagrange multiplier solved at every step.
(Demo model, half of all parameters, 50 steps, seed 0: damage 0.335; 0.395 with the offset as a fixed number and the paper's penalty.
`python bench/ablate_search.py` measures it.)
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pydisp.gates import Gates, LayerGates
from pydisp.spec import ModelSpec

_CLEAR_SHARE = 1e-5  # of the free parameters: nearer to none or to all of them, no finite offset leads
_HALVINGS = 60


def expected_kept(logits: Sequence[LayerGates], spec: ModelSpec) -> Tensor:
    """The mean of `Gates.kept_block` over draws of these logits, a differentiable scalar; exact, because gates are drawn independently."""
    opened = each_mask(logits, torch.sigmoid)
    return Gates(opened, spec).kept_block()


def at_budget(logits: Sequence[LayerGates], spec: ModelSpec, wanted: float) -> tuple[LayerGates, ...]:
    """These logits less one offset with which they keep `wanted` block parameters on average; gradients know that the offset moves.

    Args:
        logits: float32; tied masks are one tensor and stay one.
        wanted: block parameters; held a little inside what is possible.
    """
    offset = _offset(logits, spec, wanted)
    masks = _unique(logits)
    leaves = {key: (x.detach() - offset).requires_grad_() for key, x in masks.items()}
    kept = expected_kept([LayerGates(*(leaves[id(x)] for x in layer)) for layer in logits], spec)
    slopes = dict(zip(leaves, torch.autograd.grad(kept, list(leaves.values())), strict=True))
    total = sum(s.sum() for s in slopes.values()).clamp_min(torch.finfo(torch.float32).tiny)
    moved = sum((slopes[key] * (x - x.detach())).sum() for key, x in masks.items()) / total  # 0, with the gradient of the offset
    return each_mask(logits, lambda x: x - (offset + moved))


def _offset(logits: Sequence[LayerGates], spec: ModelSpec, wanted: float) -> float:
    """By bisection in float64 on the CPU, where the widths of all masks of one length are two operations."""
    masks = {key: x.detach().double().cpu() for key, x in _unique(logits).items()}
    stacks = [
        ([key for key, x in masks.items() if len(x) == size], torch.stack([x for x in masks.values() if len(x) == size]))
        for size in {len(x): None for x in masks.values()}
    ]

    def kept(offset: float) -> float:
        widths = {}
        for keys, values in stacks:
            widths |= zip(keys, torch.sigmoid(values - offset).sum(1).tolist(), strict=True)
        return _kept([[widths[id(x)] for x in layer] for layer in logits], spec)

    fewest, all_of_them = _kept([[0.0] * 5] * len(spec.costs), spec), _kept([[float(len(x)) for x in layer] for layer in logits], spec)
    clear = _CLEAR_SHARE * (all_of_them - fewest)
    wanted = min(max(wanted, fewest + clear), all_of_them - clear)
    low, high = min(x.min().item() for x in masks.values()) - 50, max(x.max().item() for x in masks.values()) + 50
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if kept(middle) > wanted else (low, middle)
    return (low + high) / 2


def _kept(widths: Sequence[Sequence[float]], spec: ModelSpec) -> float:
    return sum(
        cost.attention(w[0], w[1]) + cost.mlp(w[2], w[3], w[4]) + cost.either_fixed + cost.always_fixed
        for cost, w in zip(spec.costs, widths, strict=True)
    )


def _unique(logits: Sequence[LayerGates]) -> dict[int, Tensor]:
    return {id(x): x for layer in logits for x in layer}


def each_mask(logits: Sequence[LayerGates], change: Callable[[Tensor], Tensor]) -> tuple[LayerGates, ...]:
    """`change` of every mask, once for each tensor, so that tied masks stay tied."""
    made = {key: change(x) for key, x in _unique(logits).items()}
    return tuple(LayerGates(*(made[id(x)] for x in layer)) for layer in logits)
