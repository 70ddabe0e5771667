"""Run: one pruning run, once its model and texts are loaded; the part that `prune` in memory and `prune_to_folder` share."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from pydisp.cost import cost_of
from pydisp.environment import run_facts
from pydisp.plan import PruningPlan
from pydisp.progress import duration_words
from pydisp.pruning.corpora import Corpora
from pydisp.pruning.estimate import Trial, estimate_evaluation, fitted_to_memory, try_search
from pydisp.pruning.minutes import BFLOAT16_SHARE, CONTEXT_TOKENS, DEFAULT_MINUTES, WINDOWS_PER_STEP, Speeds, choose, recovery_token
from pydisp.pruning.outcome import Outcome
from pydisp.pruning.planning import Planned, make_plan
from pydisp.pruning.recovery_settings import RecoverySettings, has_bfloat16
from pydisp.pruning.search import Search, SearchProgress
from pydisp.pruning.settings import LARGE_MODEL_EVALUATION_TOKENS, SEARCHED, PruneSettings
from pydisp.report.words import counted
from pydisp.spec import SMALL_MODEL_PARAMETERS, ModelSpec


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
        if self.minutes is not None and not 0 < self.minutes < float("inf"):
            raise ValueError(f"minutes is {self.minutes:g}; it must be a number above 0.")

    def other_seconds(self) -> float:
        """What has passed, and what comes beside the stages."""
        return time.monotonic() - self.started + self.after_seconds

    def check(self, settings: PruneSettings | None) -> None:
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
        recovery: what was asked of a recovery, with its steps if they were chosen by time; None: no recovery.
        trial, forward_token: what was measured to choose numbers by time; None if nothing was.
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

    @classmethod
    def checked(
        cls, name, model, spec, settings: PruneSettings, corpora, plan, say, time_limit: TimeLimit | None = None,
        recovery: RecoverySettings | None = None,
    ) -> "Run":  # fmt: skip
        """A run with its settings resolved: those that are given, those that are chosen by time, and defaults.

        Numbers are chosen for `time_limit`, and without one for 45 minutes if the model has 50 M parameters or more and runs on a CPU.
        Raises: ValueError for settings that do not fit the model, the texts, the memory or the time.
        """
        limit = time_limit or TimeLimit(None)
        resolved = settings.resolved(spec, positions(model.config))
        corpora.check(resolved.context_tokens)
        is_slow = model.device.type == "cpu" and spec.parameters_total >= SMALL_MODEL_PARAMETERS
        is_search = settings.method in SEARCHED
        is_open = settings.evaluation_tokens is None or is_search and settings.steps is None or recovery and recovery.steps is None
        if not is_open or limit.minutes is None and not is_slow:
            run = cls(name, model, spec, resolved, corpora, plan, say, recovery)
            return run._fitted(settings) if is_search else run
        # the largest step that may be chosen, so that memory is checked before anything is tried
        usual = {"context_tokens": min(CONTEXT_TOKENS, resolved.context_tokens), "batch_size": WINDOWS_PER_STEP}
        if is_search and settings.steps is None:
            filled = replace(settings, **{key: value for key, value in usual.items() if getattr(settings, key) is None})
            resolved = filled.resolved(spec, positions(model.config))
        run = cls(name, model, spec, resolved, corpora, plan, say, recovery)
        return (run._fitted(settings) if is_search else run)._chosen(settings, limit)

    def _fitted(self, asked: PruneSettings) -> "Run":
        """With gradient checkpointing if memory needs it and `asked` leaves it open."""
        may = asked.gradient_checkpointing is None
        return replace(self, settings=fitted_to_memory(self.model, self.spec, self.windows, self.settings, may_checkpoint=may))

    def _chosen(self, asked: PruneSettings, limit: TimeLimit) -> "Run":
        """With the numbers that `asked` leaves open chosen by time."""
        s, has_steps = self.settings, asked.steps is not None or not self.is_search
        recovers = self.recovery is not None and self.recovery.steps is None
        trial = try_search(self.model, self.spec, self.windows, s) if self.is_search or recovers else None
        forward_token = estimate_evaluation(self.model, self.windows, 1) / s.context_tokens
        speeds, other_seconds = Speeds(forward_token), limit.other_seconds()
        if not has_steps:
            speeds = replace(speeds, search_token=trial.token_seconds * s.accumulate, search_step=trial.step_seconds)
        elif self.is_search:  # a given number of steps takes what it takes
            other_seconds += s.steps * (s.batch_size * s.context_tokens * s.accumulate * trial.token_seconds + trial.step_seconds)
        if recovers:
            kept = self.spec.block_budget(s.keep_ratio, s.ratio_of) / self.spec.parameters_block
            seconds = recovery_token(forward_token, trial.token_seconds, kept)
            speeds = replace(speeds, recovery_token=seconds * (BFLOAT16_SHARE if self._recovers_in_bfloat16 else 1.0))
        is_small = self.spec.parameters_total < SMALL_MODEL_PARAMETERS
        choice = choose(
            60 * (limit.minutes or DEFAULT_MINUTES),
            speeds,
            texts=self.corpora.scored_tokens(s.context_tokens),
            context_tokens=s.context_tokens,
            batch_size=s.batch_size if has_steps else asked.batch_size,
            evaluation_tokens=asked.evaluation_tokens,
            most_evaluation_tokens=None if is_small else LARGE_MODEL_EVALUATION_TOKENS,
            start_windows=s.start_windows if self._has_start and asked.start_windows is None else None,
            other_seconds=other_seconds,
        )
        chosen = replace(
            asked,
            steps=choice.steps or asked.steps,
            start_windows=choice.start_windows or s.start_windows,
            batch_size=choice.batch_size,
            context_tokens=choice.context_tokens,
            gradient_checkpointing=s.gradient_checkpointing,
            evaluation_tokens=choice.evaluation_tokens,
        ).resolved(self.spec, positions(self.model.config))  # again: a default may follow from the number of steps
        why = f"{limit.minutes or DEFAULT_MINUTES:g} minutes" + ("" if limit.minutes else " (no --minutes was given)")
        self.say(f"chosen for {why}: {choice.in_words()}")
        recovery = replace(self.recovery, steps=choice.recovery_steps) if recovers else self.recovery
        return replace(self, settings=chosen, recovery=recovery, trial=trial, forward_token=forward_token)

    @property
    def _has_start(self) -> bool:
        return (self.is_search and self.settings.start == "gradient") or self.settings.method == "gradient"

    @property
    def _recovers_in_bfloat16(self) -> bool:
        """Whether the recovery computes in bfloat16 while the search, which was timed, does not."""
        asked, dtype = self.recovery.bfloat16, next(self.model.parameters()).dtype
        return (has_bfloat16(self.model.device) if asked is None else asked) and dtype == torch.float32

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
        return self.settings.method in SEARCHED

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
            f"{len(spec.costs)} layers; on {model.device} in {str(model.dtype).removeprefix('torch.')}, "
            f"{counted(torch.get_num_threads(), 'thread')}"
        )
        calibration, heldout = self.corpora.calibration, self.corpora.heldout
        self.say(f"text: {calibration.name}, {len(self.windows):,} windows of {settings.context_tokens} tokens; held out: {heldout.name}")
        self.say("settings: " + ", ".join(f"{name} {value}" for name, value in settings.in_use().items()))
        self.say(f"estimate: {self._estimate()}")

    def _estimate(self) -> str:
        """What is to come in time and memory, in words; the pruned model is taken to be as slow as the dense one."""
        s, search, memory = self.settings, "", ""
        if self.is_search:  # first: its memory counts what the process holds before any trial
            trial = self.trial or try_search(self.model, self.spec, self.windows, s)
            expected = trial.estimate(self.model, self.spec, s)
            search = f"about {duration_words(expected.seconds)} of search (from a trial of {expected.trial_tokens} tokens), then "
            memory = f"; about {expected.peak_mib:,.0f} MiB of memory"
        scored = 2 * self.corpora.evaluated_windows(s.context_tokens, self.most_evaluated)
        window = s.context_tokens * self.forward_token if self.forward_token else estimate_evaluation(self.model, self.windows, 1)
        return f"{search}about {duration_words(scored * window)} of evaluation{memory}"

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


def positions(config) -> int | None:
    """The longest context of a model, or None if its config names none."""
    return getattr(config, "max_position_embeddings", None)
