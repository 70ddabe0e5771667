"""The worker gives a function its arguments in the types that it asks for, and reads what a fork says in order."""

import io
import json
import os
import select
import subprocess
import time
from decimal import Decimal
from typing import Literal

import pytest

from pydisp.toolken.tools.limits import Limits
from pydisp.toolken.tools.worker import fitted, message, received, run

D = Decimal
BIG = 9007199254740993  # no float


@pytest.mark.parametrize(
    "hint, value, expected",
    [(Decimal, 2, D(2)), (Decimal | None, 2, D(2)), (float, D("0.5"), 0.5), (float | None, 2, 2.0), (int, 2, 2), (int | None, 2, 2), (int | float, BIG, BIG),
     (int | float, D("0.5"), 0.5), (int | Decimal, BIG, BIG), (int | Decimal, D("0.5"), D("0.5")), (float | Decimal, BIG, D(BIG)), (float | Decimal, D("0.5"), D("0.5")),
     (list[Decimal], [1, D("0.5"), "x", True, None], [D(1), D("0.5"), "x", True, None]), (list[float], [1, [2]], [1.0, [2]]), (list[list[float]], [[1]], [[1.0]]),
     (list[Decimal] | None, [1], [D(1)]), (list[int | float], [BIG, D("0.5")], [BIG, 0.5]), (list, [1, D("0.5")], [1, D("0.5")]), (bool, True, True),
     (Literal[1, 2], 1, 1), (str, "float", "float"), (None, 1, 1)],
)  # fmt: skip
def test_values_have_the_types_of_the_annotations(hint, value, expected):
    def function(a):
        return a

    function.__annotations__ = {} if hint is None else {"a": hint}
    found = fitted(function, {"a": value}, Limits())["a"]
    assert repr(found) == repr(expected)


def test_limits_are_given_to_a_function_that_has_a_keyword_for_them():
    def function(a, *, limits):
        return a

    assert fitted(function, {"a": 1}, Limits(digits=5)) == {"a": 1, "limits": Limits(digits=5)}
    assert fitted(lambda limits: limits, {"limits": 1}, Limits()) == {"limits": 1}


def test_messages_are_received_one_after_another():
    stream = io.BytesIO(message({"confined": ["seccomp"]}) + message({"text": "a"}))
    assert [received(stream) for _ in range(3)] == [{"confined": ["seccomp"]}, {"text": "a"}, None]
    assert received(io.BytesIO(message({"text": "a"})[:-1])) is None and received(io.BytesIO(b"\xff" * 9)) is None
    assert received(io.BytesIO(message(json.loads("[1]")))) is None


def test_a_fork_that_always_has_something_to_say_is_late_in_time(monkeypatch):
    class AlwaysReady:
        def __init__(self):
            self.first = None

        def register(self, descriptor, _events):
            self.first = descriptor if self.first is None else self.first

        def poll(self, _milliseconds):
            return [(self.first, select.POLLIN)]

    process = subprocess.Popen(["sleep", "60"])
    with monkeypatch.context() as patch:
        patch.setattr(select, "poll", AlwaysReady)
        patch.setattr(os, "fork", lambda: process.pid)
        patch.setattr(os, "read", lambda *_: time.sleep(0.001) or b"\x00" * 3000)
        found = run({}, Limits(seconds=0.2), -1, -1)
    process.wait()
    assert found["kind"] == "too slow" and found["confined"] == []
