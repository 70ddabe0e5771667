"""The mask search of DISP-LLM (https://arxiv.org/abs/2410.11988): frozen weights, a hypernetwork that learns every gate.

Objective: loss of the gated model + lambda * |ln(kept / wanted)| (the paper's log-ratio R). Each step draws all gates once for both terms.
Gradients are ReinMax's, with logit (the paper prints ln); the optimizer is AdamW. A search can be saved after any step and, resumed, gives
the same result: the order of the windows depends only on the seed and the epoch, and the state of the draws is saved.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pydisp.gates import LayerGates
from pydisp.plan import PruningPlan
from pydisp.pruning.conversion import convert, tied, untied
from pydisp.pruning.hypernetwork import HyperNetwork, draw_gates
from pydisp.pruning.settings import PruneSettings
from pydisp.spec import ModelSpec
from pydisp.surgery import gated
from pydisp.token_nll import token_nll

BODY_LEARNING_RATE_SHARE = 0.1
_REMEDY = "lower the learning_rate (in a --config file), or run in float32 if the model runs in half precision."
WARMUP_STEPS, LAST_LEARNING_RATE_SHARE = 10, 0.05


class SearchDiverged(ValueError):
    """The loss has become NaN or infinite."""


@dataclass
class SearchProgress:
    """The work of a search so far.

    Attributes:
        history: for each step its number, its loss (nats per token under the drawn gates) and the kept share of the parameters that
            `ratio_of` names.
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
        self.network = HyperNetwork(spec, initial, tied=settings.method == "constrained").to(model.device)
        self.base_rates = (settings.learning_rate, settings.learning_rate * BODY_LEARNING_RATE_SHARE)
        groups = [{"params": p} for p in (self.network.head_parameters(), self.network.body_parameters())]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay)
        self.progress = SearchProgress()
        self.wanted = spec.block_budget(settings.keep_ratio, settings.ratio_of)
        self._epoch: tuple[int, Tensor] | None = None

    def run(self, after_step: Callable[["Search"], None] = lambda _search: None) -> PruningPlan:
        """Do the remaining steps, then convert the logits to a plan.

        `after_step` is called after each step (progress, checkpoints); an exception that it raises stops the search between two steps.
        Raises: SearchDiverged, naming the step. Network and optimizer are then still those of the step before, but the step's draw and its
            tokens are spent, so resume from a checkpoint.
        """
        with gated(self.model, self.spec, gradient_checkpointing=self.settings.gradient_checkpointing) as use_gates:
            while self.progress.step < self.settings.steps:
                start = time.perf_counter()
                self._step(use_gates)
                self.progress.seconds += time.perf_counter() - start
                after_step(self)
        return self.plan()

    def plan(self) -> PruningPlan:
        """The plan of the current logits, without a draw: the best features under one threshold at the exact budget."""
        with torch.no_grad():
            layers = self.network()
        masks = tied(layers[0].attention_input, [g.mlp_middle for g in layers]) if self.network.tied else untied(layers)
        return convert(masks, self.spec, self.wanted, self.settings.round_to)

    def _step(self, use_gates) -> None:
        s, done = self.settings, self.progress.step
        gates = draw_gates(self.network(), self.spec, self.draws)
        loss, gate_gradients = self._loss_and_gradients(gates, use_gates)
        kept = gates.kept_block()
        outside = self.spec.parameters_outside if s.ratio_of == "total" else 0
        ratio = (kept + outside) / (self.wanted + outside)
        regularizer = s.regularization * ratio.log().abs()
        if not (math.isfinite(loss) and math.isfinite(regularizer.item())):
            raise SearchDiverged(f"the loss is {loss + regularizer.item()} at step {done + 1}; {_REMEDY}")
        leaves, gradients = zip(*gate_gradients, strict=True)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward([regularizer, *leaves], [None, *gradients])
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])
        if not torch.isfinite(norm):
            raise SearchDiverged(f"the gradient is {norm.item()} at step {done + 1}; {_REMEDY}")
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * self._rate_share(done)
        self.optimizer.step()
        base = self.spec.parameters_total if s.ratio_of == "total" else self.spec.parameters_block
        self.progress.history.append({"step": done + 1, "loss": loss, "kept": (kept.item() + outside) / base})

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
        warmup = min(1.0, (step + 1) / WARMUP_STEPS)
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.settings.steps))
        return warmup * (LAST_LEARNING_RATE_SHARE + (1 - LAST_LEARNING_RATE_SHARE) * cosine)

    def state_dict(self) -> dict:
        """Everything that decides the rest of the search, and its progress so far; only tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "draws": self.draws.get_state(),
            "progress": vars(self.progress) | {"history": list(self.progress.history)},
        }

    def load_state_dict(self, state: dict) -> None:
        try:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.draws.set_state(state["draws"])
            self.progress = SearchProgress(**state["progress"])
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"the saved search is not of this version or model ({type(error).__name__}); start anew without --resume."
            ) from None
