"""`pydisp info` and `pydisp export` as users type them."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import digests, one_sentence, refused


def test_info(pruned, run):
    out, result, _ = pruned
    status, printed, _ = run("info", out, "--json")
    description = json.loads(printed)
    assert (
        status == 0 and description["indices_valid"] and description["kept"] == result["kept"] and description["params"] == result["params"]
    )
    assert len(description["layers"]) == 3 and set(description["layers"][0]) == {
        "attention_input",
        "attention_output",
        "mlp_input",
        "mlp_middle",
        "mlp_output",
    }
    status, printed, _ = run("info", out)
    assert status == 0 and "kept: " in printed


def test_info_refuses_damaged_indices(pruned, run, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "damaged"
    shutil.copytree(pruned[0], folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp_input.index"][0] = weights["model.layers.1.mlp_input.index"][1]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    status, printed, err = run("info", folder, "--json")
    assert (status, printed) == (1, "") and "is repeated" in one_sentence(err)


def test_a_folder_of_the_name_demo_is_the_folder(pruned, run, tmp_path, monkeypatch):
    shutil.copytree(pruned[0], tmp_path / "demo")
    monkeypatch.chdir(tmp_path)
    status, printed, err = run("info", "demo", "--json")
    assert status == 0 and json.loads(printed)["plan_digest"] == pruned[1]["plan_digest"], err


def test_export_dense_is_the_same_function(pruned, run, tmp_path, text):
    out = tmp_path / "dense"
    status, printed, _ = run("export", pruned[0], "--dense", "--out", out, "--json")
    assert status == 0 and json.loads(printed)["model_type"] == "llama" and len({path.stat().st_mode for path in out.iterdir()}) == 1
    figures = [json.loads(run("eval", f, "--text", text, "--context", "32", "--json")[1])["nats_per_token"] for f in (out, pruned[0])]
    assert figures[0] == pytest.approx(figures[1], abs=1e-5)
    assert run("export", pruned[0], "--dense", "--out", out)[0] == 1
    status, printed, _ = run("export", pruned[0], "--dense", "--json")
    assert status == 0 and digests(Path(json.loads(printed)["out"])) == digests(out)
    assert run("export", pruned[0], "--dense", "--out", out, "--overwrite")[0] == 0


def test_an_empty_name_is_not_the_current_folder(pruned, model, text, monkeypatch, tmp_path):
    for folder in (pruned[0], model):  # either would be taken
        monkeypatch.chdir(folder)
        usage = [["info", ""], ["export", "", "--dense", "--out", tmp_path / "out"], ["speed", ""]]
        refused([(args, "the name of the folder is empty") for args in usage], tmp_path, status=2)
        prune = ["prune", "", "--keep-ratio", "0.5", "--text", text, "--out", tmp_path / "out"]
        refused([(prune, "the name of the model is empty"), (["eval", "", "--text", text], "the name of the model is empty")], tmp_path)
        refused([(["eval", model, "--text", ""], "the name of a source of text is empty")], tmp_path)


def test_bad_input_is_told_in_one_sentence_and_writes_nothing(model, tmp_path):
    nothing = []
    for content in ("{}", "[1]", "{", '{"model_type": null}'):
        nothing.append(tmp_path / f"nothing-{len(nothing)}")
        nothing[-1].mkdir()
        (nothing[-1] / "config.json").write_text(content)
    out = tmp_path / "out"
    cases = [
        (["info", model], "is not pruned"),
        (["info", tmp_path / "none"], "there is no folder"),
        (["export", model, "--dense", "--out", out], "is not pruned"),
        *((["info", folder], f"the config.json of {folder} is no JSON that names a model_type") for folder in nothing),
    ]
    refused(cases, tmp_path)
    refused([(["export", model, "--out", out], "add --dense")], tmp_path, status=2)
