"""Recovery: what is kept of a pruned model learns to predict as the dense model does.

    recovery = Recovery(pruned, dense, windows, RecoverySettings().resolved(...))     # trains `pruned` in place
    recovery.run()

Each step takes some windows of the calibration text; the loss is `pydisp.distillation`'s, the optimizer AdamW without weight decay, the
gradient is clipped. The plan and its widths stay as they are. A recovery can be saved after any step and, resumed, gives the same result:
the order of the windows depends only on the seed and the epoch, and nothing else is drawn.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pydisp.distillation import Head, distillation_loss
from pydisp.evaluation import evaluating
from pydisp.pruning.adapters import add_adapters_, merge_adapters_
from pydisp.pruning.precision import products
from pydisp.pruning.recovery_settings import RecoverySettings
from pydisp.token_nll import before_the_head

BETAS, LARGEST_NORM, LAST_LEARNING_RATE_SHARE = (0.9, 0.98), 1.0, 0.05
_REMEDY = "lower the learning rate of the recovery."


class RecoveryDiverged(ValueError):
    """The loss has become NaN or infinite."""


@dataclass
class RecoveryProgress:
    """The work of a recovery so far; `history` has for each step its number and its loss in nats per token."""

    history: list[dict] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0

    @property
    def step(self) -> int:
        return len(self.history)

    def recent(self, steps: int = 20) -> dict[str, float]:
        """The mean loss over the last steps, because windows differ."""
        last = self.history[-steps:]
        return {"loss": sum(h["loss"] for h in last) / len(last)}


class Recovery:
    """One recovery. `run` continues from the current step; `state_dict` and `load_state_dict` carry it to another process.

    Args:
        model: the pruned model; changed in place, to float32 (unless it is float64) and by training.
        teacher: the dense model, on the same device; not changed.
        windows: (N, T) int64 on the CPU, T = settings.context_tokens.
        settings: resolved (no None).
    Raises: ValueError if there are fewer windows than a step takes, or if the two models have different vocabularies; ImportError for
        LoRA without peft.
    """

    def __init__(self, model: nn.Module, teacher: nn.Module, windows: Tensor, settings: RecoverySettings):
        check_windows(len(windows), settings)
        words = [m.get_output_embeddings().weight.shape[0] for m in (model, teacher)]
        if words[0] != words[1]:
            raise ValueError(f"the pruned model has {words[0]} words, the teacher {words[1]}; give the dense model it was made from.")
        self.model = model if model.dtype == torch.float64 else model.float()
        self.teacher, self.windows, self.settings = teacher, windows, settings
        self.trained = dict(self._choose_trained())
        self.optimizer = torch.optim.AdamW(
            self.trained.values(), lr=settings.learning_rate, betas=BETAS, weight_decay=0.0, fused=model.device.type in ("cpu", "cuda")
        )
        self.progress = RecoveryProgress()
        self._epoch: tuple[int, Tensor] | None = None

    def run(self, after_step: Callable[["Recovery"], None] = lambda _recovery: None) -> nn.Module:
        """Do the remaining steps, merge adapters, and return the model in evaluation mode.

        `after_step` is called after each step (progress, checkpoints); an exception that it raises stops the recovery between two steps.
        Raises: RecoveryDiverged, naming the step; the weights are then those of the step before.
        """
        with evaluating(self.model), evaluating(self.teacher):
            while self.progress.step < self.settings.steps:
                start = time.perf_counter()
                self._step()
                self.progress.seconds += time.perf_counter() - start
                after_step(self)
        self.optimizer.zero_grad(set_to_none=True)
        if self.settings.lora_rank:
            merge_adapters_(self.model)
        return self.model.requires_grad_(True).eval()

    def _choose_trained(self) -> list[tuple[str, nn.Parameter]]:
        """Freeze what does not train; names and parameters of the rest."""
        self.model.requires_grad_(False)
        if self.settings.lora_rank:
            return add_adapters_(self.model, self.settings.lora_rank, self.settings.seed)
        chosen = {id(p) for p in recovered_parameters(self.model, self.settings.trains_head)}
        trained = [(name, p) for name, p in self.model.named_parameters() if id(p) in chosen]  # tied ones have one name
        for _, parameter in trained:
            parameter.requires_grad_(True)
        return trained

    def _step(self) -> None:
        done, batch = self.progress.step, self._batch()
        loss = self._loss(batch.to(self.model.device))
        if not math.isfinite(value := loss.item()):
            raise RecoveryDiverged(f"the loss is {value} at step {done + 1} of the recovery; {_REMEDY}")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.trained.values(), LARGEST_NORM)
        if not torch.isfinite(norm):
            raise RecoveryDiverged(f"the gradient is {norm.item()} at step {done + 1} of the recovery; {_REMEDY}")
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * self._rate_share(done)
        self.optimizer.step()
        self.progress.tokens += batch.numel()
        self.progress.history.append({"step": done + 1, "loss": value})

    def _loss(self, windows: Tensor) -> Tensor:
        with products(self.model.device, bfloat16=self.settings.bfloat16):
            with torch.no_grad():
                teacher_hidden, *teacher_head = before_the_head(self.teacher, windows)
            hidden, *head = before_the_head(self.model, windows)
            targets = windows[:, 1:].flatten().to(hidden.device) if self.settings.cross_entropy else None
            return distillation_loss(
                hidden[:, :-1].flatten(0, 1), Head(*head), teacher_hidden[:, :-1].flatten(0, 1).to(hidden.device),
                Head(*(part.to(hidden.device) if isinstance(part, Tensor) else part for part in teacher_head)), targets,
                cross_entropy=self.settings.cross_entropy,
            )  # fmt: skip

    def _batch(self) -> Tensor:
        """(batch_size, T) windows of the step; every epoch has its own order, which the seed decides."""
        count = self.settings.batch_size
        epoch, place = divmod(self.progress.step, len(self.windows) // count)
        if self._epoch is None or self._epoch[0] != epoch:
            generator = torch.Generator().manual_seed((self.settings.seed * 1_000_003 + epoch) % 2**63)
            self._epoch = (epoch, torch.randperm(len(self.windows), generator=generator))
        return self.windows[self._epoch[1][place * count : (place + 1) * count]]

    def _rate_share(self, step: int) -> float:
        s = self.settings
        warmup = min(1.0, (step + 1) / max(1.0, s.warmup_share * s.steps))
        cosine = 0.5 * (1 + math.cos(math.pi * step / s.steps))
        return warmup * (LAST_LEARNING_RATE_SHARE + (1 - LAST_LEARNING_RATE_SHARE) * cosine)

    def state_dict(self) -> dict:
        """Everything that decides the rest of the recovery, and its progress so far; only tensors and plain values."""
        return {
            "weights": {name: parameter.detach() for name, parameter in self.trained.items()},
            "optimizer": self.optimizer.state_dict(),
            "progress": vars(self.progress) | {"history": list(self.progress.history)},
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict) -> None:
        """Raises: ValueError if the state is not of this model or of another version."""
        try:
            if state["weights"].keys() != self.trained.keys():
                raise ValueError
            for name, parameter in self.trained.items():
                parameter.copy_(state["weights"][name])
            self.optimizer.load_state_dict(state["optimizer"])
            self.progress = RecoveryProgress(**state["progress"])
        except (KeyError, TypeError, RuntimeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"the saved recovery is not of this version or model ({type(error).__name__}); start anew without --resume."
            ) from None


def recovered_parameters(model: nn.Module, trains_head: bool) -> list[nn.Parameter]:
    """What a recovery without adapters trains: everything, or everything but the embeddings and the output matrix."""
    ends = [module for module in (model.get_input_embeddings(), model.get_output_embeddings()) if module is not None]
    outside = set() if trains_head else {id(p) for module in ends for p in module.parameters()}
    return [p for p in model.parameters() if id(p) not in outside]


def store_in_(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Change the parameters of a model, in place, to a dtype; `Module.to` would also round the frequencies of rotary positions."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def check_windows(count: int, settings: RecoverySettings) -> None:
    """Refuse a text with fewer windows than a step takes.

    Raises: ValueError.
    """
    if count < settings.batch_size:
        raise ValueError(
            f"the calibration text has {count} windows of {settings.context_tokens} tokens, a step of the recovery needs "
            f"{settings.batch_size}; give more text, a shorter context or a smaller batch."
        )
