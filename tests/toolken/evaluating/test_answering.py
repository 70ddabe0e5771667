"""Answers under every mode and seed, with a writer that stands in for the model."""

import signal
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from tiny_text import tiny_tokenizer

from pydisp.progress import Interrupted, silence
from pydisp.toolken.decoding import generating, tool_mode
from pydisp.toolken.evaluating.answering import Answering, AnswerSettings, _answered_criteria
from pydisp.toolken.evaluating.journal import Journal
from pydisp.toolken.problems.problem import GoldCall, Problem
from pydisp.toolken.tools import calling

TOKENIZER = tiny_tokenizer()
TOOLKENS = {seed: SimpleNamespace(tools="tools", seed=seed, calibration={"documentation_tokens": 23}) for seed in (0, 1)}
PROBLEMS = [
    Problem(
        "a",
        "Question: What is 12 times 7?\nAnswer:",
        " 84",
        (GoldCall("multiply", "12, 7", 1, 3),),
        "84",
        kind="arithmetic",
        family="b",
        group="g",
    ),
    Problem("b", "Question: Say 5.\nAnswer:", " 5", answer="5", kind="no tool"),
    Problem("c", "Question: And 6?\nAnswer:", " 6", answer="6", kind="no tool"),
    Problem("d", "Question: Natalia?\nAnswer:", " 48/2 = 24.\n#### 24", (GoldCall("divide", "48, 2", 8, 10),), "24"),
]


class Step(SimpleNamespace):
    def as_dict(self) -> dict:
        return {"outcome": self.outcome, "tool": "multiply"}


class Writer:
    """Writes the answer of a prompt; in "a" a tool is called, in "d" one is rejected, but for the plain model."""

    def __init__(self):
        self.calls: list[tuple[str, int | None, tuple[str, ...]]] = []
        self.given: list[dict] = []

    def __call__(self, model, tokenizer, toolkens, inputs, *, mode, **given):
        self.calls.append((mode, None if toolkens is None else toolkens.seed, tuple(inputs)))
        self.given.append(given)
        texts, traces = [], []
        for prompt in inputs:
            outcome = {"12": "called", "Na": "rejected"}.get(next((word for word in ("12", "Na") if word in prompt), ""))
            steps = [Step(outcome=outcome)] if outcome and mode != "none" else []
            texts.append(
                {"12": " 84", "Sa": " 5", "An": " 7", "Na": " 48/2 = 24.\n#### 24"}[
                    next(w for w in ("12", "Sa", "Na", "An") if w in prompt.split("\n")[0])
                ]
            )
            traces.append(SimpleNamespace(steps=steps))
        return SimpleNamespace(texts=tuple(texts), traces=tuple(traces))


@pytest.fixture
def writer(monkeypatch):
    made = Writer()
    monkeypatch.setattr(generating, "generate", made)
    monkeypatch.setattr(calling, "Caller", lambda tools: nullcontext("the caller"))
    monkeypatch.setattr(tool_mode, "ArgumentWriter", lambda *_args, **_given: "the writer")
    monkeypatch.setattr("pydisp.modeling.cached_model.CachedModel", lambda model: model)
    monkeypatch.setattr("pydisp.toolken.documentation.Documentation", lambda tokenizer, tools, kind, room: (kind, room))
    return made


def answering(path, modes=("none", "toolkengpt", "reject", "shuffled_docs"), batch_size=2, toolkens=TOOLKENS, **settings):
    return Answering(
        "the model", TOKENIZER, PROBLEMS, toolkens, modes, k=3, journal=path, settings=AnswerSettings(batch_size=batch_size, **settings)
    )  # fmt: skip


def test_each_mode_seed_and_problem_has_one_outcome(writer, tmp_path):
    with Journal(tmp_path / "j", {}) as journal:
        found = answering(journal).outcomes(silence)
    keys = [(one.mode, one.seed, one.problem) for one in found]
    assert len(keys) == len(set(keys)) == 4 + 2 * 3 * 4
    by_key = dict(zip(keys, found, strict=True))
    assert by_key["none", None, "a"].steps == () and by_key["reject", 1, "a"].calls == 1 and by_key["reject", 0, "d"].count("rejected") == 1
    assert by_key["none", None, "b"].is_exact and by_key["none", None, "c"].is_exact is False and by_key["none", None, "d"].is_exact
    one = by_key["toolkengpt", 0, "a"]
    assert (one.group, one.kind, one.family, one.gold, one.answer, one.gold_tools, one.needs_tool) == (
        "g",
        "arithmetic",
        "b",
        "84",
        "84",
        ("multiply",),
        True,
    )


def test_an_answer_without_a_tool_on_top_is_written_once_for_all_modes_of_a_seed(writer, tmp_path):
    with Journal(tmp_path / "j", {}) as journal:
        found = answering(journal).outcomes(silence)
    written = [prompt for mode, seed, prompts in writer.calls for prompt in prompts if seed == 0]
    say = PROBLEMS[1].prompt
    assert written.count(say) == 1 and written.count(PROBLEMS[0].prompt) == 3 and written.count(PROBLEMS[3].prompt) == 3
    assert sum(say in prompts for mode, seed, prompts in writer.calls if mode == "none") == 1
    same = [one for one in found if one.problem == "b" and one.seed == 0]
    assert [one.mode for one in same] == ["toolkengpt", "reject", "shuffled_docs"] and len({one.text for one in same}) == 1


def test_caller_writer_and_documentation_are_shared(writer, tmp_path):
    with Journal(tmp_path / "j", {}) as journal:
        answering(journal, most_calls=5).outcomes(silence)
    for (mode, _, _), given in zip(writer.calls, writer.given, strict=True):
        assert (given.get("caller"), given.get("writer")) == ((None, None) if mode == "none" else ("the caller", "the writer"))
        assert given.get("documentation") == {"reject": ("own", 23), "shuffled_docs": ("shuffled", 23)}.get(mode)
        assert (given.get("k"), given.get("most_calls")) == ((None, None) if mode == "none" else (3, 5)) and given["do_sample"] is False


def test_toolkens_are_checked_once(writer, tmp_path):
    with Journal(tmp_path / "j", {}) as journal:
        answering(journal).outcomes(silence)
    unchecked = [seed for (_, seed, _), given in zip(writer.calls, writer.given, strict=True) if not given["is_checked"]]
    assert unchecked == [None, 0, 1] and len(writer.calls) > 6


def test_solutions_with_lines_stand_in_batches_of_their_own_and_have_more_room(writer, tmp_path):
    with Journal(tmp_path / "j", {}) as journal:
        answering(journal, modes=("none",), batch_size=8, max_new_tokens=10, lines_factor=4).outcomes(silence)
    assert [len(prompts) for _, _, prompts in writer.calls] == [3, 1] and [given["max_new_tokens"] for given in writer.given] == [10, 40]


def test_a_stopped_run_goes_on_with_the_same_outcomes(writer, tmp_path, monkeypatch):
    with Journal(tmp_path / "whole", {}) as journal:
        whole = answering(journal).outcomes(silence)
    count, original = len(writer.calls), Writer.__call__
    writer.calls.clear()

    def stopping(self, *args, **given):
        if len(self.calls) == 4:
            signal.raise_signal(signal.SIGINT)
        return original(self, *args, **given)

    monkeypatch.setattr(Writer, "__call__", stopping)
    with pytest.raises(Interrupted, match="--resume"), Journal(tmp_path / "j", {}) as journal:
        answering(journal).outcomes(silence)
    assert len(writer.calls) == 5  # the batch in progress is finished
    monkeypatch.setattr(Writer, "__call__", original)
    with Journal(tmp_path / "j", {}) as journal:
        assert answering(journal).outcomes(silence) == whole
    assert len(writer.calls) == count


def test_a_text_ends_behind_its_first_line_that_is_not_empty():
    def ended(texts: list[str], has_lines: bool) -> list[bool]:
        prompts = ["Q:", "longer:"]
        (criterion,) = _answered_criteria(TOKENIZER, prompts, has_lines)
        width = max(len(TOKENIZER.encode(prompt)) for prompt in prompts)
        rows = [[0] * width + TOKENIZER.encode(text, add_special_tokens=False) for text in texts]
        longest = max(map(len, rows))
        return criterion(torch.tensor([row + [row[-1]] * (longest - len(row)) for row in rows]), None).tolist()

    assert ended([" 84"], False) == [False] and ended([" 84\n"], False) == [True]
    assert ended(["\n\n"], False) == [False] and ended(["\n 84"], False) == [False] and ended(["\n84\n"], False) == [True]
    assert ended([" 2\n3\n#### 4\n"], True) == [False] and ended([" 4\n\nQuestion:"], True) == [True]
    assert ended([" 84\n.", " 8455"], False) == [True, False]
