"""Topic questions: only those whose answer fits into the room, and none twice."""

import pytest
from holobench_databases import shop

pytest.importorskip("duckdb")

from pydisp.draws import Draws  # noqa: E402
from pydisp.holobench.contexts.questions import Topic  # noqa: E402
from pydisp.holobench.contexts.topic_questions import AnswerLengths, ask_drawn  # noqa: E402
from pydisp.holobench.prompts import Prompts, Style  # noqa: E402
from pydisp.holobench.sql.gold import Session  # noqa: E402
from pydisp.loading import load_tokenizer  # noqa: E402

DATABASE = shop()
SHOWN = {"customers": DATABASE.table("customers")}
LENGTHS = AnswerLengths(Prompts(load_tokenizer("demo"), Style()))


def _asked(seed: int, room: int = 60, taken=(), kind: str = "filter"):
    with Session(list(SHOWN.values())) as session:
        return ask_drawn(kind, Topic("customers"), SHOWN, DATABASE, session, LENGTHS, room, Draws(seed), is_empty=False, taken=taken)


def test_no_answer_is_longer_than_the_room():
    sizes = {room: [LENGTHS([one.gold])[0] for seed in range(12) if (one := _asked(seed, room))] for room in (8, 60)}
    assert sizes[8] and max(sizes[8]) <= 8 < max(sizes[60]) <= 60


def test_a_question_that_is_taken_is_not_asked_again():
    first = _asked(0, kind="extreme")
    again = _asked(0, taken=[first.question.text], kind="extreme")
    assert again is None or again.question.text != first.question.text
    assert _asked(0, kind="extreme").question == first.question


def test_the_right_choice_is_each_of_the_four_places():
    assert {one.correct for seed in range(30) if (one := _asked(seed))} == {0, 1, 2, 3}
