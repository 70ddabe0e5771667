"""TrainingRun: one small Qwen2 model, trained from scratch with one weight decay and one seed, and its loss by frequency on the way.

    run = TrainingRun(settings, text)
    run.train()                         # or `run.load_state_dict(state)` first, to go on
    run.result()                        # plain values; the same for the same settings, however often the run was stopped

Nothing is drawn but the first weights and the order of the windows, which depends only on the seed and the epoch.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from pydisp.fairness.frequency_loss import by_frequency, scored
from pydisp.fairness.slope import slope_of
from pydisp.fairness.token_stats import TokenStats
from pydisp.fairness.weight_decay.settings import ArmSettings, RunSettings
from pydisp.fairness.weight_decay.text import SweepText
from pydisp.token_nll import token_nll

TEXTS = ("train", "held_out")
LARGEST_NORM = 1.0  # of the gradient, as in transformers' Trainer


class TrainingRun:
    """One run. `train` continues from the current step; `state_dict` and `load_state_dict` carry it to another process.

    A loss that is not finite ends the run; `diverged` then says where.

    Args:
        settings: of the run.
        text: with as many tokens as the run's arm takes, or more.
    """

    def __init__(self, settings: RunSettings, text: SweepText):
        self.settings, self.vocabulary = settings, text.vocabulary
        s = self.arm
        self.windows = {"train": _windows(text.train, s.train_tokens, s.context_tokens), "held_out": _windows(text.held_out, s.held_out_tokens, s.context_tokens)}  # fmt: skip
        self.counts = np.bincount(self.windows["train"].reshape(-1).numpy(), minlength=text.vocabulary_size)
        self.model = new_model(s, text.vocabulary_size, settings.seed)
        decayed, others = decay_groups(self.model, s.decay_embeddings)
        self.decayed_parameters = sum(p.numel() for p in decayed)
        groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=s.learning_rate, betas=s.betas, fused=True)
        self.step = 0
        self.curve: list[dict] = []
        self.diverged: dict | None = None
        self.stats: dict[str, TokenStats] = {}
        self._orders: dict[int, Tensor] = {}

    @property
    def arm(self) -> ArmSettings:
        return self.settings.settings

    def train(self, after_part: Callable[["TrainingRun"], None] = lambda _run: None) -> None:
        """Do the remaining steps, score the points of the curve, and at the end all of both texts.

        `after_part` is called after each step and about every second of scoring (progress, checkpoints); an exception that it raises stops
        the run where it can go on.
        """
        while not self.diverged:
            if len(self.curve) < len(self.arm.points_at) and self.arm.points_at[len(self.curve)] == self.step:
                self._add_point(after_part)
            if self.step == self.arm.total_steps or self.diverged:
                break
            self._step()
            after_part(self)
        if not self.diverged:
            self.stats = self._scored({name: self.windows[name] for name in TEXTS}, after_part)

    def result(self) -> dict:
        """Plain values of a run that has ended: the settings that are its own, the sum of lr·λ, the curve, the final figures, the slope."""
        run = self.settings
        return {
            "name": run.name, "arm": run.arm, "weight_decay": run.weight_decay, "seed": run.seed, "steps": self.step,
            "parameters": sum(p.numel() for p in self.model.parameters()), "decayed_parameters": self.decayed_parameters,
            "learning_rate_sum": math.fsum(self.arm.rates), "decay_product": run.decay_product, "diverged": self.diverged, "curve": self.curve,
            "final": {name: by_frequency(stats, self.counts) for name, stats in self.stats.items()},
            "slope": self._slope(),
        }  # fmt: skip

    def _slope(self) -> dict:
        if "train" not in self.stats:
            return {"absent": "the run did not end."}
        stats = self.stats["train"]
        try:
            return slope_of(stats, self.counts[stats.keys], least_count=self.arm.least_count).as_dict()
        except ValueError as error:
            return {"absent": str(error)}

    def _step(self) -> None:
        loss = token_nll(self.model, self._batch()).mean()
        if not math.isfinite(value := loss.item()):
            self.diverged = {"step": self.step + 1, "loss": str(value)}
            return
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), LARGEST_NORM)
        if not torch.isfinite(norm):
            self.diverged = {"step": self.step + 1, "gradient": str(norm.item())}
            return
        for group in self.optimizer.param_groups:
            group["lr"] = self.arm.rates[self.step]
        self.optimizer.step()
        self.step += 1

    def _batch(self) -> Tensor:
        """(B, T) the next windows of an endless stream of epochs."""
        count, size = len(self.windows["train"]), self.arm.batch_windows
        epochs, places = zip(*(divmod(number, count) for number in range(self.step * size, (self.step + 1) * size)), strict=True)
        self._orders = {epoch: self._orders[epoch] if epoch in self._orders else self._order(epoch) for epoch in set(epochs)}
        return self.windows["train"][torch.stack([self._orders[epoch][place] for epoch, place in zip(epochs, places, strict=True)])]

    def _order(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed((self.settings.seed * 1_000_003 + epoch) % 2**63)
        return torch.randperm(len(self.windows["train"]), generator=generator)

    def _add_point(self, after_part: Callable[["TrainingRun"], None]) -> None:
        few = {name: _spread(windows, self.arm.curve_tokens) for name, windows in self.windows.items()}
        found = self._scored(few, after_part)
        if not self.diverged:
            self.curve.append({"step": self.step, **{name: by_frequency(stats, self.counts) for name, stats in found.items()}})

    def _scored(self, windows: dict[str, Tensor], after_part: Callable[["TrainingRun"], None]) -> dict[str, TokenStats]:
        found = {}
        for name, chosen in windows.items():
            found[name] = scored(self.model, chosen, self.vocabulary, lambda: after_part(self))
            if not math.isfinite(loss := found[name].average_nats):
                self.diverged = {"step": self.step, "loss": str(loss)}
        return {} if self.diverged else found

    def state_dict(self) -> dict:
        """Everything that decides the rest of the run; only tensors and plain values."""
        return {
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step, "curve": self.curve,
            "diverged": self.diverged,
        }  # fmt: skip

    def load_state_dict(self, state: dict) -> None:
        """Raises: ValueError if the state is not of this run or of another version."""
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.curve, self.diverged = state["step"], list(state["curve"]), state["diverged"]
        except (KeyError, TypeError, RuntimeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"the checkpoint of {self.settings.name} is not of this version ({type(error).__name__}); start the sweep anew without --resume."
            ) from None


def new_model(settings: ArmSettings, vocabulary_size: int, seed: int) -> nn.Module:
    """A Qwen2 model with random weights of the seed, float32, on the CPU; the global generator is left as it was."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "tie_word_embeddings")
    config = Qwen2Config(
        vocab_size=vocabulary_size, max_position_embeddings=settings.context_tokens, use_cache=False, bos_token_id=0, eos_token_id=0,
        attn_implementation="sdpa", **{name: getattr(settings, name) for name in sizes},
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Qwen2ForCausalLM(config)


def decay_groups(model: nn.Module, decay_embeddings: bool) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters that decay and those that do not: gains of norms and biases, and, if asked, embeddings and output matrix."""
    ends = {id(module.weight) for module in (model.get_input_embeddings(), model.get_output_embeddings())}
    decayed, others = [], []
    for parameter in model.parameters():
        decays = parameter.ndim > 1 and (decay_embeddings or id(parameter) not in ends)
        (decayed if decays else others).append(parameter)
    return decayed, others


def _windows(ids: np.ndarray, tokens: int, context_tokens: int) -> Tensor:
    count = tokens // context_tokens
    return torch.from_numpy(ids[: count * context_tokens]).view(count, context_tokens)


def _spread(windows: Tensor, most_tokens: int) -> Tensor:
    """As many windows as have at most so many tokens, evenly over the text."""
    count, wanted = len(windows), most_tokens // windows.shape[1]
    return windows if wanted >= count else windows[[number * count // wanted for number in range(wanted)]]
