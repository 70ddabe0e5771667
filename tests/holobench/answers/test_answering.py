import json
import os
import signal

import pytest
import torch
from families import random_plan, tiny_model
from holobench_items import chat_tokenizer, make_items, merging_tokenizer, model_with_states
from tiny_text import tiny_tokenizer

from pydisp.holobench.answers import answering
from pydisp.holobench.answers.answering import AnsweringError, run
from pydisp.holobench.answers.asked_items import AskingError, ask
from pydisp.holobench.answers.journal import JournalError
from pydisp.holobench.answers.predictions import read_predictions
from pydisp.holobench.item_file import write_items
from pydisp.holobench.prompts import PromptError, Prompts, Style
from pydisp.progress import Interrupted
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

TOKENIZER = tiny_tokenizer()
ITEMS, MANIFEST = make_items(TOKENIZER, 6)
DATA = (ITEMS, MANIFEST)
OF_TWO = 2 * (max(one.prompt_tokens for one in ITEMS) + 8)  # tokens of a batch, so that the six items make three


def tiny(name="llama", **changes):
    return tiny_model(name, vocab_size=260, max_position_embeddings=256, **changes)


def write_model(folder, tokenizer=TOKENIZER):
    tiny(dtype=torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def asked(model, data=DATA, tokenizer=TOKENIZER, **options):
    return run(model, data, tokenizer=tokenizer, **options)


def close(found, wanted):
    assert [(one.id, one.answer, one.finished, one.choice_tokens, one.skipped) for one in found] == [
        (one.id, one.answer, one.finished, one.choice_tokens, one.skipped) for one in wanted
    ]
    for one, other in zip(found, wanted, strict=True):
        assert (one.log_likelihoods is None) == (other.log_likelihoods is None)
        if one.log_likelihoods is not None:
            assert one.log_likelihoods == pytest.approx(other.log_likelihoods, abs=1e-10)


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "pruned"])
def test_batches_of_any_size_answer_alike(name):
    changes = {} if name == "llama" else {"sliding_window": 30}
    model = tiny("qwen2" if name == "pruned" else name, **changes)
    if name == "pruned":
        model = prune_model(model, random_plan(ModelSpec.from_model(model), 1, (0, 3), (1,)))
    single = asked(model, form="both", batch_tokens=1).predictions
    assert [one.id for one in single] == [one.id for one in ITEMS]
    assert all(one.answer is not None and one.choice_tokens == (2, 2, 2, 5) for one in single)
    for batch_tokens in (OF_TWO, 8192):
        close(asked(model, form="both", batch_tokens=batch_tokens).predictions, single)
    alone = [asked(model, ([item], MANIFEST), form="both").predictions[0] for item in ITEMS]  # no shared facts
    close(alone, single)


def test_both_forms_are_the_two_together():
    both = asked(tiny(), form="both")
    generated, scored = asked(tiny()), asked(tiny(), form="likelihood")
    for one, answer, sums in zip(both.predictions, generated.predictions, scored.predictions, strict=True):
        assert (one.answer, one.finished) == (answer.answer, answer.finished) and one.log_likelihoods == pytest.approx(sums.log_likelihoods)
        assert answer.log_likelihoods is None and sums.answer is None
    assert (both.manifest["form"], both.manifest["items"], both.manifest["skipped"]) == ("both", 6, 0)


def test_both_forms_agree_where_an_answer_changes_the_prompt_s_last_token():
    tokenizer = merging_tokenizer()
    data = make_items(tokenizer, 4)
    both, generated = asked(tiny(), data, tokenizer, form="both"), asked(tiny(), data, tokenizer)
    assert [one.answer for one in both.predictions] == [one.answer for one in generated.predictions]


def test_a_model_with_states_answers_item_by_item():
    single = asked(model_with_states(), form="both", batch_tokens=1).predictions
    assert asked(model_with_states(), form="both").predictions == single
    close([asked(model_with_states(), ([item], MANIFEST), form="both").predictions[0] for item in ITEMS[:2]], single[:2])


def test_a_chat_is_asked_in_its_template():
    tokenizer = chat_tokenizer()
    data = make_items(tokenizer, 2, style=Style("chat", room=4))
    model = tiny()
    assert [one.answer is not None for one in asked(model, data, tokenizer).predictions] == [True, True]
    with pytest.raises(PromptError, match="chat template"):
        asked(model, data, TOKENIZER, any_tokenizer=True)


def test_without_context_no_fact_is_read():
    model = tiny()
    with_facts, without = asked(model, form="likelihood"), asked(model, form="likelihood", without_context=True)
    assert without.manifest["without_context"] and with_facts.predictions[0] != without.predictions[0]
    same = [one for one in zip(ITEMS, without.predictions, strict=True) if one[0].question == ITEMS[0].question]
    assert len(same) == 3
    by_choices = {}
    for item, one in same:  # only the question and the choices matter
        for choice, value in zip(item.choices, one.log_likelihoods, strict=True):
            assert by_choices.setdefault(choice, value) == pytest.approx(value)


def test_long_items_are_skipped_in_their_place_and_told():
    limit = sorted(one.prompt_tokens for one in ITEMS)[2] + 8
    lines = []
    found = asked(tiny_model("llama", vocab_size=257, max_position_embeddings=limit), say=lines.append)
    assert [one.id for one in found.predictions] == [one.id for one in ITEMS]
    assert {one.id for one in found.predictions if one.answer is None} == {one.id for one in ITEMS if one.prompt_tokens + 8 > limit}
    assert len(found.skipped) == found.manifest["skipped"] == 3 and all(f"{limit} positions" in why for why in found.skipped.values())
    assert lines[0].startswith("3 of 6 items are skipped (") and next(iter(found.skipped)) in lines[0]


def test_a_file_is_written_with_its_manifest_and_read_back(tmp_path):
    write_items(tmp_path / "bench.jsonl", ITEMS, MANIFEST)
    out = tmp_path / "new" / "answers.jsonl"
    found = run(write_model(tmp_path / "tiny"), tmp_path / "bench.jsonl", out=out, limit=4, dtype="float64")
    assert sorted(path.name for path in out.parent.iterdir()) == ["answers.jsonl", "answers.manifest.json"]
    read = read_predictions(out, ITEMS)
    assert read.predictions == found.predictions and len(read.predictions) == 4 and read.manifest == found.manifest
    manifest = json.loads((out.parent / "answers.manifest.json").read_text())
    assert manifest["format"] == "pydisp-holobench-predictions-1" and manifest["data_sha256"] == MANIFEST["sha256"]
    assert manifest["model"] == "tiny" and manifest["facts"]["dtype"] == "float64" and manifest["style"] == MANIFEST["style"]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_that_was_killed_after_any_line_ends_with_the_same_bytes(tmp_path):
    model = tiny()
    options = dict(form="both", batch_tokens=OF_TWO)
    whole = tmp_path / "whole" / "x.jsonl"
    journals = []

    class Kept(answering.Journal):
        def remove(self):
            journals.append(self.path.read_bytes())
            super().remove()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answering, "Journal", Kept)
        asked(model, out=whole, **options)
    (journal,) = journals
    lines = journal.splitlines(keepends=True)
    assert len(lines) == 4
    for count in range(len(lines) + 1):
        for torn in (b"", b'{"batch": 1, "predic'):
            out = tmp_path / f"{count}{len(torn)}" / "x.jsonl"
            out.parent.mkdir()
            out.with_name("x.jsonl.partial").write_bytes(b"".join(lines[:count]) + torn)
            asked(model, out=out, resume=True, **options)
            assert files(out.parent) == files(whole.parent)


def test_a_stop_keeps_what_is_finished_and_a_resume_does_the_rest(tmp_path, monkeypatch):
    model, out = tiny(), tmp_path / "x.jsonl"
    real, batches = answering.greedy, []

    def stopping(*arguments):
        batches.append(1)
        if len(batches) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*arguments)

    monkeypatch.setattr(answering, "greedy", stopping)
    with pytest.raises(Interrupted, match="after batch 2 of 3.*--resume"):
        asked(model, out=out, batch_tokens=OF_TWO)
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl.partial"] and len(batches) == 2
    with pytest.raises(JournalError, match="had form 'generate', this one has 'both'"):
        asked(model, out=out, batch_tokens=OF_TWO, form="both", resume=True)
    asked(model, out=out, batch_tokens=OF_TWO, resume=True)
    assert len(batches) == 3 and read_predictions(out, ITEMS).predictions == asked(model, batch_tokens=OF_TWO).predictions
    batches[1:] = []
    with pytest.raises(Interrupted, match="nothing was written"):
        asked(model, batch_tokens=OF_TWO)


def test_without_resume_an_unfinished_run_is_replaced(tmp_path):
    partial = tmp_path / "x.jsonl.partial"
    partial.write_text("of another run")
    asked(tiny(), out=tmp_path / "x.jsonl")
    assert not partial.exists() and len(read_predictions(tmp_path / "x.jsonl", ITEMS).predictions) == 6
    with pytest.raises(JournalError, match="there is no file"):
        asked(tiny(), out=tmp_path / "y.jsonl", resume=True)


def test_only_predictions_are_replaced_and_only_if_asked(tmp_path):
    out, bench = tmp_path / "x.jsonl", tmp_path / "bench.jsonl"
    asked(tiny(), out=out, limit=1)
    before = files(tmp_path)
    with pytest.raises(AnsweringError, match="there already.*--overwrite"):
        asked(tiny(), out=out)
    assert files(tmp_path) == before
    asked(tiny(), out=out, overwrite=True)
    assert len(read_predictions(out, ITEMS).predictions) == 6
    write_items(bench, ITEMS, MANIFEST)
    (tmp_path / "notes.txt").write_text("mine")
    for name, words in (("bench.jsonl", "no predictions of pydisp"), ("notes.txt", "no predictions of pydisp"), (".", "is a folder")):
        with pytest.raises(AnsweringError, match=words):
            asked(tiny(), out=tmp_path / name, overwrite=True)
    with pytest.raises(AnsweringError, match="notes.txt is a file, so y.jsonl cannot be made in it"):
        asked(tiny(), out=tmp_path / "notes.txt" / "new" / "y.jsonl")


def test_an_output_that_appears_meanwhile_is_kept(tmp_path, monkeypatch):
    out, real = tmp_path / "x.jsonl", answering.greedy
    monkeypatch.setattr(answering, "greedy", lambda *arguments: (out.write_text("another"), real(*arguments))[1])
    with pytest.raises(AnsweringError, match="there already"):
        asked(tiny(), out=out)
    assert out.read_text() == "another" and out.with_name("x.jsonl.partial").exists()


def test_another_tokenizer_is_refused_before_weights_are_loaded(tmp_path, monkeypatch):
    other, folder = write_model(tmp_path / "other", chat_tokenizer()), write_model(tmp_path / "tiny")
    monkeypatch.setattr("pydisp.subject.load_model", lambda *a, **k: pytest.fail("weights were loaded"))
    with pytest.raises(AnsweringError, match="tokenizer of tiny, other has another.*--tokenizer other.*--any-tokenizer"):
        run(other, DATA)
    items, manifest = make_items(TOKENIZER, 2, style=Style(room=9))
    with pytest.raises(AskingError, match="another prompt"):
        run(folder, (items, {**manifest, "style": Style(answer="reason", room=9).as_dict()}))
    long, manifest = make_items(TOKENIZER, 2, facts=20)
    with pytest.raises(AnsweringError, match="tiny can be asked none of the items .the first: its .* positions"):
        run(folder, (long, manifest))
    with pytest.raises(AnsweringError, match="none of the items .there are none"):
        run(folder, ([], manifest))


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused():
    tokenizer = chat_tokenizer()
    data = make_items(tokenizer, 2, style=Style("chat", room=4))
    with pytest.raises(AnsweringError, match="gives the id 257, the model has 257 embeddings"):
        asked(tiny_model("llama", vocab_size=257, max_position_embeddings=256), data, tokenizer)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"form": "write"}, "form is 'write'"),
        ({"batch_tokens": 0}, "batch_tokens is 0"),
        ({"batch_tokens": None}, "batch_tokens is None"),
        ({"limit": 0}, "limit is 0"),
        ({"limit": True}, "limit is True"),
        ({"resume": True}, "--out"),
        ({"dtype": "float32"}, "dtype goes with the name"),
        ({"tokenizer": None}, "without its tokenizer"),
    ],
)
def test_wrong_arguments_are_refused(options, word):
    with pytest.raises(ValueError, match=word):
        asked(tiny(), **options)


def test_a_manifest_of_another_version_is_refused():
    with pytest.raises(ValueError, match="the manifest has the format"):
        asked(tiny(), (ITEMS, {**MANIFEST, "format": "x"}))


def test_the_model_stays_as_it_was():
    model = tiny().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.model.layers[0].eval()
    asked(model, limit=2)
    assert model.training and not model.model.layers[0].training and model.model.layers[1].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_memory_that_is_too_small_is_said_in_one_sentence(monkeypatch):
    def full(*_arguments):
        raise torch.OutOfMemoryError("tried to allocate 1 GiB\nmore")

    monkeypatch.setattr(answering, "greedy", full)
    with pytest.raises(AnsweringError, match=r"6 items of up to \d+ tokens .*tried to allocate 1 GiB.*--batch-tokens"):
        asked(tiny())


def test_the_prompt_of_an_item_is_what_ask_makes():
    prompts = Prompts(TOKENIZER, Style(**MANIFEST["style"]))
    (one,), _ = ask(ITEMS[:1], prompts, form="generate", positions=None)
    assert TOKENIZER.decode(one.prompt) == prompts.text(ITEMS[0].context, ITEMS[0].question)


def test_a_stopped_run_is_not_replaced_without_a_word(tmp_path):
    out, said = tmp_path / "x.jsonl", []
    asked(tiny(), out=out, limit=1)
    out.rename(tmp_path / "x.jsonl.partial")
    asked(tiny(), out=out, limit=1, say=said.append)
    assert any("x.jsonl.partial of a run that was stopped is replaced; with --resume" in line for line in said)
