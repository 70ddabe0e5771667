"""Question forms: a question's SQL runs, and SQLite gives the same answer on the rows shown as DuckDB."""

import functools

import pytest
from holobench_databases import databases, same_rows, shop, sqlite_rows
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("duckdb")

from pydisp.draws import Draws  # noqa: E402
from pydisp.holobench.contexts.question_forms import ask  # noqa: E402
from pydisp.holobench.contexts.questions import MOST_ROWS, Topic, topics  # noqa: E402
from pydisp.holobench.database.domains import DOMAINS  # noqa: E402
from pydisp.holobench.database.generated import generate  # noqa: E402
from pydisp.holobench.database.tables import Column, Database, Table  # noqa: E402
from pydisp.holobench.items import CLASSES  # noqa: E402
from pydisp.holobench.sql.gold import GoldError, Session  # noqa: E402

_generated = functools.cache(lambda domain: generate(domain, seed=3, rows=500))


def _agree(question, shown) -> bool:
    with Session(list(shown.values())) as session:
        gold = session.answer(question.sql)
    return same_rows(gold.rows, sqlite_rows(question.sql, shown.values()), is_ordered=question.kind == "top_k")


@given(database=databases(), number=st.integers(0, 10**6), kind=st.sampled_from(CLASSES))
@settings(max_examples=60, deadline=None)
def test_gold_equals_sqlite_on_random_schemas(database, number, kind):
    shown = {table.name: table for table in database.tables}
    for topic in topics(database, kind):
        question = ask(kind, topic, shown, database, Draws(number, topic.table))
        if question is None:
            continue
        try:
            assert _agree(question, shown), question.sql
        except GoldError as error:  # such as an average at the tie of its rounding
            assert "tie" in str(error) or "NULL" in str(error), error


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("rows", [6, 400])
def test_every_class_can_be_asked_of_every_domain(domain, kind, rows):
    database = _generated(domain)
    asked = 0
    for number in range(20):
        draws = Draws(number, kind)
        topic = draws.choice(topics(database, kind))
        shown = {name: database.table(name).with_rows(range(min(rows, len(database.table(name).rows)))) for name in topic.tables}
        question = ask(kind, topic, shown, database, draws)
        if question is None:
            continue
        asked += 1
        if asked > 3:
            break
        assert question.kind == kind and question.text.strip() == question.text and "  " not in question.text and "{" not in question.text
        with Session(list(shown.values())) as session:
            try:
                gold = session.answer(question.sql)
            except GoldError:
                continue
        assert gold.rows and len(gold.rows) <= MOST_ROWS and len(gold.columns) == len(question.sources)
        assert same_rows(gold.rows, sqlite_rows(question.sql, shown.values()), is_ordered=kind == "top_k"), question.sql
    assert asked


def test_an_empty_question_asks_for_what_only_other_rows_have():
    database = shop()
    shown = {"customers": database.table("customers").with_rows([0, 2, 4])}  # all of Oslo
    question = ask("filter", Topic("customers"), shown, database, Draws(0), is_empty=True)
    with Session(list(shown.values())) as session:
        assert session.answer(question.sql).rows == ()
    assert sqlite_rows(question.sql, database.tables)


def test_a_table_without_a_name_or_with_one_row_gives_no_question():
    database = shop()
    assert ask("count", Topic("plants"), {"plants": database.table("plants").with_rows([3])}, database, Draws(0)) is None
    assert topics(database, "join") == (Topic("orders", "customers", "customer"),)
    assert {topic.table for topic in topics(database, "top_k")} == {"customers", "orders", "plants"}


@pytest.mark.parametrize("domain", DOMAINS)
def test_where_groups_are_left_out_the_question_says_so_and_never_asks_twice_of_one_column(domain):
    database = _generated(domain)
    for kind in ("group", "join_aggregate", "comparison"):
        for number in range(30):
            draws = Draws(number, kind, "narrow")
            topic = draws.choice(topics(database, kind))
            question = ask(kind, topic, {name: database.table(name) for name in topic.tables}, database, draws)
            if question is None or "WHERE" not in question.sql:
                continue
            if "GROUP BY" in question.sql:
                assert "Leave out any" in question.text
            if "SELECT AVG(" in question.sql:
                measure = question.sql.partition("SELECT AVG(")[2].partition(")")[0]
                assert question.sql.count(measure) == 2, question.sql


def test_a_measure_that_is_mostly_one_value_is_not_asked_for():
    columns = (Column("no", "integer", role="key"), Column("quantity", "integer", role="measure"))
    table = Table("lines", columns, tuple((n, 1 if n < 9 else n) for n in range(12)), key="no")
    database = Database("d", (table,))
    assert all(ask("aggregate", Topic("lines"), {"lines": table}, database, Draws(n)) is None for n in range(20))


def test_an_empty_join_asks_for_parents_that_are_not_shown():
    database = shop()
    shown = {"customers": database.table("customers").with_rows([0, 2, 4]), "orders": database.table("orders")}
    question = ask("join", Topic("orders", "customers", "customer"), shown, database, Draws(0), is_empty=True)
    with Session(list(shown.values())) as session:
        assert session.answer(question.sql).rows == ()
    assert sqlite_rows(question.sql, database.tables)
