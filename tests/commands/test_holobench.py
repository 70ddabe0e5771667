"""`pydisp holobench` as users type it: build, run, score, and what each refuses."""

import contextlib
import json

import pytest
from command_line import call, one_sentence, refused

pytest.importorskip("duckdb")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A benchmark, and the demo model's predictions with and without the facts."""
    folder = tmp_path_factory.mktemp("holobench")
    data, found, control = (folder / name for name in ("bench.jsonl", "demo.jsonl", "control.jsonl"))
    status, printed, err = call("holobench", "build", "--out", data, "--lengths", "300,448", "--per-length", 9, "--room", 32, "--json")
    assert status == 0, err
    assert json.loads(printed)["items"] == 18
    for out, options in ((found, ()), (control, ("--form", "likelihood", "--without-context"))):
        status, printed, err = call("holobench", "run", "demo", "--data", data, "--out", out, *options)
        assert status == 0 and "18 questions answered by demo, 0 skipped" in printed, err
    return data, found, control


def test_a_report_has_the_figures_of_the_json(files, tmp_path, many_lines):
    data, found, control = files
    out = tmp_path / "out"
    args = ["holobench", "score", "--data", data, "--predictions", found, "--against", control, "--out", out]
    status, printed, err = call(*args, "--json")
    assert status == 0, err
    result = json.loads(printed)
    assert {"f1", "recall", "strict", "exact", "unparsable", "skipped", "items", "by_class", "by_length", "by_placement"} <= set(result)
    assert result["items"] == 18 and set(result["by_length"]) == {"300", "448"} and result["likelihood"]["n"] == 18
    assert result["against"]["items"] == 18 and "accuracy" in result["against"]
    assert json.loads((out / "holobench.json").read_text()) == {key: value for key, value in result.items() if key != "out"}
    assert {"report.html", "report.md", "report.json"} <= {path.name for path in out.iterdir()}
    assert call(*args)[0] == 1
    status, _, err = call(*args, "--overwrite", "--quiet")
    assert (status, err) == (0, "")
    status, printed, err = call(*args, "--overwrite")
    phases = [line.partition(": ")[0] for line in err.splitlines()]
    named = [name for place, name in enumerate(phases) if phases[place - 1 : place] != [name]]
    assert named == [*["scores of demo", "intervals of demo"] * 2, "demo against demo without the facts", "writing the report"]
    assert status == 0 and "Accuracy among near misses" in printed and "report.html" in printed
    assert max(map(len, printed.splitlines()[:-1])) <= 80


def test_predictions_from_elsewhere_are_scored(files, tmp_path):
    data, *_ = files
    items = [json.loads(line) for line in data.read_text().splitlines()]
    answers = tmp_path / "mine.jsonl"
    answers.write_text(
        "".join(
            json.dumps({"id": one["id"], "answer": one["choices"][one["correct"]] if one["choices"] else "No answer"}) + "\n"
            for one in items
        )
    )
    status, printed, err = call("holobench", "score", "--data", data, "--predictions", answers, "--json")
    assert status == 0 and json.loads(printed)["f1"] == json.loads(printed)["strict"] == 1, err
    answers.write_text("".join(json.dumps({"id": one["id"], "answer": ""}) + "\n" for one in items))
    status, printed, err = call("holobench", "score", "--data", data, "--predictions", answers, "--json")
    assert status == 0 and json.loads(printed)["f1"] == 0 and json.loads(printed)["unparsable"] == 18, err


def test_a_limit_asks_the_first_items_and_only_overwrite_replaces(files, tmp_path):
    data, found, _ = files
    out = tmp_path / "again.jsonl"
    status, _, err = call("holobench", "run", "demo", "--data", data, "--out", out, "--limit", 4)
    assert status == 0, err
    assert out.read_text().splitlines() == found.read_text().splitlines()[:4]
    assert call("holobench", "run", "demo", "--data", data, "--out", out, "--limit", 4)[0] == 1
    assert call("holobench", "run", "demo", "--data", data, "--out", out, "--limit", 4, "--overwrite")[0] == 0


def test_a_stopped_run_goes_on_to_the_same_bytes(files, tmp_path, monkeypatch):
    from pydisp.holobench.answers import answering

    data, *_ = files
    whole, out = tmp_path / "whole.jsonl", tmp_path / "stopped.jsonl"
    args = ["holobench", "run", "demo", "--data", data, "--batch-tokens", 1000]
    assert call(*args, "--out", whole)[0] == 0
    calls = iter([False, False, True])  # stop after two batches
    with monkeypatch.context() as patch:
        patch.setattr(answering, "stop_requests", lambda: contextlib.nullcontext(lambda: next(calls)))
        status, _, err = call(*args, "--out", out)
    assert status == 130 and "--resume" in one_sentence(err) and not out.exists()
    status, _, err = call(*args, "--out", out, "--resume")
    assert status == 0 and out.read_bytes() == whole.read_bytes(), err
    assert not out.with_name("stopped.jsonl.partial").exists()


def test_wrong_input_is_one_sentence_and_writes_nothing(files, tmp_path):
    data, found, _ = files
    (tmp_path / "twice.jsonl").write_text("".join(line + "\n" for line in found.read_text().splitlines()[:1] * 2))
    (tmp_path / "few.jsonl").write_text(found.read_text().splitlines()[0] + "\n")
    (tmp_path / "other.jsonl").write_text('{"id": "nobody", "answer": "7"}\n')
    (tmp_path / "broken.jsonl").write_text("{\n")
    out = tmp_path / "x.jsonl"
    score = ["holobench", "score", "--data", data, "--predictions"]
    refused(
        [
            (["holobench", "build", "--out", out, "--lengths", "60"], "leaves no room for facts"),
            (["holobench", "build", "--out", out, "--database", "chinok"], "did you mean 'chinook'"),
            (["holobench", "build", "--out", out, "--database", tmp_path / "no.sqlite"], "no.sqlite"),
            (["holobench", "build", "--out", out, "--placement", "top"], "it must be one of: uniform"),
            (["holobench", "build", "--out", out, "--density", "2"], "densities[0] is 2.0"),
            (["holobench", "build", "--out", out, "--questions", tmp_path / "none.json"], "goes with one database"),
            (["holobench", "build", "--out", out, "--template", "chat"], "no chat template"),
            (["holobench", "build", "--out", tmp_path / "broken.jsonl" / "x.jsonl"], "is a file, so x.jsonl cannot be made in it"),
            (["holobench", "build", "--out", tmp_path], "is a folder"),
            (["holobench", "build", "--out", out, "--database", "chinook", "--lengths", "300000"], "tokens"),
            (["holobench", "run", "demo", "--data", tmp_path / "no.jsonl", "--out", out], "there is no file"),
            (["holobench", "run", "demo", "--data", tmp_path / "broken.jsonl", "--out", out], "line 1"),
            (["holobench", "run", "demo", "--data", data, "--out", out, "--resume"], "resume"),
            ([*score, tmp_path / "few.jsonl"], "17"),
            ([*score, tmp_path / "twice.jsonl"], "twice"),
            ([*score, tmp_path / "other.jsonl"], "nobody"),
            ([*score, tmp_path / "nothing.jsonl"], "there is no file"),
        ],
        tmp_path,
    )
    refused(
        [
            (["holobench", "build", "--out", out, "--lengths", "many"], "--lengths is 'many'; it must be whole numbers"),
            (["holobench", "build", "--out", out, "--amount", "100", "--density", "0.5"], "exclude each other"),
            (["holobench", "build", "--out", out, "--room", "0"], "--room is 0"),
            (["holobench", "run", "demo", "--data", data, "--out", out, "--form", "guess"], "--form is 'guess'"),
            (["holobench", "run", "demo", "--data", data, "--out", out, "--limit", "0"], "--limit is 0"),
            ([*score, found, "--overwrite"], "--overwrite goes with --out"),
        ],
        tmp_path,
        status=2,
    )


def test_another_tokenizer_is_refused_unless_it_is_asked_for(files, tmp_path):
    from tiny_text import write_model

    data, *_ = files
    model = write_model(tmp_path / "model", 0)
    status, _, err = call("holobench", "run", model, "--data", data, "--out", tmp_path / "x.jsonl")
    assert status == 1 and "--any-tokenizer" in one_sentence(err)
    status, printed, err = call(
        "holobench", "run", model, "--data", data, "--out", tmp_path / "x.jsonl", "--any-tokenizer", "--form", "likelihood"
    )
    assert status == 1 and "can be asked none of the items" in one_sentence(err)
