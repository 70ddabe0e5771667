"""The second pass: a cache of prefixes, batches and padding change nothing but rounding."""

import pytest
import torch
from families import MODELS, tiny_model

from pydisp.modeling.cached_model import CachedModel
from pydisp.toolken.head import HeadInput
from pydisp.toolken.training import second_pass
from pydisp.toolken.training.second_pass import after_documentation, cached_second_states, context_tokens

PREFIXES = [(1, 5, 9), (1, 5, 9), (4, 8, 2, 7, 30, 31, 32, 33), (6,), (4, 8, 3), (6,)]
TAILS = [(40, 41, 42), (43,), (40, 41, 42, 44, 45, 46, 47, 48), (50, 51), (52, 53, 54), (43, 44, 45, 46)]


def alone(model, prefix, tail) -> torch.Tensor:
    with HeadInput(model) as head, torch.no_grad():
        model(torch.tensor([[*prefix, *tail]]))
        return head.hidden[0, -1].float()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch_tokens", [8, 2048])
def test_each_state_is_that_of_the_whole_text_alone(tmp_path, name, batch_tokens):
    model = tiny_model(name)
    states = cached_second_states(model, PREFIXES, TAILS, tmp_path, batch_tokens=batch_tokens)
    for state, prefix, tail in zip(states, PREFIXES, TAILS, strict=True):
        torch.testing.assert_close(state, alone(model, prefix, tail), rtol=1e-5, atol=1e-5)


def test_a_model_whose_cache_cannot_be_joined_reads_whole_texts(tmp_path, monkeypatch):
    model = tiny_model("llama")
    expected = cached_second_states(model, PREFIXES, TAILS, tmp_path / "cache")
    monkeypatch.setattr(second_pass, "can_join", lambda config: False)
    monkeypatch.setattr(second_pass, "CachedModel", None)
    whole = cached_second_states(model, PREFIXES, TAILS, tmp_path / "whole")
    torch.testing.assert_close(whole, expected, rtol=1e-5, atol=1e-5)


def test_a_model_that_takes_no_logits_to_keep_is_read_too(tmp_path):
    model = tiny_model("llama")
    reader = CachedModel(model)
    reader._takes_keep = False
    past = reader.start().repeated(1)
    reader.read(past, torch.tensor([[1, 5, 9]]))
    past = past.repeated(2)
    states = after_documentation(reader, past, TAILS[:2])
    for state, tail in zip(states, TAILS[:2], strict=True):
        torch.testing.assert_close(state.float(), alone(model, (1, 5, 9), tail), rtol=1e-5, atol=1e-5)


def test_a_fork_leaves_the_prefix_for_the_next_documentation():
    model = tiny_model("mistral")  # with sliding windows, which a crop could not undo
    reader = CachedModel(model)
    past = reader.start()
    prefix = PREFIXES[2]
    reader.read(past, torch.tensor([prefix]))
    for tail in TAILS:
        state = after_documentation(reader, past.forked(), [tail])[0]
        torch.testing.assert_close(state.float(), alone(model, prefix, tail), rtol=1e-5, atol=1e-5)


def test_equal_prefixes_are_read_once(tmp_path, monkeypatch):
    model, read = tiny_model("llama", dtype=torch.float32), []
    plain = CachedModel.read

    def counted(self, past, ids, keep=1):
        read.append(tuple(ids.shape))
        return plain(self, past, ids, keep)

    monkeypatch.setattr(CachedModel, "read", counted)
    cached_second_states(model, PREFIXES, TAILS, tmp_path)
    assert read == [(1, 1), (2, 3), (1, 8), (6, 8)]  # prefixes of 1, 3 and 8 tokens, then all documentations
    read.clear()
    cached_second_states(model, PREFIXES, TAILS, tmp_path)
    assert read == []
    cached_second_states(model, PREFIXES, [*TAILS[:-1], (1, 2)], tmp_path)
    assert read


def test_nothing_to_read_is_no_error(tmp_path):
    assert len(cached_second_states(tiny_model("llama"), [], [], tmp_path)) == 0


def test_the_context_is_that_of_the_config():
    assert context_tokens(tiny_model("llama")) == 128

    class WithoutOne:
        class config:
            get_text_config = staticmethod(lambda: None)

    assert context_tokens(WithoutOne) > 10**8
