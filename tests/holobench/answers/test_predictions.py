import json

import pytest
from holobench_items import make_items
from tiny_text import tiny_tokenizer

from pydisp.holobench.answers.predictions import Prediction, Predictions, PredictionsError, read_predictions
from pydisp.holobench.sealed_file import manifest_path, write_sealed

ITEMS, MANIFEST = make_items(tiny_tokenizer(), 3)
A, B, C = (one.id for one in ITEMS)
SUMS = (-0.5, -1.5, -2.0, -3.0)
MADE = (Prediction(A, "7", False), Prediction(B, "", True, SUMS, (1, 1, 1, 4)), Prediction(C, skipped="too long"))


def lines(path, *records):
    path.write_text("\n".join(json.dumps(record) for record in records))
    return path


def refused(path, *words, items=ITEMS):
    with pytest.raises(PredictionsError) as error:
        read_predictions(path, items)
    text = str(error.value)
    assert all(word in text for word in words), text
    assert "\n" not in text and text.endswith(".")


def test_predictions_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "answers.jsonl"
    manifest = Predictions(MADE, {"model": "tiny", "data_sha256": MANIFEST["sha256"]}).write(path)
    read = read_predictions(path, ITEMS)
    assert read.predictions == MADE and read.manifest == manifest
    assert read.by_id[B].log_likelihoods == SUMS and read.skipped == {C: "too long"}
    assert json.loads(path.read_text().splitlines()[0]) == {"id": A, "answer": "7", "finished": False}
    assert json.loads(path.read_text().splitlines()[2]) == {"id": C, "skipped": "too long"}


def test_files_of_other_programs_are_read_in_any_order(tmp_path):
    path = lines(tmp_path / "x.jsonl", {"id": C, "answer": "c", "model": "other"}, {"id": A, "answer": "a"}, {"id": B, "answer": "b"})
    read = read_predictions(path, ITEMS)
    assert [one.answer for one in read.predictions] == ["a", "b", "c"] and read.manifest == {}
    assert all(one.finished for one in read.predictions)


def test_a_file_of_the_first_items_says_so(tmp_path):
    path = tmp_path / "x.jsonl"
    Predictions(MADE[:2], {"data_sha256": MANIFEST["sha256"], "limit": 2}).write(path)
    assert [one.id for one in read_predictions(path, ITEMS).predictions] == [A, B]
    for limit in (0, -1, True, "2"):
        Predictions(MADE[:2], {"data_sha256": MANIFEST["sha256"], "limit": limit}).write(path)
        refused(path, "limit")
    Predictions(MADE[:1], {"data_sha256": MANIFEST["sha256"], "limit": 2}).write(path)
    refused(path, "lacks 1 of 2", B)


def test_missing_items_are_counted_and_the_first_is_named(tmp_path):
    refused(lines(tmp_path / "x.jsonl", {"id": A, "answer": ""}), "lacks 2 of 3", B, "mismatched predictions")
    (tmp_path / "empty.jsonl").write_text("")
    refused(tmp_path / "empty.jsonl", "lacks 3 of 3", A)


@pytest.mark.parametrize(
    ("record", "word"),
    [
        ({"answer": "a"}, "'id'"),
        ({"id": 1, "answer": "a"}, "'id'"),
        ({"id": "other", "answer": "a"}, "does not have"),
        ({"id": A}, "one of them"),
        ({"id": A, "answer": 7}, "'answer'"),
        ({"id": A, "answer": None}, "'answer'"),
        ({"id": A, "answer": "a", "finished": 1}, "'finished'"),
        ({"id": A, "answer": "a", "skipped": "b"}, "both"),
        ({"id": A, "log_likelihoods": list(SUMS), "skipped": "b"}, "both"),
        ({"id": A, "log_likelihoods": [-1]}, "has 1 log_likelihoods, the item has 4 choices"),
        ({"id": A, "log_likelihoods": [-1, -1, -1, 1]}, "0 or less"),
        ({"id": A, "log_likelihoods": [-1, -1, -1, "1"]}, "0 or less"),
        ({"id": A, "log_likelihoods": list(SUMS), "choice_tokens": [1, 1, 1, 0]}, "1 or more"),
        ({"id": A, "log_likelihoods": list(SUMS), "choice_tokens": [1, 1]}, "has 2 choice_tokens"),
        ({"id": A, "skipped": 1}, "'skipped'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, record, word):
    refused(lines(tmp_path / "x.jsonl", {"id": B, "answer": ""}, record), "line 2", word)


def test_a_second_prediction_of_an_item_is_refused(tmp_path):
    refused(lines(tmp_path / "x.jsonl", {"id": A, "answer": "1"}, {"id": A, "answer": "1"}), "line 2", "second", A)


def test_predictions_of_another_benchmark_or_changed_ones_are_refused(tmp_path):
    path = tmp_path / "x.jsonl"
    Predictions(MADE, {"data_sha256": "0" * 64}).write(path)
    refused(path, "another benchmark", "0" * 64)
    assert read_predictions(path, ITEMS, "0" * 64).predictions == MADE
    Predictions(MADE, {"data_sha256": MANIFEST["sha256"]}).write(path)
    path.write_text(path.read_text().replace('"7"', '"8"'))
    refused(path, "changed after it was written")
    write_sealed(path, [one.as_dict() for one in MADE], {"format": "pydisp-holobench-1"})
    refused(path, manifest_path(path).name, "pydisp-holobench-predictions-1")
