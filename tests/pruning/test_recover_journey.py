"""pydisp.recover and prune(recover=True) in memory: reports before and after, and what does not match is refused."""

import copy
import json

import pytest
import torch
from tiny_text import TEXT, tiny_llama, tiny_tokenizer, write_text

import pydisp
from pydisp.pruning import RecoverySettings, corpora
from pydisp.text import Text

SETTINGS = dict(keep_ratio=0.6, ratio_of="block", method="random", batch_size=2, context_tokens=32, round_to=4)


@pytest.fixture(autouse=True)
def short_other_text(monkeypatch):
    monkeypatch.setattr(corpora, "other_text", lambda: Text("other", (TEXT[:2000].upper(),)))


@pytest.fixture
def text(tmp_path):
    return str(write_text(tmp_path / "notes.txt"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recover_in_memory(text, dtype):
    dense, tokenizer = tiny_llama(dtype=dtype), tiny_tokenizer()
    pruned, first = pydisp.prune(dense, tokenizer, text=text, **SETTINGS)
    before = copy.deepcopy(pruned.state_dict())
    recovered, report = pydisp.recover(
        pruned, tokenizer, teacher=dense, text=[text], steps=30, batch_size=2, context_tokens=32, learning_rate=1e-2
    )
    assert all(torch.equal(before[name], tensor) for name, tensor in pruned.state_dict().items())
    assert recovered.dtype == dtype and recovered.config.pydisp == pruned.config.pydisp
    rotary = recovered.model.rotary_emb.inv_freq
    assert torch.equal(rotary, dense.model.rotary_emb.inv_freq) and rotary.dtype == torch.float32
    facts = json.loads(report.to_json())["facts"]
    held = facts["result"]["perplexity"]["held-out"]
    assert facts["result"]["steps"] == 30 and facts["settings"]["steps"] == 30 and "teacher=dense" in facts["command"]
    assert held["before"] == pytest.approx(json.loads(first.to_json())["facts"]["result"]["perplexity"]["pruned"], rel=1e-4)
    assert abs(held["after"] - held["dense"]) < abs(held["before"] - held["dense"])


def test_prune_that_recovers(text):
    dense, tokenizer = tiny_llama(), tiny_tokenizer()
    recovery = RecoverySettings(steps=30, learning_rate=1e-2)
    pruned, report = pydisp.prune(dense, tokenizer, text=text, recover=recovery, **SETTINGS)
    plain, _ = pydisp.prune(dense, tokenizer, text=text, **SETTINGS)
    assert pruned.config.pydisp == plain.config.pydisp
    facts = json.loads(report.to_json())["facts"]
    assert facts["result"]["recovery"]["steps"] == 30 and "recover=RecoverySettings(steps=30" in facts["command"]
    assert any(not torch.equal(plain.state_dict()[name], tensor) for name, tensor in pruned.state_dict().items())


def test_what_does_not_match_is_refused(text, tmp_path):
    dense, tokenizer = tiny_llama(), tiny_tokenizer()
    pruned, _ = pydisp.prune(dense, tokenizer, text=text, **SETTINGS)
    for model, teacher, changes, words in (
        (pruned, tiny_llama(seed=1), {}, "the teacher llama does not match"),
        (dense, dense, {}, "this model is a llama, not a pruned model"),
        (pruned, dense, {"context_tokens": 4096}, "give more text|longer than|needs 4096|has 128 positions"),
        (pruned, dense, {"batch_size": 5000}, "a step of the recovery needs 5000"),
    ):
        with pytest.raises(ValueError, match=words):
            pydisp.recover(model, tokenizer, teacher=teacher, text=text, **{"steps": 2, "batch_size": 2, "context_tokens": 32, **changes})
