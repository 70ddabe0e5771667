"""Outcome: the results of pruning one model, as JSON for programs and as a Report for people."""

import math
import statistics
from dataclasses import asdict, dataclass, field

import torch

from pydisp.cost import Cost
from pydisp.evaluation import TextLoss
from pydisp.plan import SETS, PruningPlan
from pydisp.pruning.search import SearchProgress
from pydisp.pruning.settings import PruneSettings
from pydisp.report import Metric, Picture, Report, Section, Table
from pydisp.report.words import number
from pydisp.spec import ModelSpec

HELDOUT, OTHER, CALIBRATION = "held-out", "other", "calibration"
_KEYS = {HELDOUT: "", OTHER: "_other", CALIBRATION: "_calibration"}  # of the three texts in the JSON: `perplexity`, `perplexity_other`, …


@dataclass(frozen=True)
class Losses:
    """The loss on one text before and after."""

    text: str  # its name, such as `Python 3.11.7 docstrings (heldout)`
    dense: TextLoss
    pruned: TextLoss

    @property
    def perplexities(self) -> dict[str, float]:
        return {"dense": self.dense.perplexity, "pruned": self.pruned.perplexity}

    @property
    def times(self) -> float:
        """The perplexity of the pruned model divided by that of the dense one."""
        return self.pruned.perplexity / self.dense.perplexity

    @property
    def damage(self) -> float:
        """ln(perplexity of the pruned model / that of the dense one): what was lost, in nats per token."""
        return self.pruned.nats_per_token - self.dense.nats_per_token

    @property
    def damage_error(self) -> float | None:
        """The standard error of `damage`, from the differences of the two models within each window; None without two windows of both."""
        dense, pruned = self.dense.window_nats, self.pruned.window_nats
        if len(dense) != len(pruned) or len(dense) < 2:
            return None
        return statistics.stdev(after - before for before, after in zip(dense, pruned, strict=True)) / math.sqrt(len(dense))

    def as_dict(self) -> dict:
        """Damage in nats per token, its standard error (or None), and the number of scored tokens."""
        return {"nats": self.damage, "standard_error": self.damage_error, "tokens": self.pruned.tokens}


@dataclass(frozen=True)
class Recovered:
    """What a recovery did to the pruned model; the `losses` of the outcome are then those after it.

    Args:
        before: by text, as `losses` of the outcome; `pruned` is the model before the recovery.
        history: for each step its number `step` and its `loss` (nats per token).
        settings: plain values, such as steps and learning rate.
        loss_name: what the loss in `history` is.
    """

    before: dict[str, Losses]
    history: list[dict] = field(default_factory=list)
    settings: dict = field(default_factory=dict)
    loss_name: str = "Loss on calibration text"


@dataclass(frozen=True)
class Outcome:
    """The results of one pruned model.

    `losses` has the keys HELDOUT, OTHER and CALIBRATION; `costs` (for a prompt as long as the context) has "dense" and "pruned"; `command`
    reproduces the model; `stored` is the dtype of the saved weights; `recovered` is given if the kept weights were trained.
    """

    model_name: str
    settings: PruneSettings
    spec: ModelSpec
    plan: PruningPlan
    progress: SearchProgress
    losses: dict[str, Losses]
    costs: dict[str, Cost]
    command: str
    facts: dict
    stored: torch.dtype | None = None
    recovered: Recovered | None = None

    @property
    def kept(self) -> dict[str, float]:
        return self.spec.kept_shares(self.plan)

    @property
    def parameters(self) -> dict[str, int]:
        return {"dense": self.spec.parameters_total, "pruned": self.spec.kept_total(self.plan)}

    def as_dict(self) -> dict:
        """The object that `pydisp prune --json` prints, without `out`; two equal runs differ only in `seconds`."""
        recovered = {} if self.recovered is None else {"recovery": self._recovery_as_dict()}
        return {
            "model": self.model_name,
            "method": self.settings.method,
            "seed": self.settings.seed,
            "seconds": self.progress.seconds,
            "steps": self.progress.step,
            "tokens": self.progress.tokens,
            "forwards": self.progress.forwards,
            "backwards": self.progress.backwards,
            "keep_ratio": self.settings.keep_ratio,
            "ratio_of": self.settings.ratio_of,
            "kept": self.kept,
            "params": self.parameters,
            "removed": removed_blocks(self.plan),
            **{f"perplexity{key}": self.losses[kind].perplexities for kind, key in _KEYS.items()},
            **{f"damage{key}": self.losses[kind].as_dict() for kind, key in _KEYS.items()},
            "bits_per_byte": {"dense": self.losses[HELDOUT].dense.bits_per_byte, "pruned": self.losses[HELDOUT].pruned.bits_per_byte},
            "context_tokens": self.settings.context_tokens,
            "scored_tokens": {
                name: self.losses[kind].dense.tokens
                for name, kind in (("heldout", HELDOUT), ("other", OTHER), ("calibration", CALIBRATION))
            },
            "cost": {name: asdict(cost) for name, cost in self.costs.items()},
            "plan_digest": self.plan.digest(),
            "model_digest": self.plan.model_digest,
            **recovered,
        }

    def _recovery_as_dict(self) -> dict:
        before = {key: self.recovered.before[kind] for kind, key in _KEYS.items() if kind in self.recovered.before}
        perplexities = {f"perplexity{key}_before": on.perplexities for key, on in before.items()}
        return {**self.recovered.settings, **perplexities, **{f"damage{key}_before": on.as_dict() for key, on in before.items()}}

    def report(self) -> Report:
        """Headlines, then a section each on losses, recovery, kept features, counted work and search; no times and no paths."""
        searched = [self._search_section()] if self.progress.history else []
        recovered = [self._recovery_section()] if self.recovered else []
        return Report(
            title=f"{self.model_name} pruned to {self.kept['total']:.1%} of its parameters",
            summary=self._summary(),
            metrics=self._headlines(),
            sections=[self._perplexity_section(), *recovered, self._kept_section(), self._work_section(), *searched],
            facts={
                "result": {name: value for name, value in self.as_dict().items() if name != "seconds"},
                "settings": self.settings.in_use(),
                "command": self.command,
                **self.facts,
            },
        )

    def _summary(self) -> list[str]:
        held, count = self.losses[HELDOUT], self.parameters
        removed = removed_blocks(self.plan)
        return [
            f"{count['dense'] - count['pruned']:,} of {count['dense']:,} parameters are removed by the method {self.settings.method}: "
            f"{self.kept['total']:.2%} of all and {self.kept['block']:.2%} of block parameters are kept.",
            f"Perplexity on held-out text goes from {held.dense.perplexity:.2f} to {held.pruned.perplexity:.2f} "
            f"({held.times:.2f} times, a damage of {with_error(held)} nats per token) at a context of {self.settings.context_tokens} tokens.",
            *self.recovery_sentence(),
            f"{removed['attention']} attention and {removed['mlp']} MLP blocks are removed whole.",
        ]

    def recovery_sentence(self) -> list[str]:
        """What the recovery started from, in one sentence; nothing where there was none."""
        if self.recovered is None or HELDOUT not in self.recovered.before:
            return []
        before = self.recovered.before[HELDOUT]
        words = f"{before.pruned.perplexity:.2f}, a damage of {with_error(before)} nats per token"
        return [f"Before the kept weights were trained, the perplexity on held-out text was {words}."]

    @property
    def weights_mib(self) -> dict[str, float] | None:
        """MiB of the saved weights, tied ones once, without the indices; None if their dtype is not known."""
        return None if self.stored is None else {name: count * self.stored.itemsize / 2**20 for name, count in self.parameters.items()}

    def _headlines(self) -> list[Metric]:
        """What a pruned model is asked for first: its size and its quality; times and memory join them on the page, where they are measured."""
        held, saved, count = self.losses[HELDOUT], self.weights_mib, self.parameters
        dtype = str(self.stored).removeprefix("torch.")
        size = [Metric("weights", saved["pruned"], f"MiB in {dtype}", higher_is_better=False, note=_beside(saved))] if saved else []
        return [
            Metric("parameters kept", 100 * self.kept["total"], "%", decimals=1,
                   note=f"{count['pruned']:,} of {count['dense']:,}, and {self.kept['block']:.1%} of those in blocks"),
            *size,
            Metric("perplexity, pruned ÷ dense", held.times, "times", n=held.pruned.tokens, higher_is_better=False,
                   note=f"held-out text: dense {number(held.dense.perplexity)}, pruned {number(held.pruned.perplexity)}"),
        ]  # fmt: skip

    def _perplexity_section(self) -> Section:
        from pydisp.pruning import pictures

        bars = [(f"{kind}:\n{on.text}", on.dense.perplexity, on.pruned.perplexity) for kind, on in self.losses.items()]
        title = f"Perplexity at a context of {self.settings.context_tokens} tokens"
        rows = [
            (kind, on.times, on.dense.perplexity, on.pruned.perplexity, on.dense.tokens, on.text) for kind, on in self.losses.items()
        ]  # the ratio first: it is what a narrow screen shows
        damages = [
            Metric(f"damage, {kind} text", on.damage, "nats per token", on.damage_error, n=on.pruned.tokens, higher_is_better=False)
            for kind, on in self.losses.items()
        ]
        losses = [
            (kind, on.dense.nats_per_token, on.dense.standard_error, on.pruned.nats_per_token, on.pruned.standard_error)
            for kind, on in self.losses.items()
        ]
        return Section(
            "Perplexity",
            [
                "Calibration text is what the masks were learned on; the others were not seen.",
                Picture("Perplexity before and after", "Lower is better.", pictures.perplexities(bars)),
                Table(title, ("text", "pruned ÷ dense", "dense", "pruned", "tokens", "source"), rows),
                "Damage is ln(pruned ÷ dense), in nats per token; its standard error is that of the differences within each window.",
                *damages,
                "Perplexity is the exponential of the loss, here with the standard error over the windows.",
                Table("Loss, in nats per token", ("text", "dense", "± s.e.", "pruned", "± s.e."), losses),
            ],
        )

    def _kept_section(self) -> Section:
        from pydisp.pruning import pictures

        widths = layer_widths(self.plan)
        full = {name: self.spec.middle_size if name == "mlp_middle" else self.spec.hidden_size for name in SETS}
        masks = [{name: None if kept is None else kept.mask().numpy() for name, kept in layer.sets().items()} for layer in self.plan.layers]
        return Section(
            "What is kept",
            [
                "Each block reads its own features of the residual stream and adds its output to others.",
                Picture("Widths", "Share of each mask's features that each layer keeps.", pictures.widths(widths, full)),
                Picture(
                    "Kept features over depth",
                    "Which features of the residual stream each block reads and writes.",
                    pictures.kept_features(masks),
                ),
                Table(
                    f"Features kept of {self.spec.hidden_size} (middle: of {self.spec.middle_size}); an empty cell is a removed block",
                    ("layer", *SETS),
                    [(layer, *(width[name] for name in SETS)) for layer, width in enumerate(widths)],
                ),
            ],
        )

    def _work_section(self) -> Section:
        """The work is counted, not timed: two equal runs must write equal files. Times are in speed.json and in a section of the page."""
        dense, pruned = self.costs["dense"], self.costs["pruned"]
        tokens = self.settings.context_tokens
        rows = [
            ("MiB of weights read for a decoded token", *(c.bytes_per_token / 2**20 for c in (dense, pruned)), pruned.bytes_per_token / dense.bytes_per_token),
            (f"10^9 products for a prompt of {tokens} tokens", *(c.products_per_prompt / 1e9 for c in (dense, pruned)), pruned.products_per_prompt / dense.products_per_prompt),
        ]  # fmt: skip
        title = "Computing work, counted from the shapes"
        return Section(title, [Table(title, ("", "dense", "pruned", "pruned ÷ dense"), rows)])

    def _search_section(self) -> Section:
        from pydisp.pruning import pictures

        dense = self.losses[CALIBRATION].dense
        curve = pictures.search_curve(self.progress.history, self.settings.keep_ratio, dense.nats_per_token)
        caption = (
            f"Loss under the drawn gates less the dense model's mean loss on {dense.tokens:,} tokens of the calibration text, and the kept share "
            "of the parameters, over the steps. Each step sees other windows of that text, so single steps scatter and may lie below 0."
        )
        return Section("Search", [Picture("Search", caption, curve)])

    def _recovery_section(self) -> Section:
        from pydisp.pruning import pictures

        done = self.recovered
        title = f"Damage before and after, at a context of {self.settings.context_tokens} tokens"
        rows = []
        for kind, before in done.before.items():
            after = self.losses[kind]
            share = after.damage / before.damage if before.damage > 0 else None
            rows.append((kind, before.pruned.tokens, before.pruned.perplexity, after.pruned.perplexity, before.damage, after.damage, share))
        columns = ("text", "tokens", "perplexity before", "perplexity after", "damage before", "damage after", "after ÷ before")
        curve = (
            [Picture("Recovery", f"{done.loss_name} over the steps.", pictures.recovery_curve(done.history, done.loss_name))]
            if done.history
            else []
        )
        words = ", ".join(f"{name} {value}" for name, value in done.settings.items())
        told = [f"Settings: {words}."] if words else []
        return Section(
            "Recovery",
            ["The kept weights were trained further; what is kept stayed as it was.", Table(title, columns, rows), *curve, *told],
        )


def with_error(on: Losses) -> str:
    """The damage with its standard error, if that is known."""
    return f"{on.damage:.3f}" + ("" if on.damage_error is None else f" ± {on.damage_error:.3f}")


def _beside(amounts: dict[str, float]) -> str:
    """A note with the dense model's value, and the pruned model's share of it."""
    return f"dense {number(amounts['dense'])}: {amounts['pruned'] / amounts['dense']:.1%} of it"


def layer_widths(plan: PruningPlan) -> list[dict[str, int | None]]:
    """Kept features of each layer: one dict per layer, None for the sets of a removed block."""
    return [{name: None if kept is None else len(kept) for name, kept in layer.sets().items()} for layer in plan.layers]


def removed_blocks(plan: PruningPlan) -> dict[str, int]:
    """How many attention and MLP blocks are removed."""
    return {
        "attention": sum(layer.attention is None for layer in plan.layers),
        "mlp": sum(layer.mlp is None for layer in plan.layers),
    }
