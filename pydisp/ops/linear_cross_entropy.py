"""linear_cross_entropy: the loss of every token from its hidden state, without the logits of a whole batch in memory.

    linear_cross_entropy(hidden, lm_head.weight, targets)                            # (B, T, D), (V, D), (B, T) -> (B, T) nats
    linear_cross_entropy(hidden, lm_head.weight, targets, reduction="mean").backward()

It is built on the op `pydisp.ops.token_statistics`, which gives log-sum-exp, target logit and further statistics on request, each with a
gradient where one exists. The backward computes the logits again, except on CPUs those of the first words, which are kept. The result
of a token does not depend on the batch around it.
"""

# N tokens (all dimensions of targets flattened), D hidden, V vocabulary, E appended rows

from typing import NamedTuple

import torch
from torch import Tensor

from pydisp.ops.library import FLOATS, call, check_flags, check_number, check_tensors, may_read_values, refuse_transforms
from pydisp.ops.token_statistics import TokenStatistics, token_statistics

# On CPUs the forward keeps up to so many bytes of products, so that the backward need not compute them again; small problems keep all.
# More would be a little faster, and would hold more memory between forward and backward.
KEEP_BYTES = 76 << 20
_SUM_TOKENS = 1024  # losses are summed in rows of this length, whatever the batch
REDUCTIONS = ("none", "sum", "mean", "buckets")


class TokenLoss(NamedTuple):
    """The result of linear_cross_entropy if more than the loss is requested; None for what was not. Shapes are those of targets."""

    loss: "Tensor | BucketLoss"  # reduced as asked
    lse: Tensor | None  # log-sum-exp of the logits; differentiable
    entropy: Tensor | None  # of the whole distribution, nats; differentiable
    rank: Tensor | None  # int64: words with a larger logit than the target; -1 where the target is ignore_index
    argmax: Tensor | None  # int64: the first word with the largest logit (float64 products may round equal words apart: here and in rank)


class BucketLoss(NamedTuple):
    """Sums over the tokens of each bucket; no gradients."""

    sum: Tensor  # (num_buckets,) float64, nats
    sum_squares: Tensor  # (num_buckets,) float64
    count: Tensor  # (num_buckets,) int64
    correct: Tensor  # (num_buckets,) int64: the most likely word is the target


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    *,
    appended: Tensor | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    vocab_size: int | None = None,
    reduction: str = "none",
    buckets: Tensor | None = None,
    num_buckets: int | None = None,
    return_lse: bool = False,
    return_entropy: bool = False,
    return_rank: bool = False,
    return_argmax: bool = False,
) -> Tensor | BucketLoss | TokenLoss:
    """-log softmax(hidden @ weight.T + bias)[target]: F.cross_entropy of F.linear, one loss per token unless reduced.

    Args:
        hidden: (..., D) float16, bfloat16, float32 or float64; any strides. Autocast casts it and the matrices as it does for F.linear.
        weight: (V, D) in hidden's dtype.
        targets: (...) integers, words or ignore_index.
        bias: (V,) in hidden's dtype; with appended (vocab_size + E,).
        appended: (E, D) in hidden's dtype: more words, numbered vocab_size, vocab_size + 1, ..., such as tool tokens (ToolkenGPT,
            https://arxiv.org/abs/2305.11554, section 3.1). weight and bias then get no gradient.
        softcap: logits become softcap * tanh(logits / softcap) (Gemma 2, https://arxiv.org/abs/2408.00118, section 2), or None.
        logit_scale: multiplies the logits, bias included, before the softcap.
        ignore_index: tokens with this target have loss 0 and count in no mean, sum or bucket.
        label_smoothing: in [0, 1]: this share of the target's weight is spread over all words, as in F.cross_entropy.
        z_loss: adds z_loss * lse**2 (PaLM, https://arxiv.org/abs/2204.02311, section 5).
        vocab_size: rows of weight from this number on are padding; by default all V rows are words.
        reduction: "none", "sum", "mean" (over the tokens that count; NaN if there are none) or "buckets".
        buckets: (...) integers, only for "buckets": each token's bucket in [0, num_buckets); tokens with a negative number are left out.
        num_buckets: only for "buckets": the number of buckets, from 1 to 2**31.
        return_lse, return_entropy, return_rank, return_argmax: return these too; the result is then a TokenLoss. A backward through the
            entropy (an entropy bonus) is in plain torch on every device, and slower.
    Returns: the loss in nats, float32 (float64 for float64), shaped like targets or a scalar. With "buckets" a BucketLoss: float64 sums in
        the order of the tokens, so that a repetition gives the same bits. Gradients flow to hidden, weight, bias and appended, once.
    Raises: TypeError and ValueError for arguments that do not fit. On CPUs, and with PYDISP_CHECK=1 everywhere, also for a target that is
        no word or a bucket number from num_buckets on; elsewhere these make the loss or the sums NaN. NotImplementedError for a second or
        forward-mode derivative and under torch.func.
    """
    tensors = {"hidden": hidden, "weight": weight, "targets": targets, "bias": bias, "appended": appended, "buckets": buckets}
    check_tensors("linear_cross_entropy", ("bias", "appended", "buckets"), **tensors)
    refuse_transforms("linear_cross_entropy", "F.cross_entropy of F.linear", **tensors)
    check_flags(
        "linear_cross_entropy", return_lse=return_lse, return_entropy=return_entropy, return_rank=return_rank, return_argmax=return_argmax
    )
    hidden, weight, bias, appended = _autocast(hidden, weight, bias, appended)
    vocab_size = weight.shape[0] if vocab_size is None and weight.dim() else vocab_size
    _check_tensors(hidden, weight, targets, bias, appended, vocab_size)
    _check_options(softcap, logit_scale, label_smoothing, z_loss, ignore_index, reduction, targets, buckets, num_buckets)
    words = vocab_size + (0 if appended is None else appended.shape[0])
    if appended is not None:
        weight, bias = weight.detach(), None if bias is None else bias.detach()

    # int64 before anything is compared: uint8 would turn -100 and sizes above 255 into other numbers
    shape, targets, buckets = targets.shape, targets.reshape(-1).long(), None if buckets is None else buckets.reshape(-1).long()
    if targets.numel() and may_read_values(targets):
        _check_values(targets, ignore_index, words, buckets, num_buckets)
    statistics = TokenStatistics(
        *call(
            token_statistics, (hidden, weight, appended, bias), hidden.reshape(targets.shape[0], hidden.shape[-1]), weight, appended, bias,
            targets, softcap, float(logit_scale), vocab_size, ignore_index, label_smoothing > 0, return_entropy, return_rank,
            return_argmax or reduction == "buckets",
            KEEP_BYTES if reduction != "buckets" and _has_backward(hidden, weight, bias, appended) else 0,
        )
    )  # fmt: skip
    counted = targets != ignore_index
    loss = statistics.lse - (1 - label_smoothing) * statistics.target_logit
    if label_smoothing > 0:
        loss = loss - label_smoothing * statistics.mean_logit
    if z_loss:
        loss = loss + z_loss * statistics.lse.square()
    loss = torch.where(counted, loss, 0)

    if reduction == "none":
        loss = loss.view(shape)
    elif reduction == "buckets":
        loss = _by_bucket(loss.detach(), statistics.argmax == targets, counted, buckets, num_buckets)
    else:
        total = _sum_in_order(loss)
        loss = (total if reduction == "sum" else total / counted.sum()).to(loss.dtype)
    if not (return_lse or return_entropy or return_rank or return_argmax):
        return loss
    return TokenLoss(
        loss,
        statistics.lse.view(shape) if return_lse else None,
        statistics.entropy.view(shape) if return_entropy else None,
        statistics.rank.masked_fill(~counted, -1).view(shape) if return_rank else None,
        statistics.argmax.view(shape) if return_argmax else None,
    )


def _has_backward(*leaves: Tensor | None) -> bool:
    """Whether a gradient may be needed, as far as that is known before the graph exists."""
    return torch.is_grad_enabled() and any(leaf is not None and leaf.requires_grad for leaf in leaves)


def _sum_in_order(loss: Tensor) -> Tensor:
    """(N,) to a float64 scalar. Rows of a fixed length are summed first, because torch splits one long sum among its threads."""
    rows = -(-loss.shape[0] // _SUM_TOKENS)
    return torch.nn.functional.pad(loss.double(), (0, rows * _SUM_TOKENS - loss.shape[0])).view(rows, _SUM_TOKENS).sum(1).sum()


def _by_bucket(loss: Tensor, is_correct: Tensor, counted: Tensor, buckets: Tensor, num_buckets: int) -> BucketLoss:
    """Sort by bucket, with left-out tokens last, then sum each run; within a bucket the tokens keep their order on every device."""
    left_out = ~counted | (buckets < 0)
    order = buckets.masked_fill(left_out, num_buckets).sort(stable=True)
    edges = torch.searchsorted(order.values, torch.arange(num_buckets + 1, device=loss.device))
    lengths = edges.diff()
    columns = torch.stack([loss.double(), loss.double().square(), is_correct.double()], 1)[order.indices]
    # the left-out tokens behind the last bucket form one more segment: segment_reduce wants every row in a segment
    sums = torch.segment_reduce(columns, "sum", lengths=torch.cat([lengths, loss.shape[0] - edges[-1:]]), unsafe=True)[:-1]
    total, squares, correct = sums.unbind(1)
    outside = (~left_out & (buckets >= num_buckets)).any()
    return BucketLoss(total.masked_fill(outside, torch.nan), squares.masked_fill(outside, torch.nan), lengths, correct.to(torch.int64))


def _autocast(hidden: Tensor, *others: Tensor | None) -> tuple[Tensor | None, ...]:
    """Cast floats as torch.autocast does for F.linear: bfloat16 hidden states with float32 weights are usual there."""
    kind = hidden.device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind) or hidden.dtype == torch.float64:
        return hidden, *others
    dtype, cast = torch.get_autocast_dtype(kind), FLOATS - {torch.float64}
    return tuple(tensor if tensor is None or tensor.dtype not in cast else tensor.to(dtype) for tensor in (hidden, *others))


def _check_tensors(hidden, weight, targets, bias, appended, vocab_size) -> None:
    if hidden.dtype not in FLOATS:
        raise TypeError(f"linear_cross_entropy: hidden is {hidden.dtype}; it must be float16, bfloat16, float32 or float64.")
    if targets.dtype not in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
        raise TypeError(f"linear_cross_entropy: targets are {targets.dtype}; they must be integers, words or ignore_index.")
    if hidden.dim() == 0 or weight.dim() != 2 or hidden.shape[-1] != weight.shape[1] or targets.shape != hidden.shape[:-1]:
        raise ValueError(
            f"linear_cross_entropy: hidden {tuple(hidden.shape)}, weight {tuple(weight.shape)} and targets {tuple(targets.shape)} "
            "must be (..., D), (V, D) and (...)."
        )
    if appended is not None and (appended.dim() != 2 or appended.shape[1] != weight.shape[1]):
        raise ValueError(
            f"linear_cross_entropy: appended is {tuple(appended.shape)}; it must be (E, {weight.shape[1]}) beside this weight."
        )
    check_number("linear_cross_entropy", "vocab_size", vocab_size, is_whole=True)
    if not 0 <= vocab_size <= weight.shape[0]:
        raise ValueError(
            f"linear_cross_entropy: vocab_size is {vocab_size}; it must lie between 0 and the {weight.shape[0]} rows of weight."
        )
    words = vocab_size + (0 if appended is None else appended.shape[0])
    if words == 0:
        raise ValueError("linear_cross_entropy: there is no word; weight needs at least one row below vocab_size.")
    sizes = {weight.shape[0], words} if appended is None else {words}
    if bias is not None and (bias.dim() != 1 or bias.shape[0] not in sizes):
        raise ValueError(f"linear_cross_entropy: bias is {tuple(bias.shape)}; it must be ({words},), one value a word.")
    for name, tensor in {"weight": weight, "bias": bias, "appended": appended}.items():
        if tensor is not None and tensor.dtype != hidden.dtype:
            raise TypeError(
                f"linear_cross_entropy: {name} is {tensor.dtype}, hidden {hidden.dtype}; cast one of them, or run under torch.autocast."
            )
    for name, tensor in {"weight": weight, "targets": targets, "bias": bias, "appended": appended}.items():
        if tensor is not None and tensor.device != hidden.device:
            raise ValueError(f"linear_cross_entropy: {name} is on {tensor.device}, hidden on {hidden.device}; move one of them.")


def _check_options(softcap, logit_scale, label_smoothing, z_loss, ignore_index, reduction, targets, buckets, num_buckets) -> None:
    numbers = {"logit_scale": logit_scale, "label_smoothing": label_smoothing, "z_loss": z_loss}
    for name, value in (numbers if softcap is None else numbers | {"softcap": softcap}).items():
        check_number("linear_cross_entropy", name, value)
    # the logits' arithmetic is float32: a smaller cap would be 0 there, which means none
    smallest, largest = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max
    if softcap is not None and not smallest <= softcap <= largest:
        raise ValueError(f"linear_cross_entropy: softcap is {softcap}; it must be a float32 number above 0, or None for no cap.")
    for name, value in {"logit_scale": logit_scale, "z_loss": z_loss}.items():
        if not abs(value) <= largest:
            raise ValueError(f"linear_cross_entropy: {name} is {value}; it must be a finite float32 number.")
    for name, value in ({"ignore_index": ignore_index} | ({} if num_buckets is None else {"num_buckets": num_buckets})).items():
        if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
            raise TypeError(f"linear_cross_entropy: {name} is {value!r}; it must be a whole number of 64 bits.")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"linear_cross_entropy: label_smoothing is {label_smoothing}; it must lie between 0 and 1.")
    if reduction not in REDUCTIONS:
        raise ValueError(f"linear_cross_entropy: unknown reduction {reduction!r}; known: {', '.join(REDUCTIONS)}.")
    if (reduction == "buckets") != (buckets is not None) or (buckets is None) != (num_buckets is None):
        raise ValueError(
            f"linear_cross_entropy: reduction={reduction!r} with buckets {'missing' if buckets is None else 'given'} and num_buckets="
            f"{num_buckets}; give both with reduction='buckets' and neither otherwise."
        )
    if buckets is None:
        return
    if not 1 <= num_buckets <= 2**31:
        raise ValueError(f"linear_cross_entropy: num_buckets is {num_buckets}; it must be from 1 to 2**31, each takes memory.")
    if buckets.dtype not in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
        raise TypeError(f"linear_cross_entropy: buckets are {buckets.dtype}; they must be integers.")
    if buckets.shape != targets.shape or buckets.device != targets.device:
        raise ValueError(
            f"linear_cross_entropy: buckets are {tuple(buckets.shape)} on {buckets.device}; they must be {tuple(targets.shape)} on "
            f"{targets.device}, as targets are."
        )


def _check_values(targets, ignore_index, words, buckets, num_buckets) -> None:
    outside = targets[((targets < 0) | (targets >= words)) & (targets != ignore_index)]
    if outside.numel():
        raise ValueError(
            f"linear_cross_entropy: target {outside[0].item()} is no word; targets must lie between 0 and {words - 1} or be "
            f"ignore_index ({ignore_index})."
        )
    if buckets is not None and (buckets.where(targets != ignore_index, -1) >= num_buckets).any():
        raise ValueError(
            f"linear_cross_entropy: bucket {buckets.where(targets != ignore_index, -1).max().item()} is outside num_buckets={num_buckets}; buckets run from 0 to "
            f"{num_buckets - 1}, negative ones leave the token out."
        )
