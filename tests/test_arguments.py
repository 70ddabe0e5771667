"""Arguments in Python: what is no number, no switch or no function is named in one sentence."""

import numpy as np
import pytest
import torch

from pydisp.arguments import check_number, check_receiver, check_switch, check_whole, plain


@pytest.mark.parametrize("number", [np.int64(3), np.float32(0.5), torch.tensor(3), torch.tensor(0.5), np.bool_(True)])
def test_numbers_of_numpy_and_torch_become_plain(number):
    assert type(plain(number)) in (int, float, bool) and plain(number) == number


@pytest.mark.parametrize("value", [None, "3", [3], np.zeros(2), torch.zeros(1)])
def test_all_else_stays_as_it_is(value):
    assert plain(value) is value


@pytest.mark.parametrize("value", ["3", 2.0, True, None, 0, [1]])
def test_no_whole_number(value):
    check_whole("steps", 1, 1)
    with pytest.raises(ValueError) as error:
        check_whole("steps", value, 1)
    assert str(error.value) == f"steps is {value!r}; it must be a whole number of at least 1."


@pytest.mark.parametrize("value", ["0.5", True, None, [0.5]])
def test_no_number(value):
    check_number("minutes", 1, "be a number above 0")
    check_number("minutes", 0.5, "be a number above 0")
    with pytest.raises(ValueError) as error:
        check_number("minutes", value, "be a number above 0")
    assert str(error.value) == f"minutes is {value!r}; it must be a number above 0."


def test_no_switch_and_no_receiver():
    check_switch("bfloat16", False)
    check_receiver(print)
    with pytest.raises(ValueError, match="bfloat16 is 'no'; it must be True or False"):
        check_switch("bfloat16", "no")
    with pytest.raises(TypeError, match="say is None; give a function that takes a line"):
        check_receiver(None)
