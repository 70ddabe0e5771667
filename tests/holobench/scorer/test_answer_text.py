import pytest

from pydisp.holobench.items import Gold
from pydisp.holobench.scorer.answer_text import LIMIT, Plain, answer_lines, write_gold

GOLD = Gold(("name", "n"), ("text", "integer"), (("Anna", 3), ("Question: Answer: x", 4)))


def lines(text: str, marker: bool = False, gold: Gold = GOLD) -> list[str]:
    return answer_lines(text, marker, Plain.of(gold))


@pytest.mark.parametrize(
    "text",
    ["7", " 7 \n\n", "Answer: 7", "ANSWER:7", "**Answer:** 7", "**Answer**: 7", "Final answer: 7", "The final answer is: 7",
    "### Answer\n\n7", "**Final Answer**\n7", "the answer is 7", "So the final answer is 7",
     "Answer: 3\nno\nAnswer: 7", "Answer: 7\nAnswer:", "Answer: 7\n### Answer\n", "I think: the answer is 3.\nAnswer: 7",
     "Answer: 7\nThe answer is clear", "```\n7\n```", "```json\n7\n```", "Here it is:\n7",
     "**Rows:**\n7", "7\nExplanation: 3 + 4", "7\n**Note:** x\n8", "7\n\nreasoning: x", "<think>3\n\nAnswer: 4</think>\n7", "3</think>7",
     "\\boxed{7}", "7\n\nQuestion: next?\nAnswer: 9", "7\n Facts:\nx", "7\r\nQuestion: a",
     "<think>\nQuestion: 3\n</think>\n7", "Question: how many?\nAnswer: 7", "Answer：7"],
)  # fmt: skip
def test_the_answer_of_a_text(text):
    assert lines(text)[0].rstrip(".") == "7" and len(lines(text)) == 1 + text.endswith("clear")


@pytest.mark.parametrize(
    "text, line",
    [
        (r"\boxed{\text{Rome}}", "Rome"), (r"It is $\boxed{\mathrm{Rome}}$.", "It is Rome."), (r"$12{,}345$", "12,345"),
        (r"\[ \boxed{7} \]", "7"),
        (r"\(7\), $8$", "7, 8"), ("$5 and $6", "$5 and $6"), ("US$5, CA$6", "US$5, CA$6"), ("a{,}b", "a{,}b"),
        (r"\text{a, 1}", r"\text{a, 1}"),
    ],
)  # fmt: skip
def test_latex_around_values_goes_but_not_from_gold_rows(text, line):
    assert lines(text, gold=Gold(("name", "n"), ("text", "integer"), ((r"\text{a", "1}"),))) == [line]


def test_a_fence_around_one_line_is_a_bullet_where_one_value_is_asked():
    one = Gold(("name",), ("text",), (("Rome",),))
    assert lines("```\nRome\n```\nx", gold=one) == ["- Rome", "x"] and lines("```\nRome\n```\nx") == ["Rome", "x"]
    for inside in ("a\nb", "[1]", "- a", "1. a"):
        assert lines(f"```text\n{inside}\n```\nx", gold=one) == [*inside.split("\n"), "x"]
    assert lines("```sql\na\n```\nx", gold=one) == lines("```\na\nx", gold=one) == ["a", "x"]


def test_what_only_looks_like_a_marker_cuts_nothing():
    for text in (
        "No answer: 7",
        "no answer",
        "the answers: 7",
        "Answering: 7",
        "My answer",
        '{"answer": 7}',
        "Questions: 7",
        "The answer of 7",
    ):
        assert lines(text) == [text]
    assert lines("a\nthe Question: b") == ["a", "the Question: b"]


def test_a_next_question_ends_a_direct_answer_and_a_reasoned_one_after_its_marker():
    text = "Anna, 3\nQuestion: what is asked?\nAnswer: Bo, 4\nQuestion: next\nAnswer: Carl, 5"
    assert lines(text, False) == ["Anna, 3"]
    assert lines(text, True) == ["Bo, 4"]
    assert lines("Facts: a\nb\nFacts: c", False) == ["Facts: a", "b"]
    assert lines("x\nQuestion: a", True) == ["x", "Question: a"]


def test_a_question_inside_a_thought_ends_nothing():
    assert lines("<think>a\nQuestion: b\nFacts: c</think>7\nQuestion: d") == ["7"]
    assert lines("7\nQuestion: a\n<think>b</think>9") == ["7"]


def test_a_remark_ends_the_answer_only_after_something():
    assert lines("Reasoning: 3 + 4\nis 7") == ["Reasoning: 3 + 4", "is 7"]
    assert lines("Answer:\nNote: 7") == ["Note: 7"]


def test_a_gold_row_is_never_cut_or_dropped():
    gold = Gold(("name",), ("text",), (("Question: x",), ("Answer: y",), ("ends:",), ("```",), ("Note: z",)))
    kept = ["a", "Question: x", "Answer: y", "ends:", "```", "Note: z"]
    assert lines("\n".join(kept), False, gold) == lines("\n".join(kept), True, gold) == kept
    assert lines("a\nquestion:  X", False, gold) == ["a", "question:  X"]
    assert lines("a\nQuestion: x?", False, gold) == ["a"]
    assert lines("a\nAnswer: y, or z", False, gold) == ["y, or z"]


def test_an_answer_is_read_from_its_end():
    assert len("\n".join(lines("word\n" * 10**5))) == LIMIT - 1
    assert lines("b" * 10**6 + "a" * (LIMIT - 1)) == ["b" + "a" * (LIMIT - 1)]
    long = Gold(("name",), ("text",), tuple((f"name {number}",) for number in range(5000)))
    assert lines(write_gold(long), False, long) == write_gold(long).splitlines()


def test_a_perfect_answer_is_written_plainly():
    gold = Gold(
        ("a", "b", "c", "d"),
        ("text", "decimal(2)", "identifier", "date"),
        (("Two  words\nhere", 12.5, 7, "2021-03-05"), ("A, B", -0.1, 10**6, "2020-01-01")),
    )
    assert write_gold(gold) == "Two words here, 12.50, 7, 2021-03-05\nA, B, -0.10, 1000000, 2020-01-01"
    assert write_gold(Gold(("a",), ("decimal(3)",), ((1e16,),))) == "10000000000000000.000"
    assert write_gold(Gold(("a",), ("decimal(0)",), ((3,),))) == "3"
    assert write_gold(Gold(("a",), ("text",), ())) == "No answer"


def test_the_row_of_a_line_is_found_sign_by_sign():
    plain = Plain.of(Gold(("name", "n"), ("text", "integer"), (("Anna", 3), ("Anna", 3), ("Bo", 4))))
    assert [plain.row(line) for line in ("anna,  3", "Bo, 4", "Bo, 4.", "-Bo, 4", "Bo", "x" * 1000)] == [0, 2, None, None, None, None]
