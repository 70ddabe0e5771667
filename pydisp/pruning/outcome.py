"""Outcome: what pruning one model gave, and how it is told: JSON for programs, a Report for people, a card for the folder."""

from dataclasses import asdict, dataclass

from pydisp.cost import Cost
from pydisp.evaluation import TextLoss
from pydisp.plan import SETS, PruningPlan
from pydisp.pruning.search import SearchProgress
from pydisp.pruning.settings import PruneSettings
from pydisp.report import Metric, Picture, Report, Table
from pydisp.spec import ModelSpec

HELDOUT, OTHER, CALIBRATION = "held-out", "other", "calibration"


@dataclass(frozen=True)
class Losses:
    """The loss on one text before and after."""

    text: str  # what it is, such as `Python 3.11.7 docstrings (heldout)`
    dense: TextLoss
    pruned: TextLoss

    @property
    def perplexities(self) -> dict[str, float]:
        return {"dense": self.dense.perplexity, "pruned": self.pruned.perplexity}


@dataclass(frozen=True)
class Outcome:
    """One pruned model: `losses` under the keys HELDOUT, OTHER and CALIBRATION; `costs` (of a prompt of the context's length) under
    "dense" and "pruned"; `command` reproduces it."""

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
        """The object that `pydisp prune --json` prints, less `out`; `seconds` is the only value that two equal runs differ in."""
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
            "cost": {name: asdict(cost) for name, cost in self.costs.items()},
            "plan_digest": self.plan.digest(),
            "model_digest": self.plan.model_digest,
        }

    def report(self) -> Report:
        """Metrics, tables and four pictures (three without a search); holds no times and no paths."""
        from pydisp.pruning import pictures

        widths = layer_widths(self.plan)
        full = {name: self.spec.middle_size if name == "mlp_middle" else self.spec.hidden_size for name in SETS}
        masks = [{name: None if kept is None else kept.mask().numpy() for name, kept in layer.sets().items()} for layer in self.plan.layers]
        bars = [(f"{kind}: {on.text}", on.dense.perplexity, on.pruned.perplexity) for kind, on in self.losses.items()]
        shown = [
            Picture("Widths", "Share of each mask's features that each layer keeps.", pictures.widths(widths, full)),
            Picture(
                "Kept features over depth",
                "Which features of the residual stream each block reads and writes.",
                pictures.kept_features(masks),
            ),
            Picture(
                "Perplexity before and after",
                "Lower is better; calibration text is what the masks were learned on.",
                pictures.perplexities(bars),
            ),
        ]
        if self.progress.history:
            curve = pictures.search_curve(self.progress.history, self.settings.keep_ratio)
            shown.insert(0, Picture("Search", "Loss under the drawn gates and kept share of the parameters over the steps.", curve))
        return Report(
            title=f"{self.model_name} pruned to {self.kept['total']:.1%} of its parameters",
            summary=self._summary(),
            metrics=self._metrics(),
            tables=[self._text_table(), self._cost_table(), self._width_table(widths)],
            pictures=shown,
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
        gone = f"{removed['attention']} attention and {removed['mlp']} MLP blocks are removed whole."
        return [
            f"{count['dense'] - count['pruned']:,} of {count['dense']:,} parameters are removed by the method {self.settings.method}: "
            f"{self.kept['total']:.2%} of all and {self.kept['block']:.2%} of block parameters are kept.",
            f"Perplexity on held-out text goes from {held.dense.perplexity:.2f} to {held.pruned.perplexity:.2f} "
            f"({held.pruned.perplexity / held.dense.perplexity:.2f} times) at a context of {self.settings.context_tokens} tokens.",
            gone,
        ]

    def _metrics(self) -> list[Metric]:
        metrics = [
            Metric("kept, all parameters", self.kept["total"], n=self.parameters["dense"]),
            Metric("kept, block parameters", self.kept["block"], n=self.spec.parameters_block),
        ]
        for kind, losses in self.losses.items():
            for which, loss in (("dense", losses.dense), ("pruned", losses.pruned)):
                metrics.append(
                    Metric(
                        f"{kind}, {which}",
                        loss.nats_per_token,
                        unit="nats per token",
                        standard_error=loss.standard_error,
                        n=loss.tokens,
                        higher_is_better=False,
                    )
                )
        return metrics

    def _text_table(self) -> Table:
        rows = [
            (kind, on.text, on.dense.tokens, on.dense.perplexity, on.pruned.perplexity, on.pruned.perplexity / on.dense.perplexity)
            for kind, on in self.losses.items()
        ]
        columns = ("text", "source", "tokens", "perplexity, dense", "perplexity, pruned", "pruned ÷ dense")
        return Table(f"Perplexity at a context of {self.settings.context_tokens} tokens", columns, rows)

    def _cost_table(self) -> Table:
        """Counted, not timed: two equal runs must write equal files. Times stand in speed.json, and in a section of the page."""
        dense, pruned = self.costs["dense"], self.costs["pruned"]
        tokens = self.settings.context_tokens
        rows = [
            ("MiB of weights read for a decoded token", *(c.bytes_per_token / 2**20 for c in (dense, pruned)), pruned.bytes_per_token / dense.bytes_per_token),
            (f"10^9 products for a prompt of {tokens} tokens", *(c.products_per_prompt / 1e9 for c in (dense, pruned)), pruned.products_per_prompt / dense.products_per_prompt),
        ]  # fmt: skip
        return Table("Computing work, counted from the shapes", ("", "dense", "pruned", "pruned ÷ dense"), rows)

    def _width_table(self, widths: list[dict]) -> Table:
        rows = [(number, *(layer[name] for name in SETS)) for number, layer in enumerate(widths)]
        title = f"Features kept of {self.spec.hidden_size} (middle: of {self.spec.middle_size}); an empty cell is a removed block"
        return Table(title, ("layer", *SETS), rows)

    def card(self) -> str:
        """The README.md of the folder: front matter, how to load, what it costs, the exact command."""
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

Made by this command; the same seed, machine and number of threads give the same files, but for the times in `speed.json` and `report.html`:

```
{self.command}
```

`report.html` shows what was removed, `plan.safetensors` holds the indices, `report.json` the figures, settings and versions.
"""


def layer_widths(plan: PruningPlan) -> list[dict[str, int | None]]:
    """Features kept, a dict a layer, None where the block is removed."""
    return [{name: None if kept is None else len(kept) for name, kept in layer.sets().items()} for layer in plan.layers]


def removed_blocks(plan: PruningPlan) -> dict[str, int]:
    """How many attention and MLP blocks are removed whole."""
    return {
        "attention": sum(layer.attention is None for layer in plan.layers),
        "mlp": sum(layer.mlp is None for layer in plan.layers),
    }
