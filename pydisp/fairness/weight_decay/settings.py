"""SweepSettings: what a sweep over weight decay trains, checked in full before any work; `config` reads them from a file.

Each arm, weight decay and seed is one run.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

SCHEDULES = ("cosine", "linear")
SMALLEST_VOCABULARY = 257  # an id for each byte, and one for the end of a text
_LARGEST_VOCABULARY = 10**7
_FIRST_POINT_SHARE = 0.01  # of the steps: before it nothing has been learned that a curve could show
_LEAST = {
    "train_tokens": 2, "held_out_tokens": 2, "context_tokens": 2, "hidden_size": 1, "intermediate_size": 1, "num_hidden_layers": 1,
    "num_attention_heads": 1, "num_key_value_heads": 1, "batch_windows": 1, "steps": 1, "points": 3, "curve_tokens": 2, "least_count": 1,
}  # fmt: skip

_MOST = {  # of what is certainly a slip: before a number of this size can fill the memory
    "train_tokens": 10**12, "held_out_tokens": 10**12, "context_tokens": 10**6, "hidden_size": 10**5, "intermediate_size": 10**6,
    "num_hidden_layers": 10**4, "num_attention_heads": 10**4, "num_key_value_heads": 10**4, "batch_windows": 10**7, "steps": 10**8,
    "points": 10**4, "curve_tokens": 10**12, "least_count": 10**12, "epochs": 10**6,
}  # fmt: skip


@dataclass(frozen=True)
class ArmSettings:
    """The settings of the runs of one arm.

    Attributes:
        weight_decay: AdamW's, one run for each and each seed.
        train_tokens, held_out_tokens: taken from the start of each text; windows are whole, so a rest is left out.
        seeds: each decides the first weights and the order of the windows.
        context_tokens: tokens of a window; the first is not a target.
        hidden_size, …, tie_word_embeddings: of a Qwen2 model.
        batch_windows: windows of a step.
        epochs, steps: one of the two.
        learning_rate: the highest. It warms up over the first warmup_share of the steps, then falls to 0 by `schedule`.
        betas: AdamW's.
        decay_embeddings: whether embeddings and output matrix decay too, as in transformers' Trainer. Norms and biases never do.
        points: how often both texts are scored for the learning curves: before the first step, after the last, and between them at
            steps that lie evenly on a logarithmic scale.
        curve_tokens: of each text at a point; after the last step all of it is scored.
        least_count: the slope over log n leaves out types with fewer occurrences.
    """

    weight_decay: tuple[float, ...]
    train_tokens: int
    held_out_tokens: int = 65_536
    seeds: tuple[int, ...] = (0, 1, 2)
    context_tokens: int = 128
    hidden_size: int = 256
    intermediate_size: int = 704
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    tie_word_embeddings: bool = True
    batch_windows: int = 8
    epochs: float | None = None
    steps: int | None = None
    learning_rate: float = 1e-3
    warmup_share: float = 0.05
    schedule: str = "cosine"
    betas: tuple[float, float] = (0.9, 0.95)
    decay_embeddings: bool = True
    points: int = 13
    curve_tokens: int = 16_384
    least_count: int = 5

    # pydantic reads this: it refuses text in place of a number
    __pydantic_config__ = {"extra": "forbid", "strict": True}

    def __post_init__(self):
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; it must be a whole number of at least {least}.")
        for name, most in _MOST.items():
            value = getattr(self, name)
            if value is not None and value > most:
                raise ValueError(f"{name} is {value}; it must be at most {most:,}.")
        self._check_lists()
        self._check_training()
        self._check_model()
        for name in ("train_tokens", "held_out_tokens", "curve_tokens"):
            if getattr(self, name) < self.context_tokens:
                raise ValueError(f"{name} is {getattr(self, name)}, one window has {self.context_tokens} tokens; ask for at least as many.")
        if self.batch_windows > self.windows:
            raise ValueError(
                f"{self.train_tokens} train tokens are {self.windows} windows, a step takes {self.batch_windows}; ask for more tokens or a smaller batch_windows."
            )
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(
                f"{'both epochs and steps are given' if self.steps else 'neither epochs nor steps is given'}; give one of the two."
            )
        if self.epochs is not None and not (math.isfinite(self.epochs) and self.epochs * self.windows >= self.batch_windows):
            raise ValueError(
                f"epochs is {self.epochs}; it must be a finite number that makes at least one step of {self.batch_windows} windows."
            )

    def _check_lists(self) -> None:
        for name, found in (("weight_decay", [f"{v:g}" for v in self.weight_decay]), ("seeds", [str(v) for v in self.seeds])):
            if not found:
                raise ValueError(f"{name} is an empty list; name one value or more.")
            twice = next((v for v in found if found.count(v) > 1), None)
            if twice is not None:
                raise ValueError(f"{name} has {twice} twice; name each value once.")
        for value in self.weight_decay:
            if not 0 <= value < math.inf:
                raise ValueError(f"weight_decay has {value:g}; each must be a finite number of at least 0.")
        for seed in self.seeds:
            if not 0 <= seed < 2**63:
                raise ValueError(f"seeds has {seed}; each must be a whole number from 0 to 2**63 - 1.")

    def _check_training(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be a finite number above 0.")
        if not 0 <= self.warmup_share <= 1:
            raise ValueError(f"warmup_share is {self.warmup_share}; it must lie between 0 and 1.")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule is {self.schedule!r}; known: {', '.join(SCHEDULES)}.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas is {list(self.betas)}; both must be at least 0 and below 1.")

    def _check_model(self) -> None:
        for large, small in (("hidden_size", "num_attention_heads"), ("num_attention_heads", "num_key_value_heads")):
            if getattr(self, large) % getattr(self, small):
                raise ValueError(
                    f"{large} is {getattr(self, large)}, {small} is {getattr(self, small)}; the first must be a multiple of the second."
                )
        if (self.hidden_size // self.num_attention_heads) % 2:
            raise ValueError(
                f"a head has {self.hidden_size // self.num_attention_heads} dimensions; rotary positions need an even number, so change hidden_size or num_attention_heads."
            )

    def parameters(self, vocabulary_size: int) -> int:
        """Of the matrices of the model, embeddings included."""
        head = self.hidden_size // self.num_attention_heads
        attention = self.hidden_size * head * 2 * (self.num_attention_heads + self.num_key_value_heads)
        layer = attention + 3 * self.hidden_size * self.intermediate_size
        return self.num_hidden_layers * layer + vocabulary_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)

    @property
    def windows(self) -> int:
        return self.train_tokens // self.context_tokens

    @property
    def total_steps(self) -> int:
        return self.steps or int(self.epochs * self.windows / self.batch_windows)

    @cached_property
    def rates(self) -> tuple[float, ...]:
        """The learning rate of each step."""
        steps, warm = self.total_steps, max(1.0, self.warmup_share * self.total_steps)
        falls = {"cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)), "linear": lambda done: 1 - done}[self.schedule]
        return tuple(self.learning_rate * min(1.0, (step + 1) / warm) * falls(step / steps) for step in range(steps))

    @cached_property
    def points_at(self) -> tuple[int, ...]:
        """The steps after which both texts are scored; fewer than `points` where a run has few steps."""
        steps = self.total_steps
        first = max(1, int(_FIRST_POINT_SHARE * steps))
        return (0, *np.unique(np.geomspace(first, steps, self.points - 1).round().astype(int)).tolist())


@dataclass(frozen=True)
class RunSettings:
    """One run: its arm, that arm's settings, its own weight decay and seed."""

    arm: str
    settings: ArmSettings
    weight_decay: float
    seed: int

    @property
    def name(self) -> str:
        """The name of its files."""
        return f"{self.arm}-decay{self.weight_decay:g}-seed{self.seed}"

    @property
    def words(self) -> str:
        return f"{self.arm}, weight decay {self.weight_decay:g}, seed {self.seed}"

    @property
    def decay_product(self) -> float:
        """The sum over the steps of learning rate × weight decay: AdamW multiplies a weight by 1 - lr·λ in each step."""
        return self.weight_decay * math.fsum(self.settings.rates)


@dataclass(frozen=True)
class SweepSettings:
    """All runs of a sweep, and the texts that they share; `train` and `held_out` are sources of `pydisp.text.read_text`."""

    name: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    vocabulary_size: int
    arms: Mapping[str, ArmSettings]

    def __post_init__(self):
        if self.vocabulary_size > _LARGEST_VOCABULARY:
            raise ValueError(f"vocabulary_size is {self.vocabulary_size}; it must be at most {_LARGEST_VOCABULARY:,}.")
        if self.vocabulary_size < SMALLEST_VOCABULARY:
            raise ValueError(
                f"vocabulary_size is {self.vocabulary_size}; it must be at least {SMALLEST_VOCABULARY}, an id for each byte and one for the end of a text."
            )
        for name in ("train", "held_out"):
            if not getattr(self, name) or "" in getattr(self, name):
                raise ValueError(f"{name} names no text; list files, folders, 'pythondoc' or 'hub:NAME'.")

    @property
    def runs(self) -> tuple[RunSettings, ...]:
        return tuple(
            RunSettings(arm, settings, decay, seed)
            for arm, settings in self.arms.items()
            for decay in settings.weight_decay
            for seed in settings.seeds
        )

    @property
    def train_tokens(self) -> int:
        return max(arm.train_tokens for arm in self.arms.values())

    @property
    def held_out_tokens(self) -> int:
        return max(arm.held_out_tokens for arm in self.arms.values())

    def as_dict(self) -> dict:
        """Plain values; sources without their folders."""
        sources = {
            name: [source if is_named(source) else Path(source).name for source in getattr(self, name)] for name in ("train", "held_out")
        }
        arms = {name: json.loads(json.dumps(asdict(arm))) for name, arm in self.arms.items()}
        return {"name": self.name, **sources, "vocabulary_size": self.vocabulary_size, "arms": arms}


def is_named(source: str) -> bool:
    """Whether a source of text has a name of its own, so that it is no path."""
    return source.startswith("hub:") or source.partition(":")[0] == "pythondoc"
