"""Cost: the work of a language model for a prompt and for a token, counted instead of timed, so the same on every machine.

cost_of(model, prompt_tokens=256).bytes_per_token
"""

from dataclasses import dataclass

from torch import nn

from pydisp.spec import decoder_layers, family_of


@dataclass(frozen=True)
class Cost:
    """The counted work of one model, the same on every machine.

    Attributes:
        bytes_per_token: bytes of weights that one decoded token reads: all except the rows of the embedding that it does not look up.
        products_per_prompt: multiplications in the linears and in causal attention for one prompt; the head counts for the last token only.
    """

    bytes_per_token: int
    products_per_prompt: int


def cost_of(model: nn.Module, prompt_tokens: int, itemsize: int | None = None) -> Cost:
    """Count the work of a causal language model, stock, pruned or plain; `itemsize`: bytes per weight, by default those of its dtype."""
    embeddings = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters(recurse=False)}
    head = model.get_output_embeddings()
    embeddings -= {id(p) for p in head.parameters()}
    read = sum(p.numel() * (itemsize or p.element_size()) for p in model.parameters() if id(p) not in embeddings)
    linears = [m for m in model.modules() if isinstance(m, nn.Linear) and m is not head]
    family = family_of(model.config, model.config.model_type.removeprefix("pydisp_"))
    writes = [
        layer.get_submodule(family.attention_write).in_features for layer in decoder_layers(model, family) if layer.self_attn is not None
    ]
    # each token attends to itself and to those before it: one product in q k^T, one with v
    attention = prompt_tokens * (prompt_tokens + 1) * sum(writes)
    products = prompt_tokens * sum(m.weight.numel() for m in linears) + head.weight.numel() + attention
    return Cost(read, products)
