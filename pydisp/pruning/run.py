"""Run: one pruning run, once its model and texts are loaded; the part that `prune` in memory and `prune_to_folder` share."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from pydisp.cost import cost_of
from pydisp.environment import run_facts
from pydisp.plan import PruningPlan
from pydisp.progress import Bar, duration_words
from pydisp.pruning.corpora import Corpora
from pydisp.pruning.estimate import estimate_evaluation, estimate_search
from pydisp.pruning.outcome import Outcome
from pydisp.pruning.planning import Planned, make_plan
from pydisp.pruning.search import Search, SearchProgress
from pydisp.pruning.settings import SEARCHED, PruneSettings
from pydisp.report.words import counted
from pydisp.spec import ModelSpec


def settings_for_plan(plan: PruningPlan, spec: ModelSpec, **others) -> PruneSettings:
    """The settings of a run with a given plan.

    Raises: ValueError if the plan was made for another model.
    """
    spec.refuse_other(plan)
    return PruneSettings(keep_ratio=spec.kept_shares(plan)["total"], method="plan", **others)


@dataclass(frozen=True)
class Run:
    """Everything that decides the result, checked.

    Attributes:
        name: name of the model, without a path of the machine.
        model: the dense model, on the device and in the dtype to work in; it is not changed.
        settings: resolved (no None).
        plan: a given plan; None to make one.
        say: a function that receives the lines of the run.
    """

    name: str
    model: nn.Module
    spec: ModelSpec
    settings: PruneSettings
    corpora: Corpora
    plan: PruningPlan | None
    say: Callable[[str], None]

    @classmethod
    def checked(cls, name, model, spec, settings: PruneSettings, corpora, plan, say) -> "Run":
        """A run with its settings resolved.

        Raises: ValueError for settings that do not fit the model or the texts.
        """
        settings = settings.resolved(spec, positions(model.config))
        corpora.check(settings.context_tokens)
        return cls(name, model, spec, settings, corpora, plan, say)

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
        search, memory = "", ""
        if self.is_search:  # first: its memory counts what the process holds before any trial
            expected = estimate_search(self.model, self.spec, self.windows, self.settings)
            search = f"about {duration_words(expected.seconds)} of search (from a trial of {expected.trial_tokens} tokens), then "
            memory = f"; about {expected.peak_mib:,.0f} MiB of memory"
        scored = 2 * self.corpora.evaluated_windows(self.settings.context_tokens, self.most_evaluated)
        return f"{search}about {duration_words(estimate_evaluation(self.model, self.windows, scored))} of evaluation{memory}"

    def planned(self, after_step: Callable[[Search], None] = lambda _search: None, state: dict | None = None) -> Planned:
        """The given plan, or one made by the settings' method; `after_step` and `state` are for a search, which also shows a bar."""
        if self.plan:
            return Planned(self.plan, SearchProgress())
        if not self.is_search:
            return make_plan(self.model, self.spec, self.windows, self.settings)
        done = len(state["progress"]["history"]) if state else 0
        with Bar(self.settings.steps, self.say, done) as bar:

            def show(search: Search) -> None:
                bar(search.progress.step, **search.progress.recent())
                after_step(search)

            return make_plan(self.model, self.spec, self.windows, self.settings, after_step=show, state=state)

    def outcome(self, planned: Planned, pruned: nn.Module, command: str) -> Outcome:
        """Evaluate both models on all three texts; `pruned` has the dtype of the dense model."""
        context = self.settings.context_tokens
        losses = self.corpora.losses(self.model, pruned, context, self.say, self.most_evaluated)
        facts = {**run_facts(self.model), "texts": {**self.corpora.names, "sha256": self.corpora.sha256}}
        costs = {name: cost_of(model, context) for name, model in (("dense", self.model), ("pruned", pruned))}
        return Outcome(self.name, self.settings, self.spec, planned.plan, planned.progress, losses, costs, command, facts)


def positions(config) -> int | None:
    """The longest context of a model, or None if its config names none."""
    return getattr(config, "max_position_embeddings", None)
