"""Models in half precision are worked on in float32 on a CPU: not without a word, and not without memory for it."""

import pytest
import torch
from tiny_text import tiny_llama

from pydisp.pruning import precision
from pydisp.pruning.precision import working_model


def test_a_copy_in_float32_is_told_of_and_the_model_stays_as_it_is():
    model, said = tiny_llama(dtype=torch.bfloat16), []
    working = working_model(model, said.append)
    assert model.dtype == torch.bfloat16 and working.dtype == torch.float32 and said == [
        "a CPU works in float32: a copy of the model takes 0 MiB beside it"
    ]  # fmt: skip
    assert all(torch.equal(a, b.float()) for a, b in zip(working.state_dict().values(), model.state_dict().values(), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_dtypes_need_no_copy(dtype):
    model, said = tiny_llama(dtype=dtype), []
    assert working_model(model, said.append) is model and not said


def test_too_little_memory_for_the_copy_is_refused(monkeypatch):
    model = tiny_llama(dtype=torch.float16)
    needed = 4 * sum(p.numel() for p in model.parameters())
    monkeypatch.setattr(precision, "free_bytes", lambda _device: needed - 1)
    with pytest.raises(ValueError, match="a copy of this float16 model needs .* are free; load it with dtype=torch.float32"):
        working_model(model)
    monkeypatch.setattr(precision, "free_bytes", lambda _device: needed)
    assert working_model(model).dtype == torch.float32
