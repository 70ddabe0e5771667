"""Outcome: the results of pruning one model, as JSON for programs, as a Report for people, and as the model card of the folder."""

from dataclasses import asdict, dataclass

from pydisp.cost import Cost
from pydisp.evaluation import TextLoss
from pydisp.plan import SETS, PruningPlan
from pydisp.pruning.search import SearchProgress
from pydisp.pruning.settings import PruneSettings
from pydisp.report import Metric, Picture, Report, Section, Table
from pydisp.report.words import number
from pydisp.spec import ModelSpec

HELDOUT, OTHER, CALIBRATION = "held-out", "other", "calibration"


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


@dataclass(frozen=True)
class Outcome:
    """The results of one pruned model.

    `losses` has the keys HELDOUT, OTHER and CALIBRATION; `costs` (for a prompt as long as the context) has "dense" and "pruned"; `command`
    reproduces the model.
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

    @property
    def kept(self) -> dict[str, float]:
        return self.spec.kept_shares(self.plan)

    @property
    def parameters(self) -> dict[str, int]:
        return {"dense": self.spec.parameters_total, "pruned": self.spec.kept_total(self.plan)}

    def as_dict(self) -> dict:
        """The object that `pydisp prune --json` prints, without `out`; two equal runs differ only in `seconds`."""
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
            "perplexity": self.losses[HELDOUT].perplexities,
            "perplexity_other": self.losses[OTHER].perplexities,
            "perplexity_calibration": self.losses[CALIBRATION].perplexities,
            "bits_per_byte": {"dense": self.losses[HELDOUT].dense.bits_per_byte, "pruned": self.losses[HELDOUT].pruned.bits_per_byte},
            "context_tokens": self.settings.context_tokens,
            "scored_tokens": {
                name: self.losses[kind].dense.tokens
                for name, kind in (("heldout", HELDOUT), ("other", OTHER), ("calibration", CALIBRATION))
            },
            "cost": {name: asdict(cost) for name, cost in self.costs.items()},
            "plan_digest": self.plan.digest(),
            "model_digest": self.plan.model_digest,
        }

    def report(self) -> Report:
        """Headlines, then a section each on the losses, the kept features, the counted work and the search; no times and no paths."""
        searched = [self._search_section()] if self.progress.history else []
        return Report(
            title=f"{self.model_name} pruned to {self.kept['total']:.1%} of its parameters",
            summary=self._summary(),
            metrics=self._headlines(),
            sections=[self._perplexity_section(), self._kept_section(), self._work_section(), *searched],
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
            f"({held.times:.2f} times) at a context of {self.settings.context_tokens} tokens.",
            f"{removed['attention']} attention and {removed['mlp']} MLP blocks are removed whole.",
        ]

    def _headlines(self) -> list[Metric]:
        """The headline metrics; each notes the dense model's value, unless the name says it."""
        held, costs = self.losses[HELDOUT], self.costs
        mib = {name: cost.bytes_per_token / 2**20 for name, cost in costs.items()}
        products = {name: cost.products_per_prompt / 1e9 for name, cost in costs.items()}
        return [
            Metric("kept of all parameters", 100 * self.kept["total"], "%", n=self.parameters["dense"]),
            Metric("kept of block parameters", 100 * self.kept["block"], "%", n=self.spec.parameters_block),
            Metric("perplexity, held-out text", held.pruned.perplexity, "per token", n=held.pruned.tokens, higher_is_better=False,
                   note=f"dense {number(held.dense.perplexity)}"),
            Metric("perplexity, pruned ÷ dense", held.times, "times", higher_is_better=False, note="held-out text"),
            Metric("weights read a decoded token", mib["pruned"], "MiB", higher_is_better=False, note=_beside(mib)),
            Metric(f"work of {self.settings.context_tokens} prompt tokens", products["pruned"], "10⁹ products", higher_is_better=False, note=_beside(products)),
        ]  # fmt: skip

    def _perplexity_section(self) -> Section:
        from pydisp.pruning import pictures

        bars = [(f"{kind}:\n{on.text}", on.dense.perplexity, on.pruned.perplexity) for kind, on in self.losses.items()]
        title = f"Perplexity at a context of {self.settings.context_tokens} tokens"
        columns = ("text", "source", "tokens", "perplexity, dense", "perplexity, pruned", "pruned ÷ dense")
        rows = [(kind, on.text, on.dense.tokens, on.dense.perplexity, on.pruned.perplexity, on.times) for kind, on in self.losses.items()]
        nats = [
            Metric(f"{kind}, {which}", loss.nats_per_token, "nats per token", loss.standard_error, n=loss.tokens, higher_is_better=False)
            for kind, on in self.losses.items()
            for which, loss in (("dense", on.dense), ("pruned", on.pruned))
        ]
        return Section(
            "Perplexity",
            [
                "Calibration text is what the masks were learned on; the others were not seen.",
                Picture("Perplexity before and after", "Lower is better.", pictures.perplexities(bars)),
                Table(title, columns, rows),
                "Perplexity is the exponential of the loss, here with the standard error over the tokens:",
                *nats,
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

        curve = pictures.search_curve(self.progress.history, self.settings.keep_ratio)
        return Section("Search", [Picture("Search", "Loss under the drawn gates and kept share of the parameters over the steps.", curve)])

    def card(self) -> str:
        """The README.md of the folder: front matter, how to load the model, its losses and cost, and the exact command."""
        held, other = self.losses[HELDOUT], self.losses[OTHER]
        rows = "\n".join(
            f"| {kind} ({on.text}) | {on.dense.perplexity:.3f} | {on.pruned.perplexity:.3f} |"
            for kind, on in ((HELDOUT, held), (OTHER, other))
        )
        return f"""---
library_name: transformers
pipeline_tag: text-generation
tags:
- pydisp
- pruned
---

# {self.model_name}, {self.kept["total"]:.1%} of its parameters

Pruned with [pydisp](https://arxiv.org/abs/2410.11988): every attention and MLP block reads its own features of the residual
stream and adds its output to others. {self.parameters["pruned"]:,} of {self.parameters["dense"]:,} parameters are kept
({self.kept["block"]:.1%} of those in the blocks).

```python
import pydisp  # or: trust_remote_code=True below
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".")
tokenizer = AutoTokenizer.from_pretrained(".")
```

| perplexity per token, context of {self.settings.context_tokens} | dense | pruned |
|---|---|---|
{rows}

Made by this command; the same seed, machine, number of threads and versions give the same files, but for the times in `speed.json` and `report.html`:

```
{self.command}
```

`report.html` shows what was removed, `plan.safetensors` holds the indices, `report.json` the figures, settings and versions.
"""


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
