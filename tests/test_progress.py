"""Lines and bars of a long run, times in words, and stop requests that wait for the end of a step."""

import logging
import os
import signal
import subprocess
import sys
import threading

import pytest

from pydisp import progress
from pydisp.progress import Bar, duration_words, stop_requests


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (4.4, "4 s"), (59.6, "1 min 00 s"), (61, "1 min 01 s"), (599.4, "9 min 59 s"), (599.6, "10 min"), (7261, "2 h 01 min")],
)
def test_durations(seconds, words):
    assert duration_words(seconds) == words


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when a test says so."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def be_a_terminal(monkeypatch):
    """In the test itself: pytest puts other streams in place between a fixture and its test."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)


def test_lines_name_the_phase_its_figures_and_the_time_left(clock):
    said = []
    with Bar(600, said.append, title="answers", unit="batch") as bar:
        for step in range(1, 601):
            clock[0] += 5.0
            bar(step, loss=4 - step / 600, kept=0.5)
    assert said[0] == "answers: batch 1 of 600, loss 3.998, kept 0.500, about 50 min left"
    assert said[-1] == "answers: batch 600 of 600, loss 3.000, kept 0.500, in 50 min"
    assert said[1:3] == [f"answers: batch {n} of 600, loss {4 - n / 600:.3f}, kept 0.500, about 50 min left" for n in (3, 5)]


def test_the_first_line_comes_after_two_seconds_and_the_others_ten_to_sixty_apart(clock):
    seen = []
    with Bar(10_000, lambda _line: seen.append(clock[0] - 100), title="search") as bar:
        for step in range(1, 10_001):
            clock[0] += 0.5
            bar(step)
    apart = [after - before for before, after in zip(seen, seen[1:], strict=False)][:-1]
    assert seen[:3] == [2, 12, 22] and min(apart) == 10 and max(apart) == 60 and seen[-1] == 5000


def test_a_phase_below_two_seconds_has_a_line_for_its_figures_alone(clock):
    said = []
    for figures in ({}, {"loss": 1.0}):
        with Bar(3, said.append, title="search") as bar:
            for step in (1, 2, 3):
                clock[0] += 0.1
                bar(step, **figures)
    assert said == ["search: step 3 of 3, loss 1.000, in 0 s"]


def test_the_time_left_is_reckoned_from_the_steps_of_this_process(clock):
    said = []
    with Bar(4, said.append, done=2, title="search") as bar:
        clock[0] += 10.0
        bar.advance(1)
        bar.advance(1)
    assert said == ["search: step 3 of 4, about 10 s left", "search: step 4 of 4, in 10 s"]


def test_on_a_terminal_a_bar_and_lines_above_it(monkeypatch, capsys):
    be_a_terminal(monkeypatch)
    said = []
    with Bar(3, said.append, title="sweep", unit="window") as bar:
        for step in (1, 2, 3):
            bar(step, loss=1.23456)
            progress.write_line(f"note {step}")
    shown = capsys.readouterr().err
    assert not said and "sweep: 100%" in shown and "3/3" in shown and "loss=1.235" in shown and shown.endswith("\n")
    assert "window/s" in shown or "s/window" in shown
    assert all(f"\rnote {step}\n" in shown.replace(" ", "").replace("note", "note ") for step in (1, 2, 3))


def test_silence_shows_no_bar_and_no_line(monkeypatch, clock, capsys):
    for has_terminal in (True, False):
        monkeypatch.setattr(sys.stderr, "isatty", lambda has_terminal=has_terminal: has_terminal, raising=False)
        with Bar(3, progress.silence, title="search") as bar:
            clock[0] += 9.0
            bar(3, loss=1.0)
    assert capsys.readouterr().err == ""


def test_the_level_of_the_logger_silences_a_python_call(monkeypatch, capsys):
    be_a_terminal(monkeypatch)
    logger = logging.getLogger("pydisp")
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    progress.on_stderr("told")
    assert capsys.readouterr().err == "told\n" and not progress.is_silent(progress.on_stderr)
    logger.setLevel("WARNING")
    progress.on_stderr("not told")
    with Bar(3, progress.on_stderr, title="search") as bar:
        bar(3, loss=1.0)
    assert capsys.readouterr() == ("", "") and progress.is_silent(progress.on_stderr)
    logger.setLevel("NOTSET")


def test_handlers_that_want_information_get_the_lines(caplog, capsys):
    with caplog.at_level(logging.INFO, logger="pydisp"):
        progress.on_stderr("told")
    assert caplog.messages == ["told"] and capsys.readouterr().err == ""


def test_in_a_notebook_tqdm_draws(monkeypatch, capsys):
    monkeypatch.setattr(progress, "is_notebook", lambda: True)
    said = []
    with Bar(3, said.append, title="search") as bar:
        bar(3)
    assert not said and "search: 100%" in capsys.readouterr().err
    assert not is_notebook_here()


def is_notebook_here():
    return subprocess.run([sys.executable, "-c", "import sys, pydisp.progress as p; sys.exit(p.is_notebook())"]).returncode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_and_the_second_does_not(number):
    came = []
    before = signal.signal(number, lambda *_: came.append("second"))
    try:
        with stop_requests() as is_stop_requested:
            assert not is_stop_requested()
            os.kill(os.getpid(), number)
            assert is_stop_requested() and not came
            os.kill(os.getpid(), number)
            assert came == ["second"]
        assert signal.getsignal(number) is not before
        os.kill(os.getpid(), number)
        assert came == ["second"] * 2
    finally:
        signal.signal(number, before)


def test_handlers_come_back_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="broken"), stop_requests():
        assert signal.getsignal(signal.SIGINT) is not before
        raise ValueError("broken")
    assert signal.getsignal(signal.SIGINT) is before


def test_in_another_thread_signals_stay_as_they_are():
    seen = []

    def work():
        before = signal.getsignal(signal.SIGINT)
        with stop_requests() as is_stop_requested:
            seen.extend([signal.getsignal(signal.SIGINT) is before, is_stop_requested()])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True, False]


def test_workspace_and_progress_load_no_torch():
    code = "import sys, pydisp.progress, pydisp.workspace; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("steps", [10, None])
def test_a_phase_that_ends_early_or_of_unknown_length_has_a_last_line(monkeypatch, steps):
    monkeypatch.setattr(progress, "FIRST_LINE_SECONDS", 0.0)
    said = []
    with progress.Bar(steps, said.append, title="reading", unit="document") as bar:
        for step in (1, 2, 3):
            bar(step)
    assert len(said) == 2 and said[0].startswith("reading: document 1") and said[1] == "reading: document 3 of 3, in 0 s"
    with pytest.raises(KeyError), progress.Bar(steps, said.append, title="reading") as bar:
        bar(1)
        raise KeyError
    assert len(said) == 3
