"""Question files: every row is asked, or named with its number and why not; a file that gives no question is one sentence."""

import json
import os
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("duckdb")

from pydisp.holobench.database.tables import Column, Database, Table  # noqa: E402
from pydisp.holobench.items import CLASSES  # noqa: E402
from pydisp.holobench.sql.question_file import QuestionFileError, UserQuestion, read_questions  # noqa: E402

SHOP = Database(
    "shop",
    (
        Table(
            "orders",
            (Column("id", "integer", role="key"), Column("price", "integer"), Column("city", "text"), Column("phone", "text")),
            ((1, 5, "Rome", "12"), (2, 5, "Oslo", "34"), (3, 7, "Rome", "56"), (4, None, "Bonn", "78")),
            key="id",
        ),
        Table("people", (Column("id", "integer", role="key"), Column("name", "text")), ((1, "Ann"),), key="id"),
    ),
)
COUNT = {"question": "How many orders are there?", "sql": "SELECT count(*) FROM orders"}


def write(path, rows, *, as_lines=False):
    path.write_text("\n".join(map(json.dumps, rows)) if as_lines else json.dumps(rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("as_lines", [False, True])
def test_questions_are_read_from_a_list_or_from_lines(tmp_path, as_lines):
    rows = [
        COUNT,
        {"question": " Which cities? ", "query": "SELECT DISTINCT city FROM ORDERS", "class": "group", "more": 1},
        COUNT,
        {"question": "Who?", "sql": "SELECT name FROM people JOIN orders USING (id)"},
    ]
    questions, problems = read_questions(write(tmp_path / "q.json", rows, as_lines=as_lines), SHOP)
    assert problems == []
    assert questions == [
        UserQuestion(1, COUNT["question"], COUNT["sql"], "count", ("orders",)),
        UserQuestion(2, "Which cities?", rows[1]["query"], "group", ("orders",)),
        UserQuestion(3, COUNT["question"], COUNT["sql"], "count", ("orders",)),
        UserQuestion(4, "Who?", rows[3]["sql"], "join", ("orders", "people")),
    ]


def test_lines_are_numbered_as_in_the_file_and_may_have_a_mark_at_the_start(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf\n\r\n" + json.dumps(COUNT).encode() + b"\r\n\n" + json.dumps({**COUNT, "question": "a\u2028b"}).encode()
    )
    assert [question.number for question in read_questions(path, SHOP)[0]] == [3, 5]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (3, "no object"),
        (None, "no object"),
        ([COUNT], "no object"),
        ({}, "'question' is missing"),
        ({"question": "x"}, "'sql' is missing"),
        ({"question": "", "sql": "SELECT 1"}, "'question' is no text or empty"),
        ({"question": " \n", "sql": "SELECT 1"}, "'question' is no text or empty"),
        ({"question": 5, "sql": "SELECT 1"}, "'question' is no text or empty"),
        ({"question": "x", "sql": ["SELECT 1"]}, "'sql' is no text or empty"),
        ({"question": "x", "sql": ""}, "'sql' is no text or empty"),
        ({"question": "\ud800", "sql": "SELECT count(*) FROM orders"}, "surrogate"),
        ({"question": "x", "sql": "SELECT '\ud800' FROM orders"}, "surrogate"),
        ({**COUNT, "class": "counting"}, "class is 'counting'; it must be one of: filter"),
        ({**COUNT, "class": ["count"]}, r"class is \['count'\]"),
        ({"question": "x", "sql": "SELECT 1"}, "reads no table"),
        ({"question": "x", "sql": "DELETE FROM orders"}, "DELETE; a question has one SELECT"),
        ({"question": "x", "sql": "SELECT count(*) FROM orders; SELECT 1"}, "2 statements"),
        ({"question": "x", "sql": "SELEKT 1"}, "cannot read the SQL"),
        ({"question": "x", "sql": "SELECT colour FROM orders"}, "no column 'colour'; the columns are: id, price, city, phone"),
        ({"question": "x", "sql": "SELECT id FROM shops"}, "no table 'shops'; the tables are: orders, people"),
        ({"question": "x", "sql": 'SELECT id FROM orders WHERE city = "Rome"'}, "double quotes name a column"),
        ({"question": "x", "sql": "SELECT city, id FROM orders GROUP BY city"}, "GROUP BY"),
        ({"question": "x", "sql": "SELECT id FROM orders LIMIT 1, 2"}, "cannot read the SQL"),
        ({"question": "x", "sql": "SELECT julianday('now') FROM orders"}, r"julianday\(\)"),
        ({"question": "x", "sql": "SELECT phone FROM orders"}, "numbers-as-text"),
        ({"question": "x", "sql": "SELECT id > 2 FROM orders"}, "BOOLEAN"),
    ],
)
def test_a_row_that_cannot_be_asked_is_left_out_by_number(tmp_path, row, reason):
    questions, problems = read_questions(write(tmp_path / "q.json", [COUNT, row]), SHOP)
    assert [question.number for question in questions] == [1]
    assert len(problems) == 1 and problems[0].startswith("question 2 is left out: ") and problems[0].endswith(".")
    assert re.search(reason, problems[0])


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT id FROM orders ORDER BY price LIMIT 1", "ties"),
        ("SELECT price FROM orders", "NULL"),
        ("SELECT id FROM orders LIMIT 2", "without ORDER BY"),
        ("SELECT avg(price) + 0.005 - 17 / 3 FROM orders", "between"),
    ],
)
def test_a_row_that_fewer_rows_may_answer_is_kept_with_a_word(tmp_path, sql, reason):
    questions, problems = read_questions(write(tmp_path / "q.json", [{"question": "x", "sql": sql}]), SHOP)
    assert [question.sql for question in questions] == [sql]
    assert (
        len(problems) == 1
        and problems[0].startswith("question 1 is kept, but on all rows of shop it has no gold answer: ")
        and reason in problems[0]
    )


def test_only_the_rows_of_this_database_are_read(tmp_path):
    rows = [{**COUNT, "db_id": "shop"}, {**COUNT, "db_id": "other", "sql": "nonsense"}, COUNT, {**COUNT, "db_id": None}]
    questions, problems = read_questions(write(tmp_path / "q.json", rows), SHOP)
    assert [question.number for question in questions] == [1]
    assert problems == ["question 3 is left out: it has no db_id, as others have."]
    with pytest.raises(QuestionFileError, match="db_id 'shop'; it has: 'other'"):
        read_questions(write(tmp_path / "q.json", rows[1:2]), SHOP)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no question"),
        (b"\n \n", "no question"),
        (b"[]", "no question"),
        (b"[1]", "no question.*question 1 is left out"),
        (b"[1", "no JSON"),
        (b"{", "line 1 of .* is no JSON"),
        (b'{"question": 1}\nquestion,sql', "line 2 of .* is no JSON"),
        (b"SQLite format 3\0", "is a binary file"),
        (b"\xff\xfe\x00", "is UTF-16"),
        (b"\xff", "is not UTF-8"),
        (b"[" + b"9" * 5000 + b"]", "holds a number of thousands of digits"),
        (b"[" * 100_000, "holds lists in lists, more than 64 deep"),
        (b'{"a":' * 100_000, "holds lists in lists, more than 64 deep"),
        (b"[" + b"1," * 10_000 + b"1]", "10,001 rows"),
    ],
)
def test_a_file_that_gives_no_question_is_one_sentence(tmp_path, content, reason):
    path = tmp_path / "q.json"
    path.write_bytes(content)
    with pytest.raises(QuestionFileError, match=reason) as refusal:
        read_questions(path, SHOP)
    assert "\n" not in str(refusal.value) and str(path) in str(refusal.value)


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    big = tmp_path / "big"
    with big.open("wb") as stream:
        stream.truncate(20_000_001)
    for path, reason in (
        (tmp_path, "is a folder; give a JSON or JSONL file of questions."),
        (tmp_path / "pipe", "is a pipe"),
        (big, "bytes"),
        (tmp_path / "none", "there is no file"),
    ):
        with pytest.raises(QuestionFileError, match=reason):
            read_questions(path, SHOP)
    with pytest.raises(QuestionFileError, match="is a device"):
        read_questions("/dev/zero", SHOP)
    with pytest.raises(QuestionFileError, match="cannot be read"):
        read_questions("a\0b", SHOP)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)
fields = st.dictionaries(
    st.sampled_from(["question", "sql", "query", "class", "db_id"]), values | st.sampled_from(["shop", "count", COUNT["sql"]])
)


@settings(max_examples=60, deadline=None)
@given(st.lists(values | fields, max_size=4))
@example([{"question": "shop", "sql": "shop", "query": "shop", "db_id": "\n"}])
def test_any_json_gives_questions_or_sentences(tmp_path_factory, rows):
    path = write(tmp_path_factory.mktemp("any") / "q.json", rows)
    try:
        questions, problems = read_questions(path, SHOP)
    except QuestionFileError as error:
        assert "\n" not in str(error)
    else:
        assert questions and all(question.kind in CLASSES for question in questions)
        assert all("\n" not in problem for problem in problems)
