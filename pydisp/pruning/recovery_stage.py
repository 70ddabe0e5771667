"""The recovery as a stage of a run: the losses before it, a bar, states in the workspace, and what the report says of it."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from torch import Tensor, nn

from pydisp.evaluation import TextLoss
from pydisp.plan import PruningPlan
from pydisp.progress import Bar, Interrupted, stop_requests
from pydisp.pruning.adapters import check_adapters
from pydisp.pruning.corpora import Corpora
from pydisp.pruning.outcome import Losses, Recovered
from pydisp.pruning.planning import Planned
from pydisp.pruning.recovery import Recovery, RecoveryProgress, check_windows
from pydisp.pruning.recovery_settings import RecoverySettings
from pydisp.pruning.search import SearchProgress
from pydisp.spec import ModelSpec
from pydisp.workspace import Workspace

STAGE = "recovery"
SLOWEST_SAVING = 20  # the time between two states is at least so many times that of saving one: 1 GB for 85 M weights


@dataclass(frozen=True)
class RecoveryDone:
    """The losses of the pruned model before its recovery, by text, and the work of the recovery."""

    settings: RecoverySettings
    before: dict[str, TextLoss]
    progress: RecoveryProgress

    def recovered(self, after: dict[str, Losses]) -> Recovered:
        """For an Outcome whose losses are `after`: its dense losses are those before the recovery too."""
        before = {kind: Losses(after[kind].text, after[kind].dense, loss) for kind, loss in self.before.items()}
        return Recovered(before, self.progress.history, self.settings.as_dict(), self.loss_name)

    @property
    def loss_name(self) -> str:
        share = self.settings.cross_entropy
        mixed = f", {share:g} of it the loss of the text's own words" if share else ""
        return f"Divergence from the dense model on calibration text, nats per token{mixed}"


@dataclass(frozen=True)
class RecoveryStage:
    """What a recovery needs, checked.

    Attributes:
        teacher: the dense model.
        settings: resolved (no None).
        evaluated_tokens: the context at which the losses before are taken, that of the run's evaluation.
        say: a function that receives the lines of the run.
        most_evaluated: how many tokens of each text are scored at most; None: all.
    """

    teacher: nn.Module
    corpora: Corpora
    settings: RecoverySettings
    evaluated_tokens: int
    say: Callable[[str], None]
    most_evaluated: int | None = None

    @classmethod
    def checked(
        cls, teacher: nn.Module, corpora: Corpora, asked: RecoverySettings, spec: ModelSpec, batch_size: int, context_tokens: int, say,
        *, most_evaluated: int | None = None,
    ) -> "RecoveryStage":  # fmt: skip
        """A stage with its settings resolved; batch size and context are those of the run.

        Raises: ValueError for settings that do not fit the model or the text; ImportError for LoRA without peft.
        """
        settings = asked.resolved(spec.parameters_total, batch_size, context_tokens, teacher.device)
        positions = getattr(teacher.config, "max_position_embeddings", None)
        if positions is not None and settings.context_tokens > positions:
            raise ValueError(
                f"the context of the recovery is {settings.context_tokens} tokens, the model has {positions} positions; choose a shorter one."
            )
        if settings.lora_rank:
            check_adapters()
        stage = cls(teacher, corpora, settings, context_tokens, say, most_evaluated)
        check_windows(len(stage.windows), settings)
        return stage

    @property
    def windows(self) -> Tensor:
        """(N, T) int64: the calibration text in windows."""
        return self.corpora.calibration.windows(self.settings.context_tokens)

    @property
    def identity(self) -> dict:
        """Plain values that decide the result."""
        return {f"recovery.{name}": value for name, value in self.settings.as_dict().items()}

    def announce(self) -> None:
        """Say what is to come, before anything long starts."""
        words = ", ".join(f"{name} {value}" for name, value in self.settings.as_dict().items())
        self.say(f"recovery: {words}")

    def run(
        self,
        pruned: nn.Module,
        state: dict | None = None,
        before: dict[str, TextLoss] | None = None,
        after_step: Callable[[Recovery], None] = lambda _recovery: None,
    ) -> RecoveryDone:
        """Train `pruned` in place; `state` is the one that an earlier process saved, `before` what `losses` gave."""
        recovery = Recovery(pruned, self.teacher, self.windows, self.settings)
        before = before or self.losses(recovery.model)  # in float32, as the losses after it
        if state:
            recovery.load_state_dict(state["recovery"])
        with Bar(self.settings.steps, self.say, recovery.progress.step, title=STAGE) as bar:

            def show(recovery: Recovery) -> None:
                bar(recovery.progress.step, **recovery.progress.recent())
                after_step(recovery)

            recovery.run(show)
        return RecoveryDone(self.settings, before, recovery.progress)

    def run_in(
        self, workspace: Workspace, pruned: nn.Module, planned: Planned, state: dict | None, checkpoint_seconds: float
    ) -> RecoveryDone:
        """`run` with states in the workspace: after the first step, from time to time, at the end, and when a stop is requested."""
        steps, saved_at, between = self.settings.steps, time.monotonic(), checkpoint_seconds
        if state:
            self.say(f"resuming after step {len(state['recovery']['progress']['history'])} of {steps} of the recovery")
        # outside of the stop requests: nothing is worth keeping yet, so a stop may act at once
        before = {kind: TextLoss(**values) for kind, values in state["before"].items()} if state else self.losses(pruned)
        with stop_requests() as is_stop_requested:

            def after_step(recovery: Recovery) -> None:
                nonlocal saved_at, between
                step, now = recovery.progress.step, time.monotonic()
                if step in (1, steps) or is_stop_requested() or now - saved_at >= between:
                    workspace.save_state(_state(planned, before, recovery))
                    saved_at = time.monotonic()
                    between = max(checkpoint_seconds, SLOWEST_SAVING * (saved_at - now)) if checkpoint_seconds else 0
                if is_stop_requested():
                    raise Interrupted(
                        f"stopped after step {step} of {steps} of the recovery; repeat the command with --resume to go on from there."
                    )

            done = self.run(pruned, state, before, after_step)
            if is_stop_requested():
                raise Interrupted("stopped after the recovery; repeat the command with --resume to go on from there.")
            return done

    def losses(self, pruned: nn.Module) -> dict[str, TextLoss]:
        """The losses of a model on held-out text and on other text, by kind."""
        return self.corpora.losses_before(pruned, self.evaluated_tokens, self.say, self.most_evaluated)


def _state(planned: Planned, before: dict[str, TextLoss], recovery: Recovery) -> dict:
    return {
        "stage": STAGE,
        "plan": planned.plan.state_dict(),
        "search": vars(planned.progress) | {"history": list(planned.progress.history)},
        "before": {kind: asdict(loss) for kind, loss in before.items()},
        "recovery": recovery.state_dict(),
    }


def planned_in(state: dict) -> Planned:
    """The plan of a state that was saved in the recovery, and the work of its search.

    Raises: ValueError if the state is not of this version.
    """
    try:
        return Planned(PruningPlan.from_state_dict(state["plan"]), SearchProgress(**state["search"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the saved recovery is not of this version ({type(error).__name__}); start anew without --resume.") from None
