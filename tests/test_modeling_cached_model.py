"""Batches of unequal texts, read in pieces, give the logits of a plain forward over each whole text."""

import pytest
import torch
from families import MODELS, random_plan, tiny_model
from holobench_items import model_with_states
from torch import nn

from pydisp.modeling.cached_model import CachedModel, Past, can_join
from pydisp.modeling.kv_cache import cache_argument
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

LENGTHS = (3, 17, 9, 5)  # below and above the window of 6
REMOVED = {"nothing": (), "first": (0,), "full": (1, 3), "all-but-one": (0, 1, 3)}


def texts(generator):
    return [torch.randint(3, 97, (length,), generator=generator).tolist() for length in LENGTHS]


def plain(model, text):
    with torch.no_grad():
        return model(input_ids=torch.tensor([text]), use_cache=False).logits[0]


PRUNED = [(name, removed) for name in ("llama", "mistral", "gemma3_text", "opt-350m") for removed in REMOVED.values()]


@pytest.mark.parametrize(("name", "removed"), [*((name, None) for name in MODELS), *PRUNED])
def test_a_batch_that_reads_on_gives_the_logits_of_each_text_alone(name, removed, generator):
    model = tiny_model(name)
    if removed is not None:
        model = prune_model(model, random_plan(ModelSpec.from_model(model), 1, removed, (2,)))
    assert can_join(model.config)
    reader, read = CachedModel(model), texts(generator)
    prefix = reader.start()
    reader.read(prefix, torch.tensor([[7, 8]]))
    read, pasts = [[7, 8, *text] for text in read], []
    for text in read:
        past = prefix.forked()
        for piece in (text[2:-3], text[max(2, len(text) - 3) : -1]):
            if piece:
                reader.read(past, torch.tensor([piece]))
        pasts.append(past)
    batch = Past.joined(pasts)
    worst = 0.0
    for step in range(8):
        logits = reader.read(batch, torch.tensor([text[-1] for text in read])[:, None])
        assert logits.shape[:2] == (len(read), 1)
        worst = max(worst, *((logits[place, 0] - plain(model, text)[-1]).abs().max().item() for place, text in enumerate(read)))
        if step == 3:  # two texts end
            batch.keep_([0, 3], reader.device)
            read = [read[0], read[3]]
        for text in read:
            text.append(int(torch.randint(3, 97, (), generator=generator)))
    assert worst < (2e-5 if name == "gemma2" else 1e-12)  # gemma2 takes its softmax in float32


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3_text", "opt-125m"])
def test_a_past_is_repeated_and_forked_without_a_change(name, generator):
    model = tiny_model(name)
    reader, text = CachedModel(model), texts(generator)[1]
    past = reader.start()
    reader.read(past, torch.tensor([text]))
    ends = torch.randint(3, 97, (3, 4), generator=generator)
    for _ in range(2):  # the second time from the same past
        logits = reader.read(past.repeated(3), ends, keep=4)
        for end, found in zip(ends.tolist(), logits, strict=True):
            assert (found - plain(model, text + end)[-4:]).abs().max() < 1e-12
        reader.read(past.forked(), ends[:1])
    assert past.lengths == [len(text)] and past.slots == len(text)


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3_text", "opt-350m"])
def test_ends_of_unequal_texts_are_those_of_each_alone(name, generator):
    model = tiny_model(name)
    reader, before = CachedModel(model), texts(generator)
    pasts = [reader.start() for _ in before]
    for past, text in zip(pasts, before, strict=True):
        reader.read(past, torch.tensor([text]))
    past, ends = Past.joined(pasts), [[7], [5, 6, 7, 8, 9, 10, 11, 12], [4, 5], [9]]
    for _ in range(2):  # the second time from the same past
        logits, places = reader.read_ends(past.forked(), ends)
        assert logits.shape == (4, 3, 97) and places == [0, 2, 1, 0]
        for row, (text, end, place) in enumerate(zip(before, ends, places, strict=True)):
            assert (logits[row, place] - plain(model, text + end)[-1]).abs().max() < 1e-12
    assert past.lengths == list(LENGTHS) and past.slots == max(LENGTHS)


@pytest.mark.parametrize("name", ["opt-125m", "opt-350m", "llama", "gemma3_text"])
def test_padding_behind_short_ends_of_long_texts_needs_no_positions(name, generator):
    model = tiny_model(name)  # 128 positions
    reader, pasts = CachedModel(model), []
    before = [torch.randint(3, 97, (length,), generator=generator).tolist() for length in (114, 5)]
    ends = [torch.randint(3, 97, (length,), generator=generator).tolist() for length in (14, 30)]
    for text in before:
        pasts.append(reader.start())
        reader.read(pasts[-1], torch.tensor([text]))
    largest = []
    hook = model.register_forward_pre_hook(
        lambda _, __, given: largest.append(given["position_ids"].max(-1).values.tolist()), with_kwargs=True
    )
    logits, places = reader.read_ends(Past.joined(pasts), ends)
    hook.remove()
    assert places == [0, 1] and largest == [[127, 34]]
    for row, (text, end) in enumerate(zip(before, ends, strict=True)):
        assert (logits[row, row] - plain(model, text + end)[-1]).abs().max() < 1e-12


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3_text"])
def test_padding_that_no_text_needs_is_left_out_when_pasts_are_joined(name, generator):
    model = tiny_model(name)
    reader, before = CachedModel(model), texts(generator)
    pasts = [reader.start() for _ in before]
    for past, text in zip(pasts, before, strict=True):
        reader.read(past, torch.tensor([text]))
    batch = Past.joined(pasts)
    batch.keep_([3, 2, 0], reader.device)  # of 5, 9 and 3 tokens, in 17 slots
    for past in (Past.joined([batch.forked()]), Past.joined([_kept(batch, [0], reader), _kept(batch, [1, 2], reader)])):
        assert past.lengths == [5, 9, 3] and past.slots == 9 and past.cache.get_seq_length() == 9
        ids = torch.tensor([[20, 21], [22, 23], [24, 25]])
        logits = reader.read(past, ids)
        for row, text in enumerate((before[3], before[2], before[0])):
            assert (logits[row, 0] - plain(model, text + ids[row].tolist())[-1]).abs().max() < 1e-12


def _kept(past, places, reader):
    past = past.forked()
    past.keep_(places, reader.device)
    return past


def test_a_model_with_states_is_read_alone_and_forked_whole(generator):
    model = model_with_states()
    assert not can_join(model.config)
    reader, text = CachedModel(model), texts(generator)[1]
    past = reader.start()
    reader.read(past, torch.tensor([text[:8]]))
    reader.read(past.forked(), torch.tensor([[5, 6, 7]]))
    logits = reader.read(past.repeated(1), torch.tensor([text[8:]]), keep=9)
    assert (logits[0] - plain(model, text)[-9:]).abs().max() < 1e-12


def test_a_model_that_keeps_no_choice_of_logits_gives_the_last_ones(generator):
    model = tiny_model("llama")
    name = cache_argument(model)

    class Bare(nn.Module):
        config, device, get_input_embeddings = model.config, model.device, model.get_input_embeddings

        def forward(self, input_ids, past_key_values=None, use_cache=None, attention_mask=None):
            return model(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache, **{name: past_key_values})

    reader, text = CachedModel(Bare()), texts(generator)[1]
    past = reader.start()
    reader.read(past, torch.tensor([text[:8]]))
    logits = reader.read(past, torch.tensor([text[8:]]), keep=2)
    assert logits.shape == (1, 2, 97) and (logits[0] - plain(model, text)[-2:]).abs().max() < 1e-12
    logits, places = reader.read_ends(past, [[5, 6, 7]])
    assert logits.shape == (1, 1, 97) and places == [0] and (logits[0] - plain(model, text + [5, 6, 7])[-1:]).abs().max() < 1e-12


def test_a_model_without_a_cache_is_refused():
    class Plain(nn.Module):
        def forward(self, input_ids):
            raise AssertionError

    with pytest.raises(ValueError, match="Plain takes no key-value cache"):
        CachedModel(Plain())
