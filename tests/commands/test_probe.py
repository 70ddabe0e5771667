"""`pydisp probe` as users type it."""

import csv
import json
import re

import pytest
from command_line import call, one_sentence, refused
from tiny_text import write_model

WORDS = "The keeper of the lamp may light it. No keeper shall sell the oil; if the oil is low, the keeper fetches more of it."
RECORDS = [
    {"id": f"lamp-{n}", "text": f"({n}) {WORDS[n:]}", "spans": [{"concept": "act", "phrase": "light it"}, {"concept": "ban", "phrase": "sell the oil"}]}
    for n in range(6)
]  # fmt: skip


@pytest.fixture(scope="module")
def concepts(tmp_path_factory):
    path = tmp_path_factory.mktemp("concepts") / "lamps.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [write_model(folder / name, seed) for name, seed in (("one", 0), ("other", 1))]


def test_a_folder_has_the_report_the_json_and_a_row_for_each_head(models, concepts, tmp_path, many_lines):
    out = tmp_path / "out"
    args = ["probe", "run", models[0], "--against", models[1], "--against", models[0], "--concepts", concepts, "--out", out]
    status, printed, err = call(*args, "--json")
    assert status == 0, err
    result = json.loads(printed)
    assert {"probe.json", "heads.csv", "report.json", "report.md", "report.html"} <= {path.name for path in out.iterdir()}
    assert json.loads((out / "probe.json").read_text()) == {key: value for key, value in result.items() if key != "out"}
    rows = list(csv.DictReader((out / "heads.csv").open(newline="")))
    assert len(rows) == 2 * 3 * 4 and float(rows[5]["share"]) == result["concepts"]["act"]["heads"][5]["share"]
    assert (
        float(rows[5]["minus other"])
        == result["concepts"]["act"]["delta"]["other"]["heads"][5]["share"]
        != 0
        == float(rows[5]["minus one (2)"])
    )
    status, _, err = call(*args)
    assert status == 1 and "exists" in one_sentence(err)
    assert call(*args, "--overwrite", "--quiet")[2] == ""
    status, printed, err = call(*args, "--overwrite")
    for phase, steps in (("intervals: concept", 6), ("drawing the report: section", 5)):  # 2 concepts, and against 2 references
        told = [line for line in err.splitlines() if line.startswith(phase)]
        assert re.match(f"{phase} 1 of {steps}, about .* left", told[0]) and re.match(f"{phase} {steps} of {steps}, in ", told[-1]), err
    assert status == 0 and "act" in printed and "report.html" in printed, err


def test_options_reach_the_probe(models, concepts):
    status, printed, err = call(
        "probe", "run", models[0], "--concepts", concepts, "--concept", "ban", "--queries", "later", "--exclude", "special,space",
        "--exclude-token", "the", "--null-spans", 7, "--seed", 5, "--json",
    )  # fmt: skip
    assert status == 0, err
    result = json.loads(printed)
    assert list(result["concepts"]) == ["ban"] and result["queries"] == "later" and result["null_spans"] == 7 and result["seed"] == 5
    assert (
        result["excluded"] == {"rules": ["special", "space"], "tokens": ["the"]} and result["concepts"]["ban"]["chance"]["null_spans"] <= 7
    )


def test_check_shows_the_tokens_of_each_span(models, concepts):
    status, printed, err = call("probe", "check", concepts, "--tokenizer", models[0])
    assert status == 0, err
    assert printed.startswith("lamp-0: ") and "  act: 8 tokens, 7 of them count: |l|i|g|h|t|( )|i|t|" in printed
    status, printed, _ = call("probe", "check", concepts, "--tokenizer", models[0], "--json")
    assert json.loads(printed)["passages"][0]["spans"][0]["tokens"] == list("light it")
    status, printed, err = call("probe", "check", "--tokenizer", "demo", "--json")
    assert status == 0 and len(json.loads(printed)["passages"]) == 112, err


def test_check_names_every_passage_that_cannot_be_used(models, tmp_path):
    path = tmp_path / "wrong.jsonl"
    wrong = [{"id": f"w{n}", "text": f"a ; b{n}", "spans": [{"concept": "x", "phrase": ";"}]} for n in range(2)]
    path.write_text("".join(json.dumps(record) + "\n" for record in [*wrong, RECORDS[0]]))
    status, printed, err = call("probe", "check", path, "--tokenizer", models[0])
    assert status == 1 and "lamp-0" in printed and "wrong.jsonl, line 2, passage 'w1'" in err
    assert "2 passages cannot be used, the first: wrong.jsonl, line 1" in one_sentence(err)


def test_stats_are_those_of_two_matrices(tmp_path):
    (tmp_path / "a.csv").write_text("layer,0,1\n0,1,2\n1,3,4\n")
    (tmp_path / "b.csv").write_text("1,2\n3,0\n")
    status, printed, err = call("probe", "stats", tmp_path / "a.csv", tmp_path / "b.csv", "--json")
    assert status == 0, err
    result = json.loads(printed)
    assert (
        result["difference"]["mean"] == 1
        and result["layer_means"] == [0, 2]
        and result["difference"]["skewness"] == pytest.approx(1.1547, abs=1e-4)
    )
    status, printed, _ = call("probe", "stats", tmp_path / "a.csv", tmp_path / "a.csv")
    assert status == 0 and "skewness not defined" in printed


def test_wrong_input_is_refused_in_one_sentence(models, concepts, tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    absent = tmp_path / "absent.jsonl"
    absent.write_text(json.dumps({**RECORDS[0], "spans": [{"concept": "act", "phrase": "sing"}]}))
    long = tmp_path / "long.jsonl"
    long.write_text(json.dumps({**RECORDS[0], "text": WORDS * 2, "spans": [{"concept": "act", "phrase": "light it", "occurrence": 1}]}))
    (tmp_path / "a.csv").write_text("1,2\n3,4\n")
    (tmp_path / "b.csv").write_text("1,2\n")
    model, out = models[0], inside / "out"
    run = ["probe", "run", model, "--out", out, "--concepts"]
    refused(
        [
            ([*run, absent], "absent.jsonl, line 1: the phrase 'sing' does not occur"),
            ([*run, tmp_path / "none.jsonl"], "there is no file"),
            ([*run, long], "tokens, one reads 128 at most; shorten it, or have such passages cut into windows (--windows"),
            ([*run, concepts, "--concept", "acts"], "did you mean 'act'"),
            ([*run, concepts, "--against", tmp_path / "no-model"], "no-model"),
            (["probe", "check", absent, "--tokenizer", model], "line 1"),
            (["probe", "stats", tmp_path / "a.csv", tmp_path / "b.csv"], "2 x 2 and 1 x 2"),
            (["probe", "stats", tmp_path / "a.csv", tmp_path / "c.csv"], "there is no file"),
        ],
        inside,
    )
    refused([([*run, concepts, "--exclude", "punct"], "unknown rule 'punct'"), ([*run, concepts, "--null-spans", 0], "--null-spans is 0"), ([*run, concepts, "--queries", "some"], "--queries is 'some'"), (["probe", "run", model, "--overwrite"], "--overwrite goes with --out")], inside, status=2)  # fmt: skip
