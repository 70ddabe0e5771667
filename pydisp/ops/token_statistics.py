"""token_statistics: the parts of a token's loss, from hidden states and an output matrix, without all logits in memory.

    lse, target_logit, *_ = torch.ops.pydisp.token_statistics(
        hidden, weight, None, None, targets, None, 1.0, weight.shape[0], -100, False, False, False, False)
    nll = lse - target_logit                                       # (N, D), (V, D), (N,) -> (N,) nats

`pydisp.ops.linear_cross_entropy` checks the arguments and makes losses of the results. This module is the op: its schema, its reference in
plain torch (a few rows of logits at a time), and its gradients, which compute the logits again except those that were kept.
"""

# N tokens, D hidden, V vocabulary, E appended rows, R tokens of one block

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pydisp.ops.cuda import on_cuda
from pydisp.ops.library import define, no_second_derivative, product, wide

# Rows of logits in memory at once. Every block has this many; the last one is filled up with zeros. A matrix product with another number
# of rows may round differently, and a token's loss must not depend on the batch around it.
BLOCK_TOKENS = 64
_WIDENED_VALUES = 1 << 20  # so many 16-bit weights are made float32 at a time: 4 MiB


class TokenStatistics(NamedTuple):
    """Each (N,), except kept; 0 elements for a statistic that was not requested."""

    lse: Tensor
    target_logit: Tensor
    mean_logit: Tensor
    entropy: Tensor
    rank: Tensor
    argmax: Tensor
    kept: Tensor


def reference(
    hidden, weight, appended, bias, targets, softcap, scale, vocab_size, ignore_index, mean, entropy, rank, argmax, keep_bytes=0
) -> TokenStatistics:
    """What token_statistics means, in plain torch.

    The logits are z = softcap * tanh(scale * (hidden @ words.T + bias) / softcap), or scale * (...) without a softcap. The words are the
    first vocab_size rows of weight, then the rows of appended. Everything is computed in float32 (float64 for float64); on CPUs that
    includes the sums of the matrix product, while elsewhere torch rounds them to hidden's dtype here.

    Args:
        hidden: (N, D) floating; any strides.
        weight: (V, D); rows from vocab_size on are padding. appended: (E, D) or None. Both in hidden's dtype.
        bias: (vocab_size + E,), or longer if weight is padded and nothing is appended, or None.
        targets: (N,) int64.
        mean, entropy, rank, argmax: whether to compute these.
        keep_bytes: at most so many bytes of products are kept, so that the backward need not compute them again; only CPUs keep any.
    Returns: lse and target_logit (0 where the target is ignore_index, NaN where it is no word), mean_logit over the words and entropy
        (nats) in float32 (float64 for float64); rank, the number of words with a larger logit than the target (0 where there is none),
        and argmax, the first word with the largest logit, in int64; kept, (words that fit into keep_bytes, N), the products of hidden
        with the first words in float32 (float64 for float64), before bias, scale and softcap. A logit of NaN makes lse, mean_logit and
        entropy NaN; rank and argmax of such a token mean nothing.
    """
    words = vocab_size + (0 if appended is None else appended.shape[0])
    statistics = TokenStatistics(*_empty(hidden, words, mean, entropy, rank, argmax, keep_bytes))
    for rows, block in _blocks(hidden):
        if statistics.kept.numel():
            products = _logits(block, weight, appended, None, None, 1.0, vocab_size)
            statistics.kept[:, rows] = products[: rows.stop - rows.start, : statistics.kept.shape[0]].t()
        logits = _logits(block, weight, appended, bias, softcap, scale, vocab_size)[: rows.stop - rows.start]
        target = targets[rows]
        is_word = (target >= 0) & (target < words) & (target != ignore_index)
        at_target = logits.gather(1, torch.where(is_word, target, 0)[:, None])
        statistics.target_logit[rows] = at_target.squeeze(1).masked_fill(~is_word, torch.nan).masked_fill(target == ignore_index, 0)
        if mean:
            statistics.mean_logit[rows] = logits.mean(1)
        if rank:
            statistics.rank[rows] = (logits > at_target).sum(1).masked_fill(~is_word, 0)
        if argmax:
            statistics.argmax[rows] = logits.argmax(1)
        highest = logits.amax(1, keepdim=True)
        below = logits.sub_(highest)
        odds = below.exp()
        total = odds.sum(1)
        statistics.lse[rows] = total.log() + highest.squeeze(1)
        if entropy:  # from the distances to the largest logit: lse - sum(p * z) would lose digits; a word of probability 0 adds nothing
            statistics.entropy[rows] = total.log() - below.mul_(odds).masked_fill_(odds == 0, 0).sum(1) / total
    return statistics


def backward_reference(
    grad_lse, grad_target, grad_mean, lse, hidden, weight, appended, bias, targets, softcap, scale, vocab_size, ignore_index,
    needs_hidden, needs_weight, needs_appended, needs_bias, kept=None, grad_entropy=None, entropy=None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of token_statistics to hidden, weight, appended and bias; one that is not needed has no elements.

    dL/dz = grad_lse * p + grad_target at the target + grad_mean / words (grad_mean may have no elements) - grad_entropy * p * (log p + entropy),
    with p = softmax(z); NaN for a token whose target is no word. `kept`, which token_statistics may have returned, only saves time and changes
    no bit; this reference ignores it.
    """
    words = vocab_size + (0 if appended is None else appended.shape[0])
    grad_hidden = torch.zeros_like(hidden, memory_format=torch.contiguous_format) if needs_hidden else hidden.new_empty(0)
    accumulator = {"dtype": wide(hidden.dtype), "device": hidden.device}
    grad_weight = torch.zeros(weight.shape if needs_weight else 0, **accumulator)
    grad_appended = torch.zeros(appended.shape if needs_appended else 0, **accumulator)
    grad_bias = torch.zeros(bias.shape if needs_bias else 0, **accumulator)
    for rows, block in _blocks(hidden):
        count = rows.stop - rows.start
        logits = _logits(block, weight, appended, bias, softcap, scale, vocab_size)
        slope = scale if softcap is None else scale * (1 - (logits[:count] / softcap).square_())
        below = logits[:count].sub_(lse[rows, None])
        slant = None if grad_entropy is None else grad_entropy[rows, None] * (below + entropy[rows, None])
        grad = below.exp_()
        if slant is None:
            grad.mul_(grad_lse[rows, None])
        else:  # a word of probability 0 has no part in the entropy, where 0 times -inf would be NaN
            grad.mul_(grad_lse[rows, None] - slant.masked_fill_(grad == 0, 0))
        target = targets[rows]
        is_word = (target >= 0) & (target < words) & (target != ignore_index)
        grad.scatter_add_(1, torch.where(is_word, target, 0)[:, None], torch.where(is_word, grad_target[rows], 0)[:, None])
        if grad_mean.numel():
            grad += grad_mean[rows, None] / words
        grad *= slope
        grad.masked_fill_((~is_word & (target != ignore_index))[:, None], torch.nan)
        if needs_bias:
            grad_bias[:words] += grad.sum(0)
        logits[count:] = 0
        grad = logits.to(hidden.dtype)
        if needs_hidden:
            gathered = product(grad[:, :vocab_size], weight[:vocab_size])
            if appended is not None:
                gathered += product(grad[:, vocab_size:], appended)
            grad_hidden[rows] = gathered[:count]
        if needs_weight:
            grad_weight[:vocab_size] += product(grad[:, :vocab_size].t(), block)
        if needs_appended:
            grad_appended += product(grad[:, vocab_size:].t(), block)
    narrow = hidden.dtype
    return grad_hidden, grad_weight.to(narrow), grad_appended.to(narrow), grad_bias.to(narrow)


def _blocks(hidden: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """For each block its slice and its rows, filled up with zeros to BLOCK_TOKENS."""
    for start in range(0, hidden.shape[0], BLOCK_TOKENS):
        rows = slice(start, min(start + BLOCK_TOKENS, hidden.shape[0]))
        yield rows, torch.nn.functional.pad(hidden[rows], (0, 0, 0, BLOCK_TOKENS - (rows.stop - rows.start)))


def _logits(block, weight, appended, bias, softcap, scale, vocab_size) -> Tensor:
    """(R, vocab_size + E) in the wide dtype, a fresh tensor."""
    parts = [weight[:vocab_size]] if appended is None else [weight[:vocab_size], appended]
    if block.device.type == "cpu" and block.dtype != wide(block.dtype):
        # torch's product of 16-bit numbers would round its sums to 16 bits, so a few words at a time are converted to float32
        count = max(1, _WIDENED_VALUES // max(1, block.shape[1]))
        block, parts = block.to(wide(block.dtype)), [words for part in parts for words in part.split(count)]
    products = [product(block, words.to(block.dtype).t()) for words in parts]
    logits = (products[0] if len(products) == 1 else torch.cat(products, 1)).to(wide(block.dtype))
    if bias is not None:
        logits += bias[: logits.shape[1]]
    if softcap is None:
        return logits if scale == 1 else logits.mul_(scale)
    return logits.mul_(scale / softcap).tanh_().mul_(softcap)


def _empty(hidden, words, mean, entropy, rank, argmax, keep_bytes) -> tuple[Tensor, ...]:
    """Room for the results."""
    tokens, dtype = hidden.shape[0], wide(hidden.dtype)
    lse, target, means, entropies = (hidden.new_empty(tokens if wanted else 0, dtype=dtype) for wanted in (True, True, mean, entropy))
    ranks, argmaxes = (hidden.new_empty(tokens if wanted else 0, dtype=torch.int64) for wanted in (rank, argmax))
    if keep_bytes and hidden.device.type != "cuda":  # the sizes may be symbols: no min and max of Python's
        keep_words = torch.sym_min(words, keep_bytes // (dtype.itemsize * torch.sym_max(tokens, 1)))
    else:
        keep_words = 0
    return lse, target, means, entropies, ranks, argmaxes, hidden.new_empty((keep_words, tokens), dtype=dtype)


def _fake(hidden, weight, appended, bias, targets, softcap, scale, vocab_size, ignore_index, mean, entropy, rank, argmax, keep_bytes=0):
    words = vocab_size + (0 if appended is None else appended.shape[0])
    return _empty(hidden, words, mean, entropy, rank, argmax, keep_bytes)


def _backward_fake(
    grad_lse, grad_target, grad_mean, lse, hidden, weight, appended, bias, targets, softcap, scale, vocab_size, ignore_index,
    needs_hidden, needs_weight, needs_appended, needs_bias, kept=None,
):  # fmt: skip
    pairs = (hidden, needs_hidden), (weight, needs_weight), (appended, needs_appended), (bias, needs_bias)
    return tuple(hidden.new_empty(tensor.shape if needed else 0) for tensor, needed in pairs)


def _setup_context(ctx, inputs, output):
    hidden, weight, appended, bias, targets, *ctx.settings = inputs
    ctx.save_for_backward(output[0], output[3], output[6], hidden, weight, appended, bias, targets)
    ctx.mark_non_differentiable(*output[4:])
    ctx.set_materialize_grads(False)  # autograd would fill zeros as large as kept


def _backward(ctx, grad_lse, grad_target, grad_mean, grad_entropy, *_):
    lse, entropy, kept, hidden, weight, appended, bias, targets = ctx.saved_tensors
    softcap, scale, vocab_size, ignore_index, *_ = ctx.settings
    grad_lse, grad_target = (torch.zeros_like(lse) if grad is None else grad for grad in (grad_lse, grad_target))
    if grad_mean is None or grad_mean.numel() == 0:
        grad_mean = lse.new_empty(0)
    needs = ctx.needs_input_grad[:4]
    given = grad_lse, grad_target, grad_mean, lse, hidden, weight, appended, bias, targets, softcap, scale, vocab_size, ignore_index, *needs
    if grad_entropy is None or grad_entropy.numel() == 0:
        grads = _backward_op(*given, kept)
    else:
        grads = _entropy_backward_op(*given, grad_entropy, entropy)
    return *(grad if needed else None for grad, needed in zip(grads, needs, strict=True)), *(None,) * 10


_ARGUMENTS = (
    "Tensor hidden, Tensor weight, Tensor? appended, Tensor? bias, Tensor targets, float? softcap, float scale, int vocab_size, "
    "int ignore_index"
)
token_statistics = define(
    f"token_statistics({_ARGUMENTS}, bool mean, bool entropy, bool rank, bool argmax, int keep_bytes=0)"
    " -> (Tensor lse, Tensor target_logit, Tensor mean_logit, Tensor entropy, Tensor rank, Tensor argmax, Tensor kept)",
    reference=reference,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
_backward_op = define(
    f"token_statistics_backward(Tensor grad_lse, Tensor grad_target, Tensor grad_mean, Tensor lse, {_ARGUMENTS}, bool needs_hidden, "
    "bool needs_weight, bool needs_appended, bool needs_bias, Tensor? kept=None) -> (Tensor, Tensor, Tensor, Tensor)",
    reference=backward_reference,
    fake=_backward_fake,
    backward=no_second_derivative("token_statistics", "F.cross_entropy of F.linear"),
)


def _entropy_backward(*args):
    return backward_reference(*args[:17], None, *args[17:])


# All gradients where one reaches the entropy, which is rare (an entropy bonus): in plain torch on every device.
_entropy_backward_op = define(
    f"token_statistics_entropy_backward(Tensor grad_lse, Tensor grad_target, Tensor grad_mean, Tensor lse, {_ARGUMENTS}, bool needs_hidden, "
    "bool needs_weight, bool needs_appended, bool needs_bias, Tensor grad_entropy, Tensor entropy) -> (Tensor, Tensor, Tensor, Tensor)",
    reference=_entropy_backward,
    fake=lambda *args: _backward_fake(*args[:17]),
    backward=no_second_derivative("token_statistics", "F.cross_entropy of F.linear"),
)


# Nothing is kept on a GPU: its kernels take no kept products.
def _kernel(hidden, *args):
    from pydisp.kernels.token_statistics import token_statistics as kernel  # triton is slow to import, so not before it is used

    return *kernel(hidden, *args[:12]), hidden.new_empty((0, hidden.shape[0]), dtype=torch.float32)


def _backward_kernel(grad_lse, *args):
    from pydisp.kernels.token_statistics import token_statistics_backward as kernel

    with torch.autocast("cuda", enabled=False):  # an open region would round float32 products to 16 bits
        return kernel(grad_lse, *args[:16])


on_cuda("token_statistics", "token_statistics", reference, kernel=_kernel)
on_cuda("token_statistics", "token_statistics_backward", backward_reference, kernel=_backward_kernel, like=4)  # hidden's dtype
