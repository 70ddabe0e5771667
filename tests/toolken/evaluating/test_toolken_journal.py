"""The finished batches of an evaluation, and going on from them."""

import pytest

from pydisp.toolken.evaluating.journal import Journal, JournalError
from pydisp.toolken.evaluating.outcomes import Outcome

IDENTITY = {"model": "abc", "modes": ["none"], "k": 3}


def outcomes(name: str) -> list[Outcome]:
    return [Outcome(name, "g", "none", None, (), " 84\u2028", gold="84", steps=({"outcome": "called"},))]


def test_what_was_appended_is_there_when_the_run_goes_on(tmp_path):
    path = tmp_path / "work" / "outcomes.partial"
    with Journal(path, IDENTITY) as journal:
        assert journal.done == {}
        journal.append("a", outcomes("p1"))
        journal.append("b", outcomes("p2"))
    with Journal(path, IDENTITY) as journal:
        assert journal.done == {"a": outcomes("p1"), "b": outcomes("p2")}
        journal.append("c", [])
    with Journal(path, IDENTITY) as journal:
        assert list(journal.done) == ["a", "b", "c"]
        journal.remove()
    assert not path.exists()


def test_a_torn_last_line_is_dropped(tmp_path):
    path = tmp_path / "j"
    with Journal(path, IDENTITY) as journal:
        journal.append("a", outcomes("p1"))
        journal.append("b", outcomes("p2"))
    path.write_bytes(path.read_bytes()[:-20])
    with Journal(path, IDENTITY) as journal:
        assert list(journal.done) == ["a"]
        journal.append("b", outcomes("p3"))
    with Journal(path, IDENTITY) as journal:
        assert journal.done["b"] == outcomes("p3")


def test_another_run_is_refused_by_what_differs_and_leaves_the_file(tmp_path):
    path = tmp_path / "j"
    with Journal(path, IDENTITY) as journal:
        journal.append("a", [])
    before = path.read_bytes()
    with pytest.raises(JournalError, match="had k 3, this one has 4"), Journal(path, {**IDENTITY, "k": 4}):
        pass
    assert path.read_bytes() == before


def test_without_resuming_an_older_file_is_replaced(tmp_path):
    path = tmp_path / "j"
    with Journal(path, IDENTITY) as journal:
        journal.append("a", [])
    with Journal(path, {**IDENTITY, "k": 4}, resume=False) as journal:
        assert journal.done == {}
    with Journal(path, {**IDENTITY, "k": 4}) as journal:
        assert journal.done == {}


def test_two_runs_with_one_file_are_told_apart(tmp_path):
    with Journal(tmp_path / "j", IDENTITY) as first:
        first.append("a", outcomes("p"))
        with pytest.raises(JournalError, match="another run is writing"), Journal(tmp_path / "j", IDENTITY):
            pass
    with Journal(tmp_path / "j", IDENTITY) as again:
        assert list(again.done) == ["a"]


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "j"
    with Journal(path, IDENTITY) as journal:
        journal.append("a", outcomes("p"))
    first, second = path.read_bytes().splitlines(keepends=True)
    for damaged in (b"[" * 100_000 + b"\n", second.replace(b'"p"', b"5"), second.replace(b'"called"', b"5"), second.replace(b'"a"', b"[]")):
        path.write_bytes(first + damaged)
        with pytest.raises(JournalError, match="is damaged"), Journal(path, IDENTITY):
            pass
    for content in (b"[]\n", b"{\n", b'{"format": "pydisp-toolken-journal-1"}\n{"batch": "a"}\n'):
        path.write_bytes(content)
        with pytest.raises(JournalError, match=r"is damaged|repeat it as it was"), Journal(path, IDENTITY):
            pass
