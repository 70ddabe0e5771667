"""The modes of torch in a journey do not depend on those of its caller, which come back afterwards."""

import contextlib

import pytest
import torch

from pydisp.torch_modes import usual_modes


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)


MODES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default dtype": lambda: default_dtype(torch.bfloat16),
    "default device": lambda: torch.device("meta"),
}


def modes() -> tuple:
    autocast = torch.is_autocast_enabled("cpu")
    return (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), autocast, torch.get_default_dtype(), torch.get_default_device())


@pytest.mark.parametrize("mode", MODES)
def test_modes_are_the_usual_ones_inside_and_the_callers_afterwards(mode):
    usual = modes()
    with MODES[mode]():
        callers = modes()
        assert callers != usual
        with usual_modes():
            assert modes() == usual
        assert modes() == callers
        with pytest.raises(ValueError), usual_modes():
            raise ValueError
        assert modes() == callers


def test_as_a_decorator():
    @usual_modes()
    def product():
        return torch.ones(2, 2, requires_grad=True) @ torch.ones(2, 2)

    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        made = [product() for _ in range(2)]
    assert all(x.requires_grad and x.dtype == torch.float32 and not x.is_inference() for x in made)
