"""`pydisp eval` as users type it."""

import json

import pytest
from command_line import one_sentence, refused
from tiny_text import write_model


def test_perplexities_are_those_of_the_folder(pruned, text, run, tmp_path):
    from pydisp.text import read_text, split_heldout

    out, result, _ = pruned
    held = tmp_path / "held.txt"
    held.write_text(split_heldout(read_text([str(text)]))[1].joined)
    status, printed, _ = run("eval", out, "--text", held, "--context", "32", "--json")
    figures = json.loads(printed)
    assert status == 0 and figures["perplexity"] == pytest.approx(result["perplexity"]["pruned"], rel=1e-6)
    assert {"nats_per_token", "perplexity", "bits_per_byte", "tokens", "context_tokens"} <= figures.keys()


def test_a_damaged_model_is_refused(run, text, tmp_path):
    folder = write_model(tmp_path / "cut")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    status, _, err = run("eval", folder, "--text", text, "--context", "32")
    assert status == 1 and "cannot load the model" in one_sentence(err)


def test_bad_input_is_told_in_one_sentence(model, text, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    cases = [
        (["eval", model, "--text", empty], "is empty"),
        (["eval", model, "--text", text, "--context", "1"], "must be at least 2"),
    ]
    refused(cases, tmp_path)
    refused([(["eval", model], "nothing to evaluate on")], tmp_path, status=2)
    refused([(["eval", model, "--text", text, "--tasks", "x"], "--text and --tasks exclude each other")], tmp_path, status=2)
