"""The mask search of DISP-LLM (https://arxiv.org/abs/2410.11988): frozen weights, a hypernetwork that learns every gate.

Objective: loss of the gated model + lambda * |ln(kept / wanted)| (the paper's log-ratio R). Each step draws all gates once for both terms.
Gradients are ReinMax's, with logit (the paper prints ln); the optimizer is AdamW. Unlike in the paper
- logits start from a score of each feature (`start.py`) and what the network adds to it, so that few are undecided from the first draw on;
- one offset holds the expected number of kept parameters at what the schedule wants (`calibration.py`): from all to the budget over the
  first third of the steps; lambda is 0 by default, because nothing is left for it to do;
- the plan is made from the mean of the logits over the last part of the steps.
A search can be saved after any step and, resumed, gives the same result: the order of the windows depends only on the seed and the epoch,
and the start, the mean and the state of the draws are saved.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pydisp.gates import LayerGates
from pydisp.plan import PruningPlan
from pydisp.pruning.calibration import at_budget
from pydisp.pruning.conversion import convert
from pydisp.pruning.hypernetwork import HyperNetwork, PlainLogits, draw_gates
from pydisp.pruning.precision import products
from pydisp.pruning.settings import PruneSettings
from pydisp.pruning.start import masks_of, start_logits
from pydisp.spec import ModelSpec
from pydisp.surgery import gated
from pydisp.token_nll import token_nll

BODY_LEARNING_RATE_SHARE = 0.1
_REMEDY = "lower the learning_rate (in a --config file), or run in float32 if the model runs in half precision."
LAST_LEARNING_RATE_SHARE = 0.05
WARMUP_SHARE, MOST_WARMUP_STEPS = 0.2, 10
BUDGET_SHARE = 1 / 3  # of the steps: the time in which the wanted number of parameters falls to the budget
AVERAGED_SHARE = 0.1  # of the steps: the last ones, whose logits are averaged for the plan


class SearchDiverged(ValueError):
    """The loss has become NaN or infinite."""


@dataclass
class SearchProgress:
    """The work of a search so far; forwards, backwards, tokens and seconds include those of its start.

    Attributes:
        history: for each step its number, its loss (nats per token under the drawn gates), and the kept share and the budget of the step,
            both of the parameters that `ratio_of` names.
    """

    history: list[dict] = field(default_factory=list)
    tokens: int = 0
    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0

    @property
    def step(self) -> int:
        return len(self.history)

    def recent(self, steps: int = 20) -> dict[str, float]:
        """Means of loss and kept share over the last steps, because a single draw says little."""
        last = self.history[-steps:]
        return {name: sum(h[name] for h in last) / len(last) for name in ("loss", "kept")}


class Search:
    """One search. `run` continues from the current step; `state_dict` and `load_state_dict` carry a search to another process."""

    def __init__(self, model: nn.Module, spec: ModelSpec, windows: Tensor, settings: PruneSettings):
        self.model, self.spec, self.windows, self.settings = model, spec, windows, settings
        per_step = settings.batch_size * settings.accumulate
        if len(windows) < per_step:
            raise ValueError(
                f"the calibration text has {len(windows)} windows of {settings.context_tokens} tokens, a step needs {per_step}; "
                "give more text, a shorter context or a smaller batch."
            )
        self.draws = torch.Generator().manual_seed(settings.seed)
        initial = torch.Generator().manual_seed(settings.seed)
        is_tied = settings.method == "constrained"
        network = HyperNetwork(spec, initial, tied=is_tied) if settings.hypernetwork else PlainLogits(spec, tied=is_tied)
        self.network = network.to(model.device)
        self.base_rates = (settings.learning_rate, settings.learning_rate * BODY_LEARNING_RATE_SHARE)
        groups = [{"params": p} for p in (self.network.head_parameters(), self.network.body_parameters()) if p]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay)
        self.progress = SearchProgress()
        self.wanted = spec.block_budget(settings.keep_ratio, settings.ratio_of)
        self._start: list[Tensor] | None = None  # (width,) each, in the order of the masks
        self._sums = [torch.zeros_like(x) for x in self._masks(self.network())]  # of the logits over the last steps
        self._epoch: tuple[int, Tensor] | None = None

    @property
    def is_started(self) -> bool:
        return self._start is not None

    def begin(self, after_window: Callable[[int], None] = lambda _done: None) -> None:
        """Score the features and take the scores as starting logits; `after_window` receives the number of windows that are done."""
        before = time.perf_counter()
        scored = start_logits(self.model, self.spec, self.windows, self.settings, after_window)
        self._start = [x.to(self.model.device, torch.float32) for x in self._masks(scored.logits)]
        self.progress.forwards += scored.forwards
        self.progress.backwards += scored.backwards
        self.progress.tokens += scored.tokens
        self.progress.seconds += time.perf_counter() - before

    def logits(self) -> list[LayerGates]:
        """The logits of all gates before the offset of the budget, float32: start + network. Tied masks are one tensor."""
        if self._start is None:
            raise ValueError("this search has no start yet; call begin, or load a saved state.")
        layers = self.network()
        sums = {id(x): x + start for x, start in zip(self._masks(layers), self._start, strict=True)}
        return [LayerGates(*(sums[id(x)] for x in layer)) for layer in layers]

    def wanted_at(self, step: int) -> float:
        """Block parameters wanted on average at a step, from 0 on: from all of them straight to the budget over the first third."""
        share = min(1.0, (step + 1) / (BUDGET_SHARE * self.settings.steps))
        return self.spec.parameters_block - share * (self.spec.parameters_block - self.wanted)

    @staticmethod
    def _masks(layers) -> list[Tensor]:
        return list({id(x): x for layer in layers for x in layer}.values())

    def run(self, after_step: Callable[["Search"], None] = lambda _search: None) -> PruningPlan:
        """Begin if that has not been done, do the remaining steps, then convert the logits to a plan.

        `after_step` is called after each step (progress, checkpoints); an exception that it raises stops the search between two steps.
        Raises: SearchDiverged, naming the step. Network and optimizer are then still those of the step before, but the step's draw and its
            tokens are spent, so resume from a checkpoint.
        """
        if not self.is_started:
            self.begin()
        with gated(self.model, self.spec, gradient_checkpointing=self.settings.gradient_checkpointing) as use_gates:
            while self.progress.step < self.settings.steps:
                start = time.perf_counter()
                self._step(use_gates)
                self.progress.seconds += time.perf_counter() - start
                after_step(self)
        return self.plan()

    def plan(self) -> PruningPlan:
        """The plan of the mean of the logits over the last steps, without a draw: the best features under one threshold at the exact
        budget."""
        with torch.no_grad():
            layers = self.logits()
        mean = {
            id(x): (total + x) / (self._averaged(self.progress.step) + 1) for x, total in zip(self._masks(layers), self._sums, strict=True)
        }
        layers = [LayerGates(*(mean[id(x)] for x in layer)) for layer in layers]
        return convert(masks_of(layers, is_tied=self.network.tied), self.spec, self.wanted, self.settings.round_to)

    def _averaged(self, step: int) -> int:
        """How many of the first `step` steps have their logits in the mean."""
        return max(0, step - (self.settings.steps - int(AVERAGED_SHARE * self.settings.steps)))

    def _step(self, use_gates) -> None:
        s, done = self.settings, self.progress.step
        logits, wanted = self.logits(), self.wanted_at(done)
        gates = draw_gates(at_budget(logits, self.spec, wanted), self.spec, self.draws)
        loss, gate_gradients = self._loss_and_gradients(gates, use_gates)
        kept = gates.kept_block()
        outside = self.spec.parameters_outside if s.ratio_of == "total" else 0
        ratio = (kept + outside) / (wanted + outside)
        regularizer = s.regularization * ratio.log().abs()
        if not (math.isfinite(loss) and math.isfinite(regularizer.item())):
            raise SearchDiverged(f"the loss is {loss + regularizer.item()} at step {done + 1}; {_REMEDY}")
        leaves, gradients = zip(*gate_gradients, strict=True)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward([regularizer, *leaves], [None, *gradients])
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])
        if not torch.isfinite(norm):
            raise SearchDiverged(f"the gradient is {norm.item()} at step {done + 1}; {_REMEDY}")
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=False):  # plain logits have no body
            group["lr"] = rate * self._rate_share(done)
        self.optimizer.step()
        if self._averaged(done + 1):
            for total, x in zip(self._sums, self._masks(logits), strict=True):
                total += x.detach()
        base = self.spec.parameters_total if s.ratio_of == "total" else self.spec.parameters_block
        share = {"kept": (kept.item() + outside) / base, "budget": (wanted + outside) / base}
        self.progress.history.append({"step": done + 1, "loss": loss, **share})

    def _loss_and_gradients(self, gates, use_gates) -> tuple[float, list[tuple[Tensor, Tensor]]]:
        """Mean loss over the step's windows, and its gradient to each drawn gate.

        The gates are detached from the hypernetwork here, so that the gradients of micro-batches add up and its backward runs only once.
        """
        s = self.settings
        cut: dict[int, tuple[Tensor, Tensor]] = {}
        for gate in (g for layer in gates.layers for g in layer):
            cut.setdefault(id(gate), (gate, gate.detach().requires_grad_()))
        layers = tuple(LayerGates(*(cut[id(g)][1] for g in layer)) for layer in gates.layers)
        use_gates(type(gates)(layers, self.spec))
        total = 0.0
        for batch in self._batch().split(s.batch_size):
            with products(self.model.device, bfloat16=s.bfloat16):
                loss = token_nll(self.model, batch.to(self.model.device)).mean() / s.accumulate
            loss.backward()
            total += loss.item()
            self.progress.forwards += 1
            self.progress.backwards += 1
            self.progress.tokens += batch.numel()
        return total, [(gate, leaf.grad) for gate, leaf in cut.values() if leaf.grad is not None]

    def _batch(self) -> Tensor:
        """(batch_size * accumulate, T) windows of the step; every epoch has its own order, which the seed decides."""
        count = self.settings.batch_size * self.settings.accumulate
        per_epoch = len(self.windows) // count
        epoch, place = divmod(self.progress.step, per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            generator = torch.Generator().manual_seed((self.settings.seed * 1_000_003 + epoch) % 2**63)
            self._epoch = (epoch, torch.randperm(len(self.windows), generator=generator))
        return self.windows[self._epoch[1][place * count : (place + 1) * count]]

    def _rate_share(self, step: int) -> float:
        warmup = min(1.0, (step + 1) / min(MOST_WARMUP_STEPS, max(1, WARMUP_SHARE * self.settings.steps)))
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.settings.steps))
        return warmup * (LAST_LEARNING_RATE_SHARE + (1 - LAST_LEARNING_RATE_SHARE) * cosine)

    def state_dict(self) -> dict:
        """Everything that decides the rest of the search, and its progress so far; only tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "draws": self.draws.get_state(),
            "start": self._start,
            "sums": self._sums,
            "progress": vars(self.progress) | {"history": list(self.progress.history)},
        }

    def load_state_dict(self, state: dict) -> None:
        try:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.draws.set_state(state["draws"])
            self._start = [x.to(self.model.device) for x in state["start"]]
            self._sums = [x.to(self.model.device).clone() for x in state["sums"]]
            self.progress = SearchProgress(**state["progress"])
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"the saved search is not of this version or model ({type(error).__name__}); start anew without --resume."
            ) from None
