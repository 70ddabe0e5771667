"""The softcap of logits, for the kernels of the loss and of the attention mass."""

import triton
import triton.language as tl


@triton.jit
def capped(x, cap):
    """cap * tanh(x / cap), without libdevice, which not every backend has. Near 0 its series is used, because 1 - exp would lose digits."""
    y = x / cap
    e = tl.exp(-2.0 * tl.abs(y))
    far = (1.0 - e) / (1.0 + e)
    far = tl.where(y < 0, -far, far)
    y2 = y * y
    near = y * (1.0 + y2 * (-1.0 / 3 + y2 * (2.0 / 15 + y2 * (-17.0 / 315 + y2 * (62.0 / 2835)))))
    return cap * tl.where(tl.abs(y) < 0.3, near, far)
