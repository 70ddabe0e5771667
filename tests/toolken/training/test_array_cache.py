"""ArrayCache: what is on the disk at the end does not depend on stops before."""

import signal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pydisp.progress import Interrupted, silence
from pydisp.toolken.training import array_cache
from pydisp.toolken.training.array_cache import ArrayCache, batches_of_similar_length, digest_of

BATCHES = [[4, 0], [3], [1, 2]]


def values(items):
    index = torch.tensor(items).float()
    return {"one": index * 10, "two": torch.stack([index, -index], 1).double()}


def filled(folder, read=values, identity=None, **changes):
    return ArrayCache(folder, identity or {"seed": 0}, 5).filled(BATCHES, read, say=silence, title="test", **changes)


def test_rows_stand_at_their_items(tmp_path):
    arrays = filled(tmp_path / "new" / "cache")
    assert torch.equal(arrays["one"], torch.tensor([0.0, 10, 20, 30, 40]))
    assert torch.equal(arrays["two"], torch.tensor([[0.0, 0], [1, -1], [2, -2], [3, -3], [4, -4]]))
    assert arrays["two"].dtype == torch.float32


def test_a_full_cache_reads_nothing_again(tmp_path):
    first = filled(tmp_path)
    again = filled(tmp_path, read=None)
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("stop_after", [1, 2])
def test_a_stopped_pass_goes_on_to_the_same_bytes(tmp_path, stop_after):
    calls = []

    def stopping(items):
        if len(calls) == stop_after:
            raise KeyboardInterrupt
        calls.append(items)
        return values(items)

    with pytest.raises(KeyboardInterrupt):
        filled(tmp_path / "stopped", stopping, commit_every=1)
    calls.clear()

    def watching(items):
        calls.append(items)
        return values(items)

    filled(tmp_path / "stopped", watching)
    assert calls == BATCHES[stop_after:]
    filled(tmp_path / "whole")
    for name in ("one.npy", "two.npy", "progress.json"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_what_was_not_noted_is_read_again(tmp_path):
    def failing(items):
        if items == BATCHES[-1]:
            raise RuntimeError
        return values(items)

    with pytest.raises(RuntimeError):
        filled(tmp_path, failing, commit_every=2)
    assert ArrayCache(tmp_path, {"seed": 0}, 5).done == 2
    with pytest.raises(RuntimeError):
        filled(tmp_path / "rare", failing, commit_every=8)
    assert ArrayCache(tmp_path / "rare", {"seed": 0}, 5).done == 0


def test_a_stop_request_ends_after_the_batch_and_says_how_to_go_on(tmp_path, monkeypatch):
    class Asked:
        def __enter__(self):
            return lambda: True

        def __exit__(self, *_error):
            pass

    monkeypatch.setattr(array_cache, "stop_requests", Asked)
    with pytest.raises(Interrupted, match="stopped after batch 1 of 3 of test; .* --resume"):
        filled(tmp_path)
    assert ArrayCache(tmp_path, {"seed": 0}, 5).done == 1


def test_another_identity_starts_anew_and_leaves_files_of_others(tmp_path):
    filled(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    for identity, count in (({"seed": 1}, 5), ({"seed": 0}, 6)):
        filled(tmp_path)
        assert ArrayCache(tmp_path, identity, count).done == 0
        assert not list(tmp_path.glob("*.npy"))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_missing_array_starts_anew(tmp_path):
    filled(tmp_path)
    (tmp_path / "two.npy").unlink()
    assert ArrayCache(tmp_path, {"seed": 0}, 5).done == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, bad):
    with pytest.raises(ValueError, match="one of item 4 and those beside it are not finite"):
        filled(tmp_path, lambda items: {"one": torch.full((len(items),), bad)})


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 100))
def test_batches_hold_every_text_once_and_no_more_tokens_than_allowed(lengths, most):
    batches = batches_of_similar_length(lengths, most)
    assert sorted(number for batch in batches for number in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[number] for number in batch) <= most
    flat = [lengths[number] for batch in batches for number in batch]
    assert flat == sorted(flat)


def test_a_digest_tells_values_and_their_borders_apart():
    one, two = torch.tensor([1, 2]), torch.tensor([3])
    digests = {digest_of(one, two), digest_of(torch.tensor([1]), torch.tensor([2, 3])), digest_of(two, one), digest_of([1, 2])}
    assert len(digests) == 4 and digest_of(one, two) == digest_of(one.clone(), two)


def test_nothing_to_read_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there is nothing to read: no text has a position"):
        ArrayCache(tmp_path, {}, 0)


@pytest.mark.parametrize("batch", [0, 2])
def test_a_stop_request_is_not_forgotten_even_in_the_last_batch(tmp_path, batch):
    def asking(items):
        if items == BATCHES[batch]:
            signal.raise_signal(signal.SIGINT)
        return values(items)

    with pytest.raises(Interrupted, match=f"after batch {batch + 1} of 3 of test"):
        filled(tmp_path, asking)
    assert set(filled(tmp_path)) == {"one", "two"}
