"""Gold results are executed again; wrong ones are listed with what the tool gave."""

from types import SimpleNamespace

import pytest

from pydisp.toolken.problems.checking import checked, executed, in_words, is_same
from pydisp.toolken.problems.generator import generate, result_of
from pydisp.toolken.problems.problem import GoldCall, Problem, ProblemError
from pydisp.toolken.tools.builtin import BUILTIN
from pydisp.toolken.tools.calling import Caller
from pydisp.toolken.tools.definition import from_json_schema
from pydisp.toolken.tools.tool import ToolError
from pydisp.toolken.tools.tools import Tools


class Direct:
    """Calls the built-in functions in this process, and counts."""

    tools = BUILTIN

    def __init__(self):
        self.count = 0

    def call(self, tool, arguments):
        self.count += 1
        try:
            return SimpleNamespace(text=result_of(tool, arguments), error=None)
        except ValueError as error:
            return SimpleNamespace(text=None, error=str(error))


def asked(solution: str, tool: str, arguments: str | None, result: str) -> Problem:
    start = solution.index(result)
    return Problem("p", "Q", solution, (GoldCall(tool, arguments, start, start + len(result)),))


def test_generated_problems_are_right():
    problems = generate("b", 120, seed=2)
    right, wrong = executed(problems, Direct())
    assert right == problems and wrong == []


def test_a_wrong_result_and_a_failing_call_are_listed():
    good = asked(" 84", "multiply", "12, 7", "84")
    off = asked(" 85", "multiply", "12, 7", "85")
    failing = asked(" 5", "divide", "5, 0", "5")
    right, wrong = executed([off, good, failing], Direct())
    assert right == [good] and [one.problem for one in wrong] == [off, failing]
    assert str(wrong[0]) == "p: multiply(12, 7) gives 84, the problem says 85"
    assert "gives an error (" in str(wrong[1])


def test_every_call_of_a_problem_is_checked_and_equal_calls_once():
    caller = Direct()
    second_wrong = Problem("p", "Q", " 84 and 9", (GoldCall("multiply", "12, 7", 1, 3), GoldCall("add", "4, 4", 8, 9)))
    right, wrong = executed([second_wrong, second_wrong], caller)
    assert not right and [one.call.tool for one in wrong] == ["add", "add"] and caller.count == 2


def test_checking_has_a_bar_over_the_problems(many_lines):
    said = []
    checked(generate("b", 40, seed=2), Direct(), said.append)
    assert said[0].startswith("checking the gold calls: problem 1 of 40, about ") and said[-1].startswith(
        "checking the gold calls: problem 40 of 40, in "
    )


def test_what_has_no_result_is_not_executed():
    named = Problem("p", "Q", "", (GoldCall("multiply", None, 0, 0),))
    open_call = Problem("q", "Q", "", (GoldCall("multiply", "1, 2", 0, 0),))
    without = asked(" 84", "multiply", None, "84")
    caller = Direct()
    assert executed([named, open_call, without], caller) == ([named, open_call, without], []) and caller.count == 0


def test_calls_of_tools_without_a_function_count_as_right():
    weather = from_json_schema({"name": "weather", "description": "The weather.", "properties": {"city": {"type": "string"}}})
    known = asked(" rain", "weather", '"Bonn"', "rain")
    both = Problem("q", "Q", " rain 85", (GoldCall("weather", '"Bonn"', 1, 5), GoldCall("multiply", "12, 7", 6, 8)))
    with Caller(Tools([weather, BUILTIN["multiply"]])) as caller:
        right, wrong = executed([known, both], caller)
        assert right == [known] and [one.call.tool for one in wrong] == ["multiply"]
        assert checked([known], caller) == ([known], [])
        with pytest.raises(ToolError, match="no tool 'add'"):
            executed([asked(" 8", "add", "4, 4", "8")], caller)


def test_problems_that_are_wrong_are_said_and_none_that_is_right_is_refused():
    good, off = asked(" 84", "multiply", "12, 7", "84"), asked(" 85", "multiply", "12, 7", "85")
    assert checked([good], Direct()) == ([good], [])
    right, wrong = checked([off, good, off], Direct())
    assert right == [good] and [one.problem for one in wrong] == [off, off]
    one = "p: multiply(12, 7) gives 84, the problem says 85"
    assert in_words(wrong) == f"2 problems with a gold call that gives another result, not trained on: {one}; {one}."
    assert in_words(wrong * 3).endswith(f"{one}; {one}; {one}; and 3 more.")
    with pytest.raises(ProblemError) as caught:
        checked([off] * 3, Direct())
    assert str(caught.value) == (
        "no problem is left of 3, for each has a gold call that gives another result (the first: p: multiply(12, 7) gives 84, the problem says 85); "
        "correct the problems, or give the tools that they are for."
    )


def test_that_no_right_problem_calls_a_tool_is_told_as_what_it_is():
    off = asked(" 85", "multiply", "12, 7", "85")
    with pytest.raises(
        ProblemError, match="^no problem that calls a tool is left of 2, for each has a gold call that gives another result"
    ):
        checked([off, Problem("w", "Question: Who?\nAnswer:", " Goethe"), off], Direct())


@pytest.mark.parametrize(
    "found, gold, same",
    [
        ("84", "84", True), ("84", " 84 ", True), ("84.08", "84", True), ("84.09", "84", False), ("-84", "84", False), ("0", "0", True), ("0.0001", "0", False),
        ("1234.5", "1,234.5", True), ("Monday", "Monday", True), ("Monday", "monday", False), ("Infinity", "1", False), ("B4", "B5", False),
    ],
)  # fmt: skip
def test_results_are_the_same_within_a_thousandth(found, gold, same):
    assert is_same(found, gold) is same
