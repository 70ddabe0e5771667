"""Sentences: each row is one line from which it can be read back, whatever its texts are."""

import time
from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydisp.draws import Draws
from pydisp.holobench.database.databases import names, open_database
from pydisp.holobench.database.sentences import Writer, parse, sentences_of, wordings_of
from pydisp.holobench.database.tables import Column, Table, TableError

NAME, CITY, AGE = Column("name", "text"), Column("city", "text"), Column("age", "integer")
PEOPLE = Table("people", (NAME, CITY, AGE), (), wordings=("{name} of {city} is {age}.", "At {age}, {name} lives in {city}."))

# Texts that look like parts of sentences, beside any Unicode text.
TRAPS = [
    "unknown",
    '"',
    '""',
    "\\",
    "\\n",
    "a\nb",
    " a",
    "a ",
    "",
    ", b ",
    ": a ",
    " has a ",
    ".",
    "x.",
    " of ",
    "1",
    "-1",
    "1.50",
    "2020-01-01",
    "\u2028",
    "{a}",
]
TEXTS = st.one_of(st.sampled_from(TRAPS), st.text(max_size=12), st.lists(st.sampled_from(TRAPS), max_size=4).map("".join))
COLUMN_NAMES = st.one_of(
    st.sampled_from(["a", "b", "unknown", 'say "x"', "1", "order by", "has", "a, b", "größe", "{a}", "x\ny", "."]),
    st.text(min_size=1, max_size=6),
)


def value_of(kind: str):
    values = {
        "integer": st.integers(-(2**63), 2**63 - 1),
        "decimal": st.integers(-(10**17), 10**17).map(lambda number: Decimal(number).scaleb(-2)),
        "date": st.dates().map(lambda day: day.isoformat()),
        "text": TEXTS,
    }
    return st.one_of(values[kind], st.none()) if kind != "text" else st.one_of(values[kind], values[kind], st.none())


@st.composite
def tables(draw):
    """A table of a few columns of any kinds and names, with one row."""
    columns = []
    for name in draw(st.lists(COLUMN_NAMES, min_size=1, max_size=5, unique_by=str.casefold)):
        kind = draw(st.sampled_from(["integer", "decimal", "date", "text", "text"]))
        columns.append(Column(name, kind, 2 if kind == "decimal" else 0))
    row = tuple(draw(value_of(column.kind)) for column in columns)
    key = draw(st.one_of(st.none(), st.sampled_from([column.name for column in columns])))
    return Table(draw(COLUMN_NAMES), tuple(columns), (row,), key=key)


def check(table: Table, row: tuple) -> None:
    writer = Writer(table, Draws(0))
    for number in range(len(writer.wordings)):
        text = writer.sentence(row, number)
        assert len(text.splitlines()) == 1 and text.encode()
        found = parse(table, text)
        assert found == row
        assert list(map(type, found)) == list(map(type, row))


@given(tables())
@settings(max_examples=400, deadline=None)
def test_any_row_of_any_table_is_read_back(table):
    check(table, table.rows[0])


@given(TEXTS, st.one_of(TEXTS, st.none()), st.integers(-5, 5))
@settings(max_examples=200, deadline=None)
def test_any_row_is_read_back_from_the_wordings_of_its_table(name, city, age):
    check(PEOPLE, (name, city, age))


@pytest.mark.parametrize("name", names())
def test_every_row_of_a_database_with_a_name_is_read_back(name):
    rows = {} if name == "chinook" else {"rows": 300}
    for table in open_database(name, seed=1, **rows).tables:
        part = table.with_rows(range(min(400, len(table.rows))))
        texts = sentences_of(part, seed=5)
        assert [parse(part, text) for text in texts] == list(part.rows)
        if name != "chinook":
            assert not any('"' in text for text in texts)
            assert (
                len(set(Writer(part, Draws(5, "sentences", part.name)).wording(number) for number in range(60))) == len(part.wordings) >= 3
            )
            assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("name", [name for name in names() if name.startswith("generated:")])
def test_a_sentence_of_a_domain_names_its_table(name):
    for table in open_database(name, rows=60).tables:
        assert all(table.one in wording.casefold() for wording in table.wordings)


def test_plain_wordings():
    wine = Table(
        "wine",
        (Column("No", "integer"), Column("Grape", "text", words="grape"), Column("Price", "decimal", 2, words="price")),
        (),
        key="No",
    )
    writer = Writer(wine, Draws(0))
    row = (12, "Zinfandel", Decimal("35.00"))
    assert [writer.sentence(row, number) for number in range(2)] == [
        "wine 12: grape Zinfandel, price 35.00.",
        "wine 12 has grape Zinfandel, price 35.00.",
    ]
    keyless = Table("wine", wine.columns[1:], ())
    assert Writer(keyless, Draws(0)).sentence(row[1:], 0) == "wine: grape Zinfandel, price 35.00."
    assert Writer(Table("codes", (Column("code", "text"),), (), key="code"), Draws(0)).sentence(("A7",), 0) == "codes A7."


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ((None, "Rome", None), "unknown of Rome is unknown."),
        (("unknown", "Rome", 3), '"unknown" of Rome is 3.'),
        (('Ann "A" Lee', "Rome", 3), '"Ann ""A"" Lee" of Rome is 3.'),
        (("", " Rome", 3), '"" of " Rome" is 3.'),
        (("two\nlines\\", "C:\\new", 3), '"two\\nlines\\\\" of C:\\new is 3.'),
        (("tab\there", "line\u2028end", 3), '"tab\\u0009here" of "line\\u2028end" is 3.'),
        (("King of Rome", "Italy", 3), '"King of Rome" of "Italy" is 3.'),  # it could be King, of Rome of Italy
    ],
)
def test_null_quotes_and_line_ends(row, text):
    assert Writer(PEOPLE, Draws(0)).sentence(row, 0) == text
    assert parse(PEOPLE, text) == row


def test_the_wording_of_a_row_depends_on_the_seed_and_its_number_alone():
    table = open_database("generated:shop", rows=300).table("orders")
    texts = sentences_of(table, seed=1)
    assert sentences_of(table, seed=1) == texts != sentences_of(table, seed=2)
    assert sentences_of(table.with_rows(range(50)), seed=1) == texts[:50]
    writer = Writer(table, Draws(1, "sentences", "orders"))
    assert writer.sentence(table.rows[7], writer.wording(7)) == texts[7]


def test_each_wording_is_as_frequent():
    writer = Writer(PEOPLE, Draws(3))
    counts = Counter(writer.wording(number) for number in range(2000))
    assert min(counts.values()) > 900


def test_equal_rows_give_equal_sentences_if_their_wordings_are_equal():
    table = Table("pairs", (AGE,), ((3,), (3,)))
    writer = Writer(table, Draws(0))
    assert writer.sentence(table.rows[0], 0) == writer.sentence(table.rows[1], 0)


@pytest.mark.parametrize(
    "wording",
    [
        "{name} is {age}.",
        "{name} of {city} is {age}, {name}.",
        "{name} {city}{age}.",
        '{name}" of {city} is {age}.',
        "{name} of {city} is {age}",
        "{name}0 of {city} is {age}.",
        "{name} of\n{city} is {age}.",
    ],
)
def test_a_wording_that_could_not_be_read_back_is_refused(wording):
    with pytest.raises(TableError, match="must") as refused:
        wordings_of(Table("people", PEOPLE.columns, (), wordings=(wording,)))
    assert "\n" not in str(refused.value)


def test_one_wording_in_quotes_is_not_taken_for_another():
    table = Table("people", (NAME, CITY), (), wordings=("{name} has {city}.", "{city} is what has {name}."))
    assert Writer(table, Draws(0)).sentence(("Ann", None), 1) == 'unknown is what has "Ann".'
    check(table, ("Ann", None))


def test_wordings_that_cannot_be_told_apart_are_refused():
    table = Table("people", (NAME, CITY), (), wordings=("{name} likes {city}.", "{city} likes {name}."))
    with pytest.raises(TableError, match="fits two of its wordings"):
        Writer(table, Draws(0)).sentence(("a", "b"), 1)
    assert Writer(table, Draws(0)).sentence(("a", "b"), 0) == "a likes b."


@pytest.mark.parametrize("text", ["", "people", "a of b is c.", "a of b is 3", "a of b is 3. ", "a of b is 3.\n", "a of b is ٣."])
def test_a_text_that_is_no_sentence_is_refused(text):
    with pytest.raises(TableError, match="no sentence") as refused:
        parse(PEOPLE, text)
    assert "\n" not in str(refused.value)


def test_values_that_look_like_many_sentences_take_no_longer():
    columns = tuple(Column(f"c{number}", "text") for number in range(12))
    row = tuple(", ".join(f"c{other} x" for other in range(12)) * 12 for _ in columns)
    table = Table("traps", columns, (row,))
    start = time.process_time()
    check(table, row)
    with pytest.raises(TableError):
        parse(table, "traps: c0 " + ", c1 ".join("x" * 2000) + ", c2 y" * 2000)
    assert time.process_time() - start < 1


def test_20000_sentences_take_less_than_two_seconds():
    table = open_database("generated:shop", rows=20_000).table("orders")
    start = time.process_time()
    assert len(sentences_of(table, seed=0)) == 20_000
    assert time.process_time() - start < 2
