"""The loss of every token of a supported model without its logits in memory: base model, then `linear_cross_entropy`."""

from torch import Tensor, nn

from pydisp.ops import linear_cross_entropy


def token_nll(model: nn.Module, input_ids: Tensor) -> Tensor:
    """(B, T - 1) float32 nats: each token after the first, given those before it; differentiable.

    Args:
        model: a causal language model of `pydisp.spec.FAMILIES`, dense, gated or pruned (other families may scale their logits).
        input_ids: (B, T) int64.
    """
    hidden = model.base_model(input_ids=input_ids, use_cache=False).last_hidden_state[:, :-1]
    head = model.get_output_embeddings()
    softcap = getattr(model.config, "final_logit_softcapping", None)
    nll = linear_cross_entropy(hidden.flatten(0, 1), head.weight, input_ids[:, 1:].flatten(), getattr(head, "bias", None), softcap=softcap)
    return nll.view(hidden.shape[:2])
