"""reinmax: 0/1 gates whose gradient to their logits is the ReinMax estimate, second-order accurate.

    draws = torch.bernoulli(torch.sigmoid(logits), generator=generator)
    gates = reinmax(logits, draws)          # equal to draws; gates.sum().backward() reaches the logits

The binary case of ReinMax (https://arxiv.org/abs/2304.08612, https://arxiv.org/abs/2410.11988 section 3.3). With pi0 = sigmoid(logits),
pi1 = (draws + sigmoid(logits / temperature)) / 2, and s[.] stopping the gradient:
    pi1' = sigmoid(s[logit(pi1) - logits] + logits);  pi2 = 2 pi1' - pi0 / 2;  gate = pi2 - s[pi2] + draws
The DISP-LLM paper prints ln(pi1) for logit(pi1). At logits 3 and a linear loss the exact gradient is 0.0452; as printed it is 0.474.
"""

import torch
from torch import Tensor

from pydisp.ops.library import FLOATS, check_number, check_tensors, define, may_read_values, no_second_derivative, refuse_transforms, wide


def reinmax(logits: Tensor, draws: Tensor, temperature: float = 1.0) -> Tensor:
    """Gates equal to `draws`, with ReinMax's gradient to `logits`.

    Args:
        logits: any shape, floating; they already include the bias that keeps everything at first (c = 3).
        draws: 0 or 1 in any real dtype, logits' shape; drawn with probability sigmoid(logits); gets no gradient.
        temperature: of the relaxation, > 0; the paper's value is 1.
    Returns: draws in logits' dtype.
    Raises: TypeError and ValueError for other kinds, dtypes, shapes and devices, for draws that are neither 0 nor 1 (on a GPU only under
        PYDISP_CHECK=1) and a temperature that is not positive; NotImplementedError under torch.func, for a forward-mode tangent
        and for a second derivative.
    """
    check_tensors("reinmax", logits=logits, draws=draws)
    check_number("reinmax", "temperature", temperature)
    if logits.dtype not in FLOATS:
        raise TypeError(f"reinmax: logits are {logits.dtype}, they must be float16, bfloat16, float32 or float64.")
    if draws.dtype.is_complex or draws.is_quantized:
        raise TypeError(f"reinmax: draws are {draws.dtype}, they must be real numbers, as of torch.bernoulli.")
    if draws.shape != logits.shape:
        raise ValueError(f"reinmax: draws have shape {tuple(draws.shape)}, logits {tuple(logits.shape)}; draw one gate for each logit.")
    if draws.device != logits.device:
        raise ValueError(f"reinmax: draws are on {draws.device}, logits on {logits.device}; move one of them.")
    if not temperature > 0:
        raise ValueError(f"reinmax: temperature is {temperature}; it must be positive, the paper uses 1.")
    refuse_transforms("reinmax", "the formula of the module's docstring", logits=logits)
    if may_read_values(draws) and not ((draws == 0) | (draws == 1)).all():
        raise ValueError("reinmax: draws hold something else than 0 and 1; take them from torch.bernoulli.")
    return _op(logits, draws, float(temperature))


def reference(logits: Tensor, draws: Tensor, temperature: float) -> Tensor:
    """What the forward means: a copy of the draws."""
    return torch.empty_like(logits, memory_format=torch.contiguous_format).copy_(draws)


def _fake(logits, draws, temperature):
    return logits.new_empty(logits.shape)


def _setup_context(ctx, inputs, output):
    logits, draws, ctx.temperature = inputs
    ctx.save_for_backward(logits, draws)


def backward_reference(grad: Tensor, logits: Tensor, draws: Tensor, temperature: float) -> Tensor:
    """The gradient to the logits, in their dtype, contiguous."""
    value, drawn = logits.to(wide(logits.dtype)), draws.to(wide(logits.dtype))
    # sigmoid(-t) for 1 - sigmoid(t): the difference loses every digit at large logits
    kept = (drawn + torch.sigmoid(value / temperature)) / 2
    dropped = ((1 - drawn) + torch.sigmoid(-value / temperature)) / 2
    slope = 2 * kept * dropped - torch.sigmoid(value) * torch.sigmoid(-value) / 2
    return (grad * slope).to(logits.dtype).contiguous()


def _backward_fake(grad, logits, draws, temperature):
    return logits.new_empty(logits.shape)


def _backward(ctx, grad):
    return _backward_op(grad, *ctx.saved_tensors, ctx.temperature), None, None


_op = define(
    "reinmax(Tensor logits, Tensor draws, float temperature) -> Tensor",
    reference=reference,
    fake=_fake,
    backward=_backward,
    setup_context=_setup_context,
)
# An op of its own, because autograd through this computation would ignore the stops s[.] of the formula.
_backward_op = define(
    "reinmax_backward(Tensor grad, Tensor logits, Tensor draws, float temperature) -> Tensor",
    reference=backward_reference,
    fake=_backward_fake,
    backward=no_second_derivative("reinmax", "the formula of the module's docstring"),
)
