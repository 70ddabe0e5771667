"""Items and predictions of any content are what they hold, or one sentence."""

import hashlib
import json

from fuzzing import changed_bytes, changed_json, fuzz
from holobench_items import make_items
from hypothesis import strategies as st
from tiny_text import tiny_tokenizer

from pydisp.holobench.answers.predictions import Prediction, Predictions, read_predictions
from pydisp.holobench.item_file import read_items, write_items
from pydisp.holobench.sealed_file import json_line

ITEMS, MANIFEST = make_items(tiny_tokenizer(), 3)
RECORDS = [item.as_dict() for item in ITEMS]
LINES = b"".join(map(json_line, RECORDS))
PREDICTED = [
    Prediction(ITEMS[0].id, answer="7"),
    Prediction(ITEMS[1].id, answer="", finished=False, log_likelihoods=(-0.5, -1.0, -2.5, -3.0), choice_tokens=(1, 1, 1, 1)),
    Prediction(ITEMS[2].id, skipped="too long"),
]
PREDICTIONS = b"".join(json_line(one.as_dict()) for one in PREDICTED)


def as_dicts(items) -> list[dict]:
    return [item.as_dict() for item in items]


def one_changed(records: list[dict]) -> st.SearchStrategy[bytes]:
    """Lines of records of which one is changed."""
    return st.integers(0, len(records) - 1).flatmap(
        lambda n: changed_json(records[n]).map(
            lambda one: b"".join([*map(json_line, records[:n]), one, b"\n", *map(json_line, records[n + 1 :])])
        )
    )


def sealed(lines: bytes, **changes) -> bytes:
    """The manifest that knows these lines."""
    return json.dumps({**MANIFEST, "sha256": hashlib.sha256(lines).hexdigest(), **changes}).encode()


def test_items(tmp_path):
    path, beside, again = tmp_path / "b.jsonl", tmp_path / "b.manifest.json", tmp_path / "again.jsonl"

    def outcome(case):
        lines, manifest = case
        path.write_bytes(lines)
        beside.write_bytes(sealed(lines) if manifest is None else manifest)
        items, read = read_items(path)
        write_items(again, items, read)
        assert as_dicts(read_items(again)[0]) == as_dicts(items)
        if lines == LINES:
            assert as_dicts(items) == RECORDS

    fuzz(
        "items",
        st.one_of(
            one_changed(RECORDS).map(lambda lines: (lines, None)),
            changed_bytes(LINES).map(lambda lines: (lines, None)),
            changed_json(json.loads(sealed(LINES))).map(lambda manifest: (LINES, manifest)),
            changed_bytes(sealed(LINES)).map(lambda manifest: (LINES, manifest)),
            st.lists(st.sampled_from(RECORDS), unique_by=lambda one: one["id"]).map(lambda some: (b"".join(map(json_line, some)), None)),
        ),
        outcome,
    )


def test_predictions(tmp_path):
    path, beside = tmp_path / "p.jsonl", tmp_path / "p.manifest.json"
    Predictions(tuple(PREDICTED), {"data_sha256": MANIFEST["sha256"], "limit": None}).write(path)
    manifest = json.loads(beside.read_bytes())

    def outcome(case):
        lines, notes = case
        path.write_bytes(lines)
        beside.unlink(missing_ok=True)
        if notes is not None:
            beside.write_bytes(notes)
        read = read_predictions(path, ITEMS)
        assert len(read.by_id) == len(read.predictions) >= 1
        assert all(Prediction.from_dict(one.as_dict()).as_dict() == one.as_dict() for one in read.predictions)
        if lines == PREDICTIONS:
            assert read.predictions == tuple(PREDICTED[: len(read.predictions)])

    records = [one.as_dict() for one in PREDICTED]
    fuzz(
        "predictions",
        st.one_of(
            one_changed(records).map(lambda lines: (lines, None)),
            changed_bytes(PREDICTIONS).map(lambda lines: (lines, None)),
            changed_json(manifest).map(lambda notes: (PREDICTIONS, notes)),
            st.permutations(records).map(lambda some: (b"".join(map(json_line, some)), None)),
        ),
        outcome,
    )
