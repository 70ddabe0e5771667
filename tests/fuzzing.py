"""What users could give, by hypothesis: values and bytes changed at random, and what may come of each.

Each case ends right or in one sentence, within 10 seconds and 256 MiB; anything else fails the test, and hypothesis shows a smallest case.
The seconds are those of the processor, for on a busy machine the clock says little; but seconds in which a case does nothing, as at a pipe,
count by the clock. A case is stopped at the tenth of either.
PYDISP_FUZZ_CASES says how many cases each kind has (`make fuzz`). The draws are seeded; but hypothesis also tries constants of the modules that
are loaded, so a test alone may meet other cases than one after others.
"""

import contextlib
import copy
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

CASES = int(os.environ.get("PYDISP_FUZZ_CASES") or 250)
MOST_SECONDS, MOST_MIB = 10, 256
_LEAST_WORK = 0.002  # seconds of the processor in one of the clock; who has less waits, for a machine that is busy gives more to each
_RAW = "@raw@"  # stands in a value for JSON that no value of Python gives


class Hang(BaseException):
    """A case took longer than MOST_SECONDS; no code that catches exceptions catches this one."""


@dataclass
class Tally:
    """How many cases came to what; what is neither raises."""

    name: str
    refused: int = 0
    right: int = 0
    seconds: float = 0.0  # of the processor: on a busy machine the clock says little
    mib: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.refused + self.right:,} cases, {self.refused:,} refused, {self.right:,} right, 0 else; "
            f"the slowest {self.seconds:.2f} s, the largest {self.mib:.0f} MiB"
        )


def fuzz(name: str, cases: st.SearchStrategy, outcome: Callable, share: float = 1.0) -> Tally:
    """Give each case to `outcome`, which raises ValueError or OSError to refuse it and asserts that what it accepts is right.

    Args:
        share: of CASES, for kinds that are slow or one of many.
    Raises: AssertionError for any other outcome, for hypothesis' smallest such case; also if none is refused or none right.
    """
    tally = Tally(name)

    def run(case):
        started, before = time.process_time(), reset_peak_mib()
        sentence = None
        try:
            with watched():
                outcome(case)
        except (ValueError, OSError) as error:
            sentence = str(error)
        except Exception as error:
            raise AssertionError(f"{type(error).__name__} in the place of a sentence: {error}") from error
        seconds, mib = time.process_time() - started, peak_mib() - before
        assert seconds < MOST_SECONDS and mib < MOST_MIB, f"it took {seconds:.1f} s and {mib:.0f} MiB"
        tally.seconds, tally.mib = max(tally.seconds, seconds), max(tally.mib, mib)
        tally.right += sentence is None
        if sentence is not None:
            assert sentence.strip() and "\n" not in sentence and len(sentence) < 1500, f"no sentence: {sentence[:2000]!r}"
            tally.refused += 1

    profile = settings(
        max_examples=int(CASES * share), derandomize=True, database=None, deadline=None, print_blob=False,
        suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )  # fmt: skip
    profile(given(cases)(run))()
    print(f"\n{tally}")
    assert tally.refused and tally.right, str(tally)
    return tally


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Stop what runs in it once it has worked, or waited, for MOST_SECONDS; code in C that looks at no signals is stopped when it ends.

    Raises: Hang.
    """
    began = last = time.process_time()
    waited = 0

    def look(_number, _frame):
        nonlocal last, waited
        now = time.process_time()
        waited += now - last < _LEAST_WORK
        last = now
        if now - began > MOST_SECONDS or waited >= MOST_SECONDS:
            raise Hang(f"a case worked {now - began:.1f} s and waited {waited} s")

    previous = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def reset_peak_mib() -> float:
    """Forget the largest memory so far; returns the memory now."""
    with contextlib.suppress(OSError):  # some containers forbid it; the largest memory of all cases is then compared
        Path("/proc/self/clear_refs").write_text("5")
    return peak_mib()


def peak_mib() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


ODD = st.sampled_from(
    [None, True, False, 0, -1, 1, 2, 2.5, 8.0, -0.0, float("nan"), float("inf"), 2**31, 10**30, "", " ", "x", "8", "é" * 100, "\ud800", "\0",
     [], {}, [[]], [None], {"": 1}, "a\nb", "x" * 5000]
)  # fmt: skip
VALUES = st.recursive(
    ODD | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=6,
)
RAW = st.one_of(
    st.integers(1, 5000).map(lambda depth: "[" * depth + "]" * depth),
    st.integers(1, 5000).map(lambda depth: '{"a":' * depth + "1" + "}" * depth),
    st.sampled_from(
        ["9" * 5000, "-" + "9" * 5000 + ".5", "[" * 50_000, '{"a": 1, "a": 2}', '"\\udc00"', "1e999", "Infinity", "NaN", "tru", ""]
    ),
)


@st.composite
def changed_json(draw, value, under: tuple = ()) -> bytes:
    """The JSON of a value with one to three places below `under` replaced, removed, repeated or renamed; sometimes what is no JSON."""
    value = copy.deepcopy(value)
    raw = {}
    for number in range(draw(st.integers(1, 3))):
        places = [place for place in _places(value) if place[: len(under)] == under and len(place) > 0]
        if not places:
            break
        *before, last = draw(st.sampled_from(places))
        parent = value
        for step in before:
            parent = parent[step]
        how = draw(st.sampled_from(["replace", "replace", "replace", "remove", "raw", "add"]))
        if how == "replace":
            parent[last] = copy.deepcopy(draw(VALUES))  # a list that is drawn twice is one list, and the next change may be in it
        elif how == "remove":
            del parent[last]
        elif how == "raw":
            raw[f"{_RAW}{number}"] = draw(RAW)
            parent[last] = f"{_RAW}{number}"
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(parent[last]))
        else:
            parent[draw(st.text(max_size=8))] = copy.deepcopy(draw(VALUES))
    text = json.dumps(value)
    for mark, words in raw.items():
        text = text.replace(f'"{mark}"', words)
    return text.encode()


def _places(value, here: tuple = ()) -> list[tuple]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for step, one in inner for place in _places(one, (*here, step)))]


BROKEN = [b"", b"\0", b"\xff", b"\xef\xbb\xbf", b"[", b"{", b'"', b"\n", b"\r\n", b"\\", b"9" * 5000, b"\xed\xa0\x80", b" " * 1000]


@st.composite
def changed_bytes(draw, data: bytes) -> bytes:
    """Bytes cut off, cut out, overwritten or grown at one to four places, or in another encoding."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(start + 64, len(data))))
        how = draw(st.sampled_from(["end", "out", "over", "in", "in", "flip", "encode"]))
        part = draw(st.sampled_from(BROKEN) | st.binary(max_size=8))
        if how == "end":
            data = data[:start]
        elif how == "out":
            data = data[:start] + data[end:]
        elif how == "over":
            data = data[:start] + part + data[start + len(part) :]
        elif how == "in":
            data = data[:start] + part + data[start:]
        elif how == "flip" and start < len(data):
            data = data[:start] + bytes([data[start] ^ (1 << draw(st.integers(0, 7)))]) + data[start + 1 :]
        elif how == "encode":
            data = data.decode("latin-1").encode(draw(st.sampled_from(["utf-16", "utf-16-le", "utf-32", "utf-8"])))
    return data
