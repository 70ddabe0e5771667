"""The start of a search: a score for every feature from a few windows of text, before any step.

`gradient`: every gate at one, one forward and backward a window. A feature's score is ln(sum over windows of g squared / parameters that the
feature costs), g being the gradient of the window's loss to its gate: the loss that a parameter buys, to second order (the diagonal of the
Fisher matrix). One threshold serves all masks. `wanda` and `flap`: see baselines.py; z-scores within each mask. `none`: all features alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pydisp.gates import Gates, LayerGates
from pydisp.pruning import baselines
from pydisp.pruning.calibration import each_mask
from pydisp.pruning.conversion import ScoredMask, tied, untied
from pydisp.pruning.precision import products
from pydisp.pruning.settings import PruneSettings
from pydisp.spec import ModelSpec
from pydisp.surgery import gated
from pydisp.token_nll import token_nll

SLOPE = 10.0  # logits a standard deviation of the scores
MOST_DEVIATIONS = 3.0
_LEAST = 1e-30  # a feature that no token uses: its logarithm must be finite


def free_gates(spec: ModelSpec, device: torch.device | str = "cpu", *, is_tied: bool = False) -> tuple[LayerGates, ...]:
    """Gates at one that take gradients, float32, one of its own for each mask; with `is_tied` all blocks share the residual stream's."""

    def ones(size: int) -> Tensor:
        return torch.ones(size, device=device, requires_grad=True)

    hidden, middle = spec.hidden_size, spec.middle_size
    if is_tied:
        residual = ones(hidden)
        return tuple(LayerGates(residual, residual, residual, ones(middle), residual) for _ in spec.costs)
    return tuple(LayerGates(ones(hidden), ones(hidden), ones(hidden), ones(middle), ones(hidden)) for _ in spec.costs)


def feature_costs(spec: ModelSpec, *, is_tied: bool = False) -> tuple[LayerGates, ...]:
    """Parameters that one feature of each mask costs while all others are kept: the derivative of `Gates.kept_block`, float32."""
    gates = free_gates(spec, is_tied=is_tied)
    Gates(gates, spec).kept_block().backward()
    return tuple(LayerGates(*(g.grad for g in layer)) for layer in gates)


def squared_gradients(
    model: nn.Module,
    spec: ModelSpec,
    windows: Tensor,
    *,
    is_tied: bool = False,
    gradient_checkpointing: bool = False,
    bfloat16: bool | None = False,
    after_window: Callable[[int], None] = lambda _done: None,
) -> tuple[LayerGates, ...]:
    """Sum over windows of the square of the gradient of the window's mean loss (nats a token) to each gate, at gates of one; float64, CPU.

    Args:
        windows: (N, T) int64; each has a forward and a backward of its own, with frozen weights.
        gradient_checkpointing: see `gated`.
        bfloat16: see `pydisp.pruning.precision.products`.
        after_window: receives the number of windows that are done.
    Raises: ValueError for a gradient that is not finite.
    """
    gates = free_gates(spec, model.device, is_tied=is_tied)
    leaves = {id(g): g for layer in gates for g in layer}
    sums = {key: torch.zeros(g.shape, dtype=torch.float64) for key, g in leaves.items()}
    with gated(model, spec, gradient_checkpointing=gradient_checkpointing) as use:
        use(Gates(gates, spec))
        for done, window in enumerate(windows, start=1):
            with products(model.device, bfloat16=bfloat16):
                loss = token_nll(model, window[None].to(model.device)).mean()
            loss.backward()
            for key, gate in leaves.items():
                sums[key] += gate.grad.double().square().cpu()
                gate.grad = None
            after_window(done)
    if not all(bool(total.isfinite().all()) for total in sums.values()):
        raise ValueError("a gradient at the start of the search is not finite; check the model's weights, or run in float32.")
    return tuple(LayerGates(*(sums[id(g)] for g in layer)) for layer in gates)


def gradient_scores(squares: Sequence[LayerGates], costs: Sequence[LayerGates]) -> tuple[LayerGates, ...]:
    """ln(squares / costs), float64; comparable between masks. Tied masks stay one tensor."""
    made: dict[int, Tensor] = {}

    def score(square: Tensor, cost: Tensor) -> Tensor:
        if id(square) not in made:
            made[id(square)] = (square.clamp_min(_LEAST) / cost.double()).log()
        return made[id(square)]

    return tuple(LayerGates(*(score(s, c) for s, c in zip(a, b, strict=True))) for a, b in zip(squares, costs, strict=True))


def masks_of(scores: Sequence[LayerGates], *, is_tied: bool) -> list[ScoredMask]:
    """The scores as what `convert` takes."""
    return tied(scores[0].attention_input, [g.mlp_middle for g in scores]) if is_tied else untied(scores)


@dataclass(frozen=True)
class Scored:
    """Starting logits, and what they took."""

    logits: tuple[LayerGates, ...]
    forwards: int = 0
    backwards: int = 0
    tokens: int = 0


def start_logits(
    model: nn.Module,
    spec: ModelSpec,
    windows: Tensor,
    settings: PruneSettings,
    after_window: Callable[[int], None] = lambda _done: None,
) -> Scored:
    """The starting logits of a search by `settings.start`, up to an offset; float64, CPU.

    Args:
        windows: (N, T) int64; `settings.start_windows` of them are drawn by the seed, or all if there are fewer.
        after_window: receives the number of windows that are done.
    Scores in standard deviations, held within MOST_DEVIATIONS, times SLOPE: only features near the threshold are undecided.
    """
    is_tied = settings.method == "constrained"
    if settings.start == "none":
        return Scored(_tied_mean([LayerGates(*(torch.zeros_like(c).double() for c in layer)) for layer in feature_costs(spec)], is_tied))
    chosen = drawn_windows(windows, settings.start_windows, settings.seed)
    done = len(chosen), chosen.numel()
    if settings.start == "gradient":
        options = dict(gradient_checkpointing=bool(settings.gradient_checkpointing), bfloat16=settings.bfloat16)
        squares = squared_gradients(model, spec, chosen, is_tied=is_tied, after_window=after_window, **options)
        scores = gradient_scores(squares, feature_costs(spec, is_tied=is_tied))
        flat = torch.cat([x for layer in scores for x in layer])
        centre, spread = flat.median(), flat.std().clamp_min(_LEAST)
        return Scored(each_mask(scores, lambda x: SLOPE * ((x - centre) / spread).clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS)), done[0], *done)
    seen = baselines.record_activations(model, spec, chosen.split(1), after_batch=after_window)
    scores = (baselines.wanda_scores if settings.start == "wanda" else baselines.flap_scores)(model, spec, seen)
    scores = each_mask(scores, lambda x: SLOPE * baselines.standardised(x.clamp_min(_LEAST).log()).clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS))
    return Scored(_tied_mean(scores, is_tied), done[0], 0, done[1])


def drawn_windows(windows: Tensor, count: int, seed: int) -> Tensor:
    """(min(count, N), T): windows without repetition, by the seed."""
    return windows[torch.randperm(len(windows), generator=torch.Generator().manual_seed(seed))[:count]]


def _tied_mean(scores: Sequence[LayerGates], is_tied: bool) -> tuple[LayerGates, ...]:
    """With `is_tied`, one mask of the residual stream in place of all, with the mean of their scores."""
    if not is_tied:
        return tuple(scores)
    residual = torch.stack([x for layer in scores for name, x in layer._asdict().items() if name != "mlp_middle"]).mean(0)
    return tuple(LayerGates(residual, residual, residual, layer.mlp_middle, residual) for layer in scores)
