"""`pydisp info` and `pydisp export` as users type them."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from command_line import digests, one_sentence, refused
from transformers import AutoConfig, AutoModelForCausalLM

from pydisp.loading import stored_dtype


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


def test_shares_after_tokens_were_added(pruned, run, tmp_path):
    """The decoder layers stay as they are, so their share does; a folder is compared with a dense model of the same embeddings."""
    from transformers import AutoModelForCausalLM

    before = json.loads(run("info", pruned[0], "--json")[1])
    for added in (64, 4096):
        model = AutoModelForCausalLM.from_pretrained(pruned[0])
        model.resize_token_embeddings(257 + added)
        model.save_pretrained(tmp_path / str(added))
        after = json.loads(run("info", tmp_path / str(added), "--json")[1])
        assert after["kept"]["block"] == before["kept"]["block"] < before["kept"]["total"] < after["kept"]["total"] < 1
        assert {name: after["params"][name] - before["params"][name] for name in after["params"]} == dict.fromkeys(
            ("dense", "pruned"), added * 32
        )


def test_info_refuses_damaged_indices(pruned, run, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "damaged"
    shutil.copytree(pruned[0], folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp_input.index"][0] = weights["model.layers.1.mlp_input.index"][1]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    status, printed, err = run("info", folder, "--json")
    assert (status, printed) == (1, "") and "is repeated" in one_sentence(err)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "generation_config.json", "model.safetensors.index.json"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(pruned, run, tmp_path, name):
    shutil.copytree(pruned[0], tmp_path / "d")
    (tmp_path / "d" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "d" / name)
    words = "holds no config.json" if name == "config.json" else f"{name} is a pipe; give a folder of regular files."
    for command in (
        ["info", tmp_path / "d"],
        ["export", tmp_path / "d", "--dense", "--out", tmp_path / "out"],
        ["recover", tmp_path / "d"],
    ):
        status, printed, err = run(*command)
        assert (status, printed) == (1, "") and words in one_sentence(err), command
    if name != "config.json":
        with pytest.raises(ValueError, match="is a pipe"):
            AutoModelForCausalLM.from_pretrained(tmp_path / "d")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["pydisp"].update(more=nested(100)), "the config.json of {} holds lists in lists, more than 64 deep"),
        (lambda c: c.update(hidden_size=nested(900)), "the config.json of {} holds lists in lists"),
        (lambda c: c["pydisp"]["dense_parameters"].update(total=0), "pydisp.dense_parameters is "),
        (lambda c: c["pydisp"].update(dense_layer_types=["full_attention"]), "dense_layer_types is ['full_attention']; needed are 3 names"),
        (lambda c: c["pydisp"].update(dense_layer_types=[1, 2, 3]), "dense_layer_types is [1, 2, 3]; needed are 3 names"),
        (lambda c: c["pydisp"].update(dense_layer_types=None), "dense_layer_types is None"),
        (lambda c: c["pydisp"].update(version="9" * 1000), "pydisp format is version '999"),
        (lambda c: c["pydisp"]["layers"][1]["mlp"].update(middle=1), "have wrong shapes in the checkpoint"),
    ],
    ids=range(8),
)
def test_a_config_of_other_values_is_refused_by_info(pruned, run, tmp_path, change, words):
    shutil.copytree(pruned[0], tmp_path / "d")
    values = json.loads((tmp_path / "d" / "config.json").read_text())
    change(values)
    (tmp_path / "d" / "config.json").write_text(json.dumps(values))
    status, printed, err = run("info", tmp_path / "d")
    assert (status, printed) == (1, "") and words.format(tmp_path / "d") in one_sentence(err) and "()" not in err and len(err) < 400, err


def nested(depth: int) -> list:
    value = []
    for _ in range(depth):
        value = [value]
    return value


def test_a_dtype_that_is_none_is_float32(pruned, run, tmp_path):
    shutil.copytree(pruned[0], tmp_path / "d")
    values = json.loads((tmp_path / "d" / "config.json").read_text())
    (tmp_path / "d" / "config.json").write_text(json.dumps({**values, "dtype": 10**30}))
    assert stored_dtype(AutoConfig.from_pretrained(tmp_path / "d")) == torch.float32


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


def test_export_to_pt2_is_a_program_without_pydisp(pruned, run, tmp_path, many_lines):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    status, printed, err = run("export", pruned[0], "--to", "pt2", "--out", tmp_path / "program", "--json")
    written = json.loads(printed)
    assert (
        status == 0
        and [line.partition(",")[0] for line in err.splitlines() if line.startswith("making")]
        == [f"making the program: step {n} of 5" for n in (1, 2, 3, 4, 5)]
        and written["largest_difference"] < 1e-5
        and written["params"] == pruned[1]["params"]["pruned"]
    )
    ids = AutoTokenizer.from_pretrained(tmp_path / "program")("The quick fox", return_tensors="pt")
    with torch.no_grad():
        wanted = AutoModelForCausalLM.from_pretrained(pruned[0], dtype=torch.float32)(ids["input_ids"]).logits
        program = torch.export.load(tmp_path / "program" / written["file"]).module()
        torch.testing.assert_close(program(ids["input_ids"], ids["attention_mask"]), wanted, atol=1e-4, rtol=0)
    status, _, err = run("export", pruned[0], "--to", "pt2", "--out", tmp_path / "program")
    assert status == 1 and "--overwrite" in one_sentence(err)


def test_export_to_onnx_says_what_is_missing_before_it_works(pruned, monkeypatch, tmp_path):
    from pydisp import program

    monkeypatch.setattr(program.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(program, "made_program", lambda model: pytest.fail("it worked before it looked"))
    words = "ONNX needs onnxscript and onnxruntime; pip install 'onnxscript>=0.5' 'onnxruntime>=1.20'."
    refused([(["export", pruned[0], "--to", "onnx", "--out", tmp_path / "out"], words)], tmp_path)


def test_a_tokenizer_with_code_of_its_own(model, text, prune, run, tmp_path):
    source, out, recovered, dense = (tmp_path / name for name in ("source", "out", "recovered", "dense"))
    shutil.copytree(model, source)
    (source / "tokenization_mine.py").write_text(
        "from transformers import PreTrainedTokenizerFast\nclass MineTokenizer(PreTrainedTokenizerFast):\n    pass\n"
    )
    values = json.loads((source / "tokenizer_config.json").read_text())
    values |= {"tokenizer_class": "MineTokenizer", "auto_map": {"AutoTokenizer": [None, "tokenization_mine.MineTokenizer"]}}
    values.pop("backend", None)
    (source / "tokenizer_config.json").write_text(json.dumps(values))
    assert prune(out, "--no-speed", "--trust-remote-code", name=source)[0] == 0
    recover = ["recover", out, "--teacher", source, "--text", text, "--steps", "2", "--no-speed", "--out", recovered]
    export = ["export", out, "--dense", "--out", dense]
    words = "comes with code of its own, which runs only by leave; read it, then add --trust-remote-code"
    fresh = ["prune", source, "--keep-ratio", "0.6", "--text", text, "--out", tmp_path / "again"]
    refused([(args, words) for args in (fresh, recover, export, ["eval", source, "--text", text])], tmp_path)
    for args, made in ((recover, recovered), (export, dense)):
        status, _, err = run(*args, "--trust-remote-code")
        assert status == 0 and (made / "tokenization_mine.py").is_file(), err


@pytest.mark.parametrize("command", ["prune", "recover"])
def test_what_cannot_be_saved_is_told_before_the_work(command, model, pruned, text, tmp_path, monkeypatch):
    from transformers import PreTrainedTokenizerFast

    from pydisp import workspace
    from pydisp.pruning import recovery, search

    def unsavable(*_args, **_kwargs):
        raise ValueError("this tokenizer has no vocabulary file\nmore words")

    monkeypatch.setattr(search, "start_logits", lambda *_args: pytest.fail("work began"))
    monkeypatch.setattr(recovery.Recovery, "run", lambda *_args: pytest.fail("work began"))
    args = {
        "prune": ["prune", model, "--keep-ratio", "0.6", "--ratio-of", "block"],
        "recover": ["recover", pruned[0], "--teacher", model],
    }[command]
    args += ["--text", text, "--out", tmp_path / "out", "--steps", "2", "--no-speed"]
    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedTokenizerFast, "save_pretrained", unsavable)
        refused([(args, "the tokenizer of this model cannot be saved (this tokenizer has no vocabulary file); mend it")], tmp_path)
    monkeypatch.setattr(workspace.shutil, "disk_usage", lambda _folder: SimpleNamespace(total=10**9, free=1000))
    refused([(args, "out will take 0 MiB, its disk has 0 MiB free; make room")], tmp_path)


def test_a_folder_does_not_say_how_it_was_loaded(pruned, run, tmp_path, monkeypatch):
    """HF_HUB_OFFLINE makes transformers note it in the tokenizer's config."""
    from transformers import AutoTokenizer

    from pydisp.pruning import folder

    load = folder.load_tokenizer
    monkeypatch.setattr(folder, "load_tokenizer", lambda name, **k: _as_offline(load(name, **k)))
    assert run("export", pruned[0], "--dense", "--out", tmp_path / "dense")[0] == 0
    for made in (pruned[0], tmp_path / "dense"):
        values = json.loads((made / "tokenizer_config.json").read_text())
        assert not {"local_files_only", "is_local"} & values.keys() and values["eos_token"] == "<|endoftext|>"
        assert AutoTokenizer.from_pretrained(made)("fox").input_ids == AutoTokenizer.from_pretrained(pruned[0])("fox").input_ids


def _as_offline(tokenizer):
    tokenizer.init_kwargs["local_files_only"] = True
    return tokenizer


def test_an_empty_name_is_not_the_current_folder(pruned, model, text, monkeypatch, tmp_path):
    for folder in (pruned[0], model):  # either would be taken
        monkeypatch.chdir(folder)
        usage = [["info", ""], ["export", "", "--dense", "--out", tmp_path / "out"], ["speed", ""]]
        refused([(args, "the name of the folder is empty") for args in usage], tmp_path, status=2)
        prune = ["prune", "", "--keep-ratio", "0.5", "--text", text, "--out", tmp_path / "out"]
        refused([(prune, "model is ''; give a"), (["eval", "", "--text", text], "model is ''; give a")], tmp_path)
        refused([(["eval", model, "--text", ""], "text is ['']; give a file, a folder")], tmp_path)


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
        *((["info", folder], f"the config.json of {folder} is no JSON ") for folder in nothing),
    ]
    refused(cases, tmp_path)
    usage = [(["export", model, "--out", out], "add --dense, --to pt2 or --to onnx")]
    usage.append((["export", model, "--dense", "--to", "pt2", "--out", out], "--dense and --to pt2 are two forms"))
    usage.append((["export", model, "--to", "tflite", "--out", out], "tflite"))
    refused(usage, tmp_path, status=2)
