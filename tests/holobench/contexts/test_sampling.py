"""Sampling: no row twice, foreign keys kept, budgets never exceeded and filled."""

import pytest
from holobench_databases import databases, shop
from hypothesis import given, settings
from hypothesis import strategies as st

from pydisp.draws import Draws
from pydisp.holobench.contexts.lines import Lines
from pydisp.holobench.contexts.sampling import NotEnoughRows, draw_filler, draw_relevant
from pydisp.holobench.database.tables import Column, Database, Reference, Table
from pydisp.loading import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("demo")


def _tokens(lines, rows):
    return sum(lines.tokens(table)[number] for table, number in rows)


@given(database=databases(), seed=st.integers(0, 10**6), most=st.integers(60, 700))
@settings(max_examples=60, deadline=None)
def test_a_sample_keeps_its_budget_and_its_foreign_keys(tokenizer, database, seed, most):
    parent, child, beside = database.tables
    lines = Lines(database, tokenizer, seed)
    tables = (child.name, parent.name)
    if lines.total(tables) < most * 0.98:  # a sample may end one per cent below
        with pytest.raises(NotEnoughRows, match=f"give {lines.total(tables):,} tokens, and {most:,} relevant ones"):
            draw_relevant(lines, tables, most, Draws(seed))
        return
    if lines.total(tables) < most:
        return
    rows = draw_relevant(lines, tables, most, Draws(seed))
    assert len(set(rows)) == len(rows) and {table for table, _ in rows} <= set(tables)
    assert _tokens(lines, rows) <= most
    reference = child.places[child.references[0].column]
    shown = {parent.rows[number][0] for table, number in rows if table == parent.name}
    assert all(child.rows[number][reference] in shown for table, number in rows if table == child.name)
    # what is left over is less than the shortest row that could still be added with its parent
    taken = set(rows)
    left = most - _tokens(lines, rows)
    costs = []
    for number in range(len(child.rows)):
        unit = {(child.name, number), (parent.name, parent.row_with(parent.key, child.rows[number][reference]))}
        if (child.name, number) not in taken:
            costs.append(_tokens(lines, unit - taken))
    assert not costs or left < min(costs) or left <= most // 100


@given(seed=st.integers(0, 10**6), most=st.integers(1, 2000))
@settings(max_examples=40, deadline=None)
def test_filler_is_of_other_tables_and_fills_its_budget(tokenizer, seed, most):
    database = shop()
    lines = Lines(database, tokenizer, 0)
    rows, shortest = draw_filler(lines, ("orders", "customers"), most, Draws(seed))
    assert len(set(rows)) == len(rows) and {table for table, _ in rows} <= {"plants"}
    unused = [tokens for number, tokens in enumerate(lines.tokens("plants")) if ("plants", number) not in set(rows)]
    assert shortest == min(unused)
    assert 0 <= most - _tokens(lines, rows) <= max(most // 100, shortest)


def test_a_database_that_is_too_small_says_how_much_it_has(tokenizer):
    database = shop()
    lines = Lines(database, tokenizer, 0)
    with pytest.raises(
        NotEnoughRows, match=f"customers in shop give {lines.total(['customers']):,} tokens, and 9,000 relevant ones are asked for"
    ):
        draw_relevant(lines, ("customers",), 9000, Draws(0))
    with pytest.raises(NotEnoughRows, match="needs 90,000 tokens of other rows around it, and the tables that it does not touch give"):
        draw_filler(lines, ("customers",), 90_000, Draws(0))
    with pytest.raises(NotEnoughRows, match="it touches every table"):
        draw_filler(lines, ("customers", "orders", "plants"), 100, Draws(0))


def test_one_row_that_is_too_long_is_passed_over(tokenizer):
    columns = (Column("no", "integer", role="key"), Column("note", "text"))
    table = Table("notes", columns, tuple((n, "word " * 400 if n == 3 else "word") for n in range(40)), key="no")
    lines = Lines(Database("notes", (table,)), tokenizer, 0)
    for seed in range(10):
        rows = draw_relevant(lines, ("notes",), 200, Draws(seed))
        assert ("notes", 3) not in rows and _tokens(lines, rows) > 200 - 2 * min(lines.tokens("notes"))


def test_tables_that_refer_to_themselves_or_each_other_end(tokenizer):
    columns = (Column("no", "integer", role="key"), Column("boss", "integer", role="reference"))
    one = Table("staff", columns, tuple((n, (n + 1) % 30) for n in range(30)), key="no", references=(Reference("boss", "staff", "no"),))
    two = Table("teams", columns, tuple((n, n) for n in range(30)), key="no", references=(Reference("boss", "staff", "no"),))
    back = Table("staff", columns, one.rows, key="no", references=(Reference("boss", "teams", "no"),))
    for tables in ((one,), (back, two)):
        lines = Lines(Database("d", tables), tokenizer, 0)
        names = tuple(table.name for table in tables)
        rows = draw_relevant(lines, names, lines.total(names), Draws(0))
        assert len(rows) == 30 * len(tables)
    null = Table("teams", columns, ((1, None), (2, 99)), key="no", references=(Reference("boss", "staff", "no"),))
    lines = Lines(Database("d", (one, null)), tokenizer, 0)  # a NULL and a key that nobody has refer to no row
    assert len(draw_relevant(lines, ("teams", "staff"), lines.total(("teams",)), Draws(0))) == 2


def test_a_small_sample_of_a_join_has_parents_with_several_rows(tokenizer):
    lines = Lines(shop(400), tokenizer, 0)
    for seed in range(10):
        rows = draw_relevant(lines, ("orders", "customers"), 600, Draws(seed))
        children = sum(table == "orders" for table, _ in rows)
        assert children >= 1.5 * (len(rows) - children)


def test_rows_that_nobody_refers_to_are_drawn_when_the_others_are_used_up(tokenizer):
    lines = Lines(shop(8), tokenizer, 0)  # eight orders refer to few of the ten customers
    everything = lines.total(("orders", "customers"))
    assert len(draw_relevant(lines, ("orders", "customers"), everything, Draws(0))) == 18
    with pytest.raises(NotEnoughRows):
        draw_relevant(lines, ("orders", "customers"), everything * 2, Draws(0))


def test_a_row_does_not_always_follow_the_row_that_refers_to_it(tokenizer):
    lines = Lines(shop(400), tokenizer, 0)
    beside = rows = 0
    for seed in range(20):
        found = draw_relevant(lines, ("orders", "customers"), 500, Draws(seed))
        rows += sum(table == "customers" for table, _ in found)
        beside += sum(a[0] == "orders" and b[0] == "customers" for a, b in zip(found, found[1:], strict=False))
    assert beside < 0.8 * rows
