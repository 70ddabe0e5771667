"""Run: one pruning run, once its model and texts are loaded; the part that `prune` in memory and `prune_to_folder` share."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from pydisp.arguments import check_fields, number, optional
from pydisp.cost import cost_of
from pydisp.environment import run_facts
from pydisp.placement import free_bytes_around, is_offloaded, places
from pydisp.plan import PruningPlan
from pydisp.progress import Bar, duration_words
from pydisp.pruning.corpora import Corpora
from pydisp.pruning.estimate import (
    RecoveryTrial,
    Trial,
    check_memory_for_evaluation,
    check_memory_for_recovery,
    estimate_evaluation,
    evaluation_bytes,
    fitted_to_memory,
    held_bytes,
    network_parameters,
    recovery_bytes,
    search_bytes,
    try_recovery,
    try_search,
)
from pydisp.pruning.minutes import CONTEXT_TOKENS, DEFAULT_MINUTES, WINDOWS_PER_STEP, Speeds, choose
from pydisp.pruning.outcome import Outcome
from pydisp.pruning.planning import Planned, make_plan
from pydisp.pruning.precision import has_bfloat16
from pydisp.pruning.recovery_settings import RecoverySettings
from pydisp.pruning.recovery_stage import SLOWEST_SAVING
from pydisp.pruning.search import Search, SearchProgress
from pydisp.pruning.settings import LARGE_MODEL_EVALUATION_TOKENS, SEARCHED, PruneSettings
from pydisp.report.words import counted
from pydisp.spec import SMALL_MODEL_PARAMETERS, ModelSpec

TIGHT = 0.85  # share of the free memory from which on a run warns: estimates are right to a tenth, and other processes want some


def settings_for_plan(plan: PruningPlan, spec: ModelSpec, **others) -> PruneSettings:
    """The settings of a run with a given plan.

    Raises: ValueError if the plan was made for another model.
    """
    spec.refuse_other(plan)
    return PruneSettings(keep_ratio=spec.kept_shares(plan)["total"], method="plan", **others)


@dataclass(frozen=True)
class TimeLimit:
    """The time that a run may take, from the making of this value on.

    Args:
        minutes: None: no limit was given.
        after_seconds: what comes beside the stages of a run, such as the measurement of speed.
    Raises: ValueError for minutes that are no number above 0.
    """

    minutes: float | None
    after_seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self):
        check_fields(self, minutes=optional(number("be a number above 0", lambda value: value > 0)))

    def other_seconds(self) -> float:
        """What has passed, and what comes beside the stages."""
        return time.monotonic() - self.started + self.after_seconds

    def check(self, settings: PruneSettings | RecoverySettings | None) -> None:
        """Raise ValueError if these settings have the number of steps already, which the minutes are to choose."""
        if self.minutes is not None and settings is not None and settings.steps is not None:
            raise ValueError(
                f"steps {settings.steps} and minutes {self.minutes:g} exclude each other, because the minutes choose the steps; leave one out."
            )


@dataclass(frozen=True)
class Run:
    """Everything that decides the result, checked.

    Attributes:
        name: name of the model, without a path of the machine.
        model: the dense model, on the device and in the dtype to work in; it is not changed.
        settings: resolved (no None).
        plan: a given plan; None to make one.
        say: a function that receives the lines of the run.
        recovery: settings of the training after the pruning, as far as they are given or chosen; None if there is none.
        stored: dtype of the pruned model that the run makes; None: that of `model`.
        trial, recovery_trial, forward_token: what was measured to choose numbers by time (the last in seconds); None if nothing was.
    """

    name: str
    model: nn.Module
    spec: ModelSpec
    settings: PruneSettings
    corpora: Corpora
    plan: PruningPlan | None
    say: Callable[[str], None]
    recovery: RecoverySettings | None = None
    trial: Trial | None = None
    forward_token: float | None = None
    recovery_trial: RecoveryTrial | None = None
    stored: torch.dtype | None = None

    @classmethod
    def checked(
        cls,
        name,
        model,
        spec,
        settings: PruneSettings,
        corpora,
        plan,
        say,
        time_limit: TimeLimit | None = None,
        recovery: RecoverySettings | None = None,
    ) -> "Run":
        """A run with its settings resolved: those that are given, those that are chosen by time, and defaults.

        Numbers are chosen for `time_limit`, and without one for 45 minutes if the model has 50 M parameters or more and runs on a CPU.
        With a plan nothing is searched, whatever the method that made it.
        Raises: ValueError for settings that do not fit the model, the texts, the memory or the time.
        """
        limit = time_limit or TimeLimit(None)
        resolved = resolved_for(model, spec, settings)
        corpora.check(resolved.context_tokens)
        is_slow = model.device.type == "cpu" and spec.parameters_total >= SMALL_MODEL_PARAMETERS
        is_search = plan is None and settings.method in SEARCHED
        is_open = settings.evaluation_tokens is None or is_search and settings.steps is None or recovery and recovery.steps is None
        if not is_open or limit.minutes is None and not is_slow:
            run = cls(name, model, spec, resolved, corpora, plan, say, recovery)
            return run._fitted(settings) if is_search else run._with_memory_afterwards()
        # the largest step that may be chosen, so that memory is checked before anything is tried
        usual = {"context_tokens": min(CONTEXT_TOKENS, resolved.context_tokens), "batch_size": WINDOWS_PER_STEP}
        if is_search and settings.steps is None:
            filled = replace(settings, **{key: value for key, value in usual.items() if getattr(settings, key) is None})
            resolved = resolved_for(model, spec, filled)
        run = cls(name, model, spec, resolved, corpora, plan, say, recovery)
        return (run._fitted(settings) if is_search else run._with_memory_afterwards())._chosen(settings, limit)

    def _fitted(self, asked: PruneSettings) -> "Run":
        """With gradient checkpointing if memory needs it and `asked` leaves it open."""
        may, settings = asked.gradient_checkpointing is None, self.settings
        if may and is_offloaded(self.model):  # else a backward would need all that is offloaded at once
            may, settings = False, replace(settings, gradient_checkpointing=True)
        fitted = fitted_to_memory(self.model, self.spec, self.windows, settings, may_checkpoint=may)
        return replace(self, settings=fitted)._with_memory_afterwards()

    def _with_memory_afterwards(self) -> "Run":
        """Itself.

        Raises: ValueError if there is too little memory for what comes after the plan.
        """
        if self.recovery:  # which needs room for the pruned model too
            check_memory_for_recovery(self.model, self.spec, self._resolved_recovery(), self.kept_parameters)
        else:
            check_memory_for_evaluation(self.model, self.kept_parameters)
        return self

    def _resolved_recovery(self) -> RecoverySettings:
        s = self.settings
        return self.recovery.resolved(self.spec.parameters_total, s.batch_size, s.context_tokens, self.model.device)

    @property
    def kept_parameters(self) -> int:
        """How many of all parameters the run keeps."""
        if self.plan:
            return self.spec.kept_total(self.plan)
        return self.spec.block_budget(self.settings.keep_ratio, self.settings.ratio_of) + self.spec.parameters_outside

    @property
    def _kept(self) -> float:
        """Their share."""
        return self.kept_parameters / self.spec.parameters_total

    def _chosen(self, asked: PruneSettings, limit: TimeLimit) -> "Run":
        """With the numbers that `asked` and the recovery leave open chosen by time.

        A number of steps that is given stays; the other stage and the evaluation then have the share of the time that they would have had.
        """
        s, recovery = self.settings, self.recovery
        r = self._resolved_recovery() if recovery else None
        with self._measuring(self.is_search + bool(r) + 1) as bar:
            trial = try_search(self.model, self.spec, self.windows, s) if self.is_search else None
            bar.advance(self.is_search)
            recovering = try_recovery(self.model, self.windows, r, self._kept) if r else None
            bar.advance(bool(r))
            forward_token = estimate_evaluation(self.model, self.windows, 1) / s.context_tokens
            bar.advance(1)
        speeds = Speeds(forward_token)
        if recovering:
            with_states = 1 + 1 / SLOWEST_SAVING  # the time in which states are saved
            recovering = RecoveryTrial(with_states * recovering.token_seconds, with_states * recovering.step_seconds)
            speeds = replace(speeds, recovery_token=recovering.token_seconds, recovery_step=recovering.step_seconds)
        if self.is_search:
            speeds = replace(speeds, search_token=trial.token_seconds * s.accumulate, search_step=trial.step_seconds)
        texts = self.corpora.scored_tokens(s.context_tokens)
        is_small = self.spec.parameters_total < SMALL_MODEL_PARAMETERS
        has_steps = not self.is_search or asked.steps is not None
        choice = choose(
            60 * (limit.minutes or DEFAULT_MINUTES),
            speeds,
            texts=texts * 2 + (texts[:2] if recovery else []),  # the pruned model is scored on the first two before its recovery too
            context_tokens=s.context_tokens,
            batch_size=s.batch_size if has_steps else asked.batch_size,
            start_windows=s.start_windows if self.is_search and s.start != "none" else None,
            evaluation_tokens=asked.evaluation_tokens,
            most_evaluation_tokens=None if is_small else LARGE_MODEL_EVALUATION_TOKENS,
            recovery_step_tokens=r.batch_size * r.context_tokens if recovery and (recovery.batch_size or recovery.context_tokens) else None,
            other_seconds=limit.other_seconds(),
        )
        given = {"steps": asked.steps, "recovery_steps": recovery and recovery.steps}
        if self.is_search and asked.steps is not None:
            given["start_windows"] = s.start_windows
        if given := {name: value for name, value in given.items() if value is not None and getattr(choice, name) is not None}:
            choice = replace(choice, seconds=None, **given)
        filled = replace(
            asked,
            steps=choice.steps or asked.steps,
            batch_size=choice.batch_size,
            context_tokens=choice.context_tokens,
            gradient_checkpointing=s.gradient_checkpointing,
            evaluation_tokens=choice.evaluation_tokens,
            start_windows=choice.start_windows or s.start_windows,
        )
        chosen = resolved_for(self.model, self.spec, filled)  # again: a default may follow from the number of steps
        why = f"{limit.minutes or DEFAULT_MINUTES:g} minutes" + ("" if limit.minutes else " (no --minutes was given)")
        self.say(f"chosen for {why}: {choice.in_words()}")
        recovery = replace(recovery, steps=choice.recovery_steps) if recovery else None
        measured = dict(trial=trial, forward_token=forward_token, recovery_trial=recovering)
        return replace(self, settings=chosen, recovery=recovery, **measured)

    @property
    def windows(self) -> torch.Tensor:
        """(N, T) int64: the calibration text in windows."""
        return self.corpora.calibration.windows(self.settings.context_tokens)

    @property
    def most_evaluated(self) -> int | None:
        """How many tokens of each text are scored at most; None: all."""
        return self.settings.evaluation_tokens or None

    @property
    def is_search(self) -> bool:
        return self.plan is None and self.settings.method in SEARCHED

    @property
    def identity(self) -> dict:
        """Plain values that decide the result; a search can be resumed only with the same values."""
        model = self.model
        return {
            **self.settings.as_dict(), "model": self.spec.digest, "text": self.corpora.sha256, "dtype": str(model.dtype),
            "device": model.device.type, "threads": torch.get_num_threads(),
        }  # fmt: skip

    def announce(self) -> None:
        """Print the value of every default, and an estimate, before anything long starts."""
        spec, model, settings = self.spec, self.model, self.settings
        self.say(
            f"{self.name}: {spec.family.model_type}, {spec.parameters_total:,} parameters, {spec.parameters_block:,} of them in "
            f"{len(spec.costs)} layers; on {places(model)} in {str(model.dtype).removeprefix('torch.')}, "
            f"{counted(torch.get_num_threads(), 'thread')}"
        )
        calibration, heldout = self.corpora.calibration, self.corpora.heldout
        self.say(f"text: {calibration.name}, {len(self.windows):,} windows of {settings.context_tokens} tokens; held out: {heldout.name}")
        self.say("settings: " + ", ".join(f"{name} {value}" for name, value in settings.in_use().items()))
        self.announce_estimate()

    def announce_estimate(self) -> None:
        """Say what is to come in time and memory, and warn if the memory may not do."""
        needed, free = self.needed_bytes, free_bytes_around(self.model)
        beside = "" if free is None else f", {needed / 2**20:,.0f} MiB more than now ({free / 2**20:,.0f} MiB are free)"
        with self._measuring(self.is_search + 1) as bar:
            words = self._estimate(needed, bar)
        self.say(f"estimate: {words}{beside}")
        if free is not None and needed > TIGHT * free:
            self.say(
                f"warning: about {needed / 2**30:.1f} of {free / 2**30:.1f} GiB of free memory will be used; if anything else needs some, this run "
                "may be killed, so choose a smaller --batch-size or --context, or --gradient-checkpointing."
            )

    def _measuring(self, trials: int) -> Bar:
        return Bar(trials, self.say, title="measuring what a step takes", unit="trial", is_brief=True)

    @property
    def needed_bytes(self) -> float:
        """The most memory that a stage of the run takes beside the dense model."""
        s, stored = self.settings, self.stored or self.model.dtype
        stages = [evaluation_bytes(self.model, self.spec, self.kept_parameters, s.context_tokens, stored)]
        if self.is_search:
            network = self.trial.network_parameters if self.trial else network_parameters(self.model, self.spec, self.windows, s)
            stages.append(search_bytes(self.model, self.spec, s, network))
        if self.recovery:
            stages.append(recovery_bytes(self.model, self.spec, self._resolved_recovery(), self.kept_parameters))
        return max(stages)

    def _estimate(self, needed_bytes: float, bar: Bar) -> str:
        """What is to come in time and memory, in words; the pruned model is taken to be as slow as the dense one. `bar` shows the trials."""
        s, search = self.settings, ""
        held = self.trial.held_bytes if self.trial else held_bytes(self.model, self.spec)  # before any trial adds to it
        if self.is_search:
            trial = self.trial or try_search(self.model, self.spec, self.windows, s)
            expected = trial.estimate(self.model, self.spec, s)
            search = f"about {duration_words(expected.seconds)} of search (from a trial of {expected.trial_tokens} tokens), then "
            bar.advance(1)
        memory = f"; about {(held + needed_bytes) / 2**20:,.0f} MiB of memory"
        scored = 2 * self.corpora.evaluated_windows(s.context_tokens, self.most_evaluated)
        scored += self.corpora.windows_before(s.context_tokens, self.most_evaluated) if self.recovery else 0
        window = s.context_tokens * self.forward_token if self.forward_token else estimate_evaluation(self.model, self.windows, 1)
        bar.advance(1)
        recovery = ""
        if self.recovery_trial:
            r, tried = self._resolved_recovery(), self.recovery_trial
            seconds = r.steps * (r.batch_size * r.context_tokens * tried.token_seconds + tried.step_seconds)
            recovery = f"about {duration_words(seconds)} of recovery, then "
        return f"{search}{recovery}about {duration_words(scored * window)} of evaluation{memory}"

    def planned(self, after_step: Callable[[Search], None] = lambda _search: None, state: dict | None = None) -> Planned:
        """The given plan, or one made by the settings' method; `after_step` and `state` are for a search."""
        if self.plan:
            return Planned(self.plan, SearchProgress())
        return make_plan(self.model, self.spec, self.windows, self.settings, after_step=after_step, state=state, say=self.say)

    def outcome(self, planned: Planned, pruned: nn.Module, command: str, stored: torch.dtype | None = None) -> Outcome:
        """Evaluate both models on all three texts; `pruned` has the dtype of the dense model, `stored` is that of the saved weights."""
        context = self.settings.context_tokens
        losses = self.corpora.losses(self.model, pruned, context, self.say, self.most_evaluated)
        facts = {**run_facts(self.model), "texts": {**self.corpora.names, "sha256": self.corpora.sha256}}
        costs = {name: cost_of(model, context) for name, model in (("dense", self.model), ("pruned", pruned))}
        return Outcome(self.name, self.settings, self.spec, planned.plan, planned.progress, losses, costs, command, facts, stored)


def resolved_for(model: nn.Module, spec: ModelSpec, settings: PruneSettings) -> PruneSettings:
    """The settings with every None replaced, for a model where it is; only float32 leaves the dtype of the products open."""
    return settings.resolved(spec, positions(model.config), has_bfloat16=model.dtype == torch.float32 and has_bfloat16(model.device))


def positions(config) -> int | None:
    """The longest context of a model, or None if its config names none."""
    return getattr(config, "max_position_embeddings", None)
