"""The model card of a pruned folder, README.md: metadata for the hub, size and losses, how to load the model, and the exact command."""

import math

from pydisp.distribution import DISTRIBUTION, INSTALL
from pydisp.origin import Origin
from pydisp.pruning.outcome import HELDOUT, OTHER, Outcome, with_error
from pydisp.report.words import number

_TASK = "text-generation"


def model_card(outcome: Outcome, origin: Origin) -> str:
    """The text of the card. Licence, languages and base model are those that the source model states; none is added."""
    kept, count = outcome.kept, outcome.parameters
    return f"""---
{_metadata(outcome, origin)}
---

# {_title(outcome)}

{_table(outcome)}

{_notes(outcome)}

To load it, install **{DISTRIBUTION}**: {INSTALL}. The project called `pydisp` on PyPI is another one.

```python
import pydisp  # or: trust_remote_code=True in both lines below; without either, transformers asks and waits
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".")
tokenizer = AutoTokenizer.from_pretrained(".")
```

Pruned with [pydisp](https://arxiv.org/abs/2410.11988): every attention and MLP block reads its own features of the residual
stream and adds its output to others. {count["pruned"]:,} of {count["dense"]:,} parameters are kept
({kept["block"]:.1%} of those in the blocks).

Made by this command; the same seed, machine, number of threads and versions give the same files, but for the times in `speed.json` and `report.html`:

```
{outcome.command}
```

`report.html` shows what was removed, `plan.safetensors` holds the indices, `report.json` the figures, settings and versions.
"""


def _title(outcome: Outcome) -> str:
    return f"{outcome.model_name}, {outcome.kept['total']:.1%} of its parameters"


def _metadata(outcome: Outcome, origin: Origin) -> str:
    """The YAML between the lines of dashes, as huggingface_hub writes it."""
    from huggingface_hub import ModelCardData

    languages = list(origin.language)
    return ModelCardData(
        base_model=origin.base_model,
        license=origin.license,
        license_name=origin.license_name,
        license_link=origin.license_link,
        language=languages[0] if len(languages) == 1 else languages or None,
        library_name="transformers",
        pipeline_tag=_TASK,
        tags=["pydisp", "pruned"],
        model_name=_title(outcome),
        eval_results=_measured(outcome) or None,
    ).to_yaml()


def _measured(outcome: Outcome) -> list:
    """The pruned model's perplexities on text that it has not seen, as the hub's model-index has them."""
    from huggingface_hub import EvalResult

    context = outcome.settings.context_tokens
    return [
        EvalResult(
            task_type=_TASK,
            dataset_type="text",
            dataset_name=on.text,
            dataset_config=kind,  # results of one type and configuration would be taken for measures of one text
            metric_type="perplexity",
            metric_name=f"perplexity of {on.pruned.tokens:,} tokens at a context of {context}",
            metric_value=float(f"{on.pruned.perplexity:.6g}"),
        )
        for kind, on in ((kind, outcome.losses[kind]) for kind in (HELDOUT, OTHER))
        if math.isfinite(on.pruned.perplexity)
    ]


def _table(outcome: Outcome) -> str:
    """What a user came for: size, perplexity, work; times are not in a file that two equal runs must write alike."""
    count, saved, context = outcome.parameters, outcome.weights_mib, outcome.settings.context_tokens
    rows = [("parameters", f"{count['dense']:,}", f"{count['pruned']:,}", f"{count['pruned'] / count['dense']:.3f}")]
    if saved:
        name = f"MiB of weights in {str(outcome.stored).removeprefix('torch.')}"
        rows.append((name, number(saved["dense"]), number(saved["pruned"]), f"{saved['pruned'] / saved['dense']:.3f}"))
    for kind in (HELDOUT, OTHER):
        on = outcome.losses[kind]
        name = f"perplexity of {on.pruned.tokens:,} tokens, {kind}: {on.text}"
        rows.append((name, f"{on.dense.perplexity:.3f}", f"{on.pruned.perplexity:.3f}", f"{on.times:.3f} (damage {with_error(on)})"))
    for name, scale, amounts in (
        ("MiB of weights read for a decoded token", 2**20, {n: c.bytes_per_token for n, c in outcome.costs.items()}),
        (f"10⁹ products for a prompt of {context} tokens", 1e9, {n: c.products_per_prompt for n, c in outcome.costs.items()}),
    ):
        dense, pruned = amounts["dense"], amounts["pruned"]
        rows.append((name, number(dense / scale), number(pruned / scale), f"{pruned / dense:.3f}"))
    return "\n".join(
        f"| {' | '.join(row)} |" for row in (("", "dense", "pruned", "pruned ÷ dense"), ("---", "---:", "---:", "---:"), *rows)
    )


def _notes(outcome: Outcome) -> str:
    recovered = f" {' '.join(outcome.recovery_sentence())}" if outcome.recovered else ""
    return (
        f"Perplexity is per token, at a context of {outcome.settings.context_tokens} tokens; damage is ln(pruned ÷ dense), in nats per token.{recovered} "
        "Tokens a second and peak memory are in `speed.json`, if they were measured at the end of the run."
    )
