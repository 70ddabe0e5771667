"""The folder of a pruned model: an export is there whole or not at all, whenever it is killed."""

import json
from types import SimpleNamespace

import pytest
import torch
from killed import is_killed_at

from pydisp.pruning import folder as module
from pydisp.pruning.folder import EXPORT_FILE, export_dense


@pytest.fixture
def fake_models(monkeypatch):
    """Loading and saving without torch's threads, which a fork would not survive; `content[0]` is what is saved."""
    content = ["old"]
    config = SimpleNamespace(model_type="pydisp_llama", pydisp={"plan_digest": "0123"}, dtype=torch.float32)
    model = SimpleNamespace(config=SimpleNamespace(model_type="llama"), parameters=lambda: iter(()))

    def save(_model, _tokenizer, path, _say):
        path.mkdir()
        for name in ("config.json", "model.safetensors"):
            (path / name).write_text(content[0])

    for name, value in (
        ("load_pruned_config", lambda _: config),
        ("load_model", lambda *_, **__: None),
        ("load_tokenizer", lambda *_, **__: None),
    ):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module, "to_dense", lambda _: model)
    monkeypatch.setattr(module, "save_model", save)
    return content


def holds(out, content):
    return {p.name: p.read_text() for p in out.iterdir() if p.name != EXPORT_FILE} == {
        "config.json": content,
        "model.safetensors": content,
    } and json.loads((out / EXPORT_FILE).read_text())["plan_digest"] == "0123"


@pytest.mark.parametrize("replaces", [False, True])
def test_a_killed_export_leaves_no_half_folder_and_the_next_one_serves(tmp_path, fake_models, replaces):
    for step in range(1000):
        out = tmp_path / str(step) / "out"
        out.parent.mkdir()
        fake_models[0] = "old"
        if replaces:
            export_dense(tmp_path, out)
        fake_models[0] = "new"
        killed = is_killed_at(step, lambda out=out: export_dense(tmp_path, out, overwrite=replaces))
        assert not out.exists() or holds(out, "new") or (replaces and holds(out, "old"))
        if not killed:
            assert step > 15 and holds(out, "new") and [p.name for p in out.parent.iterdir()] == ["out"]
            return
        fake_models[0] = "next"
        export_dense(tmp_path, out, overwrite=True)
        assert holds(out, "next") and [p.name for p in out.parent.iterdir()] == ["out"]


def test_an_export_replaces_nothing_but_an_export(tmp_path, fake_models):
    out = tmp_path / "out"
    out.mkdir()
    (out / "plan.safetensors").write_text("a pruned model")
    with pytest.raises(FileExistsError, match="choose another --out, or replace it with --overwrite"):
        export_dense(tmp_path, out)
    with pytest.raises(FileExistsError, match="not the output of an earlier export"):
        export_dense(tmp_path, out, overwrite=True)
    assert (out / "plan.safetensors").read_text() == "a pruned model" and [p.name for p in tmp_path.iterdir()] == ["out"]
