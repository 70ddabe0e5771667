"""`pydisp toolken` as users type it: train, eval, run, and what each refuses."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from command_line import call, refused

from pydisp.toolken.problems.generator import generate
from pydisp.toolken.problems.problem_file import write_problems
from pydisp.toolken.toolkens import Toolkens
from pydisp.toolken.tools.tools import Tools

FIGURES = {"selection", "accuracy", "interval", "calls", "unneeded", "failed", "rejected", "repeated", "ece", "auroc"}
COUNT = 90


def contents(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("toolken") / "toolkens"
    status, printed, err = call("toolken", "train", "demo", "--out", out, "--count", COUNT, "--json")
    assert status == 0, err
    return out, json.loads(printed)


def test_train_writes_rows_that_the_json_describes(trained):
    out, result = trained
    assert {path.name for path in out.iterdir()} == {"toolkens.safetensors", "toolkens.json"} and not out.with_name(
        "toolkens.partial"
    ).exists()
    saved = json.loads((out / "toolkens.json").read_text())
    assert [one["name"] for one in saved["tools"]] == result["tools"] and len(result["tools"]) > 3
    assert saved["calibration"] == result["calibration"] and saved["base"]["name"] == "demo"
    assert len(saved["training"]["trained_on"]) >= COUNT and str(out) not in json.dumps(saved)


def test_the_same_seed_gives_the_same_bytes(trained, tmp_path):
    out = tmp_path / "again"
    assert call("toolken", "train", "demo", "--out", out, "--count", COUNT)[0] == 0
    assert contents(out) == contents(trained[0])
    assert call("toolken", "train", "demo", "--out", out, "--count", COUNT)[0] == 1
    assert call("toolken", "train", "demo", "--out", out, "--count", COUNT, "--seed", 1, "--overwrite")[0] == 0
    assert contents(out) != contents(trained[0])


def stopped(args, words, tmp_path):
    """Run a command in a process of its own and interrupt it at the first line with these words."""
    code = "from pydisp import cli, progress; progress.FIRST_LINE_SECONDS = progress.LINE_SECONDS = 0.0; cli.main()"
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)], stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment
    )
    said = []
    for line in process.stderr:
        said.append(line)
        if words in line:
            process.send_signal(signal.SIGINT)
            words = "\0"
    assert process.wait() == 130, said
    return "".join(said)


def test_a_training_that_was_stopped_goes_on_to_the_same_bytes(trained, tmp_path):
    out = tmp_path / "stopped"
    args = ["toolken", "train", "demo", "--out", out, "--count", COUNT]
    assert "--resume" in stopped(args, "batch 1 of", tmp_path)
    assert not out.exists() and out.with_name("stopped.partial").exists()
    assert call(*args, "--seed", 5, "--resume")[0] == 1  # another run's rest
    status, _, err = call(*args, "--resume")
    assert status == 0 and contents(out) == contents(trained[0]), err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stopped"]


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("toolken") / "report"
    args = ["toolken", "eval", "demo", "--toolkens", trained[0], "--out", out, "--count", 24, "--answers", 6]
    status, printed, err = call(*args, "--json")
    assert status == 0, err
    return out, json.loads(printed), args


def test_a_report_has_the_figures_of_the_json(evaluated):
    out, result, args = evaluated
    assert list(result["modes"]) == ["none", "toolkengpt", "rerank", "reject", "calibrated", "no_docs", "shuffled_docs"]
    assert all(set(mode) >= FIGURES for mode in result["modes"].values())
    assert json.loads((out / "toolken.json").read_text()) == {key: value for key, value in result.items() if key != "out"}
    assert {"report.html", "report.md", "report.json", "outcomes.jsonl"} <= {path.name for path in out.iterdir()}
    outcomes = [json.loads(line) for line in (out / "outcomes.jsonl").read_text().splitlines()]
    assert len(outcomes) == 7 * 6 and len({one["problem"] for one in outcomes}) == 6
    assert call(*args)[0] == 1


def test_problems_that_were_trained_on_are_not_evaluated(trained, tmp_path):
    mine = tmp_path / "mine.jsonl"
    write_problems(mine, [one for one in generate("a", COUNT, 0) if all(call.tool in trained[1]["tools"] for call in one.calls)])
    args = ["toolken", "eval", "demo", "--toolkens", trained[0], "--out", tmp_path / "out", "--answers", 0, "--modes", "toolkengpt"]
    refused([([*args, "--data", mine], "were seen in training")], tmp_path)
    status, printed, err = call(*args, "--data", "builtin:a", "--seed", 0, "--count", 20, "--json")
    assert status == 0 and any("were seen in training" in sentence for sentence in json.loads(printed)["left_out"]), err


def test_an_evaluation_that_was_stopped_goes_on_to_the_same_files(evaluated, tmp_path):
    whole, _, args = evaluated
    out = tmp_path / "report"
    args = [out if one == whole else one for one in args]
    assert "--resume" in stopped(args, "batch 3 of", tmp_path)
    status, _, err = call(*args, "--resume")
    assert status == 0 and contents(out) == contents(whole), err


def test_run_marks_calls_and_shows_decisions(trained, monkeypatch):
    status, printed, err = call("toolken", "run", "demo", "What is 12 plus 7?", "--toolkens", trained[0], "--mode", "none")
    assert status == 0 and "[" not in printed, err
    args = ["toolken", "run", "demo", "What is 12 plus 7?", "--toolkens", trained[0], "--mode", "toolkengpt"]
    status, printed, err = call(*args, "--json")
    found = json.loads(printed)
    assert status == 0 and set(found) == {"question", "mode", "text", "marked", "trace"}, err
    status, printed, _ = call(*args, "--trace")
    assert status == 0 and printed.isascii() and json.loads(printed[printed.index("\n{") :])["steps"] == found["trace"]["steps"]


def test_wrong_gold_calls_are_listed_and_not_trained_on(tmp_path):
    problems = generate("a", COUNT, 0)
    calling = [one for one in problems if one.calls][:4]
    wrong = []
    for one in calling:
        gold = one.calls[-1]
        solution = f"{one.solution[: gold.start]}77777{one.solution[gold.end :]}"
        changed = replace(gold, end=gold.start + 5)
        wrong.append(
            replace(
                one, id=f"wrong {one.id}", group="", prompt=f"Once more. {one.prompt}", solution=solution, calls=(*one.calls[:-1], changed)
            )
        )
    write_problems(tmp_path / "problems.jsonl", [*wrong, *problems])
    status, printed, err = call("toolken", "train", "demo", "--data", tmp_path / "problems.jsonl", "--out", tmp_path / "out", "--json")
    assert status == 0, err
    assert "4 problems with a gold call that gives another result" in err and "and 1 more" in err
    training = json.loads((tmp_path / "out" / "toolkens.json").read_text())["training"]
    assert [line.split(":")[0] for line in training["wrong_calls"]] == [one.id for one in wrong]
    assert all("the problem says 77777" in line for line in training["wrong_calls"])
    assert training["problems"]["train"] + training["problems"]["validation"] <= len(problems)
    assert not {digest for one in wrong for digest in one.digests} & set(training["trained_on"])


def test_what_cannot_be_done_is_refused_and_nothing_is_written(trained, model, tmp_path):
    out = tmp_path / "made" / "out"
    mine = tmp_path / "files"
    mine.mkdir()
    (mine / "twice.json").write_text(json.dumps([{"name": "half", "description": "Half of it."}] * 2))
    (mine / "no.json").write_text("{")
    (mine / "lambda.py").write_text("from pydisp.toolken import tool\nhalf = tool()(lambda x: x / 2)\n")
    (mine / "half.py").write_text(
        'from pydisp.toolken import tool\n\n\n@tool()\ndef half(x: float) -> float:\n    "Half of it."\n    return x / 2\n'
    )
    (mine / "bad.jsonl").write_text(
        json.dumps({"prompt": "Q", "solution": "12", "calls": [{"tool": "add", "arguments": "1", "start": 1, "end": 9}]})
    )
    (mine / "unknown.jsonl").write_text(
        json.dumps({"prompt": "Q", "solution": "12", "calls": [{"tool": "gone", "arguments": "1", "start": 0, "end": 2}]})
    )
    damaged = mine / "damaged"
    shutil.copytree(trained[0], damaged)
    (damaged / "toolkens.safetensors").write_bytes(b"no")
    fewer = mine / "fewer"
    loaded = Toolkens.load(trained[0])
    loaded.without(loaded.tools.names[0]).save(fewer)
    moved = mine / "moved"
    replace(loaded, tools=Tools(replace(one, function="/gone/mine.py:half") for one in loaded.tools)).save(moved)
    train = ["toolken", "train", "demo", "--out", out]
    evaluate = ["toolken", "eval", "demo", "--out", out, "--toolkens"]
    ask = ["toolken", "run", "demo", "What?", "--toolkens"]
    refused(
        [
            ([*train, "--count", 30, "-k", 19], "k is 19"),
            ([*train, "--tools", mine / "twice.json"], "two tools are named 'half'"),
            ([*train, "--tools", mine / "no.json"], "no JSON"),
            ([*train, "--tools", mine / "lambda.py"], "lambda"),
            ([*train, "--tools", mine / "gone.py"], "there is no file"),
            ([*train, "--tools", mine / "half.py"], "not among the tools of half.py (half); give problems that call these"),
            ([*train, "--data", "nowhere"], "there are no problems 'nowhere'"),
            ([*train, "--tools", mine.parent / "files"], "is a folder"),
            ([*train, "--tools", "files/tools"], "'files/tools' is no file of tools"),
            ([*train, "--data", mine], "is a folder; give a JSONL file"),
            ([*train, "--data", "gsm8k:"], "'gsm8k:' names no file; give gsm8k:PATH"),
            ([*ask, moved], "which is no file any more"),
            ([*evaluate, moved], "which is no file any more"),
            ([*ask, trained[0], "--max-new-tokens", 10**9], "1,000,000,000 new tokens were asked for"),
            ([*ask[:3], "why? " * 400, *ask[4:], trained[0]], "and the model reads 512 at most"),
            ([*evaluate, trained[0], "--max-new-tokens", 10**6], "1,000,000 new tokens were asked for"),
            ([*train, "--data", f"gsm8k:{mine}/gone.jsonl"], "gone.jsonl"),
            ([*train, "--data", mine / "bad.jsonl"], "spans characters 1 to 9"),
            ([*train, "--data", mine / "unknown.jsonl"], "calls 'gone'"),
            ([*evaluate, mine], "toolkens"),
            ([*evaluate, damaged], "toolkens"),
            ([*evaluate, trained[0], "--toolkens", trained[0]], "seed 0"),
            ([*evaluate, trained[0], "--toolkens", fewer], "toolkens in fewer have other tools"),
            ([*evaluate, trained[0], "--modes", "often"], "'often'"),
            ([*ask, mine / "gone"], "gone"),
            ([*ask, trained[0], "--mode", "often"], "'often'"),
            (["toolken", "run", model, "What?", "--toolkens", trained[0]], "the toolkens were made for demo"),
            (["toolken", "eval", model, "--toolkens", trained[0], "--out", out], "the toolkens were made for demo"),
        ],
        tmp_path,
    )
    refused(
        [
            ([*train, "--count", 0], "--count is 0"),
            ([*train, "-k", 0], "--candidates is 0"),
            ([*evaluate, trained[0], "--answers", -1], "--answers is -1"),
            ([*evaluate, trained[0], "--seed", -1], "--seed is -1"),
            ([*ask[:3], " ", *ask[4:], trained[0]], "the question is empty"),
            ([*ask, trained[0], "--max-new-tokens", 0], "--max-new-tokens is 0"),
        ],
        tmp_path,
        status=2,
    )
