"""Probe, from models and passages to figures."""

import json

import numpy as np
import pytest
import torch
import transformers
from families import random_plan
from tiny_text import tiny_llama, tiny_tokenizer, write_model
from transformers import AttentionInterface, AttentionMaskInterface

import pydisp
from pydisp.legal_probe import Exclusion, concept_set, probe, shipped
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

WORDS = "The keeper of the lamp may light it. No keeper shall sell the oil; if the oil is low, the keeper fetches more of it."
RECORDS = [
    {
        "id": f"lamp-{n}",
        "text": f"({n}) {WORDS[n:]}",
        "spans": [{"concept": "act", "phrase": "light it"}, {"concept": "ban", "phrase": "sell the oil"}, {"concept": "act", "phrase": "fetches more"}],
    }
    for n in range(6)
]  # fmt: skip
GROUPS = [{"groups": {"deeds": ["act", "ban"]}}]


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def found(tokenizer):
    return probe(tiny_llama(0), tokenizer, RECORDS + GROUPS, against=[tiny_llama(1), tiny_llama(0)])


def test_a_concepts_share_is_the_mean_of_its_passages_by_the_papers_ratio(found, tokenizer):
    model = tiny_llama(0)
    model.set_attn_implementation("eager")
    shares = []
    for record in RECORDS:
        text = record["text"]
        encoded = tokenizer(text, return_offsets_mapping=True)
        with torch.no_grad():
            weights = torch.cat([one[0] for one in model(torch.tensor([encoded["input_ids"]]), output_attentions=True).attentions]).double()
        places = range(len(encoded["input_ids"]))
        letters = [text[slice(*encoded["offset_mapping"][n])] for n in places]
        counted = torch.tensor([n > 0 and letters[n] not in " .;,()" for n in places])  # a token is a byte
        inside = torch.zeros(len(places), dtype=torch.bool)
        for phrase in ("light it", "fetches more"):
            inside[text.index(phrase) : text.index(phrase) + len(phrase)] = True
        shares.append((weights[:, :, inside & counted].sum((1, 2)) / weights[:, :, counted].sum((1, 2))).numpy())
    assert found.figures["act"].share.value == pytest.approx(np.mean(shares), abs=1e-6)
    np.testing.assert_allclose(found.figures["act"].head_share, np.mean(shares, 0), atol=1e-6)
    assert found.figures["act"].passages == 6 and found.figures["act"].spans == 12


def test_the_json_has_what_it_promises(found):
    result = json.loads(json.dumps(found.as_dict(), allow_nan=False, default=float))
    assert list(result["concepts"]) == ["act", "ban", "deeds"] and result["groups"] == {"deeds": ["act", "ban"]}
    one = result["concepts"]["deeds"]
    assert {
        "share",
        "enrichment",
        "interval",
        "p",
        "percentile",
        "chance",
        "sink",
        "entropy",
        "passages",
        "heads",
        "layers",
        "delta",
    } <= one.keys()
    assert [(head["layer"], head["head"]) for head in one["heads"]] == [(layer, head) for layer in range(3) for head in range(4)]
    assert {"share", "enrichment", "percentile", "q"} <= one["heads"][0].keys()
    assert list(one["delta"]) == ["llama (2)", "llama (3)"] == result["against"]
    assert {"share", "percentile", "moments", "layers", "heads", "standing_out"} <= one["delta"]["llama (2)"].keys()
    assert result["layers"][0] == {"layer": 0, "heads": 4, "key_heads": 2, "kind": "full", "window": None} and result["skipped"] == []
    assert one["share"] == pytest.approx(result["concepts"]["act"]["share"] + result["concepts"]["ban"]["share"])


def test_differences_are_those_of_the_references(found):
    first, same = found.comparisons
    assert first["act"].share.value != 0 and same["act"].share.value == 0 and same["act"].share.p == 1
    alone = probe(tiny_llama(1), tiny_tokenizer(), RECORDS + GROUPS)
    assert first["act"].share.value == pytest.approx(found.figures["act"].share.value - alone.figures["act"].share.value)


def test_one_seed_gives_the_same_figures_and_another_other_draws(tokenizer):
    same = [json.dumps(probe(tiny_llama(0), tokenizer, RECORDS, null_spans=10, seed=seed).as_dict()) for seed in (3, 3, 4)]
    assert same[0] == same[1] != same[2]


def test_later_counts_no_own_query(tokenizer, found):
    later = probe(tiny_llama(0), tokenizer, RECORDS, queries="later")
    assert later.figures["act"].share.value != found.figures["act"].share.value
    assert later.as_dict()["queries"] == "later"
    last = [{**RECORDS[0], "spans": [{"concept": "act", "start": 119, "end": 120}, {"concept": "ban", "phrase": "sell the oil"}]}]
    text = last[0]["text"]
    last[0]["spans"][0] |= {"start": len(text) - 3, "end": len(text) - 1}
    last[0]["text"] = text[:-1]
    kept = probe(tiny_llama(0), tokenizer, last, queries="later")
    assert list(kept.figures) == ["act", "ban"] and not kept.skipped
    last[0]["spans"][0]["start"] += 1
    kept = probe(tiny_llama(0), tokenizer, last, queries="later")
    assert list(kept.figures) == ["ban"] and kept.skipped == (("llama", "lamp-0", "act", "no later token sees it"),)


def test_only_chosen_concepts_and_exclusions_count(tokenizer):
    only = probe(tiny_llama(0), tokenizer, RECORDS, concepts=["ban"])
    assert list(only.figures) == ["ban"]
    none = probe(tiny_llama(0), tokenizer, RECORDS, concepts=["ban"], exclusion=Exclusion(()))
    more = probe(tiny_llama(0), tokenizer, RECORDS, concepts=["ban"], exclusion=Exclusion(tokens=("e",)))
    assert len({round(one.figures["ban"].share.value, 9) for one in (only, none, more)}) == 3


def test_long_passages_are_refused_or_cut(tokenizer):
    long = [{**RECORDS[0], "text": f"{RECORDS[0]['text']}{' More words follow here.' * 10}{RECORDS[1]['text']}", "spans": [{"concept": "act", "phrase": "light it", "occurrence": "all"}]}]  # fmt: skip
    lines = []
    with pytest.raises(ValueError, match=r"passage 1, passage 'lamp-0' has \d+ tokens, llama reads 128 at most; shorten it.*--windows"):
        probe(tiny_llama(0), tokenizer, long)
    found = probe(tiny_llama(0), tokenizer, long, windows=True, say=lines.append)
    assert found.cut == {"llama": {"lamp-0": 2}} and found.figures["act"].spans == 2 and "1 passage is cut" in lines[0]
    short = tiny_llama(1)
    short.config.max_position_embeddings = 100
    both = probe(tiny_llama(0), tokenizer, long, against=short, windows=True)
    assert both.cut["llama"] == both.cut["llama (2)"] and both.comparisons[0]["act"].passages == 1
    one_window = [{**long[0], "spans": [{"concept": "act", "phrase": "light it", "occurrence": 1}]}]
    assert probe(tiny_llama(0), tokenizer, one_window, windows=True).cut == {"llama": {"lamp-0": 1}}
    longer = [{**long[0], "spans": [{"concept": "act", "start": 3, "end": 250}, {"concept": "ban", "phrase": "light it", "occurrence": 2}]}]
    found = probe(tiny_llama(0), tokenizer, longer, windows=True)
    assert list(found.figures) == ["ban"] and found.skipped[0][1:3] == ("lamp-0", "act") and "128 tokens" in found.skipped[0][3]
    with pytest.raises(ValueError, match="no span fits into the 128 tokens that are read at a time"):
        probe(tiny_llama(0), tokenizer, [{**longer[0], "spans": longer[0]["spans"][:1]}], windows=True)


def test_a_pruned_model_is_compared_where_both_have_heads(tokenizer, tmp_path):
    dense = tiny_llama(0)
    pruned = prune_model(dense, random_plan(ModelSpec.from_model(dense), 1, (1,), ()))
    found = probe(pruned, tokenizer, RECORDS, against=dense)
    assert [one.layer for one in found.reading.layers] == [0, 2]
    assert found.comparisons[0]["act"].layers == (0, 2) and len(found.comparisons[0]["act"].heads) == 8
    pruned.save_pretrained(tmp_path / "pruned")
    tokenizer.save_pretrained(tmp_path / "pruned")
    again = probe(str(tmp_path / "pruned"), None, RECORDS, dtype="float32")
    assert again.figures["act"].share.value == pytest.approx(found.figures["act"].share.value, abs=1e-6)


def test_names_of_models_are_loaded(tmp_path):
    write_model(tmp_path / "m", dtype=torch.float32)
    found = probe(str(tmp_path / "m"), None, concept_set(RECORDS), against=str(tmp_path / "m"))
    assert found.comparisons[0]["act"].share.value == 0 and found.facts["dtype"] == "float32"


def test_nothing_is_left_behind(tokenizer):
    model = tiny_llama(0)
    before = set(AttentionInterface._global_mapping), set(AttentionMaskInterface._global_mapping), model.config._attn_implementation
    probe(model, tokenizer, RECORDS[:1])
    assert (
        set(AttentionInterface._global_mapping),
        set(AttentionMaskInterface._global_mapping),
        model.config._attn_implementation,
    ) == before


def test_the_shipped_passages_are_what_the_docs_say():
    """Seven kinds of 16 passages; 1,100 characters are fewer than 300 tokens of a tokenizer with a usual vocabulary."""
    found = shipped()
    assert len(found.concepts) == 7 and len(found.passages) == 112
    kinds = {name: [one for one in found.passages if {span.concept for span in one.spans} == {name}] for name in found.concepts}
    assert all(len(passages) == 16 for passages in kinds.values())
    assert all(1 <= len(one.spans) <= 3 and one.source for one in found.passages)
    assert all(len(one.text) <= 1100 for one in found.passages)


def unloadable(*_, **__):
    raise AssertionError("weights were loaded")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(queries="some"), "queries is 'some'; it must be one of: all, later"),
        (dict(null_spans=0), "null_spans is 0"),
        (dict(null_spans=True), "null_spans is True"),
        (dict(seed=-1), "seed is -1"),
        (dict(exclusion="none"), "exclusion is 'none'; give an Exclusion"),
        (dict(passages="missing.jsonl"), "there is no file missing.jsonl"),
        (dict(passages=[]), "passages"),
        (dict(concepts=["acts"]), "has no concept 'acts' .did you mean 'act'"),
        (dict(passages=[{**RECORDS[0], "spans": [{"concept": "act", "phrase": "sing"}]}]), "passage 1: the phrase 'sing' does not occur"),
        (dict(passages=[{**RECORDS[0], "text": "a <|endoftext|> b", "spans": [{"concept": "act", "phrase": "a <|endoftext|>"}]}]), "holds '<|endoftext|>', a special token"),
        (dict(tokenizer=None), "tokenizer"),
        (dict(device="cpu"), "device"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused_before_the_model_runs(options, words, tokenizer):
    model = tiny_llama(0)
    model.model.forward = unloadable
    with pytest.raises((ValueError, TypeError)) as error:
        probe(**{"model": model, "tokenizer": tokenizer, "passages": RECORDS, **options})
    assert words.replace(".did", "(did") in str(error.value), error.value


def test_the_stub_of_these_tests_would_be_called(tokenizer):
    model = tiny_llama(0)
    model.model.forward = unloadable
    with pytest.raises(AssertionError, match="weights were loaded"):
        probe(model, tokenizer, RECORDS)


def test_a_reference_that_cannot_be_recorded_is_refused_before_weights_are_loaded(tokenizer, tmp_path):
    config = transformers.BloomConfig(vocab_size=257, hidden_size=16, n_layer=1, n_head=2)
    config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)  # there are no weights
    model = tiny_llama(0)
    model.model.forward = unloadable
    with pytest.raises(ValueError, match="BloomForCausalLM has no attention that goes through"):
        probe(model, tokenizer, RECORDS, against=str(tmp_path))


def test_a_model_that_cannot_be_recorded_says_why(tokenizer):
    config = transformers.BloomConfig(vocab_size=257, hidden_size=16, n_layer=1, n_head=2)
    with pytest.raises(ValueError, match="BloomForCausalLM has no attention that goes through"):
        probe(transformers.BloomForCausalLM(config), tokenizer, RECORDS)


def test_a_tokenizer_of_another_model_is_refused(tokenizer):
    torch.manual_seed(0)
    small = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2))  # fmt: skip
    with pytest.raises(ValueError, match=r"gives the id \d+, the model has 50 embeddings"):
        probe(small, tokenizer, RECORDS)


def test_the_module_is_reached_from_the_package():
    assert pydisp.legal_probe.probe is probe
