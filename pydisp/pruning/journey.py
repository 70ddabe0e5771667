"""The pruning journey: from a model and text to a pruned model with its figures, in memory (`prune`) or as a folder."""

import contextlib
import copy
import json
import logging
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from pydisp.cost import Cost, cost_of
from pydisp.environment import run_facts
from pydisp.evaluation import evaluate_text
from pydisp.loading import (
    choose_device,
    choose_dtype,
    displayed_name,
    load_config,
    load_model,
    load_tokenizer,
    stored_dtype,
)
from pydisp.plan import PruningPlan
from pydisp.pruning.outcome import CALIBRATION, HELDOUT, OTHER, Losses, Outcome
from pydisp.pruning.planning import Planned, estimate_search, make_plan
from pydisp.pruning.search import Search, SearchProgress
from pydisp.pruning.settings import SEARCHED, PruneSettings
from pydisp.pruning.workspace import PLAN_FILE, Workspace, save_model
from pydisp.report import Report
from pydisp.report.words import counted
from pydisp.spec import ModelSpec, family_of
from pydisp.speed import Source, Workload, quick, record
from pydisp.surgery import prune_model
from pydisp.text import Tokens, calibration_and_heldout, other_text, read_text, tokenize

logger = logging.getLogger("pydisp")

CHECKPOINT_SECONDS = 20.0
SETTINGS_FILE, SPEED_FILE = "pydisp.yaml", "speed.json"
_USUAL = PruneSettings(keep_ratio=0.5)


class Interrupted(Exception):
    """The user stopped the search; the message says how to go on."""


@dataclass(frozen=True)
class Corpora:
    """The tokens of the three texts of a run, and a digest of what the masks are learned on."""

    calibration: Tokens
    heldout: Tokens
    other: Tokens
    sha256: str

    @classmethod
    def read(cls, sources: Sequence[str] | None, tokenizer) -> "Corpora":
        """Raises: what `calibration_and_heldout` does."""
        calibration, heldout = calibration_and_heldout(sources)
        # Whoever calibrates on the help topics has no other text in them.
        other = read_text(["pythondoc:heldout"]) if any(s == "pythondoc:topics" for s in sources or ()) else other_text()
        return cls(*(tokenize(t, tokenizer) for t in (calibration, heldout, other)), calibration.sha256)

    def check(self, context_tokens: int) -> None:
        """Raise ValueError, naming the text, where one is shorter than a window: before the search, not after it."""
        for tokens in (self.calibration, self.heldout, self.other):
            tokens.windows(context_tokens)

    def losses(self, dense: nn.Module, pruned: nn.Module, context_tokens: int, say: Callable[[str], None]) -> dict[str, Losses]:
        """Both models on all three texts; of the calibration text as many windows as the held-out text has."""
        count = len(self.heldout.windows(context_tokens)) * context_tokens
        ids = self.calibration.ids[:count]
        # Bytes in proportion: where the windows end in the text is not known, and its own rate of tokens would be no nearer.
        part = replace(self.calibration, ids=ids, text_bytes=round(self.calibration.text_bytes * len(ids) / len(self.calibration)))
        found = {}
        for kind, tokens in ((HELDOUT, self.heldout), (OTHER, self.other), (CALIBRATION, part)):
            say(f"evaluating on {kind} text: {tokens.name}, {len(tokens):,} tokens")
            found[kind] = Losses(tokens.name, *(evaluate_text(m, tokens, context_tokens) for m in (dense, pruned)))
        return found


def prune(
    model: nn.Module,
    tokenizer,
    *,
    text: Sequence[str] | str | None = None,
    keep_ratio: float | None = None,
    ratio_of: str = "total",
    method: str = "disp",
    plan: PruningPlan | None = None,
    **settings,
) -> tuple[nn.Module, Report]:
    """Prune a transformers causal language model in memory; the model passed in is left as it was.

    Args:
        model: a model of `pydisp.spec.FAMILIES`, on the device to work on. On a CPU, half precision is searched in float32.
        tokenizer: its tokenizer.
        text: files, folders, JSONL or `hub:NAME` to learn from; the documentation of the running Python without it.
        keep_ratio, ratio_of, method, **settings: see `PruneSettings`; needed unless there is a plan.
        plan: a plan for this model, instead of making one.
    Returns: the pruned model, in the model's dtype, and the Report of what it cost.
    Raises: ValueError, FileNotFoundError for what cannot be done, before the search starts; SearchDiverged.
    """
    if keep_ratio is None and plan is None:
        raise ValueError("no keep_ratio was given; name the share of the parameters to keep, such as 0.5, or give a plan.")
    family_of(model.config)
    sources = [text] if isinstance(text, str) else text
    request = None if plan else PruneSettings(keep_ratio=keep_ratio, ratio_of=ratio_of, method=method, **settings)
    working = _working_copy(model)
    spec = ModelSpec.from_model(working)
    if plan:
        spec.refuse_other(plan)
        request = PruneSettings(keep_ratio=spec.kept_shares(plan)["total"], method="plan", **settings)
    corpora = Corpora.read(sources, tokenizer)
    request = request.resolved(spec, _positions(model.config))
    corpora.check(request.context_tokens)
    planned = (
        Planned(plan, SearchProgress())
        if plan
        else make_plan(working, spec, corpora.calibration.windows(request.context_tokens), request, after_step=_bar_for(request))
    )
    pruned = prune_model(model, planned.plan, spec)
    comparable = pruned if working is model else copy.deepcopy(pruned).to(working.dtype)
    losses = corpora.losses(working, comparable, request.context_tokens, logger.info)
    arguments = {k: v for k, v in request.as_dict().items() if k not in ("keep_ratio", "method" if plan else "plan")}
    arguments |= {"text": [_without_folder(source) for source in sources]} if sources else {}
    arguments |= {"plan": "PruningPlan.load(…)"} if plan else {}
    command = f"pydisp.prune(model, tokenizer, keep_ratio={request.keep_ratio}, {', '.join(f'{k}={v!r}' for k, v in arguments.items())})"
    name = displayed_name(getattr(model.config, "_name_or_path", "") or model.config.model_type)
    facts = _facts(corpora, working)
    costs = _costs(working, comparable, request.context_tokens)
    outcome = Outcome(name, request, spec, planned.plan, planned.progress, losses, costs, command, facts)
    return pruned, outcome.report()


def _working_copy(model: nn.Module) -> nn.Module:
    if model.device.type == "cpu" and model.dtype in (torch.bfloat16, torch.float16):
        return copy.deepcopy(model).float()
    return model


def _positions(config) -> int | None:
    return getattr(config, "max_position_embeddings", None)


def _costs(dense: nn.Module, pruned: nn.Module, context_tokens: int) -> dict[str, Cost]:
    return {name: cost_of(model, context_tokens) for name, model in (("dense", dense), ("pruned", pruned))}


def _quick_workload(context_tokens: int, config) -> Workload:
    """A few rounds of a short prompt: a glimpse at the end of a run, no benchmark."""
    decode_tokens = 4
    return Workload(max(1, min(context_tokens, 256, (_positions(config) or 256) - decode_tokens)), decode_tokens, rounds=3)


def _facts(corpora: Corpora, model: nn.Module) -> dict:
    return {
        **run_facts(model),
        "texts": {
            "calibration": corpora.calibration.name,
            "heldout": corpora.heldout.name,
            "other": corpora.other.name,
            "sha256": corpora.sha256,
        },
    }


@dataclass(frozen=True)
class FolderRequest:
    """What `prune_to_folder` is asked for; `settings` is None where a plan file is given, with which goes `context_tokens`."""

    model: str
    out: str | os.PathLike
    settings: PruneSettings | None
    text: tuple[str, ...] | None = None
    plan_file: str | None = None
    device: str | None = None
    dtype: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    resume: bool = False
    overwrite: bool = False
    context_tokens: int | None = None
    measures_speed: bool = True

    def command(self, settings: PruneSettings, *, is_usual: bool) -> str:
        """The command line that makes the same folder, without a machine's paths.

        Where a setting that has no option is not the usual one, the command names the configuration that the folder holds.
        """
        parts = ["pydisp", "prune", displayed_name(self.model), "--out", "DIR"]
        parts += [] if is_usual else ["--config", SETTINGS_FILE]
        if self.plan_file:
            parts += ["--plan", Path(self.plan_file).name]
        else:
            parts += ["--keep-ratio", str(settings.keep_ratio), "--ratio-of", settings.ratio_of, "--method", settings.method]
            for name in ("steps", "batch_size", "seed", "round_to"):
                parts += [f"--{name.replace('_', '-')}", str(getattr(settings, name))] if name in settings.in_use() else []
            parts += ["--accumulate", str(settings.accumulate)] if settings.in_use().get("accumulate", 1) != 1 else []
        parts += ["--context", str(settings.context_tokens)]
        for source in self.text or ():
            parts += ["--text", _without_folder(source)]
        for option, value in (("--device", self.device), ("--dtype", self.dtype), ("--revision", self.revision)):
            parts += [option, value] if value else []
        return shlex.join(parts + (["--trust-remote-code"] if self.trust_remote_code else []))


def _without_folder(source: str) -> str:
    """A source of text without the folders above it; `pythondoc` and `hub:` names as they are."""
    path, mark, field = source.partition("#")
    return Path(path).resolve().name + mark + field if Path(path).exists() else source


def prune_to_folder(
    request: FolderRequest, *, say: Callable[[str], None] = logger.info, checkpoint_seconds: float = CHECKPOINT_SECONDS
) -> dict:
    """Prune a model by name into a folder that loads like any other; the folder appears whole or not at all.

    `say` gets the lines of the run. Returns what `pydisp prune --json` prints.
    Raises: ValueError, FileNotFoundError, FileExistsError (LoadingError and SearchDiverged among them) with one sentence;
        Interrupted, whose message says how to resume; OSError when the disk is full.
    """
    workspace = Workspace(request.out)
    workspace.check(overwrite=request.overwrite, resume=request.resume)
    plan = PruningPlan.load(request.plan_file) if request.plan_file else None
    if request.resume and (plan or request.settings.method not in SEARCHED):
        raise ValueError("only a search can be resumed; run this command without --resume.")
    device = choose_device(request.device)
    source = dict(revision=request.revision, trust_remote_code=request.trust_remote_code)
    config = load_config(request.model, **source)
    family_of(config)
    stored = stored_dtype(config)
    dtype = choose_dtype(request.dtype, device, stored)
    tokenizer = load_tokenizer(request.model, **source)
    corpora = Corpora.read(request.text, tokenizer)
    model = load_model(request.model, device=device, dtype=dtype, **source)
    spec = ModelSpec.from_model(model)
    if plan:
        spec.refuse_other(plan)
        settings = PruneSettings(keep_ratio=spec.kept_shares(plan)["total"], method="plan", context_tokens=request.context_tokens)
    else:
        settings = request.settings
    settings = settings.resolved(spec, _positions(config))
    corpora.check(settings.context_tokens)
    windows = corpora.calibration.windows(settings.context_tokens)
    _announce(request, settings, spec, model, windows, corpora, say)

    identity = {
        **settings.as_dict(), "model": spec.digest, "text": corpora.sha256, "dtype": str(dtype), "device": device.type,
        "threads": torch.get_num_threads(),
    }  # fmt: skip
    workspace.begin(identity, resume=request.resume)
    try:
        if plan:
            planned = Planned(plan, SearchProgress())
        else:
            planned = _search_with_checkpoints(model, spec, windows, settings, workspace, request, say, checkpoint_seconds)
        usual = replace(settings, learning_rate=None, weight_decay=_USUAL.weight_decay, regularization=_USUAL.regularization)
        command = request.command(settings, is_usual=usual.resolved(spec, _positions(config)) == settings)
        _write_model(prune_model(model, planned.plan, spec), tokenizer, planned.plan, stored, workspace.output)
        pruned = load_model(str(workspace.output), device=device, dtype=dtype)
        losses = corpora.losses(model, pruned, settings.context_tokens, say)
        outcome = Outcome(
            displayed_name(request.model), settings, spec, planned.plan, planned.progress, losses,
            _costs(model, pruned, settings.context_tokens), command, _facts(corpora, model),
        )  # fmt: skip
        speed = {"absent": "--no-speed was given."}
        if request.measures_speed:
            workload = _quick_workload(settings.context_tokens, config)
            speed = _speed(model, pruned, workspace, workload, displayed_name(request.model), say)
        _write_words(outcome, speed, workspace.output)
    except BaseException as error:
        workspace.abandon()
        if not isinstance(error, Exception) and workspace.has_state:  # Ctrl-C, SIGTERM
            raise Interrupted("stopped; repeat the command with --resume to go on from the last state of the search.") from None
        raise
    workspace.finish()
    return {"out": str(request.out), **outcome.as_dict(), "speed": speed}


def _speed(dense: nn.Module, pruned: nn.Module, workspace: Workspace, workload: Workload, against: str, say: Callable[[str], None]) -> dict:
    """Its failure, whatever it is, must not cost the pruned model, which may have taken hours: {"absent": why} then."""
    source = Source(str(workspace.output), dtype=str(pruned.dtype).removeprefix("torch."), device=str(pruned.device))
    try:
        found = quick(dense, pruned, source, workload, title=workspace.out.name, against=against, say=say)
    except Exception as error:
        found = {"absent": " ".join(str(error).split()) or type(error).__name__}
        say(f"speed was not measured: {found['absent']}")
    if "peak_absent" in found:
        say(f"peak memory is left out: {found['peak_absent']}")
    return found


def _announce(request, settings, spec, model, windows, corpora, say) -> None:
    """Every default and an estimate, before anything long starts."""
    say(
        f"{displayed_name(request.model)}: {spec.family.model_type}, {spec.parameters_total:,} parameters, {spec.parameters_block:,} of them in "
        f"{len(spec.costs)} layers; on {model.device} in {str(model.dtype).removeprefix('torch.')}, {counted(torch.get_num_threads(), 'thread')}"
    )
    say(f"text: {corpora.calibration.name}, {len(windows):,} windows of {settings.context_tokens} tokens; held out: {corpora.heldout.name}")
    say("settings: " + ", ".join(f"{name} {value}" for name, value in settings.in_use().items()))
    if settings.method in SEARCHED:
        expected = estimate_search(model, spec, windows, settings)
        say(f"estimate: about {_duration(expected.seconds)} of search, about {expected.peak_mib:,.0f} MiB of memory")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class Bar:
    """Shows a search after each step: a bar on a terminal, else a line every tenth of the way; loss, kept share, time left."""

    def __init__(self, settings: PruneSettings, say: Callable[[str], None], done: int = 0):
        import sys

        from tqdm import tqdm

        self.steps, self.say, self.start, self.first = settings.steps, say, time.monotonic(), done
        self.terminal = sys.stderr.isatty()
        self.bar = tqdm(total=settings.steps, initial=done, unit="step", desc="search", disable=not self.terminal)

    def __call__(self, search: Search) -> None:
        step = search.progress.step
        last = search.progress.history[-20:]
        loss, kept = (sum(h[k] for h in last) / len(last) for k in ("loss", "kept"))
        if self.terminal:
            self.bar.set_postfix(loss=f"{loss:.3f}", kept=f"{kept:.3f}", refresh=False)
            self.bar.update()
        elif step % max(1, self.steps // 10) == 0 or step == self.steps:
            left = (time.monotonic() - self.start) / (step - self.first) * (self.steps - step)
            self.say(f"step {step} of {self.steps}: loss {loss:.3f}, kept {kept:.3f}, about {_duration(left)} left")
        if step == self.steps:
            self.bar.close()


def _bar_for(settings: PruneSettings) -> Callable[[Search], None]:
    """A bar for a search; what other methods are given is never called, and shows nothing."""
    return Bar(settings, logger.info) if settings.method in SEARCHED else lambda _search: None


@contextlib.contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM are kept until the step under way is done; a second one does what it did before, and stops at once."""
    asked: list[int] = []
    before = {}

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number, _frame):
        asked.append(number)
        restore()

    with contextlib.suppress(ValueError):  # not in the main thread: signals stay as they are
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, ask)
    try:
        yield lambda: bool(asked)
    finally:
        restore()


def _search_with_checkpoints(model, spec, windows, settings, workspace, request, say, checkpoint_seconds) -> Planned:
    if settings.method not in SEARCHED:
        return make_plan(model, spec, windows, settings)
    state = workspace.load_state() if request.resume else None
    done = len(state["progress"]["history"]) if state else 0
    if state:
        say(f"resuming after step {done} of {settings.steps}")
    bar = Bar(settings, say, done)
    saved_at = time.monotonic()
    with _stop_requests() as stop_requested:

        def after_step(search: Search) -> None:
            nonlocal saved_at
            bar(search)
            last = search.progress.step == settings.steps
            if stop_requested() or last or time.monotonic() - saved_at >= checkpoint_seconds:
                workspace.save_state(search.state_dict())
                saved_at = time.monotonic()
            if stop_requested():
                raise Interrupted(
                    f"stopped after step {search.progress.step} of {settings.steps}; repeat the command with --resume to go on from there."
                )

        planned = make_plan(model, spec, windows, settings, after_step=after_step, state=state)
        if stop_requested():
            raise Interrupted("stopped after the search; repeat the command with --resume to go on from there.")
        return planned


def _write_model(pruned: nn.Module, tokenizer, plan: PruningPlan, stored: torch.dtype, folder: Path) -> None:
    pruned = pruned.to(stored)
    pruned.config.dtype = stored
    save_model(pruned, tokenizer, folder)
    plan.save(folder / PLAN_FILE)


def _write_words(outcome: Outcome, speed: dict, folder: Path) -> None:
    import yaml

    settings = {"model": outcome.model_name, **outcome.settings.as_dict()}
    if outcome.settings.method != "plan":  # a plan says everything itself
        (folder / SETTINGS_FILE).write_text(
            "# The settings of this run; usable with `pydisp prune --config`.\n" + yaml.safe_dump(settings, sort_keys=True)
        )
    (folder / "README.md").write_text(outcome.card())
    (folder / SPEED_FILE).write_text(json.dumps(speed, indent=2, sort_keys=True) + "\n")
    outcome.report().write(folder, record.section(speed))
