"""The FLOP counter of torch counts the products of upcast_linear, whichever of the two was imported first."""

import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pydisp import ops


@pytest.mark.parametrize("needs", [(False, False), (True, False), (False, True), (True, True)])
def test_forward_and_the_gradients_asked_for(needs):
    x, weight, bias = torch.randn(2, 3, 5), torch.randn(4, 5), torch.randn(4, requires_grad=True)
    x.requires_grad_(needs[0])
    weight.requires_grad_(needs[1])
    with FlopCounterMode(display=False) as counter:
        ops.upcast_linear(x, weight, bias).sum().backward()
    assert counter.get_total_flops() == (1 + sum(needs)) * 2 * 6 * 5 * 4


@pytest.mark.parametrize("first", ["pydisp.ops", "torch.utils.flop_counter"])
def test_the_flop_counter_knows_the_op_whichever_came_first(first):
    code = (
        f"import importlib, pydisp\nimportlib.import_module({first!r})\n"
        "import pydisp.ops, torch.utils.flop_counter as counter\n"
        "print({str(op) for op in counter.flop_registry} >= {'pydisp.upcast_linear', 'pydisp.upcast_linear_backward'})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"
