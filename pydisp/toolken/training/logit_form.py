"""LogitForm: what a model does to the products of its head before they are its logits: a scale, a softcap, or nothing.

    form = logit_form(model, ids)             # Gemma 2: LogitForm(scale=1.0, softcap=30.0)
    form(hidden @ rows.T)

Read from the config, then compared with what the model makes of known products: rows that learn under another form would fire too often, or never.
"""

import math
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor, nn

from pydisp.token_nll import logits_of
from pydisp.toolken.head import HeadHook

_TOKENS = 4  # few are enough: a model that changes its logits does so for every token
_LARGEST = 100.0  # of the products that are put in; the logits of random or small models are so small that a softcap would not show


@dataclass(frozen=True)
class LogitForm:
    """logits = softcap * tanh(scale * products / softcap), or scale * products without a softcap.

    Args:
        dtype: of the head's output, to which `rounded` rounds.
    """

    scale: float = 1.0
    softcap: float | None = None
    dtype: torch.dtype = torch.float32

    def __call__(self, products: Tensor) -> Tensor:
        logits = products if self.scale == 1 else self.scale * products
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def rounded(self, products: Tensor) -> Tensor:
        """The logits in float32 with the rounding that a ToolkenHead and the model give them: what is compared with words is compared as there."""
        return self(products.to(self.dtype)).float()


class _KnownProducts(HeadHook):
    """Puts numbers from -100 to 100 in place of what the head writes: `products`, as the model gets them."""

    products: Tensor | None = None

    def _called(self, module, inputs, output):
        row = torch.linspace(-_LARGEST, _LARGEST, output.shape[-1], device=output.device).to(output.dtype)
        self.products = row.expand(output.shape).clone()
        return self.products.clone()  # a model may change its logits in place


def logit_form(model: nn.Module, ids: Tensor) -> LogitForm:
    """The form of a model's logits.

    Args:
        model: in evaluation mode, without a ToolkenHead.
        ids: (1, L) int64, some tokens that it can read; the first 4 are read.
    Raises: ValueError if neither scale nor softcap of its config explains them.
    """
    with torch.no_grad(), _KnownProducts(model) as head:
        logits = logits_of(model, ids[:, :_TOKENS].to(model.get_input_embeddings().weight.device))
    if head.products is None or head.products.shape != logits.shape:
        raise ValueError(
            f"{type(model).__name__} makes its logits otherwise than by its head, so no rows can stand beside it; use another model."
        )
    products = head.products.to(logits)
    errors = {form: (form(products) - logits).nan_to_num().abs().max().item() for form in _forms(model.config.get_text_config())}
    best = min(errors, key=errors.get)  # of equally good ones the plainest
    if errors[best] > max(1e-5, 4 * torch.finfo(logits.dtype).eps) * _LARGEST:
        raise ValueError(
            f"the logits of {type(model).__name__} are neither the products of its head nor these with the scale or softcap of its config; "
            "use a model whose logits come out of its head."
        )
    return replace(best, dtype=head.products.dtype)


def _forms(config) -> list[LogitForm]:
    """The plain form first: a value of a config may be there without being used."""
    scales = [1.0, _number(config, "logit_scale"), _inverse(_number(config, "logits_scaling")), _number(config, "lm_head_multiplier")]
    caps = [None, _number(config, "final_logit_softcapping")]
    forms = [LogitForm(scale, cap) for cap, scale in product(caps, scales) if scale is not None]
    return list(dict.fromkeys(forms))


def _number(config, name: str) -> float | None:
    value = getattr(config, name, None)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) and value > 0 else None


def _inverse(value: float | None) -> float | None:
    return None if value is None else 1 / value
