"""make_plan: one interface to all methods, from a model and calibration windows to a plan at the exact budget."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pydisp.arguments import RECEIVER, instance_of, takes
from pydisp.placement import is_offloaded
from pydisp.plan import PruningPlan
from pydisp.progress import Bar, silence
from pydisp.pruning import baselines
from pydisp.pruning.conversion import convert
from pydisp.pruning.search import Search, SearchProgress
from pydisp.pruning.settings import METHODS, SEARCHED, PruneSettings
from pydisp.pruning.start import drawn_windows, feature_costs, gradient_scores, masks_of, squared_gradients
from pydisp.spec import ModelSpec

ACTIVATION_WINDOWS = 64  # for wanda, flap and layerdrop, drawn at random
_READS_NO_WINDOWS = ("random", "magnitude")


@dataclass(frozen=True)
class Planned:
    """A plan and its cost; `progress` counts forwards, backwards, tokens and seconds, and has the curve of a search."""

    plan: PruningPlan
    progress: SearchProgress


@takes(
    model=instance_of(nn.Module, "give a transformers causal language model"),
    spec=instance_of(ModelSpec, "give what ModelSpec.from_model returns"),
    windows=instance_of(Tensor, "give an int64 tensor of (windows, tokens)"),
    settings=instance_of(PruneSettings, "give PruneSettings, resolved"),
    say=RECEIVER,
)
def make_plan(
    model: nn.Module,
    spec: ModelSpec,
    windows: Tensor,
    settings: PruneSettings,
    *,
    after_step: Callable[[Search], None] = lambda _search: None,
    state: dict | None = None,
    say: Callable[[str], None] = silence,
) -> Planned:
    """Make a plan for `model` by `settings.method`; the model is not changed.

    Args:
        windows: (N, T) int64 calibration windows on the CPU.
        settings: resolved (no None).
        after_step: only for a search, see `Search.run`; also called after its start, with step 0.
        state: only for a search, the saved state to continue from.
        say: a function that receives the progress of what takes long.
    Raises: ValueError for too little text or a budget that cannot be met; SearchDiverged.
    """
    _check(model, windows, settings)
    if settings.method in SEARCHED:
        search = Search(model, spec, windows, settings)
        if state is not None:
            search.load_state_dict(state)
        return Planned(_searched(search, after_step, say), search.progress)
    start, progress = time.perf_counter(), SearchProgress()
    budget, round_to = spec.block_budget(settings.keep_ratio, settings.ratio_of), settings.round_to
    if settings.method == "random":
        plan = baselines.random_plan(spec, budget, round_to, torch.Generator().manual_seed(settings.seed))
    elif settings.method == "magnitude":
        plan = baselines.magnitude_plan(model, spec, budget, round_to)
    elif settings.method == "gradient":
        chosen = drawn_windows(windows, settings.start_windows, settings.seed)
        with Bar(len(chosen), say, title="gradients", unit="window") as bar:
            options = dict(gradient_checkpointing=is_offloaded(model), bfloat16=settings.bfloat16)
            squares = squared_gradients(model, spec, chosen, after_window=bar, **options)
        progress.forwards = progress.backwards = len(chosen)
        progress.tokens = chosen.numel()
        plan = convert(masks_of(gradient_scores(squares, feature_costs(spec)), is_tied=False), spec, budget, round_to)
    else:
        chosen = drawn_windows(windows, ACTIVATION_WINDOWS, settings.seed)
        batches = chosen.split(settings.batch_size)
        with Bar(len(batches), say, title="activations", unit="batch") as bar:
            seen = baselines.record_activations(model, spec, batches, after_batch=bar)
        progress.forwards, progress.tokens = len(batches), chosen.numel()
        methods = {"wanda": baselines.wanda_plan, "flap": baselines.flap_plan, "layerdrop": baselines.layerdrop_plan}
        plan = methods[settings.method](model, spec, seen, budget, round_to)
    progress.seconds = time.perf_counter() - start
    return Planned(plan, progress)


def _check(model: nn.Module, windows: Tensor, settings: PruneSettings) -> None:
    """Refuse settings that leave something open or make no plan, and windows that the model cannot read.

    Raises: ValueError.
    """
    if settings.method not in METHODS:
        raise ValueError(f"the method {settings.method!r} makes no plan; choose one of {', '.join(METHODS)}.")
    left = [name for name, value in settings.in_use().items() if value is None]
    if left:
        raise ValueError(f"settings leave {left[0]} open; give what their resolved(spec, positions) returns.")
    if windows.ndim != 2 or windows.dtype != torch.int64:
        raise ValueError(
            f"windows are {windows.dtype} of shape {tuple(windows.shape)}; they must be torch.int64 of shape (windows, tokens)."
        )
    if not windows.numel():
        if settings.method in _READS_NO_WINDOWS:
            return
        raise ValueError(f"windows are empty, and the method {settings.method!r} reads them; give one window or more.")
    least, largest, vocabulary = int(windows.min()), int(windows.max()), model.get_input_embeddings().weight.shape[0]
    if least < 0 or largest >= vocabulary:
        raise ValueError(f"windows hold ids from {least} to {largest}, the model has 0 to {vocabulary - 1}; use the model's own tokenizer.")


def _searched(search: Search, after_step: Callable[[Search], None], say: Callable[[str], None]) -> PruningPlan:
    """The plan of a search, which shows a bar for its start and one for its steps."""
    if not search.is_started:
        if search.settings.start == "none":
            search.begin()
        else:
            with Bar(min(search.settings.start_windows, len(search.windows)), say, title="start", unit="window") as bar:
                search.begin(bar)
        after_step(search)  # step 0: the start is worth keeping
    with Bar(search.settings.steps, say, search.progress.step, title="search") as bar:

        def show(search: Search) -> None:
            bar(search.progress.step, **search.progress.recent())
            after_step(search)

        return search.run(show)
