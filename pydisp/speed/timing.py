"""Timing: models take turns, first with a prompt, then with the tokens after it."""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import permutations

import torch
from torch import Tensor, nn

from pydisp.loading import load_config
from pydisp.modeling.kv_cache import cache_argument
from pydisp.shapes import config_of
from pydisp.speed.models import Source

TURN_TOKENS = 4  # decoded by one model before the next one has its turn


@dataclass(frozen=True)
class Workload:
    """One prompt of random tokens, then `decode_tokens` tokens one by one; each model does so `rounds` times, in turns.

    Raises: ValueError if a number is below 1.
    """

    prompt_tokens: int = 256
    decode_tokens: int = 16
    rounds: int = 7

    def __post_init__(self):
        for name, value in asdict(self).items():
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1.")


def check_positions(source: Source, workload: Workload) -> None:
    """Refuse, before anything is built, a workload with more tokens than the models of a source have positions.

    Raises: ValueError (LoadingError for a folder or model that cannot be loaded).
    """
    folders = [folder for folder in (source.folder, source.against) if folder is not None]
    for config in [config_of(source.shape)] if source.shape else map(load_config, folders):
        _check_positions(config, workload)


def _check_positions(config, workload: Workload) -> None:
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and workload.prompt_tokens + workload.decode_tokens > positions:
        raise ValueError(
            f"{workload.prompt_tokens} and {workload.decode_tokens} tokens are more than the {positions} positions of the model; "
            "choose a smaller --prompt-tokens."
        )


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


@torch.inference_mode()
def _prefill(model: nn.Module, prompt: Tensor) -> tuple[float, object]:
    """Seconds for the prompt, and the cache after it."""
    _synchronize(model.device)
    start = time.perf_counter()
    output = model(prompt, use_cache=True, logits_to_keep=1)
    _synchronize(model.device)
    return time.perf_counter() - start, getattr(output, cache_argument(model))


@torch.inference_mode()
def _decode(model: nn.Module, prompt: Tensor, cache, positions: range) -> float:
    """Seconds per token, for tokens that are decoded one by one after those in the cache and join it."""
    joining = {cache_argument(model): cache, "use_cache": True, "logits_to_keep": 1}
    _synchronize(model.device)
    start = time.perf_counter()
    for position in positions:
        # the tokens are given, not the most likely ones, so that all three models do the same work
        model(prompt[:, position % prompt.shape[1]][:, None], **joining)
    _synchronize(model.device)
    return (time.perf_counter() - start) / len(positions)


def run_once(model: nn.Module, workload: Workload) -> None:
    """Run the prompt of a workload and its tokens once, without timing."""
    prompt = _prompt(model, workload.prompt_tokens)
    _decode(model, prompt, _prefill(model, prompt)[1], range(workload.decode_tokens))


def _prompt(model: nn.Module, tokens: int) -> Tensor:
    ids = torch.randint(model.config.vocab_size, (1, tokens), generator=torch.Generator().manual_seed(0))
    return ids.to(model.device)


def _orders(names: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield every order of the names once, shuffled, then all again, so that no model follows another more often than the others do."""
    every, shuffled = list(permutations(names)), random.Random(0)
    while True:
        yield from shuffled.sample(every, len(every))


def time_models(
    models: dict[str, nn.Module],
    workload: Workload,
    *,
    at_most_seconds: float = float("inf"),
    told: Callable[[], None] = lambda: None,
) -> dict[str, dict[str, list[float]]]:
    """Seconds of each turn by model and phase ("prefill": a prompt, "decode": a token).

    In a round, every model runs the prompt in turn; then each decodes TURN_TOKENS tokens in turn, until all are decoded. So compared times
    are close together. The order changes from turn to turn, in the same way in every run: the caches hold the data of the model that ran
    before, and with a fixed or rotating order a model would always follow the same other one. The first calls of each model warm up and are
    not counted. Rounds stop early once `at_most_seconds` are over, but not before the first is done. `told` is called after the
    warm-up and after each round.
    Raises: ValueError if there are more tokens than the model has positions.
    """
    for model in models.values():
        _check_positions(model.config, workload)
    orders = {"prefill": _orders(models), "decode": _orders(models)}
    prompts = {name: _prompt(model, workload.prompt_tokens) for name, model in models.items()}
    times = {name: {"prefill": [], "decode": []} for name in models}
    start = time.monotonic()
    for name in models:
        run_once(models[name], replace(workload, decode_tokens=min(2, workload.decode_tokens)))
    told()
    for number in range(workload.rounds):
        caches = {}
        for name in next(orders["prefill"]):
            seconds, caches[name] = _prefill(models[name], prompts[name])
            times[name]["prefill"].append(seconds)
        for first in range(0, workload.decode_tokens, TURN_TOKENS):
            positions = range(first, min(first + TURN_TOKENS, workload.decode_tokens))
            for name in next(orders["decode"]):
                times[name]["decode"].append(_decode(models[name], prompts[name], caches[name], positions))
        told()
        used = time.monotonic() - start
        if used + used / (number + 2) > at_most_seconds:  # the warm-up took about as long as a round
            break
    return times
