"""The recovery journey: from a pruned model, or the folder of one, and its dense model to a pruned model that predicts better."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from pydisp.arguments import RECEIVER, SOURCES, ZERO_OR_MORE, instance_of, optional, takes
from pydisp.environment import run_facts
from pydisp.evaluation import TextLoss, check_tokenizer
from pydisp.given_file import read_text
from pydisp.given_value import json_value, yaml_value
from pydisp.loading import (
    LoadingError,
    choose_device,
    choose_dtype,
    displayed_name,
    load_config,
    load_model,
    load_pruned_config,
    load_tokenizer,
    stored_dtype,
)
from pydisp.modeling.config import check_widths
from pydisp.origin import read_origin
from pydisp.placement import device_of_map, is_offloaded, map_of_copy, read_device_map, refuse_untrainable
from pydisp.plan import PruningPlan
from pydisp.progress import on_stderr
from pydisp.pruning.corpora import Corpora
from pydisp.pruning.estimate import check_memory_for_recovery
from pydisp.pruning.folder import PLAN_FILE, SETTINGS_FILE, check_savable, write_model, write_words
from pydisp.pruning.in_memory import dense_model, pruned_model
from pydisp.pruning.journey import CHECKPOINT_SECONDS, SPEED_SECONDS, in_workspace, measured_speed, recovery_stage
from pydisp.pruning.minutes import CONTEXT_TOKENS, WINDOWS_PER_STEP
from pydisp.pruning.outcome import HELDOUT, Losses
from pydisp.pruning.planning import Planned
from pydisp.pruning.precision import working_model
from pydisp.pruning.recovery import store_in_
from pydisp.pruning.recovery_settings import RecoverySettings
from pydisp.pruning.recovery_stage import RecoveryDone, RecoveryStage, planned_in
from pydisp.pruning.request import RecoverRequest, without_folder
from pydisp.pruning.run import Run, TimeLimit, positions, settings_for_plan
from pydisp.pruning.search import SearchProgress
from pydisp.pruning.settings import LARGE_MODEL_EVALUATION_TOKENS, PruneSettings
from pydisp.report import Metric, Report, Section, Table
from pydisp.spec import SMALL_MODEL_PARAMETERS, ModelSpec, model_digest
from pydisp.torch_modes import usual_modes
from pydisp.workspace import MOST_REPORT_BYTES, Workspace

REPORT_FILE = "report.json"
_COPY = "copy the whole folder again."


@takes(text=optional(SOURCES), say=RECEIVER)
@usual_modes()
def recover(
    model: nn.Module,
    tokenizer,
    *,
    teacher: nn.Module,
    text: Sequence[str] | str | None = None,
    say: Callable[[str], None] = on_stderr,
    **settings,
) -> tuple[nn.Module, Report]:
    """Train what is kept of a pruned model to predict as its dense model does, in memory; neither given model is changed.

    The modes of torch around the call (no_grad, inference_mode, autocast, default dtype and device) change nothing.

    Args:
        model: a pruned model: of `prune`, or loaded from its folder.
        tokenizer: its tokenizer.
        teacher: the dense model that it was made from, on the same device.
        text: files, folders, JSONL or `hub:NAME` to learn from; by default the documentation of the running Python.
        say: a function that receives the lines of the run; `pydisp.progress.silence` drops them, and the bars with them.
        **settings: see `RecoverySettings`. By default a step has 4 windows of 256 tokens. From 50 M parameters on, at most 32,768 tokens of
            each text are scored.
    Returns: the recovered model, in the given model's dtype, and a Report with the losses of the dense model, before and after.
    Raises: ValueError, TypeError or FileNotFoundError, before the training starts, for arguments that cannot be used, such as another
        model's teacher, or too little memory; ImportError for LoRA without peft; RecoveryDiverged.
    """
    asked = RecoverySettings(**settings)
    model, teacher = pruned_model(model), dense_model(teacher, "teacher")
    check_tokenizer(tokenizer)
    if is_offloaded(model):
        raise ValueError("a part of this pruned model has no values in memory, so it cannot be trained; load it without a device_map.")
    refuse_untrainable(teacher)
    if model.device != teacher.device:
        raise ValueError(f"the pruned model is on {model.device}, its teacher on {teacher.device}; move one of them to the other's device.")
    spec = ModelSpec.from_model(teacher)
    name = displayed_name(getattr(teacher.config, "_name_or_path", "") or teacher.config.model_type)
    refuse_other_teacher(name, spec, model.config.pydisp["model_digest"])
    working = working_model(teacher, say)
    corpora = Corpora.read(text, tokenizer, teacher.get_input_embeddings().num_embeddings, say)
    context = asked.context_tokens or min(CONTEXT_TOKENS, positions(teacher.config) or CONTEXT_TOKENS)
    corpora.check(context)
    most = None if spec.parameters_total < SMALL_MODEL_PARAMETERS else max(LARGE_MODEL_EVALUATION_TOKENS, context)
    stage = RecoveryStage.checked(working, corpora, asked, spec, WINDOWS_PER_STEP, context, say, most_evaluated=most)
    check_memory_for_recovery(working, spec, stage.settings, sum(p.numel() for p in model.parameters()))
    recovered = copy.deepcopy(model)
    done = stage.run(recovered)
    store_in_(recovered, model.dtype)
    comparable = working_model(recovered)
    losses = corpora.losses(working, comparable, context, say, most)
    return recovered, _report(name, losses, done, corpora, working, _call(stage.settings, text))


def _call(settings: RecoverySettings, sources: Sequence[str] | None) -> str:
    arguments = settings.as_dict() | ({"text": [without_folder(source) for source in sources]} if sources else {})
    return f"pydisp.recover(model, tokenizer, teacher=dense, {', '.join(f'{k}={v!r}' for k, v in arguments.items())})"


def _report(name: str, losses: dict[str, Losses], done: RecoveryDone, corpora: Corpora, model: nn.Module, command: str) -> Report:
    held, before = losses[HELDOUT], done.before[HELDOUT]
    rows = [(kind, losses[kind].text, losses[kind].dense.perplexity, loss.perplexity, losses[kind].pruned.perplexity) for kind, loss in done.before.items()]  # fmt: skip
    steps = done.progress.step
    result = {
        "steps": steps,
        "tokens": done.progress.tokens,
        "perplexity": {kind: _perplexities(losses[kind], loss) for kind, loss in done.before.items()},
    }
    return Report(
        title=f"{name}, pruned and recovered",
        summary=[
            f"Perplexity on held-out text goes from {before.perplexity:.2f} to {held.pruned.perplexity:.2f} in {steps} steps of recovery; "
            f"the dense model's is {held.dense.perplexity:.2f}."
        ],
        metrics=[
            Metric("perplexity, recovered ÷ dense", held.times, "times", n=held.pruned.tokens, higher_is_better=False, note="held-out text"),
        ],
        sections=[Section("Before and after", [Table("Perplexity", ("text", "source", "dense", "pruned", "recovered"), rows)])],
        facts={
            "result": result, "settings": done.settings.as_dict(), "command": command, **run_facts(model),
            "texts": {**corpora.names, "sha256": corpora.sha256},
        },
    )  # fmt: skip


def _perplexities(losses: Losses, before: TextLoss) -> dict[str, float]:
    return {"dense": losses.dense.perplexity, "before": before.perplexity, "after": losses.pruned.perplexity}


def refuse_other_teacher(name: str, spec: ModelSpec, digest: str) -> None:
    """Raise ValueError if a dense model is not the one that a pruned model was made from, by the digest that this one names."""
    if spec.digest != digest:
        raise ValueError(
            f"the teacher {name} does not match: its digest is {spec.digest[:12]}, the pruned model was made from one with "
            f"{digest[:12]}; give the dense model that was pruned."
        )


@takes(request=instance_of(RecoverRequest, "give a RecoverRequest"), say=RECEIVER, checkpoint_seconds=ZERO_OR_MORE)
@usual_modes()
def recover_to_folder(
    request: RecoverRequest, *, say: Callable[[str], None] = on_stderr, checkpoint_seconds: float = CHECKPOINT_SECONDS
) -> dict:
    """Train what is kept in a folder of `pydisp prune`; the new folder has the same form and plan, and appears whole or not at all.

    `say` is a function that receives the lines of the run. Returns the object that `pydisp recover --json` prints.
    Raises: ValueError (LoadingError and RecoveryDiverged are two), FileNotFoundError, FileExistsError, ImportError with one sentence;
        Interrupted, whose message says how to resume; OSError if the disk is full.
    """
    workspace = Workspace(request.out, marker=PLAN_FILE, journey="prune or recovery")
    return in_workspace(workspace, request, lambda: _recovered_folder(request, workspace, say, checkpoint_seconds))


def _recovered_folder(request: RecoverRequest, workspace: Workspace, say: Callable[[str], None], checkpoint_seconds: float) -> dict:
    folder = Path(request.folder)
    config, plan, made = _read_folder(folder)
    stored = stored_dtype(config)
    run, teacher_name, tokenizer = _loaded(request, config, plan, made, workspace, say)
    run = replace(run, stored=stored)
    origin = read_origin(teacher_name, request.source.get("revision"))
    workspace.check_room(run.kept_parameters * stored.itemsize)
    stage = recovery_stage(run)
    pruned = load_model(str(folder), device=run.model.device, dtype=run.model.dtype, device_map=map_of_copy(run.model), say=say)
    say(f"{displayed_name(str(folder))}: {run.spec.kept_shares(plan)['total']:.1%} of {run.name}; on {run.model.device}")
    say(f"text: {run.corpora.calibration.name}, {len(stage.windows):,} windows; held out: {run.corpora.heldout.name}")
    run.announce_estimate()
    stage.announce()
    workspace.begin(run.identity | stage.identity | {"plan": plan.digest(), "weights": model_digest(pruned)}, resume=request.resume)
    state = workspace.load_state() if request.resume else None
    planned = planned_in(state) if state else Planned(plan, SearchProgress())
    done = stage.run_in(workspace, pruned, planned, state, checkpoint_seconds)
    write_model(pruned, tokenizer, plan, stored, workspace.output, say)
    pruned = load_model(str(workspace.output), device=run.model.device, dtype=run.model.dtype, device_map=map_of_copy(run.model), say=say)
    commands = [*_first_command(made), request.command(stage.settings, teacher_name)]
    outcome = run.outcome(planned, pruned, "\n".join(commands), stored)
    outcome = replace(outcome, recovered=done.recovered(outcome.losses))
    speed = measured_speed(run, pruned, workspace) if request.measures_speed else {"absent": "--no-speed was given."}
    say("writing the report")
    write_words(outcome, origin, speed, workspace.output)
    workspace.finish()
    result = {"out": str(request.out), **outcome.as_dict(), "speed": speed}
    return result | {"recovery": {**result["recovery"], "seconds": done.progress.seconds}}


def _read_folder(folder: Path) -> tuple[object, PruningPlan, dict]:
    """The config of a pruned folder, its plan, and the facts of its report.

    Raises: ValueError (LoadingError is one) or FileNotFoundError if it is none, or if its parts do not belong together.
    """
    config = load_pruned_config(folder)
    check_widths(config)
    plan = PruningPlan.load(folder / PLAN_FILE)
    if plan.digest() != config.pydisp["plan_digest"]:
        raise ValueError(f"{PLAN_FILE} and config.json of {folder} are of two prunings; {_COPY}")
    try:
        facts = json_value(read_text(folder / REPORT_FILE, _COPY, most_bytes=MOST_REPORT_BYTES), REPORT_FILE, _COPY)["facts"]
        facts["result"]["model"], facts["result"]["context_tokens"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{REPORT_FILE} of {folder} is missing or damaged; {_COPY}") from None
    return config, plan, facts


def _loaded(
    request: RecoverRequest, config, plan: PruningPlan, made: dict, workspace: Workspace, say: Callable[[str], None]
) -> tuple[Run, str, object]:
    """The run of which the teacher is the model, its name to load it by, and the folder's tokenizer. Cheap checks come first.

    A resumed run has the numbers that were chosen at its start.
    """
    limit, recovery = TimeLimit(request.minutes, SPEED_SECONDS if request.measures_speed else 0.0), request.settings
    limit.check(recovery)
    device_map = read_device_map(request.device_map, request.device)
    folder = Path(request.folder)
    name = request.teacher or made["result"]["model"]
    device = choose_device(request.device or device_of_map(device_map))
    try:
        stored = stored_dtype(load_config(name, **request.source))
    except LoadingError as error:
        if request.teacher:
            raise
        raise LoadingError(f"{folder.name} was made from {name}, which cannot be loaded by this name; give it with --teacher.") from error
    dtype = choose_dtype(request.dtype, device, stored)
    tokenizer = load_tokenizer(str(folder), trust_remote_code=request.trust_remote_code)
    check_savable(config, tokenizer)
    corpora = Corpora.read(request.text, tokenizer, config.vocab_size, say)
    teacher = load_model(name, device=device, dtype=dtype, device_map=device_map, say=say, **request.source)
    spec = ModelSpec.from_model(teacher)
    refuse_other_teacher(displayed_name(name), spec, plan.model_digest)
    settings = _settings(folder, plan, spec, made)
    if request.evaluation_tokens is not None:
        settings = replace(settings, evaluation_tokens=request.evaluation_tokens)
    if request.resume and recovery.steps is None:
        earlier = workspace.identity()
        recovery, settings = replace(recovery, steps=earlier.get("recovery.steps")), settings.with_chosen(earlier)
    return Run.checked(made["result"]["model"], teacher, spec, settings, corpora, plan, say, limit, recovery), name, tokenizer


def _settings(folder: Path, plan: PruningPlan, spec: ModelSpec, made: dict) -> PruneSettings:
    """The settings that the folder was pruned with; of a given plan, those for a plan."""
    path = folder / SETTINGS_FILE
    if not path.is_file():
        return settings_for_plan(plan, spec, context_tokens=made["result"]["context_tokens"])
    try:
        values = yaml_value(read_text(path, _COPY, most_bytes=1 << 16), SETTINGS_FILE, _COPY)
        values.pop("model", None)
        return PruneSettings(**values)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{SETTINGS_FILE} of {folder} holds no settings of a pruning ({type(error).__name__}); {_COPY}") from None


def _first_command(made: dict) -> list[str]:
    command = made.get("command")
    return command.splitlines() if isinstance(command, str) else []
