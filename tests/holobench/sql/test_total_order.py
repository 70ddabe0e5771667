"""Total order: a LIMIT is taken exactly when no way to break ties changes what it keeps, or the order that is asked for."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("duckdb")

from pydisp.holobench.database.tables import Column, Table  # noqa: E402
from pydisp.holobench.sql.gold import GoldError, Limits, Session, UnfitRows  # noqa: E402

COLUMNS = (Column("id", "integer", role="key"), Column("n", "integer"), Column("city", "text"))
ROWS = tuple((number, number // 2, "ABCDE"[number % 5]) for number in range(20))  # n ties in pairs
TABLE = Table("t", COLUMNS, ROWS, key="id")


@pytest.fixture(scope="module")
def session():
    with Session([TABLE]) as opened:
        yield opened


def kept(rows: list[tuple], offset: int, limit: int) -> set:
    """What LIMIT can keep of (key, output) rows, over all ways to break ties."""
    groups = [list(group) for _, group in itertools.groupby(sorted(rows), key=lambda row: row[0])]
    orders = itertools.product(*(itertools.permutations(group) for group in groups))
    return {tuple(row[1] for row in itertools.chain(*order))[offset : offset + limit] for order in orders}


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab")), max_size=6),
    st.integers(0, 4),
    st.integers(0, 6),
    st.booleans(),
    st.booleans(),
)
@example([(1, "a"), (1, "a"), (1, "b")], 0, 1, False, False)  # the row after the next one decides
def test_a_limit_is_taken_exactly_when_it_leaves_nothing_to_chance(rows, offset, limit, is_inner, is_selected):
    table = Table("t", (Column("n", "integer"), Column("city", "text")), tuple(rows))
    outputs = [(n, (n, city) if is_selected else (city,)) for n, city in rows]
    possible = kept(outputs, offset, limit)
    sql = f"SELECT {'n, ' * is_selected}city FROM t ORDER BY n LIMIT {limit} OFFSET {offset}"
    if is_inner:
        sql, possible = f"SELECT * FROM ({sql})", {tuple(sorted(order)) for order in possible}
    with Session([table]) as opened:
        if len(possible) == 1:
            assert opened.answer(sql).rows == possible.pop()
        else:
            with pytest.raises(UnfitRows, match="ties"):
                opened.answer(sql)


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT id FROM t ORDER BY id LIMIT 2", ((0,), (1,))),
        ("SELECT id FROM t ORDER BY n DESC, id LIMIT 2", ((18,), (19,))),
        ("SELECT id AS x FROM t ORDER BY x DESC LIMIT 1", ((19,),)),
        ("SELECT -id AS id FROM t ORDER BY id LIMIT 1", ((-19,),)),
        ("SELECT -id AS id FROM t ORDER BY t.id LIMIT 1", ((0,),)),
        ("SELECT -id AS x FROM t ORDER BY x + 1 LIMIT 1", ((-19,),)),
        ("SELECT city, -sum(n) AS n FROM t GROUP BY city ORDER BY sum(n) DESC LIMIT 1", (("E", -22),)),
        ("SELECT city, sum(n) FROM t GROUP BY city ORDER BY 2 LIMIT 1", (("A", 14),)),
        ("SELECT * FROM t ORDER BY 1 LIMIT 1", ((0, 0, "A"),)),
        ("SELECT n FROM t ORDER BY n LIMIT 3", ((0,), (0,), (1,))),
        ("SELECT DISTINCT n FROM t ORDER BY n DESC LIMIT 2", ((9,), (8,))),
        ("SELECT DISTINCT n + 1 FROM t ORDER BY n + 1 LIMIT 1", ((1,),)),
        ("SELECT id FROM t WHERE id < 3 UNION SELECT n FROM t ORDER BY id DESC LIMIT 2", ((9,), (8,))),
        ("SELECT max(id) FROM t LIMIT 1", ((19,),)),
        ("SELECT id FROM t WHERE id < 2 LIMIT 2", ((0,), (1,))),
        ("SELECT id FROM t LIMIT 0", ()),
        ("SELECT id FROM t ORDER BY id OFFSET 18", ((18,), (19,))),
        ("SELECT id FROM t ORDER BY id LIMIT 3 OFFSET 19", ((19,),)),
        ("SELECT id FROM t ORDER BY id LIMIT 3 OFFSET 90", ()),
        ("SELECT id FROM t WHERE n = (SELECT n FROM t ORDER BY n DESC LIMIT 1) ORDER BY id", ((18,), (19,))),
        ("SELECT count(*) FROM (SELECT id FROM t ORDER BY n LIMIT 4)", ((4,),)),
        ("WITH a AS (SELECT id FROM t WHERE id > 3), b AS (SELECT id FROM a ORDER BY id LIMIT 2) SELECT sum(id) FROM b", ((9,),)),
        ("SELECT id FROM t ORDER BY n / 7, id LIMIT 1", ((0,),)),
        ("SELECT id FROM t ORDER BY n IS NULL, id LIMIT 1", ((0,),)),
    ],
)
def test_a_certain_limit_is_taken(session, sql, rows):
    assert session.answer(sql).rows == rows


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT id FROM t ORDER BY n LIMIT 3", r"ties two rows.*order by more columns"),
        ("SELECT id FROM t ORDER BY n LIMIT 2", "ties"),  # what is kept is certain, its order is not
        ("SELECT id FROM t ORDER BY n LIMIT 2 OFFSET 1", "ties"),
        ("SELECT id FROM t ORDER BY n OFFSET 1", "ties"),
        ("SELECT id FROM t ORDER BY city LIMIT 1", "ties"),
        ("SELECT city FROM t GROUP BY city ORDER BY count(*) DESC LIMIT 1", "ties"),
        ("SELECT city, count(*) AS c FROM t GROUP BY city ORDER BY c LIMIT 1", "ties"),
        ("SELECT id FROM t LIMIT 3", "without ORDER BY"),
        ("SELECT id FROM t OFFSET 3", "without ORDER BY"),
        ("SELECT count(*) FROM (SELECT id FROM t LIMIT 3)", "without ORDER BY"),
        ("SELECT sum(id) FROM (SELECT id FROM t ORDER BY n LIMIT 3)", "ties"),
        ("WITH a AS (SELECT id FROM t ORDER BY n LIMIT 1) SELECT id FROM a", "ties"),
        ("SELECT id FROM t WHERE n IN (SELECT id FROM t ORDER BY n LIMIT 1)", "ties"),
        ("SELECT id FROM t UNION (SELECT id FROM t ORDER BY n LIMIT 1)", "ties"),
        ("SELECT id FROM t a WHERE n = (SELECT n FROM t b WHERE b.city = a.city ORDER BY id LIMIT 1)", "depends on the row outside"),
        ("SELECT x.id FROM t a, LATERAL (SELECT id FROM t b WHERE b.n = a.n ORDER BY id LIMIT 1) x", "depends on the row outside"),
        ("SELECT DISTINCT city FROM t ORDER BY n LIMIT 1", "selected columns"),
        ("SELECT id AS x, n AS x FROM t ORDER BY x LIMIT 1", "several selected columns"),
    ],
)
def test_an_uncertain_limit_is_refused(session, sql, reason):
    with pytest.raises(GoldError, match=reason):
        session.answer(sql)


def test_sums_of_floats_that_differ_in_their_last_digits_tie():
    rows = tuple((number, number % 2, "AB"[number % 2]) for number in range(40))
    table = Table("t", COLUMNS, rows)
    with Session([table]) as opened, pytest.raises(UnfitRows, match="ties"):
        opened.answer("SELECT city FROM t GROUP BY city ORDER BY sum(0.1::DOUBLE) LIMIT 1")
    with Session([table]) as opened, pytest.raises(UnfitRows, match="ties"):
        opened.answer("SELECT city FROM t GROUP BY city ORDER BY sum(0.1::DOUBLE + n * 1e-14) LIMIT 1")


def test_an_order_that_hangs_on_how_a_half_is_rounded_is_refused():
    table = Table("t", COLUMNS, ((1, 2675, "A"), (2, 2680, "B")))
    ordered = "SELECT city, ROUND(n / 1000, 2) AS x FROM t ORDER BY x, city DESC"
    with Session([table]) as opened:
        try:
            rows = opened.answer(ordered).rows
        except UnfitRows as error:  # where DuckDB rounds 2.675 to 2.67
            assert "half" in str(error)
        else:
            assert rows == (("B", 2.68), ("A", 2.68))
        assert opened.answer("SELECT city, ROUND(n / 1000, 2) AS x FROM t ORDER BY city").rows == (("A", 2.68), ("B", 2.68))


def test_the_second_look_finds_what_the_first_one_does_not(monkeypatch):
    from pydisp.holobench.sql import gold

    monkeypatch.setattr(gold, "check_inner_limits", lambda question, rows_of: None)
    with Session([TABLE]) as opened, pytest.raises(UnfitRows, match="depends on the order"):
        opened.answer("SELECT sum(id) FROM (SELECT id FROM t ORDER BY city LIMIT 2)")


def test_a_tie_of_many_equal_rows_is_followed_to_its_end():
    rows = tuple((number, 1, "A") for number in range(3000))
    with Session([Table("t", COLUMNS, rows)], Limits(rows=10)) as opened:
        assert opened.answer("SELECT city FROM t ORDER BY n LIMIT 2").rows == (("A",), ("A",))
    with Session([Table("t", COLUMNS, (*rows, (3000, 1, "B")))]) as opened, pytest.raises(UnfitRows, match="ties"):
        opened.answer("SELECT city FROM t ORDER BY n LIMIT 2")


def test_a_place_in_order_by_counts_the_columns_of_a_star():
    table = Table("t", COLUMNS, ((1, 3, "A"), (2, 2, "B"), (3, 1, "C")))
    with Session([table]) as opened:
        assert opened.answer("SELECT *, ROUND(id / 7, 2) AS x FROM t ORDER BY 2 LIMIT 1").rows == ((3, 1, "C", 0.43),)


def test_the_edge_of_an_inner_limit_does_not_hang_on_how_a_half_is_rounded():
    table = Table("t", COLUMNS, ((1, 2675, "A"), (2, 2680, "B")))
    with Session([table]) as opened, pytest.raises(UnfitRows, match="half|ties"):
        opened.answer("SELECT id FROM t WHERE city IN (SELECT city FROM t ORDER BY ROUND(n / 1000, 2) LIMIT 1)")
