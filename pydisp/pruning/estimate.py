"""Estimate: what a search will take, told before it starts; tried on a part of a window, because a whole one may take a minute."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pydisp.cost import cost_of
from pydisp.evaluation import evaluating
from pydisp.gates import Gates, LayerGates
from pydisp.memory import resident_bytes
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
    """Time a part of a window through the gated model and the search's own work; scale to all steps.

    The part is doubled until its time is long enough to be reliable. The time of a whole window is scaled by the number of products.
    Memory is calculated, not measured: what the process holds already, the hypernetwork with its optimizer, and the activations that a
    backward keeps.
    """
    s = settings
    held_bytes = _held_bytes(model, spec)
    search = Search(model, spec, windows, s)
    with gated(model, spec) as use_gates:

        def forward_and_backward(tokens: int) -> float:
            ones = (LayerGates(*(torch.ones_like(x).requires_grad_() for x in layer)) for layer in search.network())
            use_gates(Gates(tuple(ones), spec))
            start = _now(model)
            token_nll(model, windows[:1, :tokens].to(model.device)).mean().backward()
            return _now(model) - start

        tokens, seconds = _trial(forward_and_backward, s.context_tokens)
    window_seconds = seconds * _products(model, s.context_tokens) / _products(model, tokens)
    seconds = s.steps * (s.batch_size * s.accumulate * window_seconds + _own_seconds(search))
    return Estimate(seconds, _peak_mib(model, spec, search, s, held_bytes), tokens)


def estimate_evaluation(model: nn.Module, windows: Tensor, count: int) -> float:
    """Seconds to score `count` windows of the size of these, (N, T) int64, from a trial of a part of the first."""

    def forward(tokens: int) -> float:
        start = _now(model)
        with torch.no_grad():
            token_nll(model, windows[:1, :tokens].to(model.device))
        return _now(model) - start

    with evaluating(model):
        tokens, seconds = _trial(forward, windows.shape[1])
    return count * seconds * _products(model, windows.shape[1]) / _products(model, tokens)


def _trial(seconds_of: Callable[[int], float], context_tokens: int) -> tuple[int, float]:
    """The tokens that were tried last, and their seconds. The first trial is to warm up and never counts; the last one is repeated and
    its shorter time counts, because another process may have had the processor in one of them."""
    tokens, is_warm = min(SHORTEST_TRIAL_TOKENS, context_tokens), False
    while True:
        seconds = seconds_of(tokens)
        if is_warm and (tokens == context_tokens or seconds >= LONG_ENOUGH_SECONDS):
            seconds = min(seconds, seconds_of(tokens))
            if tokens == context_tokens or seconds >= LONG_ENOUGH_SECONDS:
                return tokens, seconds
        is_warm, tokens = True, min(2 * tokens, context_tokens)


def _own_seconds(search: Search) -> float:
    """What a step does beside the model, the second time: hypernetwork, draw, budget and optimizer. Changes the search."""
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
    """Multiplications of one window whose tokens all have a loss (`cost_of` has the head for the last one alone)."""
    return cost_of(model, tokens).products_per_prompt + (tokens - 1) * model.get_output_embeddings().weight.numel()


def _held_bytes(model: nn.Module, spec: ModelSpec) -> int:
    """The weights, and on a CPU, whose memory is the process's, all else that the process holds; before a trial adds to it."""
    weights = spec.parameters_total * next(model.parameters()).element_size()
    return max(weights, resident_bytes() or 0) if model.device.type == "cpu" else weights


def _peak_mib(model: nn.Module, spec: ModelSpec, search: Search, s: PruneSettings, held_bytes: int) -> int:
    network_bytes = sum(p.numel() for p in search.network.parameters()) * 4 * 4  # value, gradient, two moments
    element = next(model.parameters()).element_size()
    heads = getattr(model.config, "num_attention_heads", 1)
    per_token = len(spec.costs) * (12 * spec.hidden_size + 6 * spec.middle_size + 2 * heads)
    activations = s.batch_size * s.context_tokens * per_token * element
    # the logits are never all in memory: CPUs keep products for the backward (76 MiB), GPUs use a workspace of at most 256 MiB
    logits = min(s.batch_size * s.context_tokens * model.config.vocab_size * 4, 256 * 2**20)
    return math.ceil((held_bytes + network_bytes + activations + logits) / 2**20)
