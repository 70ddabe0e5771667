"""The loss of every token: from the last hidden states, without logits in memory, if that gives the model's own loss; else from its logits.

    nll = token_nll(model, input_ids)                       # a family of `pydisp.spec.FAMILIES`, dense, gated or pruned
    nll = scorer(model, input_ids)(model, input_ids)        # any causal language model

The logits of a window are one float for each token and word: 2 GiB for 2,048 tokens and 262,144 words. `linear_cross_entropy` computes them
from hidden states and the output matrix, only a few rows at a time. But a model may change its logits in more ways than a softcap (Cohere
and Granite scale them, an adapter changes the matrix). So for an unknown model, some of its own logits are computed first, to compare.
"""

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pydisp.ops import linear_cross_entropy
from pydisp.placement import with_values
from pydisp.spec import FAMILIES

logger = logging.getLogger("pydisp")

Scorer = Callable[[nn.Module, Tensor], Tensor]
_PROBED_TOKENS = 64  # few are enough: a model that changes its logits does so for every token
_ROWS_PER_CHUNK = 1024


def token_nll(model: nn.Module, input_ids: Tensor) -> Tensor:
    """(B, T - 1) float32 nats (float64 for a float64 model): the loss of each token after the first, given those before; differentiable.

    Args:
        model: a causal language model of `pydisp.spec.FAMILIES`, dense, gated or pruned; for others see `scorer`.
        input_ids: (B, T) int64.
    """
    hidden, weight, bias, softcap = before_the_head(model, input_ids)
    nll = linear_cross_entropy(hidden[:, :-1].flatten(0, 1), weight, input_ids[:, 1:].flatten().to(weight.device), bias, softcap=softcap)
    return nll.view(len(input_ids), -1)


def token_nll_by_logits(model: nn.Module, input_ids: Tensor) -> Tensor:
    """As `token_nll`, but from the logits that the model itself returns; without gradients.

    Raises: TypeError for a model that returns none.
    """
    with torch.no_grad():
        logits = logits_of(model, input_ids)[:, :-1].flatten(0, 1)
        targets = input_ids[:, 1:].flatten().to(logits.device)
        chunks = zip(logits.split(_ROWS_PER_CHUNK), targets.split(_ROWS_PER_CHUNK), strict=True)
        return torch.cat([_cross_entropy(rows, words) for rows, words in chunks]).view(len(input_ids), -1)


def scorer(model: nn.Module, input_ids: Tensor) -> Scorer:
    """`token_nll` if it gives the model's own loss, else `token_nll_by_logits` (a log line then says so).

    Args and Raises: as `is_scored_from_hidden`.
    """
    return token_nll if is_scored_from_hidden(model, input_ids) else token_nll_by_logits


def is_scored_from_hidden(model: nn.Module, input_ids: Tensor) -> bool:
    """Whether the products of hidden states and output matrix (`before_the_head`) are the model's own logits; if not, a log line says so.

    Args:
        model: any causal language model, in evaluation mode.
        input_ids: (B, T) int64; for a model of no known family, the first 64 tokens are scored both ways.
    Raises: TypeError for a model that returns no logits.
    """
    if _is_known(model):
        return True
    few = input_ids[:1, :_PROBED_TOKENS]
    with torch.no_grad():
        logits = logits_of(model, few)
        try:
            hidden, weight, bias, softcap = before_the_head(model, few)
            difference = _difference(nn.functional.linear(hidden, weight, bias), logits, softcap)
        except Exception as error:  # an unknown model may raise anything
            difference = f"they cannot be had: {' '.join(str(error).split()) or type(error).__name__}"
    if difference is None:
        return True
    logger.warning(
        "%s is scored from its own logits, which need memory: the products of hidden states and output matrix differ from them (%s).",
        type(model).__name__,
        difference,
    )
    return False


def before_the_head(model: nn.Module, input_ids: Tensor) -> tuple[Tensor, Tensor, Tensor | None, float | None]:
    """Last hidden states (B, T, D), output matrix (V, D), its bias, and the softcap; the first three are on one device."""
    head = model.get_output_embeddings()
    hidden = model.base_model(input_ids=input_ids, use_cache=False)[0]
    softcap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    with with_values(head):
        return hidden.to(head.weight.device), head.weight, getattr(head, "bias", None), softcap


def _is_known(model: nn.Module) -> bool:
    """Whether the classes are those of a family in the table and no part has been replaced, as adapters and hooks do."""
    model_type = str(getattr(model.config, "model_type", ""))
    head = model.get_output_embeddings()
    return (
        (model_type in FAMILIES or model_type.startswith("pydisp_"))
        and type(model).__module__.startswith(("transformers.models.", "pydisp."))
        and type(head) is nn.Linear
        and not _computes_otherwise(model)
        and not _computes_otherwise(head)
    )


def _computes_otherwise(module: nn.Module) -> bool:
    """Whether a hook or a replaced `forward` may change the module's input or output; pydisp's faster linears (pydisp/modeling/linear.py) do
    not."""
    own = vars(module).get("forward")
    for_all = nn.modules.module  # torch keeps the hooks of every module in its own module of that name
    hooks = module._forward_hooks, module._forward_pre_hooks, for_all._global_forward_hooks, for_all._global_forward_pre_hooks
    return any(hooks) or own is not None and not type(own).__module__.startswith("pydisp.")


def logits_of(model: nn.Module, input_ids: Tensor) -> Tensor:
    """(B, T, V) logits as the model returns them.

    Raises: TypeError for a model that returns none.
    """
    output = model(input_ids=input_ids, use_cache=False)
    logits = output[0] if isinstance(output, tuple) else getattr(output, "logits", None)
    if not isinstance(logits, Tensor) or logits.dim() != 3 or logits.shape[:2] != input_ids.shape:
        raise TypeError(f"{type(model).__name__} gives no logits for every token; load the model with AutoModelForCausalLM.")
    return logits


def _difference(products: Tensor, logits: Tensor, softcap: float | None) -> str | None:
    """How the capped products differ from the logits, in words; None if they are equal up to rounding."""
    if softcap is not None:
        products = softcap * torch.tanh(products / softcap)
    if products.shape != logits.shape:
        return f"they are of shape {tuple(products.shape)}, the logits of shape {tuple(logits.shape)}"
    difference, largest = (
        values.nan_to_num().abs().max().item() for values in (products.to(logits) - logits, logits.masked_fill(logits.isinf(), 0))
    )
    tolerance = max(1e-4, 4 * torch.finfo(logits.dtype).eps)  # float32: orders of a sum; half precision: roundings around a softcap
    return None if difference <= tolerance * largest else f"by up to {difference:.3g} where logits go to {largest:.3g}"


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    exact = logits if logits.dtype == torch.float64 else logits.float()
    return nn.functional.cross_entropy(exact, targets, reduction="none")
