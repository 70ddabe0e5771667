"""How near a kernel must come to float64, and products that do not depend on a row's place."""

import numpy as np
import torch
from torch import Tensor

TOLERANCE = 4e-6  # of float32 results: some roundings of the largest value, because sums run in another order


def assert_as_good(result: Tensor, reference: Tensor, gold: Tensor, tolerance: float = TOLERANCE) -> None:
    """`|result - gold| <= |reference - gold| + tolerance`, relative to the largest of gold; infinities and NaN at the same places.

    Args:
        result: the kernel's, on any device; reference: plain torch in float32 on the same inputs; gold: plain torch in float64.
    """
    result, reference = result.double().cpu(), reference.double()
    assert result.shape == gold.shape
    finite = gold.isfinite()
    assert torch.equal(result[~finite].nan_to_num(2.0), gold[~finite].nan_to_num(2.0))
    if not finite.any():
        return
    scale = max(1.0, gold[finite].abs().amax().item())
    own = (reference - gold)[finite].abs().amax().item()
    assert (result - gold)[finite].abs().amax().item() <= own + tolerance * scale


def use_placeless_products(monkeypatch) -> None:
    """Let tl.dot under the interpreter round from float64: numpy's float32 product gives a row other bits in another place, a GPU's not."""
    import interpreter
    from triton.runtime import interpreter as upstream

    def create_dot(self, a, b, accumulator, *_):
        product = interpreter._value(a).astype(np.float64) @ interpreter._value(b).astype(np.float64)
        return upstream.TensorHandle((product + accumulator.data).astype(np.float32), accumulator.dtype.scalar)

    interpreter.install()
    monkeypatch.setattr(upstream.InterpreterBuilder, "create_dot", create_dot)
