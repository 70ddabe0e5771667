"""The pruning journey: from a model and text to a pruned model with its figures, in memory (`prune`) or as a folder."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn

from pydisp.arguments import RECEIVER, SOURCES, ZERO_OR_MORE, instance_of, optional, takes
from pydisp.evaluation import check_tokenizer
from pydisp.loading import choose_device, choose_dtype, displayed_name, load_config, load_model, load_tokenizer, stored_dtype
from pydisp.origin import read_origin
from pydisp.placement import device_of_map, is_spread, map_of_copy, placed_like, read_device_map, refuse_untrainable
from pydisp.plan import PruningPlan
from pydisp.progress import Interrupted, on_stderr, stop_requests
from pydisp.pruning.corpora import Corpora
from pydisp.pruning.folder import PLAN_FILE, check_savable, write_model, write_words
from pydisp.pruning.in_memory import dense_model
from pydisp.pruning.planning import Planned
from pydisp.pruning.precision import working_model
from pydisp.pruning.recovery import store_in_
from pydisp.pruning.recovery_settings import RecoverySettings
from pydisp.pruning.recovery_stage import STAGE, RecoveryStage, planned_in
from pydisp.pruning.request import FolderRequest, RecoverRequest, without_folder
from pydisp.pruning.run import Run, TimeLimit, positions, resolved_for, settings_for_plan
from pydisp.pruning.search import Search
from pydisp.pruning.settings import SEARCHED, PruneSettings
from pydisp.report import Report
from pydisp.spec import ModelSpec, family_of
from pydisp.speed import Source, Workload, quick
from pydisp.surgery import prune_model
from pydisp.torch_modes import usual_modes
from pydisp.workspace import Workspace

CHECKPOINT_SECONDS = 20.0
SPEED_SECONDS = 75.0  # of the quick measurement of speed: a minute, and a round that is running then
_USUAL = PruneSettings(keep_ratio=0.5)


@takes(
    text=optional(SOURCES),
    plan=optional(instance_of(PruningPlan, "give a PruningPlan, such as PruningPlan.load(FILE) returns")),
    recover=instance_of((bool, RecoverySettings), "give True, False or RecoverySettings"),
    say=RECEIVER,
)
@usual_modes()
def prune(
    model: nn.Module,
    tokenizer,
    *,
    text: Sequence[str] | str | None = None,
    keep_ratio: float | None = None,
    ratio_of: str = "total",
    method: str = "disp",
    plan: PruningPlan | None = None,
    recover: bool | RecoverySettings = False,
    minutes: float | None = None,
    say: Callable[[str], None] = on_stderr,
    **settings,
) -> tuple[nn.Module, Report]:
    """Prune a transformers causal language model in memory; the given model is not changed.

    The modes of torch around the call (no_grad, inference_mode, autocast, default dtype and device) change nothing.

    Args:
        model: a model of a family in `pydisp.spec.FAMILIES`, without adapters and not quantized; the work runs on its device. On a CPU, a
            half-precision model is searched in float32. Of a model that torch.compile has wrapped, the model inside is pruned.
        tokenizer: its tokenizer.
        text: files, folders, JSONL or `hub:NAME` to learn from; by default the documentation of the running Python.
        keep_ratio, ratio_of, method, **settings: see `PruneSettings`; a keep ratio is required unless a plan is given.
        plan: a plan for this model; without one, a plan is made.
        recover: whether what is kept is then trained to predict as the given model does, and with which settings.
        minutes: choose steps, batch and evaluation so that the run ends in this time; by default 45 for a model of 50 M parameters or more
            on a CPU. The report names the numbers.
        say: a function that receives the lines of the run; `pydisp.progress.silence` drops them, and the bars with them.
    Returns: the pruned model, in the given model's dtype, and a Report with the losses before and after.
    Raises: ValueError, TypeError or FileNotFoundError, before the search starts, for arguments that cannot be used, too little memory or
        too few minutes; SearchDiverged, RecoveryDiverged.
    """
    limit = TimeLimit(minutes)
    if keep_ratio is None and plan is None:
        raise ValueError("no keep_ratio was given; name the share of the parameters to keep, such as 0.5, or give a plan.")
    asked = None if plan else PruneSettings(keep_ratio=keep_ratio, ratio_of=ratio_of, method=method, **settings)
    limit.check(asked)
    model = dense_model(model)
    check_tokenizer(tokenizer)
    working = working_model(model, say)
    spec = ModelSpec.from_model(working)
    asked = asked or settings_for_plan(plan, spec, **settings)
    name = displayed_name(getattr(model.config, "_name_or_path", "") or model.config.model_type)
    corpora = Corpora.read(text, tokenizer, working.get_input_embeddings().num_embeddings, say)
    asked_recovery = RecoverySettings(seed=asked.seed, bfloat16=asked.bfloat16) if recover is True else recover or None
    run = replace(Run.checked(name, working, spec, asked, corpora, plan, say, limit, asked_recovery), stored=model.dtype)
    stage = recovery_stage(run)
    run.announce()
    if stage:
        stage.announce()
    planned = run.planned()
    pruned = placed_like(prune_model(model, planned.plan, spec), model)
    done = stage.run(pruned) if stage else None
    store_in_(pruned, model.dtype)
    comparable = working_model(pruned)
    outcome = run.outcome(planned, comparable, _call(run.settings, text, plan, stage and stage.settings), pruned.dtype)
    return pruned, (replace(outcome, recovered=done.recovered(outcome.losses)) if done else outcome).report()


def recovery_stage(run: Run) -> RecoveryStage | None:
    """The recovery of a run, checked before anything long starts."""
    if run.recovery is None:
        return None
    refuse_untrainable(run.model)
    s = run.settings
    return RecoveryStage.checked(
        run.model, run.corpora, run.recovery, run.spec, s.batch_size, s.context_tokens, run.say, most_evaluated=run.most_evaluated
    )


def _call(
    settings: PruneSettings, sources: Sequence[str] | None, plan: PruningPlan | None, recovery: RecoverySettings | None = None
) -> str:
    """The Python call that makes the same model, without paths of the machine."""
    arguments = {k: v for k, v in settings.as_dict().items() if k not in ("keep_ratio", "method" if plan else "plan")}
    arguments |= {"text": [without_folder(source) for source in sources]} if sources else {}
    arguments |= {"plan": "PruningPlan.load(…)"} if plan else {}
    arguments |= {"recover": recovery} if recovery else {}
    return f"pydisp.prune(model, tokenizer, keep_ratio={settings.keep_ratio}, {', '.join(f'{k}={v!r}' for k, v in arguments.items())})"


@takes(request=instance_of(FolderRequest, "give a FolderRequest"), say=RECEIVER, checkpoint_seconds=ZERO_OR_MORE)
@usual_modes()
def prune_to_folder(
    request: FolderRequest, *, say: Callable[[str], None] = on_stderr, checkpoint_seconds: float = CHECKPOINT_SECONDS
) -> dict:
    """Prune a model by name into a folder that loads like any model folder; it appears whole or not at all.

    `say` is a function that receives the lines of the run. Returns the object that `pydisp prune --json` prints.
    Raises: ValueError (LoadingError and SearchDiverged are two), FileNotFoundError, FileExistsError with one sentence; Interrupted, whose
        message says how to resume; OSError if the disk is full.
    """
    workspace = Workspace(request.out, marker=PLAN_FILE, journey="prune")
    return in_workspace(workspace, request, lambda: _pruned_folder(request, workspace, say, checkpoint_seconds))


def in_workspace(workspace: Workspace, request: FolderRequest | RecoverRequest, work: Callable[[], dict]) -> dict:
    """The result of `work` in the claimed workspace; a stop (Ctrl-C, SIGTERM) says how to resume if a state was saved."""
    try:
        with workspace.claimed(overwrite=request.overwrite, resume=request.resume):
            return work()
    except Exception:
        raise
    except BaseException:
        if not (workspace.has_begun and workspace.has_state):
            raise
        raise Interrupted("stopped; repeat the command with --resume to go on from the last state that was saved.") from None


def _pruned_folder(request: FolderRequest, workspace: Workspace, say: Callable[[str], None], checkpoint_seconds: float) -> dict:
    run, tokenizer, stored = _loaded(request, workspace, say)
    workspace.check_room(run.kept_parameters * stored.itemsize)
    origin = read_origin(request.model, request.source.get("revision"))
    stage = recovery_stage(run)
    run.announce()
    identity = run.identity
    if stage:
        stage.announce()
        identity |= stage.identity | {"plan": run.plan and run.plan.digest()}
    workspace.begin(identity, resume=request.resume)
    state = workspace.load_state() if request.resume else None
    recovering = state if state and state.get("stage") == STAGE else None
    planned = planned_in(recovering) if recovering else _planned(run, workspace, checkpoint_seconds, state)
    pruned = prune_model(run.model, planned.plan, run.spec)
    done = stage.run_in(workspace, placed_like(pruned, run.model), planned, recovering, checkpoint_seconds) if stage else None
    write_model(pruned, tokenizer, planned.plan, stored, workspace.output, say)
    pruned = load_model(str(workspace.output), device=run.model.device, dtype=run.model.dtype, device_map=map_of_copy(run.model), say=say)
    command = request.command(run.settings, is_usual=_is_usual(run), recovery=stage and stage.settings)
    outcome = run.outcome(planned, pruned, command, stored)
    outcome = replace(outcome, recovered=done.recovered(outcome.losses)) if done else outcome
    speed = measured_speed(run, pruned, workspace) if request.measures_speed else {"absent": "--no-speed was given."}
    say("writing the report")
    write_words(outcome, origin, speed, workspace.output)
    workspace.finish()
    result = {"out": str(request.out), **outcome.as_dict(), "speed": speed}
    return result | ({"recovery": {**result["recovery"], "seconds": done.progress.seconds}} if done else {})


def _loaded(request: FolderRequest, workspace: Workspace, say: Callable[[str], None]) -> tuple[Run, object, torch.dtype]:
    """The requested run, the tokenizer, and the dtype of the checkpoint. Cheap checks come first.

    A resumed run has the numbers that were chosen at its start.
    """
    limit = TimeLimit(request.minutes, SPEED_SECONDS if request.measures_speed else 0.0)
    limit.check(request.settings)
    device_map = read_device_map(request.device_map, request.device)
    plan = PruningPlan.load(request.plan_file) if request.plan_file else None
    if request.resume and not request.recovery and (plan or request.settings.method not in SEARCHED):
        raise ValueError("only a search or a recovery can be resumed; run this command without --resume.")
    device = choose_device(request.device or device_of_map(device_map))
    config = load_config(request.model, **request.source)
    family_of(config)
    stored = stored_dtype(config)
    dtype = choose_dtype(request.dtype, device, stored)
    tokenizer = load_tokenizer(request.model, **request.source)
    check_savable(config, tokenizer)
    corpora = Corpora.read(request.text, tokenizer, config.vocab_size, say)
    model = load_model(request.model, device=device, dtype=dtype, device_map=device_map, say=say, **request.source)
    spec = ModelSpec.from_model(model)
    settings = settings_for_plan(plan, spec, **request.of_a_plan) if plan else request.settings
    earlier, recovery = workspace.identity() if request.resume else {}, request.recovery
    settings = settings.with_chosen(earlier)
    if recovery and recovery.steps is None:
        recovery = replace(recovery, steps=earlier.get("recovery.steps"))
    run = Run.checked(displayed_name(request.model), model, spec, settings, corpora, plan, say, limit, recovery)
    return replace(run, stored=stored), tokenizer, stored


def _is_usual(run: Run) -> bool:
    """Whether all settings without an option on the command line have their defaults."""
    without_option = ("weight_decay", "regularization", "hypernetwork", "start_windows")
    usual = replace(run.settings, learning_rate=None, **{name: getattr(_USUAL, name) for name in without_option})
    return resolved_for(run.model, run.spec, usual) == run.settings


def _planned(run: Run, workspace: Workspace, checkpoint_seconds: float, state: dict | None) -> Planned:
    """`run.planned`; a search saves its state after its start and its first step, from time to time, at the end, and when a stop is
    requested."""
    if not run.is_search:
        return run.planned()
    steps = run.settings.steps
    if state:
        run.say(f"resuming after step {len(state['progress']['history'])} of {steps}")
    saved_at = time.monotonic()
    with stop_requests() as is_stop_requested:

        def after_step(search: Search) -> None:
            nonlocal saved_at
            step = search.progress.step
            if step in (0, 1, steps) or is_stop_requested() or time.monotonic() - saved_at >= checkpoint_seconds:
                workspace.save_state(search.state_dict())
                saved_at = time.monotonic()
            if is_stop_requested():
                raise Interrupted(f"stopped after step {step} of {steps}; repeat the command with --resume to go on from there.")

        planned = run.planned(after_step, state)
        if is_stop_requested():
            raise Interrupted("stopped after the search; repeat the command with --resume to go on from there.")
        return planned


def measured_speed(run: Run, pruned: nn.Module, workspace: Workspace) -> dict:
    """Times of the pruned model, or {"absent": why}: no failure here may lose the pruned model, which may have taken hours."""
    if is_spread(run.model):
        return {"absent": "the model is spread over several devices; `pydisp speed` measures on one."}
    source = Source(str(workspace.output), dtype=str(pruned.dtype).removeprefix("torch."), device=str(pruned.device))
    try:
        speed = quick(run.model, pruned, source, _quick_workload(run), title=workspace.out.name, against=run.name, say=run.say)
    except Exception as error:
        speed = {"absent": " ".join(str(error).split()) or type(error).__name__}
        run.say(f"speed was not measured: {speed['absent']}")
    if "peak_absent" in speed:
        run.say(f"peak memory is left out: {speed['peak_absent']}")
    return speed


def _quick_workload(run: Run) -> Workload:
    """A few rounds of a short prompt: a quick impression at the end of a run, not a benchmark."""
    decode_tokens, room = 4, positions(run.model.config) or 256
    return Workload(max(1, min(run.settings.context_tokens, 256, room - decode_tokens)), decode_tokens, rounds=3)
