"""Pruned models that classify sequences: their head is new on the folder of a language model, and stored with a classifier's own."""

import json
import logging
import subprocess
import sys

import pytest
import torch
from families import MODELS, random_plan, tiny_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, BitsAndBytesConfig

from pydisp.modeling import classifier_of
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

IDS = torch.randint(3, 97, (3, 9), generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 2, 1])


def tiny_pruned(name: str) -> nn.Module:
    dense = tiny_model(name, dtype=torch.float32)
    return prune_model(dense, random_plan(ModelSpec.from_model(dense), 1, (0,), (2,)))


def a_classifier(folder, name: str = "llama", labels: int = 3) -> nn.Module:
    """Converts a pruned language model, whose folder is folder/lm; the classifier's is folder/classifier."""
    tiny_pruned(name).save_pretrained(folder / "lm")
    torch.manual_seed(0)
    made = AutoModelForSequenceClassification.from_pretrained(folder / "lm", num_labels=labels)
    made.save_pretrained(folder / "classifier")
    return made


def logits_of(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("name", MODELS)
def test_a_language_model_becomes_a_classifier_that_trains_saves_and_loads(name, tmp_path, monkeypatch):
    warned = []
    monkeypatch.setattr(logging.getLogger("transformers.modeling_utils"), "warning", lambda words, *_: warned.append(words), raising=False)
    model = a_classifier(tmp_path, name)
    assert type(model) is classifier_of(model.config.model_type) and model.config.num_labels == 3
    assert any("score.weight" in words and "MISSING" in words for words in warned)  # transformers says that the head is new
    with torch.no_grad():  # the blocks are those of the pruned language model
        hidden = tiny_pruned(name).base_model(input_ids=IDS).last_hidden_state
        assert torch.equal(model.score(hidden)[:, -1], logits_of(model))
        padded = torch.cat([IDS, torch.zeros(3, 2, dtype=torch.long)], 1)  # 0 is the padding
        logits = model(input_ids=padded, attention_mask=(padded > 0).long()).logits
        torch.testing.assert_close(logits, logits_of(model), atol=1e-4, rtol=1e-4)
    model.train()(input_ids=IDS, labels=LABELS).loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters()) and model.score.weight.grad.abs().sum() > 0
    optimizer = torch.optim.SGD(model.eval().parameters(), lr=1e-3)  # evaluated: OPT's dropout draws another loss each time
    optimizer.zero_grad()
    first = model(input_ids=IDS, labels=LABELS).loss
    first.backward()
    optimizer.step()
    with torch.no_grad():
        assert model(input_ids=IDS, labels=LABELS).loss < first
    model.save_pretrained(tmp_path / "trained")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "trained")
    assert type(again) is type(model) and torch.equal(logits_of(again), logits_of(model))
    assert torch.equal(AutoModel.from_pretrained(tmp_path / "trained")(IDS)[0], model.base_model(IDS)[0])


def test_qlora_trains_a_classifier(tmp_path):
    peft = pytest.importorskip("peft", reason="peft is not installed (the extra 'peft')")
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (the extra 'quantize')")
    tiny_pruned("llama").save_pretrained(tmp_path)
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3, quantization_config=nf4)
    assert type(model.score) is nn.Linear and type(model.model.layers[1].mlp.up_proj) is bitsandbytes.nn.Linear4bit
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", target_modules="all-linear", r=2)).train()
    model(input_ids=IDS, labels=LABELS).loss.backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert any("score" in name for name in trained) and all(grad is not None and grad.isfinite().all() for grad in trained.values())


def test_the_shim_has_the_classifier(tmp_path):
    logits = logits_of(a_classifier(tmp_path))
    torch.save(IDS, tmp_path / "ids.pt")
    code = (
        "import sys, torch\nfrom transformers import AutoModelForSequenceClassification\nwith torch.no_grad():\n"
        "    model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], trust_remote_code=True)\n"
        "    print(model(torch.load(sys.argv[2])).logits.tolist())"
    )
    ran = subprocess.run([sys.executable, "-c", code, tmp_path / "classifier", tmp_path / "ids.pt"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    torch.testing.assert_close(torch.tensor(json.loads(ran.stdout)), logits)


def test_another_number_of_labels_is_told_in_one_sentence(tmp_path):
    a_classifier(tmp_path)
    with pytest.raises(ValueError, match="num_labels is not that of the checkpoint; leave num_labels out"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "classifier", num_labels=5)
    new = AutoModelForSequenceClassification.from_pretrained(tmp_path / "classifier", num_labels=5, ignore_mismatched_sizes=True)
    assert logits_of(new).shape == (3, 5)


def test_what_a_folder_lacks_is_told_in_one_sentence(tmp_path):
    a_classifier(tmp_path)
    words = "the checkpoint is that of a PydispLlamaForSequenceClassification, which has no lm_head.weight; give the folder of a language"
    with pytest.raises(ValueError, match=words):
        AutoModelForCausalLM.from_pretrained(tmp_path / "classifier")
    file = tmp_path / "classifier" / "model.safetensors"
    weights = load_file(file)
    save_file({k: t for k, t in weights.items() if k != "score.weight"}, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="score.weight are missing from the checkpoint"):  # its own head is not made new
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "classifier")
    index = "model.layers.1.attention_input.index"
    save_file({k: t for k, t in load_file(tmp_path / "lm" / "model.safetensors").items() if k != index}, file, metadata={"format": "pt"})
    (tmp_path / "classifier" / "config.json").write_bytes((tmp_path / "lm" / "config.json").read_bytes())
    with pytest.raises(ValueError, match="attention_input.index are missing"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "classifier")
