"""The Python API: six lines from a model to a smaller one."""

import json

import pytest
import torch
from tiny_text import TEXT, tiny_llama, tiny_tokenizer, write_model, write_text
from transformers import AutoModelForCausalLM

import pydisp
from pydisp.pruning import corpora
from pydisp.text import Text

SETTINGS = dict(ratio_of="block", steps=6, batch_size=2, context_tokens=32, round_to=4)


@pytest.fixture(autouse=True)
def short_other_text(monkeypatch):
    monkeypatch.setattr(corpora, "other_text", lambda: Text("other", (TEXT[:2000].upper(),)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_prune_save_load(tmp_path, dtype):
    model = AutoModelForCausalLM.from_pretrained(write_model(tmp_path / "dense", dtype=dtype))
    tokenizer = tiny_tokenizer()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    text = str(write_text(tmp_path / "notes.txt"))
    pruned, report = pydisp.prune(model, tokenizer, text=text, keep_ratio=0.6, **SETTINGS)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items()) and model.dtype == dtype
    assert pruned.dtype == dtype
    result = json.loads(report.to_json())["facts"]["result"]
    assert 0.58 < result["kept"]["block"] <= 0.6 and result["params"]["pruned"] == sum(p.numel() for p in pruned.parameters())
    pruned.save_pretrained(tmp_path / "pruned")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "pruned")
    ids = torch.randint(1, 257, (1, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=ids).logits, pruned(input_ids=ids).logits)


def test_a_plan_of_one_run_serves_another(tmp_path):
    model, tokenizer, text = tiny_llama(), tiny_tokenizer(), str(write_text(tmp_path / "notes.txt"))
    spec = pydisp.ModelSpec.from_model(model)
    windows = torch.randint(1, 257, (8, 32), generator=torch.Generator().manual_seed(0))
    settings = pydisp.pruning.PruneSettings(keep_ratio=0.5, method="random", **SETTINGS)
    plan = pydisp.pruning.make_plan(model, spec, windows, settings.resolved(spec, 128)).plan
    pruned, report = pydisp.prune(model, tokenizer, text=[text], keep_ratio=0.5, plan=plan, context_tokens=32)
    assert sum(p.numel() for p in pruned.parameters()) == spec.kept_total(plan)
    assert json.loads(report.to_json())["facts"]["result"]["plan_digest"] == plan.digest()


def test_unknown_attributes_of_the_package_are_named():
    with pytest.raises(AttributeError, match="no attribute 'prun'; it has "):
        pydisp.prun  # noqa: B018
