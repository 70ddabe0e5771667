"""The commands as users type them: results on standard output, one sentence for what is wrong, folders whole or not at all."""

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_text import TEXT, write_model, write_text

from pydisp import cli, speed
from pydisp.plan import PruningPlan
from pydisp.pruning import journey
from pydisp.text import Text

FAST = ["--steps", "6", "--context", "32", "--batch-size", "2", "--round-to", "4"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("texts") / "notes.txt")


@pytest.fixture(scope="module", autouse=True)
def short_journeys():
    """The help topics of Python are 380,000 tokens for a tokenizer of bytes, and peaks take three processes; nothing here waits for them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journey, "other_text", lambda: Text("other", (TEXT[:2000].upper(),)))
        patch.setattr(speed, "peak_mib", lambda *_args: 100.0)
        yield


def call(*args):
    """Status, standard output and standard error of a command, run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["pydisp", *map(str, args)])
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
    return status, out.getvalue(), err.getvalue()


@pytest.fixture
def run():
    return call


@pytest.fixture
def prune(run, model, text):
    """`pydisp prune` of the tiny model, by default to 60 % of its block parameters."""

    def prune(out, *args, ratio="0.6", name=None, source=None):
        return run(
            "prune", name or model, "--keep-ratio", ratio, "--ratio-of", "block", "--text", source or text, "--out", out, *FAST, *args
        )

    return prune


def digests(folder):
    """Of every file but what holds times, which no two runs have in common: speed.json, and the section of the page that shows it."""
    found = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "speed.json"}
    if "report.html" in found:
        found["report.html"], sections = re.subn(rb'<section id="measured">.*?</section>', b"", found["report.html"], flags=re.DOTALL)
        assert sections == 1
    return {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}


def one_sentence(err):
    lines = [line for line in err.splitlines() if line.startswith("pydisp: ")]
    assert len(lines) == 1 and "Traceback" not in err, err
    return lines[0]


@pytest.fixture(scope="module")
def pruned(model, text, tmp_path_factory):
    """A pruned folder and the JSON of the command that made it."""
    out = tmp_path_factory.mktemp("out") / "pruned"
    status, printed, err = call("prune", model, "--keep-ratio", "0.6", "--ratio-of", "block", "--text", text, "--out", out, *FAST, "--json")
    assert status == 0, err
    return out, json.loads(printed), err


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
    assert result["method"] == "disp" and result["steps"] == result["forwards"] == result["backwards"] == 6
    assert result["tokens"] == 6 * 2 * 32 and result["context_tokens"] == 32
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
    assert err.index("settings: keep_ratio 0.6") < err.index("estimate: about") < err.index("step ")
    assert re.search(r"step 6 of 6: loss \d+\.\d+, kept 0\.\d+", err)


def test_perplexities_are_those_of_the_folder(pruned, text, run, tmp_path):
    from pydisp.text import read_text, split_heldout

    out, result, _ = pruned
    held = tmp_path / "held.txt"
    held.write_text(split_heldout(read_text([str(text)]))[1].joined)
    status, printed, _ = run("eval", out, "--text", held, "--context", "32", "--json")
    found = json.loads(printed)
    assert status == 0 and found["perplexity"] == pytest.approx(result["perplexity"]["pruned"], rel=1e-6)
    assert {"nats_per_token", "perplexity", "bits_per_byte", "tokens", "context_tokens"} <= found.keys()


def test_one_seed_gives_the_same_bytes_also_after_a_kill(pruned, prune, model, text, tmp_path, monkeypatch):
    out, _, _ = pruned
    assert prune(tmp_path / "again")[0] == 0
    assert digests(tmp_path / "again") == digests(out)
    # Killed hard in the middle of the search, then resumed.
    code = (
        "import os, signal, sys\nfrom pydisp import cli\nfrom pydisp.pruning import journey, search\n"
        "journey.prune_to_folder.__kwdefaults__['checkpoint_seconds'] = 0.0\nstep = search.Search._step\n"
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
        raise journey.Interrupted("stopped")

    out = tmp_path / "out"
    monkeypatch.setattr(journey, "_write_model", stop)
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
    args = ["prune", model, "--keep-ratio", "0.6", "--ratio-of", "block", "--text", text, "--out", out, *FAST, "--steps", "400"]
    process = subprocess.Popen([sys.executable, "-m", "pydisp", *map(str, args)], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("step "):
            process.send_signal(signal.SIGINT)
            break
    err = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert "repeat the command with --resume" in one_sentence(err)
    assert not out.exists() and (tmp_path / "out.partial/search.pt").is_file()


def test_a_fresh_run_replaces_what_a_stopped_one_left(prune, tmp_path):
    partial = tmp_path / "out.partial"
    partial.mkdir()
    (partial / "search.pt").write_text("old")
    assert prune(tmp_path / "out")[0] == 0
    assert not partial.exists()


BAD_RATIOS = {"0": "between 0 and 1", "1": "between 0 and 1", "-0.5": "between 0 and 1", "nan": "between 0 and 1"}


@pytest.mark.parametrize("ratio", BAD_RATIOS)
def test_a_ratio_outside_0_and_1(prune, tmp_path, ratio):
    status, out, err = prune(tmp_path / "out", "--json", ratio=ratio)
    assert (status, out) == (1, "") and BAD_RATIOS[ratio] in one_sentence(err)
    assert not list(tmp_path.iterdir())


def test_bad_input_is_told_in_one_sentence_before_anything_is_written(run, prune, model, text, tmp_path):
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
    nothing = []
    for content in ("{}", "[1]", "{", '{"model_type": null}'):
        nothing.append(tmp_path / f"nothing-{len(nothing)}")
        nothing[-1].mkdir()
        (nothing[-1] / "config.json").write_text(content)
    before = sorted(p.name for p in tmp_path.iterdir())
    out = tmp_path / "out"
    common = ["--text", text, "--out", out, *FAST]
    cases = [
        (["prune", model, "--keep-ratio", "0.1", *common], "embeddings and head alone are"),
        (["prune", model, *common], "no --keep-ratio was given"),
        (["prune", model, "--keep-ratio", "0.5", "--method", "magic", *common], "unknown method 'magic'; known: disp"),
        (["prune", model, "--keep-ratio", "0.5", "--ratio-of", "heads", *common], "choose 'total'"),
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
        (["prune", model, "--plan", tmp_path / "no.safetensors", "--out", out], "there is no plan at"),
        (["prune", model, "--plan", "x", "--keep-ratio", "0.5", "--out", out], "--plan and --keep-ratio exclude each other"),
        (["prune", model, "--plan", "x", "--batch-size", "2", "--out", out], "--plan and --batch-size exclude each other"),
        (["prune", model, "--plan", "x", "--config", "y", "--out", out], "--plan and --config exclude each other"),
        (["prune", model, "--keep-ratio", "0.5", "--method", "plan", *common], "give it with --plan FILE"),
        (["prune", model, "--keep-ratio", "0.5", *common, "--round-to", "64"], "choose a smaller --round-to"),
        (["prune", model, "--keep-ratio", "0.01", "--ratio-of", "block", *common], "one narrow attention block takes"),
        (["prune", openelm, "--keep-ratio", "0.5", *common], "OpenELM is not part of transformers"),
        (["prune", model, "--keep-ratio", "0.5", *common, "--device", "meta"], "holds no values"),
        (["prune", model, "--keep-ratio", "0.5", "--text", text, "--out", tmp_path / ("x" * 300)], "File name too long"),
        (["eval", model], "nothing to evaluate on"),
        (["eval", model, "--text", empty], "is empty"),
        (["eval", model, "--text", text, "--context", "1"], "must be at least 2"),
        (["info", model], "is not pruned"),
        (["info", tmp_path / "none"], "there is no folder"),
        (["export", model, "--dense", "--out", out], "is not pruned"),
        (["export", model, "--out", out], "add --dense"),
        *((["info", folder], f"the config.json of {folder} is no JSON that names a model_type") for folder in nothing),
    ]
    for args, message in cases:
        status, printed, err = run(*args, "--json")
        assert (status, printed) == (1, ""), (args, status, printed, err)
        assert message in one_sentence(err), (args, err)
        assert sorted(p.name for p in tmp_path.iterdir()) == before, args


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
    assert prune(out, "--method", "random")[0] == 0
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
    monkeypatch.setattr(journey, "make_plan", lambda *_args, **_kwargs: [os.kill(os.getpid(), number) for _ in range(times)])
    before = signal.signal(number, lambda *_: pytest.fail("nobody caught the signal"))
    try:
        status, _, err = prune(tmp_path / "out", "--method", method)
    finally:
        signal.signal(number, before)
    assert status == 130 and "stopped; nothing was written" in one_sentence(err) and not list(tmp_path.iterdir())


def test_info_refuses_damaged_indices(pruned, run, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "damaged"
    shutil.copytree(pruned[0], folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp_input.index"][0] = weights["model.layers.1.mlp_input.index"][1]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    status, printed, err = run("info", folder, "--json")
    assert (status, printed) == (1, "") and "is repeated" in one_sentence(err)


def test_settings_without_an_option_are_in_the_command(prune, tmp_path):
    (tmp_path / "c.yaml").write_text("learning_rate: 0.5")
    assert prune(tmp_path / "out", "--config", tmp_path / "c.yaml")[0] == 0
    assert "--out DIR --config pydisp.yaml" in (tmp_path / "out/README.md").read_text()


def test_nan_weights_stop_the_search_and_name_the_step(run, text, tmp_path):
    folder = write_model(tmp_path / "broken", dtype=torch.float32)
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"].fill_(float("nan"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    status, out, err = run(
        "prune", folder, "--keep-ratio", "0.6", "--ratio-of", "block", "--text", text, "--out", tmp_path / "out", *FAST, "--json"
    )
    assert (status, out) == (1, "") and "the loss is nan at step 1" in one_sentence(err)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_a_full_disk_leaves_the_search_and_no_folder(prune, pruned, tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PruningPlan, "save", full)
    status, _, err = prune(tmp_path / "out")
    assert status == 1 and "the disk is full" in one_sentence(err)
    assert [p.name for p in tmp_path.iterdir()] == ["out.partial"]
    assert sorted(p.name for p in (tmp_path / "out.partial").iterdir()) == ["search.pt", "settings.json"]
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", [])
    status, _, _ = prune(tmp_path / "out", "--resume")
    assert status == 0 and digests(tmp_path / "out") == digests(pruned[0])


def test_a_model_without_memory_for_it_is_refused(prune, tmp_path, monkeypatch):
    monkeypatch.setattr("pydisp.loading.free_bytes", lambda _device: 1000)
    status, _, err = prune(tmp_path / "out")
    assert status == 1 and "there is no memory for" in one_sentence(err) and not list(tmp_path.iterdir())


def test_a_damaged_model_is_refused(run, text, tmp_path):
    folder = write_model(tmp_path / "cut")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    status, _, err = run("eval", folder, "--text", text, "--context", "32")
    assert status == 1 and "cannot load the model" in one_sentence(err)


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


def test_config_file(prune, run, model, text, pruned, tmp_path):
    status, _, _ = run("prune", model, "--config", pruned[0] / "pydisp.yaml", "--text", text, "--out", tmp_path / "out")
    assert status == 0 and digests(tmp_path / "out")["model.safetensors"] == digests(pruned[0])["model.safetensors"]
    for content, message in (
        ("keep: 0.5", "unknown setting 'keep'"),
        ("steps: many", "steps is 'many'"),
        ("- 1", "holds no settings"),
        ("a: [", "is not YAML"),
    ):
        (tmp_path / "c.yaml").write_text(content)
        status, _, err = run("prune", model, "--config", tmp_path / "c.yaml", "--out", tmp_path / "no", "--text", text)
        assert status == 1 and message in one_sentence(err)
    (tmp_path / "c.yaml").write_text("keep_ratio: 0.9\nratio_of: block\nmethod: random\nround_to: 4\ncontext_tokens: 32")
    status, out, _ = run(
        "prune", model, "--config", tmp_path / "c.yaml", "--keep-ratio", "0.5", "--text", text, "--out", tmp_path / "o2", "--json"
    )
    assert status == 0 and json.loads(out)["keep_ratio"] == 0.5


def test_info(pruned, run):
    out, result, _ = pruned
    status, printed, _ = run("info", out, "--json")
    found = json.loads(printed)
    assert status == 0 and found["indices_valid"] and found["kept"] == result["kept"] and found["params"] == result["params"]
    assert len(found["layers"]) == 3 and set(found["layers"][0]) == {
        "attention_input",
        "attention_output",
        "mlp_input",
        "mlp_middle",
        "mlp_output",
    }
    status, printed, _ = run("info", out)
    assert status == 0 and "kept: " in printed


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


def test_env_names_versions_and_implementations(run):
    status, printed, _ = run("env", "--json")
    found = json.loads(printed)
    assert status == 0 and found["versions"]["torch"] == torch.__version__
    assert found["ops"]["norm_select"]["cpu"] in ("c++", "torch") and found["cpu"]["threads"] >= 1
    assert "norm_select" in run("env")[1]


def test_env_says_what_serves(run, monkeypatch):
    from pydisp.ops import native

    def section(name, key):
        return json.loads(run("env", "--json")[1])[name][key]

    for variable in ("PYDISP_BF16_MM", "PYDISP_TRITON"):
        monkeypatch.delenv(variable, raising=False)
    assert section("cpu", "c++") == (native.instruction_set() or "none: plain torch serves")
    assert section("cuda", "triton").startswith("off: ")
    monkeypatch.setattr(native, "is_loaded", lambda: True)
    for isa, wanted in (("avx2", "upcast: the C++ ops run"), ("avx512bf16", "native: AVX-512's")):
        monkeypatch.setattr(native, "instruction_set", lambda isa=isa: isa)
        assert section("loss", "bfloat16").startswith(wanted)
    monkeypatch.setenv("PYDISP_BF16_MM", "upcast")
    assert section("loss", "bfloat16") == "upcast: PYDISP_BF16_MM=upcast"
    monkeypatch.setenv("PYDISP_BF16_MM", "fast")
    status, out, err = run("env")
    assert (status, out) == (1, "") and "PYDISP_BF16_MM is 'fast'; set it to native" in one_sentence(err)
    monkeypatch.setenv("PYDISP_BF16_MM", "auto")
    monkeypatch.setenv("PYDISP_TRITON", "1")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "triton" or None)
    assert section("cuda", "triton") == "serves: PYDISP_TRITON is set"
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert section("cuda", "triton") == "off: triton is not installed"
    monkeypatch.setattr(native, "is_loaded", lambda: False)
    monkeypatch.setattr(native, "instruction_set", lambda: None)
    assert section("loss", "bfloat16").startswith("torch: ") and section("cpu", "c++").startswith("none: ")


def test_env_says_in_what_the_loss_multiplies(run, monkeypatch, generator):
    from pydisp import ops

    if not ops.native.is_loaded():
        pytest.skip("the C++ ops are not built")
    hidden, weight = (torch.randn(n, 64, generator=generator).bfloat16() for n in (200, 300))

    def loss(wanted):
        monkeypatch.setenv("PYDISP_BF16_MM", wanted)
        return ops.linear_cross_entropy(hidden, weight, torch.arange(200))

    losses = {wanted: loss(wanted) for wanted in ("native", "upcast", "auto")}  # auto last: `env` is asked under it
    assert not torch.equal(losses["native"], losses["upcast"])
    said = json.loads(run("env", "--json")[1])["loss"]["bfloat16"].partition(":")[0]
    assert torch.equal(losses["auto"], losses[said])


@pytest.mark.parametrize(
    ("args", "found"),
    [
        (["prune"], "'MODEL'"),
        (["prune", "demo"], "'--out'"),
        (["prune", "demo", "--no-such-option"], "--no-such-option"),
        (["prune", "demo", "--out"], "'--out' requires an argument"),
        (["prune", "demo", "--keep-ratio", "abc"], "'--keep-ratio': .*'abc'"),
        (["prune", "demo", "--steps", "1.5"], "'--steps': .*'1.5'"),
        (["speed", "--rounds", "many"], "'--rounds': .*'many'"),
        (["delete"], "'delete'"),
        (["--quiet"], "missing command"),
    ],
)
def test_wrong_options_are_told_in_one_sentence_with_status_2(run, args, found):
    status, out, err = run(*args)
    assert (status, out, err.count("\n")) == (2, "", 1) and re.search(f"{found}.*; add --help to see what there is", one_sentence(err)), err


@pytest.mark.parametrize(
    ("command", "default"), [("speed", "0.5"), ("prune", "600 below 50 M"), ("eval", "256 below"), ("export", "DIR-dense")]
)
def test_help_shows_defaults_that_depend(run, monkeypatch, command, default):
    monkeypatch.setenv("COLUMNS", "200")
    assert f"[default: ({default}" in run(command, "--help")[1]


def test_help_and_version(run):
    assert run() == run("--help") and "Usage: pydisp" in run()[1]
    assert run("--version") == (0, "pydisp 0.1.0\n", "")
