"""The Python API: six lines from a model to a smaller one."""

import json

import pytest
import torch
from tiny_text import TEXT, tiny_llama, tiny_tokenizer, write_model, write_text
from transformers import AutoModelForCausalLM

import pydisp
from pydisp.progress import silence
from pydisp.pruning import FolderRequest, PruneSettings, corpora, minutes, prune_to_folder
from pydisp.text import Text
from pydisp.workspace import Workspace

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


@pytest.mark.parametrize("start", ["gradient", "flap"])
def test_a_folder_by_a_search_in_bfloat16(tmp_path, start):
    model, text = write_model(tmp_path / "dense"), write_text(tmp_path / "notes.txt")
    settings, said = PruneSettings(keep_ratio=0.6, start=start, **SETTINGS), []
    request = FolderRequest(str(model), tmp_path / "out", settings, text=(str(text),), dtype="bfloat16", measures_speed=False)
    result = prune_to_folder(request, say=said.append)
    assert 0.58 < result["kept"]["block"] <= 0.6 and any("on cpu in bfloat16" in line for line in said)
    assert any(line.startswith("search: step 6 of 6, loss") for line in said)


def test_prune_in_memory_tells_its_progress_unless_silent(tmp_path, capsys):
    text = str(write_text(tmp_path / "notes.txt"))
    pydisp.prune(tiny_llama(), tiny_tokenizer(), text=text, keep_ratio=0.6, **SETTINGS)
    told = capsys.readouterr()
    assert told.out == "" and "settings: keep_ratio 0.6" in told.err and "search: step 6 of 6" in told.err and "estimate: " in told.err
    pydisp.prune(tiny_llama(), tiny_tokenizer(), text=text, keep_ratio=0.6, say=silence, **SETTINGS)
    assert capsys.readouterr() == ("", "")


def test_prune_in_memory_takes_minutes(tmp_path, monkeypatch):
    monkeypatch.setattr(minutes, "MOST_STEPS", 3)
    text, said = str(write_text(tmp_path / "notes.txt")), []
    options = dict(text=text, keep_ratio=0.6, ratio_of="block", round_to=4, say=said.append)
    _, report = pydisp.prune(tiny_llama(), tiny_tokenizer(), minutes=2, **options)
    assert json.loads(report.to_json())["facts"]["settings"]["steps"] == 3 and any("chosen for 2 minutes" in line for line in said)
    with pytest.raises(ValueError, match="steps 3 and minutes 2 exclude each other"):
        pydisp.prune(tiny_llama(), tiny_tokenizer(), minutes=2, steps=3, **options)


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


def test_a_request_takes_names_and_paths_alone(tmp_path):
    request = FolderRequest(tmp_path / "model", tmp_path / "out", PruneSettings(keep_ratio=0.5))
    assert request.model == str(tmp_path / "model")
    with pytest.raises(TypeError, match="a model in memory goes to pydisp.prune"):
        FolderRequest(tiny_llama(), tmp_path / "out", PruneSettings(keep_ratio=0.5))


def test_a_second_run_is_refused_before_anything_is_loaded(tmp_path):
    request = FolderRequest("no-such-model", tmp_path / "out", PruneSettings(keep_ratio=0.5), overwrite=True)
    with Workspace(tmp_path / "out", marker="plan.safetensors", journey="prune").claimed() as first:
        first.begin({})
        first.save_state({"step": 3})
        with pytest.raises(FileExistsError, match="another run is making"):
            prune_to_folder(request)
        assert first.load_state() == {"step": 3}
