"""Estimate: what a run will take, told before it starts. Time is tried on a part of a window, because a whole one may take a minute, and on a
whole batch if that is quick; memory is counted from shapes and compared with what is free, so that no run ends in the middle for want of
it."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pydisp.cost import cost_of
from pydisp.distillation import Head, distillation_loss
from pydisp.evaluation import evaluating, windows_per_forward
from pydisp.gates import Gates, LayerGates
from pydisp.memory import resident_bytes
from pydisp.placement import free_bytes_around
from pydisp.pruning.adapters import adapter_parameters
from pydisp.pruning.hypernetwork import draw_gates
from pydisp.pruning.precision import products
from pydisp.pruning.recovery import recovered_parameters
from pydisp.pruning.recovery_settings import RecoverySettings
from pydisp.pruning.search import Search
from pydisp.pruning.settings import PruneSettings
from pydisp.spec import ModelSpec
from pydisp.surgery import frozen, gated
from pydisp.token_nll import before_the_head, token_nll

SHORTEST_TRIAL_TOKENS, LONG_ENOUGH_SECONDS = 32, 0.8
MOST_SECONDS = 4.0  # of a trial of several windows, which a batch may compute in less time than one after the other
_MOST_TRIED_VALUES = 1 << 22  # of the optimizer: 64 MiB with gradient and moments, more than a cache holds
_LIBRARY_BYTES = 40 * 2**20  # code and workspaces of torch on a CPU, loaded at the first forward and backward
# The logits are never all in memory: CPUs keep products for the backward (76 MiB), GPUs use a workspace of at most 256 MiB.
_MOST_LOGIT_BYTES = {"cpu": 76 * 2**20}
_MOST_LOGIT_BYTES_ELSEWHERE = 256 * 2**20


@dataclass(frozen=True)
class Estimate:
    """Time and memory of the steps of a search, without the evaluation after it; `trial_tokens`: how many tokens were timed."""

    seconds: float
    peak_mib: float
    trial_tokens: int


@dataclass(frozen=True)
class Trial:
    """What was measured of a search before its start.

    Attributes:
        token_seconds: of a token of a whole window in a batch, forward and backward.
        step_seconds: of a step's work beside the model.
        trial_tokens: how many tokens were timed.
        held_bytes: what the process held before the trial; elsewhere than on a CPU, the weights.
        network_parameters: the values that the search trains.
    """

    token_seconds: float
    step_seconds: float
    trial_tokens: int
    held_bytes: int
    network_parameters: int

    def estimate(self, model: nn.Module, spec: ModelSpec, s: PruneSettings) -> Estimate:
        """Scaled to the steps of these settings, whose context must be that of the trial."""
        seconds = s.steps * (s.batch_size * s.accumulate * s.context_tokens * self.token_seconds + self.step_seconds)
        peak = self.held_bytes + search_bytes(model, spec, s, self.network_parameters)
        return Estimate(seconds, math.ceil(peak / 2**20), self.trial_tokens)


def try_search(model: nn.Module, spec: ModelSpec, windows: Tensor, settings: PruneSettings) -> Trial:
    """Time a part of a window or up to a batch of windows, forward and backward through the gated model, and the search's own work.

    The part is doubled until its time is long enough to be reliable. The time of a whole window is scaled by the number of products.
    """
    s = settings
    held = held_bytes(model, spec)
    search = Search(model, spec, windows, s)
    with gated(model, spec, gradient_checkpointing=s.gradient_checkpointing) as use_gates:

        def forward_and_backward(tokens: int, count: int) -> float:
            ones = (LayerGates(*(torch.ones_like(x).requires_grad_() for x in layer)) for layer in search.network())
            use_gates(Gates(tuple(ones), spec))
            start = _now(model)
            with products(model.device, bfloat16=s.bfloat16):
                loss = token_nll(model, windows[:count, :tokens].to(model.device)).mean()
            loss.backward()
            return _now(model) - start

        tokens, count, seconds = _trial(forward_and_backward, s.context_tokens, s.batch_size)
    window_seconds = seconds / count * _products(model, s.context_tokens) / _products(model, tokens)
    return Trial(window_seconds / s.context_tokens, _own_seconds(search), count * tokens, held, _parameters(search))


@dataclass(frozen=True)
class RecoveryTrial:
    """What was measured of a recovery before its start: seconds of a token of a whole window in a batch, and of the rest of a step."""

    token_seconds: float
    step_seconds: float


def try_recovery(model: nn.Module, windows: Tensor, settings: RecoverySettings, kept: float) -> RecoveryTrial:
    """Time a part of a window or up to a batch, as the teacher and as the student, and the optimizer on some values.

    The dense model is its own student: of the time of the student's forward and backward the share `kept` of its parameters counts. The
    gradients of adapters, and of what waits on disk (`pydisp.placement`), are not in it. The model is left as it was, with its gradients.

    settings: resolved (no None).
    """
    s, chosen = settings, [] if settings.lora_rank else recovered_parameters(model, settings.trains_head)
    trained = [p for p in chosen if not p.is_meta]
    grads = [p.grad for p in trained]
    values = adapter_parameters(model, s.lora_rank) if s.lora_rank else sum(p.numel() for p in chosen)

    def step(tokens: int, count: int) -> float:
        ids, start = windows[:count, :tokens].to(model.device), _now(model)
        with products(model.device, bfloat16=s.bfloat16):
            with torch.no_grad():
                teacher_hidden, *teacher_head = before_the_head(model, ids)
            taught = _now(model)
            hidden, *head = before_the_head(model, ids)
            read = _now(model)
            loss = distillation_loss(*_rows(hidden, head), *_rows(teacher_hidden, teacher_head))
            compared = _now(model)
        loss.backward()
        seconds = taught - start + compared - read + kept * (read - taught + _now(model) - compared)
        for parameter in trained:
            parameter.grad = None
        return seconds

    # a backward through everything, whatever trains
    hook = model.get_input_embeddings().register_forward_hook(lambda _module, _args, states: states.requires_grad_())
    try:
        with evaluating(model), frozen(model):
            for parameter in trained:
                parameter.grad = None
                parameter.requires_grad_(True)
            tokens, count, seconds = _trial(step, min(s.context_tokens, windows.shape[1]), s.batch_size)
            model.requires_grad_(False)
    finally:
        hook.remove()
        for parameter, grad in zip(trained, grads, strict=True):
            parameter.grad = grad
    window_seconds = seconds / count * _products(model, s.context_tokens) / _products(model, tokens)
    share = 1.0 if s.lora_rank else kept
    return RecoveryTrial(window_seconds / s.context_tokens, share * _optimizer_seconds(model, values))


def _rows(hidden: Tensor, head: list) -> tuple[Tensor, Head]:
    return hidden[:, :-1].flatten(0, 1), Head(*head)


def _optimizer_seconds(model: nn.Module, values: int) -> float:
    """Of a step of AdamW on so many values, from the second step on some of them (the first one makes the moments)."""
    some = nn.Parameter(torch.zeros(min(values, _MOST_TRIED_VALUES), device=model.device))
    optimizer = torch.optim.AdamW([some], fused=model.device.type in ("cpu", "cuda"))
    for _ in range(2):
        some.grad = torch.ones_like(some)
        start = _now(model)
        nn.utils.clip_grad_norm_([some], 1.0)
        optimizer.step()
        seconds = _now(model) - start
    return seconds * values / some.numel()


def estimate_evaluation(model: nn.Module, windows: Tensor, count: int) -> float:
    """Seconds to score `count` windows of the size of these, (N, T) int64, from a trial of a part of the first."""

    def forward(tokens: int, _count: int) -> float:
        start = _now(model)
        with torch.no_grad():
            token_nll(model, windows[:1, :tokens].to(model.device))
        return _now(model) - start

    with evaluating(model):
        tokens, _, seconds = _trial(forward, windows.shape[1], 1)
    return count * seconds * _products(model, windows.shape[1]) / _products(model, tokens)


def _trial(seconds_of: Callable[[int, int], float], context_tokens: int, batch_size: int) -> tuple[int, int, float]:
    """The tokens of a window and the windows that were tried last, and their seconds. The first trial is to warm up and never counts; the
    last one is repeated and its shorter time counts, because another process may have had the processor in one of them."""
    tokens, count, is_warm = min(SHORTEST_TRIAL_TOKENS, context_tokens), 1, False

    def is_last(seconds: float) -> bool:
        if tokens < context_tokens:
            return seconds >= LONG_ENOUGH_SECONDS
        more = min(2 * count, batch_size)
        return more == count or seconds * more / count > MOST_SECONDS

    while True:
        seconds = seconds_of(tokens, count)
        if is_warm and is_last(seconds):
            seconds = min(seconds, seconds_of(tokens, count))
            if is_last(seconds):
                return tokens, count, seconds
        if tokens == context_tokens and is_warm:
            count = min(2 * count, batch_size)
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


def held_bytes(model: nn.Module, spec: ModelSpec) -> int:
    """The weights that are not on disk, and on a CPU, whose memory is the process's, all else that it holds; before a trial adds to it."""
    offloaded = sum(p.numel() for p in model.parameters() if p.is_meta)
    weights = (spec.parameters_total - offloaded) * next(model.parameters()).element_size()
    return max(weights, resident_bytes() or 0) if model.device.type == "cpu" else weights


def _parameters(search: Search) -> int:
    return sum(p.numel() for p in search.network.parameters())


def network_parameters(model: nn.Module, spec: ModelSpec, windows: Tensor, settings: PruneSettings) -> int:
    """The values that a search of these settings trains."""
    return _parameters(Search(model, spec, windows, settings))


def search_bytes(model: nn.Module, spec: ModelSpec, settings: PruneSettings, network_parameters: int) -> int:
    """Memory that a search takes beside the model: what it trains with gradients and two moments, and what a backward keeps.

    Measured on SmolLM2-135M (CPU, two threads, 2 or 3 steps): see tests/pruning/test_estimate.py.
    """
    s = settings
    element = 2 if s.bfloat16 else None
    activations = _activation_bytes(model, spec, s.batch_size * s.context_tokens, s.gradient_checkpointing, element)
    return network_parameters * 4 * 4 + activations + _logit_bytes(model, s.batch_size * s.context_tokens)


def recovery_bytes(model: nn.Module, spec: ModelSpec, settings: RecoverySettings, kept_parameters: int) -> int:
    """Memory that training a pruned copy of `model` takes beside the dense model, which is its teacher: the student and its gradients with
    two moments of AdamW, all float32, and what a backward keeps (counted at the widths of the dense model).

    Args:
        settings: resolved (no None); kept_parameters: of the student.
    """
    s = settings
    trained = kept_parameters if s.trains_head else kept_parameters - spec.parameters_outside
    trained = adapter_parameters(model, s.lora_rank) if s.lora_rank else trained
    tokens = s.batch_size * s.context_tokens
    activations = _activation_bytes(model, spec, tokens, None, element=2 if s.bfloat16 else 4)
    return 4 * kept_parameters + 3 * 4 * trained + activations + 2 * _logit_bytes(model, tokens)


def evaluation_bytes(model: nn.Module, spec: ModelSpec, kept_parameters: int, context_tokens: int, stored: torch.dtype) -> int:
    """Memory that scoring a pruned model takes beside the dense one: its weights in the dtype that computes and, while it is saved or handed
    back, in the `stored` one; and a forward without gradients.

    Measured: see tests/pruning/test_estimate.py.
    """
    tokens = context_tokens * windows_per_forward(model, context_tokens, has_logits=False)
    element = next(model.parameters()).element_size()
    forward = tokens * element * (4 * spec.hidden_size + 2 * spec.middle_size)
    return kept_parameters * (element + stored.itemsize) + forward + _logit_bytes(model, tokens)


def check_memory_for_evaluation(model: nn.Module, kept_parameters: int) -> None:
    """Refuse a run whose pruned model would not even lie beside the dense one in the free memory of its device.

    Raises: ValueError: what is missing, and what helps.
    """
    needed = kept_parameters * next(model.parameters()).element_size()
    refuse_without_memory(
        needed, free_bytes_around(model), "the pruned model", model.device, ["a smaller --keep-ratio", "--dtype bfloat16"]
    )


def _activation_bytes(model: nn.Module, spec: ModelSpec, tokens: int, checkpointing: bool | None, element: int | None = None) -> int:
    """What a forward keeps for the backward: of every layer, or only the inputs of all layers and everything of one.

    Of each block: its input, the norm of it, and what its output is multiplied by; queries, keys, values and their mixture; four values of
    the MLP middle. On a CPU also what malloc does not give back: about two float32 values of the MLP middle, in every layer.
    """
    element = element or next(model.parameters()).element_size()
    layers, heads = len(spec.costs), getattr(model.config, "num_attention_heads", 1)
    per_layer = 10 * spec.hidden_size + 4 * spec.middle_size + 2 * heads
    per_token = element * (per_layer + layers * spec.hidden_size if checkpointing else layers * per_layer)
    if model.device.type != "cpu":
        return tokens * per_token
    return tokens * (per_token + layers * 2 * 4 * spec.middle_size) + _LIBRARY_BYTES


def _logit_bytes(model: nn.Module, tokens: int) -> int:
    return min(tokens * model.config.vocab_size * 4, _MOST_LOGIT_BYTES.get(model.device.type, _MOST_LOGIT_BYTES_ELSEWHERE))


def fitted_to_memory(model: nn.Module, spec: ModelSpec, windows: Tensor, settings: PruneSettings, *, may_checkpoint: bool) -> PruneSettings:
    """The settings of a search that fits into the free memory of the model's device: these, or with gradient checkpointing.

    Args:
        may_checkpoint: whether gradient checkpointing may be chosen.
    Raises: ValueError if the search would not fit: what is missing, and what helps.
    """
    count = network_parameters(model, spec, windows, settings)
    free = free_bytes_around(model)
    needed = search_bytes(model, spec, settings, count)
    if free is None or needed <= free:
        return settings
    checkpointing = replace(settings, gradient_checkpointing=True)
    if may_checkpoint and search_bytes(model, spec, checkpointing, count) <= free:
        return checkpointing
    remedies = ["a shorter --context"]
    remedies += ["a smaller --batch-size"] if settings.batch_size > 1 else []
    remedies += ["--dtype bfloat16"] if next(model.parameters()).element_size() > 2 else []
    remedies += [] if settings.gradient_checkpointing or may_checkpoint else ["--gradient-checkpointing"]
    refuse_without_memory(needed, free, "the search", model.device, remedies)
    return settings


def check_memory_for_recovery(model: nn.Module, spec: ModelSpec, settings: RecoverySettings, kept_parameters: int) -> None:
    """Refuse a recovery that would not fit into the free memory of the dense model's device.

    Args:
        model: the dense model; settings: resolved (no None); kept_parameters: of the pruned model.
    Raises: ValueError: what is missing, and what helps.
    """
    s, needed = settings, recovery_bytes(model, spec, settings, kept_parameters)
    remedies = ["a shorter --context"] + (["a smaller --batch-size"] if s.batch_size > 1 else [])
    remedies += [] if s.lora_rank else ["LoRA (--recover-lora-rank 8; pydisp recover has --lora-rank)"]
    refuse_without_memory(needed, free_bytes_around(model), "the recovery", model.device, remedies)


def refuse_without_memory(needed: int, free: float | None, task: str, device: torch.device, remedies: Sequence[str]) -> None:
    """Raise ValueError if `task` needs more bytes than are free; `remedies` are the options that would help, such as `a shorter --context`.

    free: None where the platform does not tell.
    """
    if free is None or needed <= free:
        return
    *others, last = remedies
    helps = f"{', '.join(others)} or {last}" if others else last
    raise ValueError(
        f"{task} needs about {needed / 2**30:.1f} GiB of memory beside the model on {device}, and {free / 2**30:.1f} GiB are free, "
        f"{(needed - free) / 2**30:.1f} too few; choose {helps}."
    )
