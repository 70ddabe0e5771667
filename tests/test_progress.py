"""Lines and bars of a long run, times in words, and stop requests that wait for the end of a step."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from pydisp import progress
from pydisp.progress import Bar, duration_words, stop_requests


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (4.4, "4 s"), (59.6, "1 min 00 s"), (61, "1 min 01 s"), (7261, "2 h 01 min")])
def test_durations(seconds, words):
    assert duration_words(seconds) == words


def test_a_line_every_tenth_of_the_way(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    said = []
    with Bar(40, said.append) as bar:
        for step in range(1, 41):
            now[0] += 2.0
            bar(step, loss=4 - step / 40, kept=0.5)
    assert len(said) == 10
    assert said[0] == "step 4 of 40: loss 3.900, kept 0.500, about 1 min 12 s left"
    assert said[-1] == "step 40 of 40: loss 3.000, kept 0.500, about 0 s left"


def test_the_time_left_is_reckoned_from_the_steps_of_this_process(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    said = []
    with Bar(4, said.append, done=2) as bar:
        now[0] = 10.0
        bar(3)
    assert said == ["step 3 of 4: about 10 s left"]


def test_on_a_terminal_a_bar_and_no_lines(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    said = []
    with Bar(3, said.append, title="sweep") as bar:
        for step in (1, 2, 3):
            bar(step, loss=1.23456)
    shown = capsys.readouterr().err
    assert not said and "sweep: 100%" in shown and "3/3" in shown and "loss=1.235" in shown and shown.endswith("\n")


def test_silence_shows_no_bar_and_no_line(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Bar(3, progress.silence) as bar:
        bar(3)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with Bar(3, progress.silence) as bar:
        bar(3)
    assert capsys.readouterr().err == ""


def test_lines_by_time_and_steps_of_several_at_once(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    said = []
    with Bar(9, said.append, unit="window", every_seconds=10.0) as bar:
        for step in (2, 4, 6, 8, 9):
            now[0] += 6.0
            bar(step)
    assert said == ["window 4 of 9: about 15 s left", "window 8 of 9: about 3 s left"]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Bar(9, said.append, done=3) as bar:
        bar(8)
        bar(9)
    assert "9/9" in capsys.readouterr().err and len(said) == 2


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
