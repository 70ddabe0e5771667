"""The three texts of a run: how much of them is scored."""

import pytest
import torch
from tiny_text import tiny_llama

from pydisp.progress import silence
from pydisp.pruning.corpora import Corpora
from pydisp.text import Tokens


def tokens(name: str, count: int) -> Tokens:
    return Tokens(name, torch.arange(count) % 250 + 1, 4 * count, has_bos=False)


def corpora_of(calibration: int) -> Corpora:
    return Corpora(tokens("calibration", calibration), tokens("heldout", 60), tokens("other", 81), sha256="")


@pytest.mark.parametrize(("calibration", "windows"), [(200, 3 + 3 + 5), (40, 2 + 3 + 5)])  # as many of calibration as of held-out, or all
def test_windows_that_are_counted_are_those_scored(calibration, windows):
    corpora = corpora_of(calibration)
    assert corpora.evaluated_windows(16) == windows
    model = tiny_llama()
    losses = corpora.losses(model, model, 16, silence)
    assert sum(loss.dense.tokens for loss in losses.values()) == sum(loss.pruned.tokens for loss in losses.values()) == windows * 15


@pytest.mark.parametrize(("most", "windows"), [(16, 1), (47, 2), (64, 4)])
def test_a_limit_holds_for_each_text_and_both_models(most, windows):
    corpora, said = corpora_of(200), []
    losses = corpora.losses(tiny_llama(0), tiny_llama(1), 16, said.append, most)
    counted = {kind: (on.dense.tokens, on.pruned.tokens) for kind, on in losses.items()}
    assert set(counted.values()) <= {(windows * 15,) * 2, (3 * 15,) * 2}  # the held-out text has three windows
    assert corpora.evaluated_windows(16, most) == sum(dense for dense, _ in counted.values()) // 15
    assert f"other text: other, {windows * 16} of 81 tokens" in said


def test_a_limit_that_leaves_nothing_out_changes_nothing():
    model = tiny_llama()
    assert corpora_of(200).losses(model, model, 16, silence, 1000) == corpora_of(200).losses(model, model, 16, silence)
