"""`pydisp recover` and `pydisp prune --recover`: a folder of the same form and plan, whole or not at all, the same bytes after any kill."""

import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import FAST, call, digests, one_sentence, refused
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from tiny_text import PARTLY_ON_DISK, write_model

from pydisp.plan import PruningPlan
from pydisp.pruning import minutes, recovery

MOMENTS = int(os.environ.get("PYDISP_KILLS") or 2)  # each takes a process; 20 and more before a release
QUICK = ["--steps", "5", "--learning-rate", "0.01"]


@pytest.fixture(scope="module")
def recovered(pruned, model, text, tmp_path_factory):
    """A recovered folder and the JSON of the command that made it."""
    out = tmp_path_factory.mktemp("recovered") / "out"
    status, printed, err = call("recover", pruned[0], "--teacher", model, "--text", text, "--out", out, *QUICK, "--no-speed", "--json")
    assert status == 0, err
    return out, json.loads(printed), err


def test_the_folder_has_the_same_form_and_plan(pruned, recovered):
    out, result, err = recovered
    names, before = ({p.name for p in folder.iterdir() if p.suffix != ".svg"} for folder in (out, pruned[0]))  # it has no search of its own
    assert names == before
    for name in ("plan.safetensors", "pydisp.yaml", "tokenizer.json", "config.json", "modeling_pydisp.py"):
        assert (out / name).read_bytes() == (pruned[0] / name).read_bytes(), name
    assert PruningPlan.load(out / "plan.safetensors").digest() == result["plan_digest"] == pruned[1]["plan_digest"]
    assert result["kept"] == pruned[1]["kept"] and result["recovery"]["steps"] == 5 and result["recovery"]["seconds"] > 0
    before, after = load_file(pruned[0] / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys() and any((before[name] != after[name]).any() for name in before)
    card = (out / "README.md").read_text()
    assert "pydisp recover DIR --out RECOVERED --teacher tiny --steps 5" in card and "pydisp prune tiny --out DIR" in card
    report = json.loads((out / "report.json").read_text())
    assert "Recovery" in json.dumps(report) and "recovery: step 5 of 5, loss" in err
    for path in out.iterdir():
        assert str(out.parent).encode() not in path.read_bytes(), path.name


def test_both_cards_state_what_the_dense_models_card_does(pruned, model, text, tmp_path):
    dense, small, better = (tmp_path / name for name in ("dense", "small", "better"))
    shutil.copytree(model, dense)
    (dense / "README.md").write_text("---\nlicense: mit\nbase_model: lab/dense\n---\n")
    given = ["--text", text, "--context", "32", "--evaluation-tokens", "320", "--no-speed"]
    assert call("prune", dense, "--plan", pruned[0] / "plan.safetensors", "--out", small, *given)[0] == 0
    assert call("recover", small, "--teacher", dense, "--text", text, "--out", better, *QUICK, "--no-speed")[0] == 0
    for folder in (small, better):
        data = ModelCard.load(folder / "README.md").data
        assert (data.license, data.base_model, len(data.eval_results)) == ("mit", "lab/dense", 2)


def test_minutes_choose_the_steps_and_the_command_records_them(pruned, model, text, tmp_path, monkeypatch):
    monkeypatch.setattr(minutes, "MOST_STEPS", 4)  # the tiny model has time for thousands
    out, again = tmp_path / "out", tmp_path / "again"
    given = ["recover", pruned[0], "--teacher", model, "--text", text, "--evaluation-tokens", "320", "--no-speed"]
    status, printed, err = call(*given, "--out", out, "--minutes", "3", "--json")
    assert status == 0 and "chosen for 3 minutes: 4 steps of recovery" in err
    assert json.loads(printed)["recovery"]["steps"] == 4 and json.loads(printed)["damage"]["tokens"] <= 320
    command = (out / "README.md").read_text()
    assert "--steps 4" in command and "--evaluation-tokens 320" in command and "minutes" not in command
    assert call(*given, "--out", again, "--steps", "4")[0] == 0
    assert (again / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
    status, _, err = call(*given, "--out", tmp_path / "both", "--minutes", "3", "--steps", "4")
    assert status == 1 and "steps 4 and minutes 3 exclude each other" in one_sentence(err)


def test_a_teacher_that_is_partly_on_disk_teaches_the_same(recovered, pruned, model, text, tmp_path):
    pytest.importorskip("accelerate")
    places = tmp_path / "map.json"
    places.write_text(json.dumps(PARTLY_ON_DISK))
    given = ["recover", pruned[0], "--teacher", model, "--text", text, *QUICK, "--no-speed", "--device-map", places]
    status, _, err = call(*given, "--out", tmp_path / "out")
    assert status == 0, err
    assert digests(tmp_path / "out")["model.safetensors"] == digests(recovered[0])["model.safetensors"]


def test_it_loads_like_any_pruned_folder(recovered, run):
    assert run("info", recovered[0], "--json")[0] == 0


def test_a_stopped_recovery_goes_on_to_the_same_bytes(pruned, recovered, model, text, tmp_path, monkeypatch):
    out = tmp_path / "out"
    args = ["recover", pruned[0], "--teacher", model, "--text", text, "--out", out, *QUICK, "--no-speed"]
    step = recovery.Recovery._step

    def stop(self):
        step(self)
        if self.progress.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(recovery.Recovery, "_step", stop)
    status, _, err = call(*args)
    assert status == 130 and "stopped after step 3 of 5 of the recovery; repeat the command with --resume" in one_sentence(err)
    assert not out.exists()
    monkeypatch.undo()
    status, _, err = call(*args, "--resume", "--seed", "1")
    assert status == 1 and "had recovery.seed 0, this command has 1" in one_sentence(err)
    status, _, err = call(*args, "--resume")
    assert status == 0 and "resuming after step 3 of 5 of the recovery" in err
    assert digests(out) == digests(recovered[0])


def test_prune_recovers_what_recover_would(pruned, model, text, tmp_path):
    """With a bfloat16 checkpoint the stage starts from the same weights as the folder has."""
    args = ["--steps", "5", "--learning-rate", "0.01", "--batch-size", "2", "--context", "32"]
    assert call("recover", pruned[0], "--teacher", model, "--text", text, "--out", tmp_path / "a", *args, "--no-speed")[0] == 0
    status, printed, err = call(
        "prune", model, "--keep-ratio", "0.6", "--ratio-of", "block", "--text", text, "--out", tmp_path / "b", *FAST, "--no-speed",
        "--recover", "--recover-steps", "5", "--recover-learning-rate", "0.01", "--json",
    )  # fmt: skip
    assert status == 0, err
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    result = json.loads(printed)
    assert result["recovery"]["steps"] == 5 and result["plan_digest"] == pruned[1]["plan_digest"]
    assert "--recover --recover-steps 5 --recover-learning-rate 0.01" in (tmp_path / "b/README.md").read_text()


@pytest.mark.parametrize(
    ("given", "recorded", "used"),
    [
        (["--method", "magnitude", "--no-bfloat16"], "--no-recover-bfloat16", False),
        (["--method", "magnitude", "--no-bfloat16", "--recover-bfloat16"], "--recover-bfloat16", True),
    ],
)
def test_the_command_repeats_the_dtype_of_the_recovery(model, text, tmp_path, given, recorded, used):
    common = ["--keep-ratio", "0.6", "--ratio-of", "block", "--text", text, "--no-speed", "--context", "32", "--round-to", "4"]
    status, printed, err = call("prune", model, *common, *given, "--recover", "--recover-steps", "2", "--out", tmp_path / "out", "--json")
    assert status == 0, err
    assert json.loads(printed)["recovery"]["bfloat16"] is used and f" {recorded} " in (tmp_path / "out/README.md").read_text()


def test_other_ways(pruned, model, text, tmp_path):
    pytest.importorskip("peft")
    more = ["--lora-rank", "2", "--cross-entropy", "0.5", "--no-bfloat16", "--quiet"]
    args = ["recover", pruned[0], "--teacher", model, "--text", text, *QUICK, "--no-speed"]
    assert call(*args, "--out", tmp_path / "lora", *more[:-1])[0] == 0
    assert call(*args, "--out", tmp_path / "head", "--no-head")[0] == 0
    assert "--lora-rank 2 --no-head --cross-entropy 0.5 --no-bfloat16" in (tmp_path / "lora/README.md").read_text()
    assert "lora" not in " ".join(load_file(tmp_path / "lora/model.safetensors"))


def test_bad_input_is_told_in_one_sentence_before_anything_is_written(pruned, model, text, tmp_path):
    other = write_model(tmp_path / "other", seed=1)
    short = tmp_path / "short.txt"
    short.write_text("a few words only")
    folder, out = pruned[0], tmp_path / "out"
    common = ["--text", text, "--out", out, "--steps", "5", "--no-speed"]
    torn, mixed = (Path(shutil.copytree(folder, tmp_path / name)) for name in ("torn", "mixed"))
    (torn / "report.json").unlink()
    replace(PruningPlan.load(mixed / "plan.safetensors"), model_digest="0" * 64).save(mixed / "plan.safetensors")
    cases = [
        (["recover", folder, "--teacher", other, *common], "the teacher other does not match: its digest is"),
        (["recover", folder, *common], "was made from tiny, which cannot be loaded by this name; give it with --teacher"),
        (["recover", folder, "--teacher", model, "--text", short, "--out", out], "needs 32; give more text"),
        (["recover", folder, "--teacher", model, *common, "--batch-size", "9999"], "a step of the recovery needs 9999"),
        (["recover", folder, "--teacher", model, *common, "--context", "4096"], "the model has 128 positions"),
        (["recover", folder, "--teacher", model, *common, "--cross-entropy", "2"], "cross_entropy is 2.0"),
        (["recover", folder, "--teacher", model, "--text", text, "--out", out, "--steps", "0"], "steps is 0"),
        (["recover", folder, "--teacher", model, *common, "--resume"], "there is nothing to resume"),
        (["recover", model, "--teacher", model, *common], "that is not pruned"),
        (["recover", tmp_path / "none", "--teacher", model, *common], "there is no folder"),
        (["recover", torn, "--teacher", model, *common], "report.json of"),
        (["recover", mixed, "--teacher", model, *common], "are of two prunings"),
        (["recover", folder, "--teacher", model, "--text", text, "--out", other, "--overwrite"], "not the output of an earlier"),
    ]
    refused(cases, tmp_path)
    misused = [(["prune", model, "--keep-ratio", "0.5", "--out", out, "--recover-steps", "5"], "--recover-steps is for a recovery")]
    refused(misused, tmp_path, status=2)


def test_lora_without_peft_is_told_before_the_search(model, text, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    args = ["prune", model, "--keep-ratio", "0.6", "--ratio-of", "block", "--text", text, "--out", tmp_path / "out", *FAST]
    status, _, err = call(*args, "--recover", "--recover-lora-rank", "2")
    assert status == 1 and "LoRA needs the library peft; install it with" in one_sentence(err) and "step 1" not in err
    assert not list(tmp_path.iterdir())
