"""Estimate: time and memory of a search, told before it starts. Only part of a window is timed, because a whole one may take a minute."""

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pydisp.cost import cost_of
from pydisp.gates import Gates, LayerGates
from pydisp.pruning.hypernetwork import draw_gates
from pydisp.pruning.search import Search
from pydisp.pruning.settings import PruneSettings
from pydisp.spec import ModelSpec
from pydisp.surgery import gated
from pydisp.token_nll import token_nll

SHORTEST_TRIAL_TOKENS, LONG_ENOUGH_SECONDS = 32, 0.8


@dataclass(frozen=True)
class Estimate:
    """Time and memory of the steps of a search, without the evaluation after it; `trial_tokens`: how many tokens of a window were timed."""

    seconds: float
    peak_mib: float
    trial_tokens: int


def estimate_search(model: nn.Module, spec: ModelSpec, windows: Tensor, settings: PruneSettings) -> Estimate:
    """Time part of a window through the gated model, and the search's own work; then scale to all steps.

    The part is doubled until its time is long enough to be reliable. The time of a whole window is scaled by the number of products.
    Memory is calculated, not measured: weights, hypernetwork with its optimizer, and the activations that a backward keeps.
    """
    s = settings
    search = Search(model, spec, windows, s)
    trial_tokens, trial_seconds = _trial(model, spec, windows[:1], s.context_tokens, search)
    window_seconds = trial_seconds * _products(model, s.context_tokens) / _products(model, trial_tokens)
    seconds = s.steps * (s.batch_size * s.accumulate * window_seconds + _own_seconds(search))
    return Estimate(seconds, _peak_mib(model, spec, search, s), trial_tokens)


def _trial(model: nn.Module, spec: ModelSpec, window: Tensor, context_tokens: int, search: Search) -> tuple[int, float]:
    """Tokens of the last timed forward and backward, and its seconds; the first one only warms up and never counts."""
    tokens, is_warm = min(SHORTEST_TRIAL_TOKENS, context_tokens), False
    with gated(model, spec) as use_gates:
        while True:
            ones = (LayerGates(*(torch.ones_like(x).requires_grad_() for x in layer)) for layer in search.network())
            use_gates(Gates(tuple(ones), spec))
            start = _now(model)
            token_nll(model, window[:, :tokens].to(model.device)).mean().backward()
            seconds = _now(model) - start
            if is_warm and (tokens == context_tokens or seconds >= LONG_ENOUGH_SECONDS):
                return tokens, seconds
            is_warm, tokens = True, min(2 * tokens, context_tokens)


def _own_seconds(search: Search) -> float:
    """Seconds of a step outside the model (hypernetwork, draw, budget, optimizer), timed the second time. Changes the search."""
    for _ in range(2):
        start = _now(search.model)
        search.optimizer.zero_grad()
        draw_gates(search.network(), search.spec, search.draws).kept_block().log().backward()
        search.optimizer.step()
        seconds = _now(search.model) - start
    return seconds


def _now(model: nn.Module) -> float:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()


def _products(model: nn.Module, tokens: int) -> int:
    """Multiplications of one window whose tokens all have a loss (`cost_of` counts the head for the last token only)."""
    return cost_of(model, tokens).products_per_prompt + (tokens - 1) * model.get_output_embeddings().weight.numel()


def _peak_mib(model: nn.Module, spec: ModelSpec, search: Search, s: PruneSettings) -> int:
    network_bytes = sum(p.numel() for p in search.network.parameters()) * 4 * 4  # value, gradient, two moments
    element = next(model.parameters()).element_size()
    heads = getattr(model.config, "num_attention_heads", 1)
    per_token = len(spec.costs) * (12 * spec.hidden_size + 6 * spec.middle_size + 2 * heads)
    activations = s.batch_size * s.context_tokens * per_token * element
    # the logits are never all in memory: CPUs keep products for the backward (76 MiB), GPUs use a workspace of at most 256 MiB
    logits = min(s.batch_size * s.context_tokens * model.config.vocab_size * 4, 256 * 2**20)
    weights = spec.parameters_total * element
    return math.ceil((weights + network_bytes + activations + logits) / 2**20)
