"""Quantized pruned models: the 4-bit linears of bitsandbytes, in the one of its layouts that computes at every width.

On a processor with AVX512-BF16, bitsandbytes (0.50) packs each 4-bit weight anew before its first product. It stops with an AssertionError
if there are not 32 outputs to a piece, or not a whole number of blocks of inputs, and a pruning leaves other widths. Where the widths fit,
the products are wrong after the model or an adapter on it was saved: saving unpacks the weight, but not its scales.
"""

import sys

from torch import nn


def keep_plain_layout_(model: nn.Module) -> None:
    """Keep every 4-bit linear of bitsandbytes, in place, in the layout that serves on all other processors.

    One row of 1024 to 4096 features then takes 1.1 ms instead of 0.2 ms, 128 rows the same 7.4 ms (one thread of a Zen 5).
    """
    library = sys.modules.get("bitsandbytes")  # where it was not imported, nothing of it is in the model
    if library is None:
        return
    for module in model.modules():
        if isinstance(module, library.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False
