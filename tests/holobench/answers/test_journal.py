import json

import pytest

from pydisp.holobench.answers.journal import Journal, JournalError
from pydisp.holobench.answers.predictions import Prediction

IDENTITY = {"model": "tiny", "limit": None, "style": {"room": 8}}
BATCHES = [[Prediction("a", "Zoë\u2028 7", False)], [Prediction("b", None, True, (-0.1, -1 / 3), (1, 2)), Prediction("c", "")]]


def written(path, batches=BATCHES):
    with Journal(path, IDENTITY, resume=False) as journal:
        journal.begin()
        for number, predictions in enumerate(batches):
            journal.append(number, predictions)
    return path.with_name(f"{path.name}.partial")


def test_a_journal_gives_back_its_batches_and_takes_more(tmp_path):
    out = tmp_path / "new" / "x.jsonl"
    partial = written(out, BATCHES[:1])
    with Journal(out, IDENTITY, resume=True) as journal:
        assert journal.done == {0: BATCHES[0]}
        journal.begin()
        journal.append(1, BATCHES[1])
    assert Journal(out, IDENTITY, resume=True).done == dict(enumerate(BATCHES))
    with Journal(out, IDENTITY, resume=True) as journal:
        journal.begin()
        journal.remove()
    assert not partial.exists()


def test_a_torn_last_line_is_dropped_wherever_it_is_torn(tmp_path):
    out = tmp_path / "x.jsonl"
    whole = written(out).read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == 10]
    for stop in sorted({*range(0, len(whole), 9), *ends, *(end - 1 for end in ends), *(end + 1 for end in ends[:-1])}):
        out.with_name("x.jsonl.partial").write_bytes(whole[:stop])
        with Journal(out, IDENTITY, resume=True) as journal:
            done = sum(end <= stop for end in ends[1:])
            assert journal.done == dict(enumerate(BATCHES[:done]))
            journal.begin()
            assert journal.path.read_bytes() in (whole[: ends[done]], whole[: ends[0]])
            for number in range(done, len(BATCHES)):
                journal.append(number, BATCHES[number])
        assert journal.path.read_bytes() == whole


def test_a_new_journal_replaces_the_old_one_when_it_begins(tmp_path):
    out = tmp_path / "x.jsonl"
    partial = written(out)
    before = partial.read_bytes()
    with Journal(out, {"model": "other"}, resume=False) as journal:
        assert partial.read_bytes() == before
        journal.begin()
    assert len(partial.read_bytes().splitlines()) == 1 and json.loads(partial.read_bytes())["model"] == "other"


@pytest.mark.parametrize(("key", "value"), [("model", "other"), ("limit", 3), ("style", {"room": 9}), ("more", 1)])
def test_a_journal_of_another_run_is_refused_and_stays(tmp_path, key, value):
    before = written(tmp_path / "x.jsonl").read_bytes()
    with pytest.raises(JournalError, match=f"had {key} .*--resume"):
        Journal(tmp_path / "x.jsonl", {**IDENTITY, key: value}, resume=True)
    assert (tmp_path / "x.jsonl.partial").read_bytes() == before


DEEP = b'{"format": 1}\n{"batch": ' + b"[" * 100_000 + b"\n"
WRONG = b'{"format": 1}\n{"batch": 0, "predictions": [{"id": "a", "answer": 5}]}\n'


def test_nothing_to_resume_and_damage_are_said(tmp_path):
    with pytest.raises(JournalError, match="there is no file .*--resume"):
        Journal(tmp_path / "x.jsonl", IDENTITY, resume=True)
    for content in (b"[]\n", b"{\n", b'{"format": 1}\n{"batch": 0}\n', b'{"format": 1}\n[]\n', b"\xff\n", DEEP, WRONG):
        (tmp_path / "x.jsonl.partial").write_bytes(content)
        with pytest.raises(JournalError, match="damaged"):
            Journal(tmp_path / "x.jsonl", IDENTITY, resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_two_runs_do_not_write_one_journal(tmp_path, resume):
    out = tmp_path / "x.jsonl"
    with Journal(out, IDENTITY, resume=False) as journal:
        journal.begin()
        journal.append(0, BATCHES[0])
        with Journal(out, IDENTITY, resume=resume) as other, pytest.raises(JournalError, match="another run is writing .*x.jsonl.partial"):
            other.begin()
        journal.append(1, BATCHES[1])
    assert Journal(out, IDENTITY, resume=True).done == dict(enumerate(BATCHES))
