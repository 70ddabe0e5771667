"""A public function that is given any argument does what was asked, or refuses it in one sentence before a model is loaded or read."""

import importlib
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from callable_api import cases
from fuzzing import fuzz
from hypothesis import strategies as st

from pydisp.arguments import plain
from pydisp.text_source import Source

HOSTILE = [
    None, True, -1, 0, 1.5, float("nan"), float("inf"), -0.0, 2**63, 10**12, 10**400, "", " ", "x", "a\0b", "\ud800", "x" * 5000, b"x", 1j, object(),
    print, range(3), (), [], [[1]], ["x"], [None], [Path("x")], {}, {"a": 1}, {(1,): 2}, Path("x"), Path("x" * 300), np.zeros(2), np.int64(3),
    np.float32("nan"), np.bool_(True), np.array("a"), torch.zeros(2), torch.tensor(3), torch.tensor(0.5), torch.empty((), device="meta"),
    torch.device("cpu"), torch.float32,
]  # fmt: skip


class Begun(BaseException):
    """The long work of a function has begun: all its arguments were taken."""


@pytest.fixture
def calls(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("pydisp.text.read_pythondoc", _documentation)  # the whole takes a second to read
    monkeypatch.chdir(tmp_path)
    return cases(tmp_path)


def _documentation(given: str) -> Source:
    return Source(given, given, tuple(f"{given} {number} has words and {number**3} more." * 3 for number in range(40)), (given,))


def _begin(*_args, **_kwargs):
    raise Begun


def _call(case, arguments: dict) -> None:
    """Call it up to where its long work begins."""
    with pytest.MonkeyPatch.context() as patch:
        if case.work:
            module, _, name = case.work.partition(":")
            *outer, name = name.split(".")
            owner = importlib.import_module(module)
            for part in outer:
                owner = getattr(owner, part)
            patch.setattr(owner, name, _begin)
        try:
            case.function(**arguments)
        except Begun:
            return
        assert not case.work, "it ended without its long work"


def _names(changed: dict, case, sentence: str) -> bool:
    """Whether a sentence names a changed argument, or shows its value."""
    shown = [os.fspath(value)[:40] for value in map(plain, changed.values()) if isinstance(value, str | Path) and os.fspath(value)]
    words = {word for name in changed for word in (name, *name.split("_"), *case.words.get(name, ()))}
    return any(word.lower() in sentence.lower() for word in words) or any(one in sentence for one in (*shown, *map(repr, changed.values())))


def test_each_call_is_right(calls):
    for name, case in calls.items():
        try:
            _call(case, case.arguments)
        except Exception as error:
            raise AssertionError(f"{name}: {error}") from error


def test_arguments(calls):
    seen = Counter()

    def outcome(drawn):
        name, changed = drawn
        case = calls[name]
        try:
            _call(case, {**case.arguments, **changed})
        except (ValueError, TypeError, OSError, ImportError) as error:
            sentence = str(error)
            assert sentence.endswith(".") and "\n" not in sentence and "Error(" not in sentence, f"{name}: no sentence: {sentence}"
            assert _names(changed, case, sentence), f"{name}: {sorted(changed)} is not named: {sentence}"
            seen[name] += 1
            raise ValueError(sentence) from error
        for one, value in changed.items():  # what went through must be of the kind of what is right
            kind = type(case.arguments[one])
            assert value is None or kind not in (int, bool) or type(plain(value)) is kind or one == "recover", (
                f"{name}: {one}={value!r} was taken"
            )

    def changes(name: str) -> st.SearchStrategy:
        some = st.dictionaries(st.sampled_from(sorted(calls[name].arguments)), st.sampled_from(HOSTILE), max_size=2)
        return some.map(lambda changed: (name, changed))

    fuzz("arguments", st.sampled_from(sorted(calls)).flatmap(changes), outcome, share=8.0)
    assert len(seen) > len(calls) / 2
