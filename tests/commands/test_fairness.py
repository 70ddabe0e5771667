"""`pydisp fairness audit` as users type it."""

import csv
import json

import pytest
from command_line import call, one_sentence, refused
from tiny_text import TEXT, write_model

from pydisp import evaluation
from pydisp.fairness import TokenStats

FAST = ["--context", "32"]


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    path = tmp_path_factory.mktemp("fairness") / "documents.jsonl"
    path.write_text("".join(json.dumps({"text": f"{part} And so on, {n} times."}) + "\n" for n, part in enumerate(TEXT.split("\n\n") * 2)))
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("other") / "model", seed=3)


def test_the_difference_is_that_of_two_evals(model, other, documents):
    status, printed, err = call("fairness", "audit", model, "--against", other, "--text", documents, *FAST, "--json")
    result = json.loads(printed)
    losses = [evaluation.evaluate(str(one), text=str(documents), context_tokens=32).nats_per_token for one in (model, other)]
    assert status == 0, err
    assert result["average_nats"] == pytest.approx(losses[0], abs=1e-6)
    assert result["delta"]["average"]["mean"] == pytest.approx(losses[0] - losses[1], abs=1e-6)
    assert {"average_nats", "balanced_nats", "unit", "accuracy", "ece", "counts_source", "bins", "parts", "classes"} <= result.keys()
    assert {"low", "high", "types", "units", "nats", "interval", "accuracy", "ece"} <= result["bins"][0].keys()
    assert {"average", "balanced", "tail", "excess", "bins", "agreement"} <= result["delta"].keys()


def test_a_folder_has_the_report_and_what_lost_most(model, other, documents, tmp_path):
    pytest.importorskip("pyarrow")
    out = tmp_path / "out"
    status, printed, err = call("fairness", "audit", model, "--against", other, "--text", documents, *FAST, "--out", out, "--json")
    assert status == 0, err
    result = json.loads(printed)
    names = {path.name for path in out.iterdir()}
    assert {"audit.json", "report.json", "report.md", "report.html", "types.csv", "documents.csv", "stats.parquet"} <= names
    assert json.loads((out / "audit.json").read_text()) == {k: v for k, v in result.items() if k != "out"}
    rows = list(csv.DictReader((out / "types.csv").open(newline="")))
    differences = [float(row["difference"]) for row in rows]
    assert differences == sorted(differences, reverse=True) and len(rows) == TokenStats.load(out / "stats.parquet").count.size
    rows = list(csv.DictReader((out / "documents.csv").open(newline="")))
    assert sum(int(row["units"]) for row in rows) == result["delta"]["whole"]["units"]
    status, _, err = call("fairness", "audit", model, "--text", documents, *FAST, "--out", out)
    assert status == 1 and "exists" in one_sentence(err)
    status, _, err = call("fairness", "audit", model, "--text", documents, *FAST, "--out", out, "--overwrite")
    assert status == 0, err


def test_without_json_the_figures_are_words(model, documents):
    status, printed, _ = call("fairness", "audit", model, "--text", documents, *FAST)
    assert status == 0 and "nats a token" in printed and "tail:" in printed and "biased" in printed


def test_a_limit_that_is_passed_ends_with_status_3_and_the_result(model, other, documents):
    given = ["fairness", "audit", model, "--against", other, "--text", documents, *FAST, "--json"]
    _, plain, _ = call(*given)
    delta = json.loads(plain)["delta"]["average"]["mean"]
    status, printed, err = call(*given, "--fail-if", f"average > {delta - 1e-3:+.6f}", "--fail-if", "average > 1")
    assert status == 3 and printed == plain and "average >" in one_sentence(err)
    assert call(*given, "--fail-if", f"average > {delta + 1e-3:+.6f}")[:2] == (0, plain)


def test_wrong_usage_is_refused(model, documents, tmp_path):
    (tmp_path / "counts.json").write_text('{"999": 3}')
    (tmp_path / "tiny.txt").write_text("a b")
    given = ["fairness", "audit", model]
    text = ["--text", documents]
    status, printed, err = call("fairness")
    assert (status, printed) == (2, "") and "missing command" in one_sentence(err).lower()
    refused(
        [
            (given, "there is nothing to audit on"),
            ([*given, *text, "--overwrite"], "--overwrite goes with --out"),
            ([*given, *text, "--counts", "a", "--counts-text", "b"], "exclude each other"),
            ([*given, *text, "--fail-if", "tail.nats > +0.1"], "give --against"),
        ],
        tmp_path,
        status=2,
    )
    refused(
        [
            ([*given, *text, "--fail-if", "tale > 1"], "names no figure"),
            ([*given, *text, "--mode", "bytes"], "mode is 'bytes'"),
            ([*given, *text, "--mode", "id", "--counts", tmp_path / "counts.json"], "has a count for id 999"),
            ([*given, "--text", tmp_path / "tiny.txt"], "one window needs"),
            ([*given, "--text", tmp_path / "absent.txt"], "does not exist"),
            ([*given, *text, "--against", "demo", "--mode", "id"], "ids cannot be compared"),
            ([*given, *text, "--against", tmp_path / "nowhere"], "no model folder"),
        ],
        tmp_path,
    )


@pytest.fixture
def config(tmp_path):
    """Two runs of four steps by a model of width 16."""
    parts = TEXT.split("\n\n")
    for name, documents in (("train", parts[:20]), ("held", parts[20:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": one}) + "\n" for one in documents))
    path = tmp_path / "config.yaml"
    path.write_text(
        "train: [train.jsonl]\nheld_out: [held.jsonl]\nvocabulary_size: 300\ncontext_tokens: 16\ntrain_tokens: 640\nheld_out_tokens: 192\n"
        "hidden_size: 16\nintermediate_size: 24\nnum_hidden_layers: 2\nnum_attention_heads: 2\nnum_key_value_heads: 1\nbatch_windows: 4\n"
        "points: 3\ncurve_tokens: 64\nweight_decay: [0, 1]\nseeds: [0]\narms: {few: {steps: 4}}\n"
    )
    return path


def test_a_sweep_makes_a_folder_and_prints_its_figures(config, tmp_path):
    out = tmp_path / "out"
    status, printed, err = call("fairness", "sweep", "--config", config, "--out", out, "--workers", "1", "--json")
    assert status == 0, err
    result = json.loads(printed)
    assert result.pop("out") == str(out) and result == json.loads((out / "sweep.json").read_text())
    assert {"report.html", "report.json", "runs", "tokenizer.json"} <= {path.name for path in out.iterdir()}
    status, printed, _ = call("fairness", "sweep", "--config", config, "--out", out, "--workers", "1", "--overwrite")
    assert status == 0 and "report:" in printed


def test_a_wrong_sweep_is_refused(config, tmp_path):
    (tmp_path / "wrong.yaml").write_text(config.read_text().replace("points", "pionts"))
    (tmp_path / "taken").mkdir()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "sweep.json").write_text("{}")  # a name that others use too
    (tmp_path / "alike.yaml").write_text(config.read_text().replace("arms: {few: {steps: 4}}", "arms: {few: {steps: 4}, Few: {steps: 5}}"))
    (tmp_path / "huge.yaml").write_text(config.read_text().replace("hidden_size: 16", "hidden_size: 10000000000"))
    (tmp_path / "deep.yaml").write_text("[" * 50_000)
    refused(
        [
            (["fairness", "sweep", "--config", tmp_path / "wrong.yaml", "--out", tmp_path / "new"], "pionts"),
            (["fairness", "sweep", "--config", tmp_path / "absent.yaml", "--out", tmp_path / "new"], "absent.yaml"),
            (["fairness", "sweep", "--config", config, "--out", tmp_path / "taken"], "exists"),
            (["fairness", "sweep", "--config", config, "--out", tmp_path / "theirs", "--overwrite"], "not the output of an earlier sweep"),
            (["fairness", "sweep", "--config", tmp_path / "alike.yaml", "--out", tmp_path / "new"], "differ in capitals"),
            (["fairness", "sweep", "--config", tmp_path / "huge.yaml", "--out", tmp_path / "new"], "hidden_size is 10000000000"),
            (["fairness", "sweep", "--config", tmp_path / "deep.yaml", "--out", tmp_path / "new"], "lists in lists, more than 20 deep"),
            (["fairness", "sweep", "--config", config, "--out", tmp_path / "new", "--resume"], "nothing to resume"),
            (["fairness", "sweep", "--config", config, "--out", tmp_path / "new", "--workers", "0"], "workers is 0"),
        ],
        tmp_path,
    )
