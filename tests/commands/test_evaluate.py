"""`pydisp eval` as users type it."""

import json
import math
import re

import pytest
from command_line import one_sentence, refused
from tiny_text import tiny_llama, tiny_tokenizer, write_model

from pydisp import evaluation


def test_perplexities_are_those_of_the_folder(pruned, text, run, tmp_path):
    from pydisp.text import read_text, split_heldout

    out, result, _ = pruned
    held = tmp_path / "held.txt"
    held.write_text(split_heldout(read_text([str(text)]))[1].joined)
    status, printed, _ = run("eval", out, "--text", held, "--context", "32", "--json")
    figures = json.loads(printed)
    assert status == 0 and figures["perplexity"] == pytest.approx(result["perplexity"]["pruned"], rel=1e-6)
    assert {"nats_per_token", "perplexity", "bits_per_byte", "tokens", "context_tokens"} <= figures.keys()


def test_the_figures_are_those_of_evaluate_in_one_line_or_one_object(model, text, run):
    result = evaluation.evaluate(model, text=str(text), context_tokens=32)
    status, printed, err = run("eval", model, "--text", text, "--context", "32", "--json")
    assert (status, json.loads(printed), err) == (0, result.as_dict(), "")
    status, printed, err = run("eval", model, "--text", text, "--context", "32")
    assert (status, printed, err) == (0, f"{result.in_words()}\n", "")


def test_progress_goes_to_standard_error_unless_quiet(model, text, run, monkeypatch):
    monkeypatch.setattr(evaluation, "_SECONDS_BETWEEN_LINES", 0.0)
    given = ["eval", model, "--text", text, "--context", "32", "--batch-size", "20", "--json"]
    status, printed, err = run(*given)
    assert status == 0 and json.loads(printed) and re.search(r"^window 20 of \d+, about \d+ s left$", err, re.MULTILINE)
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
        (["eval", model, "--text", text, "--context", "1"], "must be at least 2"),
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
    ]
    refused(misused, tmp_path, status=2)
