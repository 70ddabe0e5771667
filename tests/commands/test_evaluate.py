"""`pydisp eval` as users type it."""

import json
import math
import re

import pytest
from browser_page import needs_chromium, require_readable
from command_line import one_sentence, refused
from tiny_text import tiny_llama, tiny_tokenizer, write_model

from pydisp import evaluation, progress
from pydisp.report import Report


def test_perplexities_are_those_of_the_folder(pruned, text, run, tmp_path):
    from pydisp.text import read_text, split_heldout

    out, result, _ = pruned
    held = tmp_path / "held.txt"
    held.write_text(split_heldout(read_text([str(text)]))[1].joined)
    status, printed, _ = run("eval", out, "--text", held, "--context", "32", "--json")
    figures = json.loads(printed)
    assert status == 0 and figures["perplexity"] == pytest.approx(result["perplexity"]["pruned"], rel=1e-6)
    assert {"nats_per_token", "perplexity", "bits_per_byte", "tokens", "context_tokens"} <= figures.keys()


def test_the_figures_are_those_of_evaluate_in_one_line_or_one_object(model, text, run, monkeypatch):
    monkeypatch.setattr(progress, "FIRST_LINE_SECONDS", 600.0)  # on a busy machine too
    result = evaluation.evaluate(model, text=str(text), context_tokens=32)
    status, printed, err = run("eval", model, "--text", text, "--context", "32", "--json")
    assert (status, json.loads(printed), err) == (0, result.as_dict(), "")
    status, printed, err = run("eval", model, "--text", text, "--context", "32")
    assert (status, printed, err) == (0, f"{result.in_words()}\n", "")


def test_progress_goes_to_standard_error_unless_quiet(model, text, run, monkeypatch):
    monkeypatch.setattr(progress, "FIRST_LINE_SECONDS", 0.0)
    given = ["eval", model, "--text", text, "--context", "32", "--batch-size", "20", "--json"]
    status, printed, err = run(*given)
    assert status == 0 and json.loads(printed) and re.search(r"^evaluation: window 20 of \d+, about \d+ s left$", err, re.MULTILINE)
    assert run("--quiet", *given) == (0, printed, "")


def test_a_perplexity_above_the_limit_ends_with_status_3_and_the_result(model, text, run):
    given = ["eval", model, "--text", text, "--context", "32"]
    status, printed, _ = run(*given, "--json")
    perplexity = json.loads(printed)["perplexity"]
    assert run(*given, "--json", "--max-perplexity", math.nextafter(perplexity, math.inf)) == (0, printed, "")
    for as_json in ([], ["--json"]):
        status, result, err = run(*given, "--max-perplexity", perplexity - 1, *as_json)
        assert status == 3 and result == (printed if as_json else run(*given)[1])
        assert f"the perplexity is {perplexity:.3f}, above --max-perplexity" in one_sentence(err)


def test_the_report_appears_whole_beside_the_same_figures(model, text, run, tmp_path):
    out = tmp_path / "report"
    given = ["eval", model, "--text", text, "--context", "32", "--out", out]
    status, printed, _ = run(*given, "--json")
    result = json.loads(printed)
    assert status == 0 and result.pop("out") == str(out)
    assert sorted(p.name for p in out.iterdir()) == ["evaluation.json", "report.html", "report.json", "report.md"]
    assert json.loads((out / "evaluation.json").read_text()) == result
    assert json.loads((out / "report.json").read_text())["facts"]["result"] == result
    assert [p.name for p in tmp_path.iterdir()] == ["report"]
    refused([(given, "exists; choose another --out")], tmp_path)
    status, printed, _ = run(*given, "--overwrite")
    assert status == 0 and printed.endswith(f"report: {out / 'report.html'}\n")


@needs_chromium
def test_its_page_is_readable(model, text, run, tmp_path):
    assert run("eval", model, "--text", text, "--context", "32", "--out", tmp_path / "report")[0] == 0
    require_readable({"evaluation": (tmp_path / "report" / "report.html").read_text()})


def test_a_folder_that_no_evaluation_made_is_not_replaced(pruned, text, model, run, monkeypatch):
    monkeypatch.setattr(evaluation, "evaluate", lambda *_args, **_kwargs: pytest.fail("the work was done first"))
    status, _, err = run("eval", model, "--text", text, "--out", pruned[0], "--overwrite")
    assert status == 1 and "not the output of an earlier eval" in one_sentence(err)


def test_a_failure_leaves_no_report(model, text, tmp_path):
    refused([(["eval", model, "--text", text, "--context", "9999", "--out", tmp_path / "out"], "the model has 128 positions")], tmp_path)


@pytest.fixture
def asked(monkeypatch):
    """What `evaluate_tasks` was called with."""
    pytest.importorskip("lm_eval")
    calls = []

    def evaluate_tasks(model, tasks, **options):
        calls.append({"tasks": tasks, **options})
        return {
            "model": "tiny",
            "results": {"sums": {"acc,none": 0.25, "acc_stderr,none": 0.125}},
            "n_samples": {"sums": {"effective": 12}},
        }

    monkeypatch.setattr("pydisp.integrations.lm_eval.evaluate_tasks", evaluate_tasks)
    return calls


def test_options_reach_lm_eval(model, run, asked, tmp_path):
    status, printed, _ = run(
        "eval", model, "--tasks", "sums, more", "--include-path", tmp_path / "a", "--include-path", tmp_path / "b", "--limit", "3",
        "--model-args", "max_length=64,add_bos_token=True,prefix=x", "--metadata", '{"max_seq_lengths": [64, 128]}', "--apply-chat-template",
        "--json",
    )  # fmt: skip
    (options,) = asked
    assert status == 0 and json.loads(printed)["results"]["sums"]["acc,none"] == 0.25
    assert options["tasks"] == ["sums", "more"] and options["include_paths"] == [tmp_path / "a", tmp_path / "b"]
    assert options["model_args"] == {"max_length": 64, "add_bos_token": True, "prefix": "x"}
    assert options["metadata"] == {"max_seq_lengths": [64, 128]}
    assert options["apply_chat_template"] is True and options["limit"] == 3 and options["batch_size"] == 1
    run("eval", model, "--tasks", "sums", "--chat-template", "tool_use")
    run("eval", model, "--tasks", "sums")
    assert asked[1]["apply_chat_template"] == "tool_use"
    rest = {name: asked[2][name] for name in ("include_paths", "model_args", "metadata", "apply_chat_template", "limit")}
    assert rest == {"include_paths": (), "model_args": None, "metadata": None, "apply_chat_template": False, "limit": None}


def test_results_of_tasks_get_a_report_too(model, run, asked, tmp_path):
    status, printed, _ = run("eval", model, "--tasks", "sums", "--out", tmp_path / "out")
    assert status == 0 and printed.startswith("sums: acc,none 0.2500, acc_stderr,none 0.1250\nreport: ")
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["facts"]["result"]["n_samples"] == {"sums": {"effective": 12}}
    (table,) = Report.from_json((tmp_path / "out/report.json").read_text()).sections[0].parts
    assert table.rows[0] == ("sums", "acc,none", 0.25)


@pytest.mark.parametrize("given", ["max_length", "=3", "a=1,b"])
def test_arguments_that_lm_eval_would_misread_are_refused(model, asked, tmp_path, given):
    for option in ("--model-args", "--metadata"):
        refused([(["eval", model, "--tasks", "sums", option, given], f"{option} is {given!r}; write a=1,b=x, or a JSON object")], tmp_path)
    assert not asked


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{'a': 1}", "is no JSON (Expecting property name enclosed in double quotes at column 2)"),
        ('{"a": ', "is no JSON (Expecting value at column 7)"),
        ('{"a": ' + "[" * 5000, "holds lists in lists, more than 64 deep"),
        ('{"a": NaN}', "NaN is no value of JSON"),
        ('{"a": 1, "a": 2}', "the key 'a' stands twice in one object"),
    ],
)
def test_objects_that_are_no_json_are_refused(model, asked, tmp_path, given, words):
    for option in ("--model-args", "--metadata"):
        refused(
            [(["eval", model, "--tasks", "sums", option, given], words), (["eval", model, "--tasks", "sums", option, given], option)],
            tmp_path,
        )
    assert not asked


def test_a_damaged_model_is_refused(run, text, tmp_path):
    folder = write_model(tmp_path / "cut")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    status, _, err = run("eval", folder, "--text", text, "--context", "32")
    assert status == 1 and "cannot load the model" in one_sentence(err)


def test_bad_input_is_told_in_one_sentence(model, text, tmp_path):
    empty, chat, markers = tmp_path / "empty.txt", tmp_path / "chat.txt", tmp_path / "markers"
    empty.write_text("")
    chat.write_text("<user> Hello. " * 40)
    tiny_llama().save_pretrained(markers)
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<user>"])
    tokenizer.save_pretrained(markers)
    cases = [
        (["eval", model, "--text", empty], "is empty"),
        (["eval", model, "--text", text, "--context", "1"], "of at least 2"),
        (["eval", model, "--text", text, "--batch-size", "0"], "batch_size is 0"),
        (["eval", model, "--text", text, "--max-perplexity", "0.5"], "a perplexity is 1 or more"),
        (["eval", model, "--text", text, "--max-perplexity", "nan"], "a perplexity is 1 or more"),
        (["eval", markers, "--text", chat], "token id 257 ('<user>') is outside the model's vocabulary of 257"),
    ]
    refused(cases, tmp_path)
    misused = [
        (["eval", model], "nothing to evaluate on"),
        (["eval", model, "--text", text, "--tasks", "x"], "--text and --tasks exclude each other"),
        (["eval", model, "--text", text, "--limit", "3"], "--limit goes with --tasks"),
        (["eval", model, "--tasks", "x", "--max-perplexity", "3"], "--max-perplexity goes with --text"),
        (["eval", model, "--tasks", "x", "--context", "3"], "--context goes with --text"),
        *(
            (["eval", model, "--text", text, option, "a=1"], f"{option} goes with")
            for option in ("--model-args", "--metadata", "--include-path")
        ),
        (["eval", model, "--text", text, "--apply-chat-template"], "--apply-chat-template goes with --tasks"),
        (["eval", model, "--text", text, "--overwrite"], "--overwrite goes with --out"),
    ]
    refused(misused, tmp_path, status=2)
