"""What a fuzz test calls a hang is stopped, whether it works or waits, and nothing else is."""

import time

import fuzzing
import pytest
from fuzzing import Hang, fuzz, watched
from hypothesis import strategies as st


def work(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.mark.parametrize("hang", [lambda: work(60), lambda: time.sleep(60)], ids=["works", "waits"])
def test_what_does_not_end_is_stopped(monkeypatch, hang):
    monkeypatch.setattr(fuzzing, "MOST_SECONDS", 2)
    started = time.monotonic()
    with pytest.raises(Hang, match="a case worked"):
        fuzz("hang", st.integers(), lambda _: hang())
    assert time.monotonic() - started < 50


def test_a_second_of_work_and_one_of_waiting_are_no_hang(monkeypatch):
    monkeypatch.setattr(fuzzing, "MOST_SECONDS", 2)
    with watched():
        work(1)
        time.sleep(1)


def test_other_errors_than_sentences_fail():
    for error in (KeyError("a"), ValueError("two\nlines"), ValueError("")):

        def outcome(_, error=error):
            raise error

        with pytest.raises(AssertionError, match=r"in the place of a sentence|no sentence"):
            fuzz("wrong", st.integers(), outcome)
