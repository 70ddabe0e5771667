"""`pydisp prune` and `pydisp recover`, killed at any moment: DIR is whole or not there, and the next command gives the bytes of a run that nobody
killed.

By default as many moments as fit into some seconds, spread over the run, and some of the steps; with PYDISP_KILLS=all (`make kills`) every one.
"""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest
from command_line import digests
from traced import Moment, has_strace, run

IS_EVERY = os.environ.get("PYDISP_KILLS") == "all"
SECONDS, FEWEST = 8.0, 2  # of each journey
STEPS = 3
SEARCH = ["--keep-ratio", "0.6", "--ratio-of", "block", "--steps", STEPS, "--context", "32", "--batch-size", "2", "--round-to", "4"]


@pytest.fixture(scope="module")
def journeys(pruned, model, text):
    """The command lines, without --out."""
    always = ["--text", text, "--no-speed", "--no-bfloat16"]
    recovery = ["--learning-rate", "0.01", "--steps", STEPS, "--teacher", model]
    return {
        "prune": ["--quiet", "prune", model, *SEARCH, *always],
        "recover": ["--quiet", "recover", pruned[0], *recovery, *always],
        "prune and recover": ["--quiet", "prune", model, *SEARCH, *always, "--recover", "--recover-steps", STEPS],
    }


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Forks keep the threads of nobody."""
    for name, value in {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}.items():
        monkeypatch.setenv(name, value)


def spread(moments: Sequence[Moment]) -> Iterator[tuple[int, Moment]]:
    """The moments, each once, so that any number of the first ones lie evenly over all: steps of the golden section."""
    seen = set()
    for step in count():
        if len(seen) == len(moments):
            return
        place = int(step * 0.6180339887498949 % 1 * len(moments))
        if place not in seen:
            seen.add(place)
            yield place, moments[place]


def goes_on(args: Sequence, out: Path, wanted: dict, resumed: bool | None = None) -> None:
    """After a kill: DIR is whole or not there, and the next command makes the wanted bytes and leaves nothing else behind."""
    has_state = (out.with_name(f"{out.name}.partial") / "search.pt").is_file()
    if resumed is not None:
        assert has_state is resumed
    if out.exists():
        assert digests(out) == wanted
    again = ["--overwrite"] if out.exists() else ["--resume"] if has_state else []
    ended = run([*args, "--out", out, *again], out.parent.parent)
    assert ended.status == 0, (again, ended.said)
    assert digests(out) == wanted and [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize("journey", ["prune", "recover", "prune and recover"])
def test_killed_at_any_change_of_the_disk(journeys, journey, tmp_path):
    args, tried = journeys[journey], 0
    whole = run([*args, "--out", tmp_path / "whole"], tmp_path, counts=True)
    assert whole.status == 0, whole.said
    wanted, started = digests(tmp_path / "whole"), time.monotonic()
    for place, moment in spread(whole.moments):
        if not IS_EVERY and tried >= FEWEST and time.monotonic() - started > SECONDS:
            break
        out = tmp_path / str(place) / "out"
        out.parent.mkdir()
        assert run([*args, "--out", out], tmp_path, at=moment).status == -signal.SIGKILL, moment
        try:
            goes_on(args, out, wanted)
        except AssertionError as error:
            raise AssertionError(f"killed before {moment}, the {place + 1}th change of the disk: {error}") from error
        tried += 1
    print(f"{journey}: killed at {tried} of {len(whole.moments)} changes of the disk ({'strace' if has_strace() else 'audit events'})")


@pytest.mark.parametrize("step", range(STEPS + 1) if IS_EVERY else (0, 1))
@pytest.mark.parametrize(("journey", "stage"), [("prune", "Search"), ("recover", "Recovery"), ("prune and recover", "Recovery")])
def test_killed_after_a_step(journeys, journey, stage, step, tmp_path, unbroken):
    """The state is saved after the first step and then from time to time: not everything is lost before the first of these times."""
    out = tmp_path / "in" / "out"
    out.parent.mkdir()
    assert run([*journeys[journey], "--out", out], tmp_path, after=(stage, step)).status == -signal.SIGKILL
    print(f"{journey}: killed after step {step} of {STEPS}")
    goes_on(journeys[journey], out, unbroken[journey], resumed=step > 0 or journey != "recover")  # a search saves its start too


@pytest.fixture(scope="module")
def unbroken(journeys, tmp_path_factory):
    """The digests of what each journey makes."""
    made = {}
    for name in journeys:
        folder = tmp_path_factory.mktemp(name)
        assert run([*journeys[name], "--out", folder / "out"], folder).status == 0
        made[name] = digests(folder / "out")
    return made
