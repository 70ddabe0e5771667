"""make_plan: one interface to all methods, from a model and calibration windows to a plan at the exact budget."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pydisp.plan import PruningPlan
from pydisp.pruning import baselines
from pydisp.pruning.search import Search, SearchProgress
from pydisp.pruning.settings import METHODS, SEARCHED, PruneSettings
from pydisp.spec import ModelSpec

ACTIVATION_WINDOWS = 64  # for wanda and layerdrop, drawn at random


@dataclass(frozen=True)
class Planned:
    """A plan and its cost; `progress` counts forwards, backwards, tokens and seconds, and has the curve of a search."""

    plan: PruningPlan
    progress: SearchProgress


def make_plan(
    model: nn.Module,
    spec: ModelSpec,
    windows: Tensor,
    settings: PruneSettings,
    *,
    after_step: Callable[[Search], None] = lambda _search: None,
    state: dict | None = None,
) -> Planned:
    """Make a plan for `model` by `settings.method`; the model is not changed.

    Args:
        windows: (N, T) int64 calibration windows on the CPU.
        settings: resolved (no None).
        after_step: only for a search, see `Search.run`.
        state: only for a search, the saved state to continue from.
    Raises: ValueError for too little text or a budget that cannot be met; SearchDiverged.
    """
    if settings.method in SEARCHED:
        search = Search(model, spec, windows, settings)
        if state is not None:
            search.load_state_dict(state)
        return Planned(search.run(after_step), search.progress)
    start, progress = time.perf_counter(), SearchProgress()
    budget, round_to = spec.block_budget(settings.keep_ratio, settings.ratio_of), settings.round_to
    if settings.method == "random":
        plan = baselines.random_plan(spec, budget, round_to, torch.Generator().manual_seed(settings.seed))
    elif settings.method == "magnitude":
        plan = baselines.magnitude_plan(model, spec, budget, round_to)
    elif settings.method not in ("wanda", "layerdrop"):
        raise ValueError(f"the method {settings.method!r} makes no plan; choose one of {', '.join(METHODS)}.")
    else:
        generator = torch.Generator().manual_seed(settings.seed)
        chosen = windows[torch.randperm(len(windows), generator=generator)[:ACTIVATION_WINDOWS]]
        batches = chosen.split(settings.batch_size)
        seen = baselines.record_activations(model, spec, batches)
        progress.forwards, progress.tokens = len(batches), chosen.numel()
        method = baselines.wanda_plan if settings.method == "wanda" else baselines.layerdrop_plan
        plan = method(model, spec, seen, budget, round_to)
    progress.seconds = time.perf_counter() - start
    return Planned(plan, progress)
