"""The three texts of a run: how much of them is scored."""

import pytest
import torch
from tiny_text import tiny_llama

from pydisp.progress import silence
from pydisp.pruning.corpora import Corpora
from pydisp.text import Tokens


def tokens(name: str, count: int) -> Tokens:
    return Tokens(name, torch.arange(count) % 250 + 1, 4 * count, has_bos=False)


@pytest.mark.parametrize(("calibration", "windows"), [(200, 3 + 3 + 5), (40, 2 + 3 + 5)])  # as many of calibration as of held-out, or all
def test_windows_that_are_counted_are_those_scored(calibration, windows):
    corpora = Corpora(tokens("calibration", calibration), tokens("heldout", 60), tokens("other", 81), sha256="")
    assert corpora.evaluated_windows(16) == windows
    model = tiny_llama()
    losses = corpora.losses(model, model, 16, silence)
    assert sum(loss.dense.tokens for loss in losses.values()) == sum(loss.pruned.tokens for loss in losses.values()) == windows * 15
