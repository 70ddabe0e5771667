"""`pydisp prune` as users type it: one JSON object, a folder whole or not at all, the same bytes for one seed, stops and wrong input."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import FAST, digests, one_sentence, refused
from tiny_text import PARTLY_ON_DISK, tiny_llama, tiny_tokenizer, write_model

from pydisp.plan import PruningPlan
from pydisp.progress import Interrupted
from pydisp.pruning import journey, minutes
from pydisp.pruning import run as run_module


def test_json_is_one_object_with_plain_numbers(pruned):
    out, result, _ = pruned
    for key in ("out", "method", "seed", "seconds", "steps", "tokens", "forwards", "backwards", "context_tokens"):
        assert key in result
    for key, names in {
        "kept": ("total", "block"),
        "params": ("dense", "pruned"),
        "perplexity": ("dense", "pruned"),
        "perplexity_other": ("dense", "pruned"),
    }.items():
        assert all(isinstance(result[key][name], int | float) for name in names)
    assert result["method"] == "disp" and result["steps"] == 6
    assert result["forwards"] == result["backwards"] == 6 + 16  # 16 windows of the start
    assert result["tokens"] == (6 * 2 + 16) * 32 and result["context_tokens"] == 32
    assert 0.58 < result["kept"]["block"] <= 0.6


def test_the_folder_is_whole_and_names_no_path(pruned, model):
    out, result, _ = pruned
    names = {p.name for p in out.iterdir()}
    wanted = "config.json model.safetensors modeling_pydisp.py plan.safetensors tokenizer.json README.md report.json report.md report.html pydisp.yaml speed.json"
    assert names >= set(wanted.split())
    assert not out.with_name("pruned.partial").exists()
    assert len({path.stat().st_mode for path in out.iterdir()}) == 1
    for path in out.iterdir():
        assert str(out.parent).encode() not in path.read_bytes(), path.name
        assert str(model.parent).encode() not in path.read_bytes(), path.name
    assert "pydisp prune tiny --out DIR --keep-ratio 0.6" in (out / "README.md").read_text()
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    assert PruningPlan.load(out / "plan.safetensors").digest() == result["plan_digest"]


def test_defaults_and_an_estimate_are_told_before_the_start(pruned):
    _, _, err = pruned
    assert err.index("settings: keep_ratio 0.6") < err.index("estimate: about") < err.index("search: step ")
    assert re.search(
        r"estimate: about .* of search \(from a trial of 64 tokens\), then about .* of evaluation; about [\d,]+ MiB of memory", err
    )
    assert re.search(r"search: step 6 of 6, loss \d+\.\d+, kept 0\.\d+", err)


def test_one_seed_gives_the_same_bytes_also_after_a_kill(pruned, prune, model, text, tmp_path, monkeypatch):
    out, _, _ = pruned
    assert prune(tmp_path / "again")[0] == 0
    assert digests(tmp_path / "again") == digests(out)
    # Killed hard in the middle of the search, then resumed.
    code = (
        "import inspect, os, signal, sys\nfrom pydisp import cli\nfrom pydisp.pruning import journey, search\n"
        "inspect.unwrap(journey.prune_to_folder).__kwdefaults__['checkpoint_seconds'] = 0.0\nstep = search.Search._step\n"
        "def stop(self, use):\n    if self.progress.step == 4: os.kill(os.getpid(), signal.SIGKILL)\n    step(self, use)\n"
        "search.Search._step = stop\ncli.main()"
    )
    target = tmp_path / "killed"
    args = ["prune", model, "--keep-ratio", "0.6", "--ratio-of", "block", "--text", text, "--out", target, *FAST]
    done = subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL and not target.exists() and (tmp_path / "killed.partial/search.pt").is_file()
    status, _, err = prune(target, "--seed", "1", "--resume")
    assert status == 1 and "had seed 0, this command has 1" in one_sentence(err)
    status, _, err = prune(target, "--resume")
    assert status == 0 and "resuming after step 4 of 6" in err
    assert digests(target) == digests(out)


def test_another_seed_gives_another_model(pruned, prune, tmp_path):
    assert prune(tmp_path / "other", "--seed", "1")[0] == 0
    assert digests(tmp_path / "other")["model.safetensors"] != digests(pruned[0])["model.safetensors"]


def test_resume_refuses_another_text_or_step_count(prune, tmp_path, monkeypatch):
    def stop(*_args):
        raise Interrupted("stopped")

    out = tmp_path / "out"
    monkeypatch.setattr(journey, "write_model", stop)
    assert prune(out)[0] == 130
    monkeypatch.undo()
    other = tmp_path / "other.txt"
    other.write_text((("A line of another text, long enough for a window. ") * 40 + "\n") * 12)
    for args, kwargs, message in (
        (["--steps", "7"], {}, "had steps 6, this command has 7"),
        ([], {"source": other}, "had text "),
    ):
        status, stdout, err = prune(out, *args, "--resume", **kwargs)
        assert status == 1 and stdout == "" and message in one_sentence(err)
    assert prune(tmp_path / "fresh", "--resume")[0] == 1


def test_ctrl_c_saves_and_says_how_to_resume(pruned, model, text, tmp_path):
    out = tmp_path / "out"
    args = ["prune", model, "--keep-ratio", "0.6", "--ratio-of", "block", "--text", text, "--out", out, *FAST, "--steps", "4000"]
    process = subprocess.Popen([sys.executable, "-m", "pydisp", *map(str, args)], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("search: step "):
            process.send_signal(signal.SIGINT)
            break
    err = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert "repeat the command with --resume" in one_sentence(err)
    assert not out.exists() and (tmp_path / "out.partial/search.pt").is_file()


def test_a_fresh_run_replaces_what_a_stopped_one_left(prune, tmp_path):
    partial = tmp_path / "out.partial"
    partial.mkdir()
    for name in ("search.pt", "pydisp-run.json"):
        (partial / name).write_text("old")
    assert prune(tmp_path / "out")[0] == 0
    assert not partial.exists()


BAD_RATIOS = {"0": "between 0 and 1", "1": "between 0 and 1", "-0.5": "between 0 and 1", "nan": "between 0 and 1"}


@pytest.mark.parametrize("ratio", BAD_RATIOS)
def test_a_ratio_outside_0_and_1(prune, tmp_path, ratio):
    status, out, err = prune(tmp_path / "out", "--json", ratio=ratio)
    assert (status, out) == (1, "") and BAD_RATIOS[ratio] in one_sentence(err)
    assert not list(tmp_path.iterdir())


def test_bad_input_is_told_in_one_sentence_before_anything_is_written(model, text, tmp_path):
    empty, binary, short = (tmp_path / n for n in ("empty.txt", "binary.txt", "short.txt"))
    empty.write_text("")
    binary.write_bytes(b"abc\0def" * 100)
    short.write_text("a few words only")
    config_only = tmp_path / "mamba"
    config_only.mkdir()
    (config_only / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    openelm = tmp_path / "openelm"
    openelm.mkdir()
    (openelm / "config.json").write_text(json.dumps({"model_type": "openelm", "auto_map": {"AutoConfig": "configuration_openelm.C"}}))
    markers, chat = tmp_path / "markers", tmp_path / "chat.txt"
    tiny_llama().save_pretrained(markers)
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<user>"])
    tokenizer.save_pretrained(markers)
    chat.write_text("\n\n".join(f"<user> {n} more words of a text that is long enough to be cut into windows" for n in range(40)))
    out = tmp_path / "out"
    common = ["--text", text, "--out", out, *FAST]
    cases = [
        (
            ["prune", markers, "--keep-ratio", "0.5", "--text", chat, "--out", out],
            "token id 257 ('<user>') is outside the model's vocabulary",
        ),
        (["prune", model, "--keep-ratio", "0.1", *common], "embeddings and head alone are"),
        (["prune", model, "--keep-ratio", "0.5", "--method", "magic", *common], "method is 'magic'; it must be one of: disp"),
        (["prune", model, "--keep-ratio", "0.5", "--ratio-of", "heads", *common], "ratio_of is 'heads'; it must be one of: total, block"),
        (["prune", tmp_path / "none", "--keep-ratio", "0.5", *common], "there is no model folder at"),
        (["prune", config_only, "--keep-ratio", "0.5", *common], "unknown model family 'mamba'"),
        (["prune", model, "--keep-ratio", "0.5", "--out", out, "--text", empty], "is empty"),
        (["prune", model, "--keep-ratio", "0.5", "--out", out, "--text", binary], "is a binary file"),
        (["prune", model, "--keep-ratio", "0.5", "--out", out, "--text", short, "--context", "32"], "needs 32; give more text"),
        (["prune", model, "--keep-ratio", "0.5", "--out", out, "--text", tmp_path / "nowhere"], "does not exist"),
        (["prune", model, "--keep-ratio", "0.5", *common, "--context", "4096"], "the model has 128 positions"),
        (["prune", model, "--keep-ratio", "0.5", *common, "--device", "cuda:7"], "cannot be used here"),
        (["prune", model, "--keep-ratio", "0.5", *common, "--dtype", "int8"], "unknown dtype 'int8'"),
        (["prune", model, "--keep-ratio", "0.5", *common, "--resume"], "there is nothing to resume"),
        (["prune", model, "--keep-ratio", "0.5", *common, "--steps", "0"], "steps is 0"),
        (["prune", model, "--plan", tmp_path / "no.safetensors", "--out", out], "there is no file"),
        (["prune", model, "--keep-ratio", "0.5", *common, "--round-to", "64"], "choose a smaller --round-to"),
        (["prune", model, "--keep-ratio", "0.5", "--text", text, "--out", out, "--minutes", "0.001"], "minutes are too short for one step"),
        (["prune", model, "--keep-ratio", "0.5", "--text", text, "--out", out, "--minutes", "-1"], "it must be a number above 0"),
        (["prune", model, "--keep-ratio", "0.01", "--ratio-of", "block", *common], "one narrow attention block takes"),
        (["prune", openelm, "--keep-ratio", "0.5", *common], "OpenELM is not part of transformers"),
        (["prune", model, "--keep-ratio", "0.5", *common, "--device", "meta"], "holds no values"),
        (["prune", model, "--keep-ratio", "0.5", "--text", text, "--out", tmp_path / ("x" * 300)], "whose names have at most 255 bytes"),
    ]
    refused(cases, tmp_path)
    misused = [
        (["prune", model, *common], "no --keep-ratio was given"),
        (["prune", model, "--plan", "x", "--keep-ratio", "0.5", "--out", out], "--plan and --keep-ratio exclude each other"),
        (["prune", model, "--plan", "x", "--batch-size", "2", "--out", out], "--plan and --batch-size exclude each other"),
        (["prune", model, "--plan", "x", "--config", "y", "--out", out], "--plan and --config exclude each other"),
        (["prune", model, "--keep-ratio", "0.5", "--method", "plan", *common], "give it with --plan FILE"),
        (["prune", model, "--keep-ratio", "0.5", *common, "--minutes", "3"], "--minutes and --steps exclude each other"),
    ]
    refused(misused, tmp_path, status=2)


def test_an_existing_folder_is_refused_without_overwrite(pruned, prune, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    assert "exists; choose another --out" in one_sentence(prune(out)[2])
    status, _, err = prune(out, "--overwrite")
    assert status == 1 and "not the output of an earlier prune" in one_sentence(err)
    assert (out / "precious.txt").read_text() == "mine"
    (out / "precious.txt").unlink()
    out.rmdir()
    assert prune(out, "--seed", "1")[0] == 0
    assert prune(out)[0] == 1
    assert prune(out, "--overwrite")[0] == 0
    assert digests(out) == digests(pruned[0])


def test_a_failure_while_replacing_keeps_the_old_folder(pruned, prune, tmp_path, monkeypatch):
    out = tmp_path / "out"
    status, _, err = prune(out, "--method", "random")
    assert status == 0 and re.search(r"estimate: about \d+ s of evaluation; about [\d,]+ MiB of memory, ", err)  # and no search
    before = digests(out)
    rename = Path.rename

    def fail(self, target):
        if self.name == "output":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    status, _, err = prune(out, "--method", "magnitude", "--overwrite")
    assert status == 1 and "Input/output error" in one_sentence(err) and digests(out) == before
    monkeypatch.undo()
    assert prune(out, "--method", "magnitude", "--overwrite")[0] == 0 and digests(out) != before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("method", "times"), [("wanda", 1), ("disp", 2)])
def test_a_stop_without_a_state_writes_nothing(prune, tmp_path, monkeypatch, number, method, times):
    """Of a baseline at once; of a search, which would first finish its step, at the second signal."""
    monkeypatch.setattr(run_module, "make_plan", lambda *_args, **_kwargs: [os.kill(os.getpid(), number) for _ in range(times)])
    before = signal.signal(number, lambda *_: pytest.fail("nobody caught the signal"))
    try:
        status, _, err = prune(tmp_path / "out", "--method", method)
    finally:
        signal.signal(number, before)
    assert status == 130 and "stopped; nothing was written" in one_sentence(err) and not list(tmp_path.iterdir())


def test_settings_without_an_option_are_in_the_command(prune, tmp_path):
    (tmp_path / "c.yaml").write_text("learning_rate: 0.5")
    assert prune(tmp_path / "out", "--config", tmp_path / "c.yaml")[0] == 0
    assert "--out DIR --config pydisp.yaml" in (tmp_path / "out/README.md").read_text()


def test_nan_weights_stop_the_search_before_its_first_step(run, text, tmp_path):
    folder = write_model(tmp_path / "broken", dtype=torch.float32)
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"].fill_(float("nan"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    status, out, err = run(
        "prune", folder, "--keep-ratio", "0.6", "--ratio-of", "block", "--text", text, "--out", tmp_path / "out", *FAST, "--json"
    )
    assert (status, out) == (1, "") and "a gradient at the start of the search is not finite" in one_sentence(err)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_a_full_disk_leaves_the_search_and_no_folder(prune, pruned, tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PruningPlan, "save", full)
    status, _, err = prune(tmp_path / "out")
    assert status == 1 and "the disk is full" in one_sentence(err)
    assert [p.name for p in tmp_path.iterdir()] == ["out.partial"]
    assert sorted(p.name for p in (tmp_path / "out.partial").iterdir()) == ["pydisp-run.json", "search.pt"]
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", [])
    status, _, _ = prune(tmp_path / "out", "--resume")
    assert status == 0 and digests(tmp_path / "out") == digests(pruned[0])


def test_a_model_without_memory_for_it_is_refused(prune, tmp_path, monkeypatch):
    monkeypatch.setattr("pydisp.loading.free_bytes", lambda _device: 1000)
    status, _, err = prune(tmp_path / "out")
    assert status == 1 and "there is no memory for" in one_sentence(err) and not list(tmp_path.iterdir())


def test_a_plan_can_be_applied_and_is_refused_for_another_model(pruned, run, model, text, tmp_path):
    plan = pruned[0] / "plan.safetensors"
    args = ["--plan", plan, "--text", text, "--context", "32"]
    status, out, err = run("prune", model, *args, "--out", tmp_path / "out", "--json")
    result = json.loads(out)
    assert "settings: method plan, context_tokens 32\n" in err
    assert json.loads((tmp_path / "out/report.json").read_text())["facts"]["settings"] == {"method": "plan", "context_tokens": 32}
    assert status == 0 and result["method"] == "plan" and result["steps"] == 0 and result["context_tokens"] == 32
    assert digests(tmp_path / "out")["model.safetensors"] == digests(pruned[0])["model.safetensors"]
    status, _, err = run("prune", write_model(tmp_path / "other", seed=1), *args, "--out", tmp_path / "no")
    assert status == 1 and "the plan was made for llama" in one_sentence(err) and not (tmp_path / "no").exists()


@pytest.mark.parametrize("method", ["magnitude", "wanda", "random", "layerdrop", "constrained"])
def test_every_method_makes_a_folder(prune, tmp_path, method):
    status, out, err = prune(tmp_path / "out", "--method", method, "--json")
    result, searches = json.loads(out), method == "constrained"
    assert f"method {method}" in err and (", steps 6" in err) == ("--steps 6" in (tmp_path / "out/README.md").read_text()) == searches
    assert status == 0 and result["method"] == method and 0.55 < result["kept"]["block"] <= 0.6
    assert result["steps"] == 6 * searches


def test_people_get_a_table_with_damage(prune, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    status, printed, _ = prune(tmp_path / "out", "--method", "random", "--no-speed")
    assert status == 0 and "damage," in printed and "nats" in printed and "report: " in printed
    facts = json.loads((tmp_path / "out/report.json").read_text())["facts"]["result"]
    damage = facts["damage"]
    row = next(line for line in printed.splitlines() if "held-out text" in line)
    assert f"{damage['nats']:.3f} ± {damage['standard_error']:.3f}" in row and f"{damage['tokens']:,}" in row
    assert not any("before the recovery" in line for line in printed.splitlines())


def test_config_file(prune, run, model, text, pruned, tmp_path):
    status, _, _ = run("prune", model, "--config", pruned[0] / "pydisp.yaml", "--text", text, "--out", tmp_path / "out")
    assert status == 0 and digests(tmp_path / "out")["model.safetensors"] == digests(pruned[0])["model.safetensors"]
    for content, message in (
        ("keep: 0.5", "unknown setting 'keep'"),
        ("steps: many", "steps is 'many'"),
        ("- 1", "holds no settings"),
        ("a: [", "line 1: this is no YAML"),
    ):
        (tmp_path / "c.yaml").write_text(content)
        status, _, err = run("prune", model, "--config", tmp_path / "c.yaml", "--out", tmp_path / "no", "--text", text)
        assert status == 1 and message in one_sentence(err)
    (tmp_path / "c.yaml").write_text("keep_ratio: 0.9\nratio_of: block\nmethod: random\nround_to: 4\ncontext_tokens: 32")
    status, out, _ = run(
        "prune", model, "--config", tmp_path / "c.yaml", "--keep-ratio", "0.5", "--text", text, "--out", tmp_path / "o2", "--json"
    )
    assert status == 0 and json.loads(out)["keep_ratio"] == 0.5


def test_quiet_says_nothing_and_holds_for_one_command(run, model, text, tmp_path):
    given = ["--keep-ratio", "0.6", "--ratio-of", "block", "--text", text, "--method", "random", "--context", "32", "--round-to", "4"]
    status, printed, err = run("--quiet", "prune", model, *given, "--out", tmp_path / "a", "--json")
    assert status == 0 and json.loads(printed) and err == ""
    assert "settings: " in run("prune", model, *given, "--out", tmp_path / "b")[2]


def test_a_limit_of_the_evaluation_is_told_recorded_and_repeated(pruned, prune, run, model, text, tmp_path):
    status, printed, err = prune(tmp_path / "out", "--evaluation-tokens", "70", "--json")
    assert status == 0 and json.loads(printed)["scored_tokens"] == dict.fromkeys(("heldout", "other", "calibration"), 2 * 31)
    assert "evaluation_tokens 70" in err and "64 of " in err
    assert "--context 32 --evaluation-tokens 70" in (tmp_path / "out/README.md").read_text()
    assert digests(tmp_path / "out")["model.safetensors"] == digests(pruned[0])["model.safetensors"]
    again = ["--config", tmp_path / "out/pydisp.yaml", "--text", text, "--out", tmp_path / "again"]
    assert run("prune", model, *again)[0] == 0 and digests(tmp_path / "again") == digests(tmp_path / "out")
    plan = ["--plan", tmp_path / "out/plan.safetensors", "--context", "32", "--evaluation-tokens", "70"]
    status, printed, _ = run("prune", model, *plan, "--text", text, "--out", tmp_path / "planned", "--json")
    assert status == 0 and json.loads(printed)["scored_tokens"]["heldout"] == 2 * 31
    status, _, err = prune(tmp_path / "no", "--evaluation-tokens", "31")
    assert status == 1 and "evaluation_tokens is 31, one window has 32" in one_sentence(err) and not (tmp_path / "no").exists()


def test_numbers_chosen_by_time_are_recorded_resumed_and_repeated(run, model, text, tmp_path, monkeypatch):
    monkeypatch.setattr(minutes, "MOST_STEPS", 6)  # the tiny model has time for thousands
    given = ["prune", model, "--keep-ratio", "0.6", "--ratio-of", "block", "--text", text, "--round-to", "4", "--no-speed"]
    out, stopped, again = (tmp_path / name for name in ("out", "stopped", "again"))
    status, printed, err = run(*given, "--out", out, "--minutes", "5", "--json")
    assert status == 0 and json.loads(printed)["steps"] == 6
    words = "16 windows for the start, 6 steps of search of 4 x 128 tokens, evaluation on all of each text; about "
    assert f"chosen for 5 minutes: {words}" in err
    assert err.index("chosen for") < err.index("settings: ") < err.index("estimate: ")
    command = (out / "README.md").read_text()
    assert (
        "--steps 6 --start gradient --batch-size 4 --seed 0 --round-to 4 " in command
        and "--context 128" in command
        and "minutes" not in command
    )
    numbers = ["--steps", "6", "--batch-size", "4", "--context", "128"]
    assert run(*given, *numbers, "--out", again)[0] == 0 and digests(again) == digests(out)

    def stop(*_args):
        raise Interrupted("stopped")

    monkeypatch.setattr(journey, "write_model", stop)
    assert run(*given, "--out", stopped, "--minutes", "5")[0] == 130
    monkeypatch.undo()
    status, _, err = run(*given, "--out", stopped, "--minutes", "5", "--resume")
    assert status == 0 and "chosen for" not in err and digests(stopped) == digests(out)


def test_too_little_memory_for_the_search_is_refused_before_anything_is_written(prune, tmp_path, monkeypatch):
    monkeypatch.setattr("pydisp.pruning.estimate.free_bytes_around", lambda _device: 2**20)
    status, _, err = prune(tmp_path / "out")
    assert status == 1 and re.search(r"the search needs about .* choose a shorter --context, .*--batch-size", one_sentence(err))
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_partly_on_disk_becomes_the_same_folder(pruned, prune, tmp_path):
    pytest.importorskip("accelerate")
    places = tmp_path / "map.json"
    places.write_text(json.dumps(PARTLY_ON_DISK))
    status, printed, err = prune(tmp_path / "out", "--device-map", places, "--json")
    assert status == 0 and "on cpu, disk in float32" in err and "gradient_checkpointing True" in err
    assert digests(tmp_path / "out")["model.safetensors"] == digests(pruned[0])["model.safetensors"]
    result, whole = json.loads(printed), pruned[1]
    assert result["perplexity"] == whole["perplexity"] and result["perplexity_other"] == whole["perplexity_other"]
    card = (tmp_path / "out/README.md").read_text()
    assert "--device-map map.json" in card and str(tmp_path) not in card
    status, _, err = prune(tmp_path / "no", "--device-map", "auto", "--device", "cpu")
    assert status == 1 and "--device cpu and --device-map auto exclude each other" in one_sentence(err)


@pytest.mark.parametrize("option", ["--bfloat16", "--no-bfloat16"])
def test_the_dtype_of_the_products_is_a_choice_that_the_command_repeats(prune, tmp_path, option):
    assert prune(tmp_path / "out", option)[0] == 0
    assert f" {option} " in (tmp_path / "out/README.md").read_text()
    facts = json.loads((tmp_path / "out/report.json").read_text())["facts"]
    assert facts["settings"]["bfloat16"] is (option == "--bfloat16")


def test_checkpointing_changes_no_byte_of_the_model(pruned, prune, tmp_path):
    assert prune(tmp_path / "out", "--gradient-checkpointing")[0] == 0
    assert digests(tmp_path / "out")["model.safetensors"] == digests(pruned[0])["model.safetensors"]
    assert "--gradient-checkpointing" in (tmp_path / "out/README.md").read_text()
