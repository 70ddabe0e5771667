"""Gold: DuckDB answers as SQLite does on the same rows, hostile SQL reaches nothing, and what has no certain answer is refused."""

import os
import threading
import time
from decimal import Decimal
from fractions import Fraction

import pytest
from holobench_questions import half_up, pairs, quoted, sqlite
from holobench_sql import FILES, HOSTILE, filled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("duckdb")
pytest.importorskip("pyarrow")

from pydisp.holobench.database.tables import Column, Database, Reference, Table  # noqa: E402
from pydisp.holobench.sql.gold import GoldError, Limits, Session, UnfitRows, tables_of  # noqa: E402
from pydisp.holobench.sql.locked_database import StatementFailed, connect, fill, reading  # noqa: E402

ORDERS = Table(
    "orders",
    (
        Column("id", "integer", role="key"),
        Column("price", "decimal", decimals=2, role="measure"),
        Column("day", "date", role="date"),
        Column("city", "text", role="category"),
    ),
    tuple((number, Decimal(number * 37 % 100) / 4, f"2021-03-{number % 28 + 1:02}", f"city {number % 5}") for number in range(200)),
    key="id",
)
PEOPLE = Table("people", (Column("id", "integer", role="key"), Column("name", "text")), ((1, "Ann"), (2, "Bob")), key="id")
SMALL = Limits(seconds=0.2, memory_mib=64, rows=500)


@pytest.fixture(scope="module")
def session():
    with Session([ORDERS, PEOPLE], SMALL) as opened:
        yield opened


def same_as_sqlite(first: Table, second: Table, sql: str, is_ordered: bool = False, cents: tuple[int, ...] = ()) -> None:
    expected = [tuple(row) for row in sqlite([first, second], sql)]
    is_decimal = first.columns[1].kind == "decimal"
    sql = sql.replace("5000", "50.00") if is_decimal else sql
    with Session([first, second]) as opened:
        if any(value is None for row in expected for value in row):
            with pytest.raises(UnfitRows, match="NULL"):
                opened.answer(sql)
            return
        rows = opened.answer(sql).rows
    if is_decimal:
        expected = [tuple(value / 100 if place in cents else value for place, value in enumerate(row)) for row in expected]
    assert list(rows) == (expected if is_ordered else sorted(expected))


@settings(max_examples=70, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pairs(), st.data())
def test_gold_is_what_sqlite_answers_on_the_same_rows(tables, data):
    first, second = tables
    key, number, text, day = (f"a.{quoted(column.name)}" for column in first.columns)  # a bare rowid is every table's
    link, other = (quoted(column.name) for column in second.columns)
    one, two = f"{quoted(first.name)} a", quoted(second.name)
    operator = data.draw(st.sampled_from(("<", "<=", "=", "<>", ">", ">=")))
    where = data.draw(
        st.sampled_from(
            (
                f"{number} {operator} 5000",
                f"{text} {operator} 'Rome'",
                f"{day} {operator} '2000-06-15'",
                f"{number} IS NOT NULL AND {key} {operator} 3",
                f"{text} IN ('Rome', 'O''Brien') OR {number} BETWEEN 5000 AND 5000 + 5000",
                f"NOT ({text} = 'é' OR {key} {operator} 5)",
            )
        )
    )
    limit = data.draw(st.integers(0, 13))
    sql, is_ordered, cents = data.draw(
        st.sampled_from(
            (
                (f"SELECT {key}, {text}, {day} FROM {one} WHERE {where}", False, ()),
                (f"SELECT {number} AS n, {text} FROM {one} WHERE {where}", False, (0,)),
                (f"SELECT count(*), count({number}), count(DISTINCT {text}) FROM {one} WHERE {where}", False, ()),
                (f"SELECT sum({number}), min({number}), max({number}) FROM {one} WHERE {where}", False, (0, 1, 2)),
                (f"SELECT min({day}), max({text}) FROM {one} WHERE {where}", False, ()),
                (f"SELECT {text}, count(*), sum({number}) FROM {one} GROUP BY {text}", False, (2,)),
                (f"SELECT {text} FROM {one} GROUP BY {text} HAVING count(*) > 1", False, ()),
                (f"SELECT DISTINCT {text} FROM {one} WHERE {where} ORDER BY {text}", True, ()),
                (f"SELECT {text}, b.{other} FROM {one} JOIN {two} b ON {key} = b.{link} WHERE {where}", False, ()),
                (f"SELECT {text}, sum(b.{other}) FROM {one} JOIN {two} b ON {key} = b.{link} GROUP BY {text}", False, ()),
                (f"SELECT {key} FROM {one} WHERE {key} NOT IN (SELECT {link} FROM {two})", False, ()),
                (f"SELECT {key} FROM {one} EXCEPT SELECT {link} FROM {two}", False, ()),
                (f"SELECT {key}, {text} FROM {one} ORDER BY {text} DESC, {key} LIMIT {limit}", True, ()),
                (f"SELECT {key}, {day} FROM {one} ORDER BY {day}, {key} DESC LIMIT 4 OFFSET {limit}", True, ()),
            )
        )
    )
    same_as_sqlite(first, second, sql, is_ordered, cents)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pairs(), st.integers(0, 4))
def test_a_rounded_average_is_half_up_of_the_exact_one(tables, digits):
    first, second = tables
    number, text = quoted(first.columns[1].name), quoted(first.columns[2].name)
    unit = 100 if first.columns[1].kind == "decimal" else 1
    sums = sqlite(
        tables, f"SELECT {text}, sum({number}), count({number}) FROM {quoted(first.name)} GROUP BY {text} HAVING count({number}) > 0"
    )
    expected = sorted((name, half_up(Fraction(total, count * unit), digits)) for name, total, count in sums)
    with Session(tables) as opened:
        where = f"WHERE {number} IS NOT NULL GROUP BY {text}"
        assert list(opened.answer(f"SELECT {text}, ROUND(avg({number}), {digits}) FROM {quoted(first.name)} {where}").rows) == expected


def test_hostile_sql_is_refused_or_stopped_and_reaches_no_file(session, tmp_path, monkeypatch):
    secret = "canary8d1f"
    (tmp_path / "canary.csv").write_text(f"city\n{secret}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOLOBENCH_CANARY", secret)
    frame = [secret]  # a variable that DuckDB could find
    assert len(HOSTILE) >= 300
    for text in HOSTILE:
        sql = filled(text, str(tmp_path / "canary.csv"), str(tmp_path))
        start = time.monotonic()
        with pytest.raises(GoldError) as refusal:
            session.answer(sql)
            pytest.fail(f"answered: {sql[:200]}")
        assert time.monotonic() - start < SMALL.seconds + 2, sql[:200]
        message = str(refusal.value)
        assert secret not in message and message.endswith(".") and "\n" not in message and len(message) < 500, sql[:200]
    assert os.listdir(tmp_path) == ["canary.csv"] and frame == [secret]
    assert (tmp_path / "canary.csv").read_text() == f"city\n{secret}\n"
    assert session.answer("SELECT count(*) FROM orders").rows == ((200,),)


def test_the_database_alone_reaches_no_file_either(tmp_path, monkeypatch):
    import duckdb

    (tmp_path / "canary.csv").write_text("city\ncanary8d1f\n")
    monkeypatch.chdir(tmp_path)
    connection = connect(memory_mib=64)
    fill(connection, ORDERS)
    for text in FILES:
        try:
            found = connection.execute(filled(text, str(tmp_path / "canary.csv"), str(tmp_path))).fetchall()
        except (duckdb.Error, ValueError, RuntimeError):
            continue
        assert "canary8d1f" not in str(found), text
    assert connection.execute("SELECT current_setting('enable_external_access')").fetchall() == [(False,)]
    connection.close()
    assert os.listdir(tmp_path) == ["canary.csv"]


def test_a_python_variable_is_no_table():
    import duckdb
    import pyarrow

    frame = pyarrow.table({"city": ["canary8d1f"]})
    connection = connect(memory_mib=64)
    with pytest.raises(duckdb.Error):
        connection.execute("SELECT * FROM frame").fetchall()
    assert frame.num_rows == 1
    connection.close()


def test_nothing_can_be_changed_by_reading():
    connection = connect(memory_mib=64)
    fill(connection, PEOPLE)
    for sql in ("DELETE FROM people", "DROP TABLE people", "CREATE TABLE other (a INT)"):
        with pytest.raises(StatementFailed, match="read-only"), reading(connection, seconds=1) as rows_of:
            rows_of(sql, 1)
    connection.close()


def test_the_database_is_closed_and_locked():
    connection = connect(memory_mib=64)
    settings_of = "SELECT name, value FROM duckdb_settings()"
    found = dict(connection.execute(settings_of).fetchall())
    off = (
        "enable_external_access",
        "python_enable_replacements",
        "autoinstall_known_extensions",
        "autoload_known_extensions",
        "allow_community_extensions",
    )
    assert [found[name] for name in off] == ["false"] * len(off)
    assert found["lock_configuration"] == "true" and found["threads"] == "1" and not found["temp_directory"]
    connection.close()


@pytest.mark.parametrize(
    ("sql", "types", "rows"),
    [
        ("SELECT count(*) AS n FROM orders", ("integer",), ((200,),)),
        ("SELECT id, price FROM orders WHERE id = 3", ("identifier", "decimal(2)"), ((3, 2.75),)),
        ("SELECT ID AS number FROM ORDERS WHERE Id < 2 ORDER BY iD DESC", ("identifier",), ((1,), (0,))),
        ("SELECT * FROM people WHERE name = 'Bob'", ("identifier", "text"), ((2, "Bob"),)),
        ("SELECT max(id), count(id) FROM orders", ("identifier", "integer"), ((199, 200),)),
        (
            "SELECT year(min(day)), extract(YEAR FROM day) + 0 FROM orders WHERE id = 1 GROUP BY day",
            ("identifier", "integer"),
            ((2021, 2021),),
        ),
        ("SELECT day, day + 1 FROM orders WHERE id = 0", ("date", "date"), (("2021-03-01", "2021-03-02"),)),
        ("SELECT only_date FROM (SELECT CAST(day AS DATE) AS only_date FROM orders WHERE id = 0)", ("date",), (("2021-03-01",),)),
        ("SELECT id / 7 FROM orders WHERE id = 1", ("decimal(2)",), ((0.14,),)),
        ("SELECT ROUND(id / 7, 4) FROM orders WHERE id = 1", ("decimal(4)",), ((0.1429,),)),
        ("SELECT ROUND(id / 7) FROM orders WHERE id = 4", ("integer",), ((1,),)),
        ("SELECT CAST(id / 7 AS DECIMAL(9, 3)) FROM orders WHERE id = 1", ("decimal(3)",), ((0.143,),)),
        (
            "SELECT ROUND(2.675::DOUBLE, 2), ROUND(-1.005::DOUBLE, 2), ROUND(1234.5::DOUBLE, -2)",
            ("decimal(2)",) * 2 + ("integer",),
            ((2.68, -1.01, 1200),),
        ),
        ("SELECT sum(price) FROM orders", ("decimal(2)",), ((2475.0,),)),
        ("SELECT sum(id) FROM orders", ("integer",), ((19900,),)),
        ("SELECT name FROM people WHERE id > 5", ("text",), ()),
        ("WITH people AS (SELECT name FROM people) SELECT count(*) FROM people;", ("integer",), ((2,),)),
        ("SELECT -0.0::DOUBLE", ("decimal(2)",), ((0.0,),)),
    ],
)
def test_values_have_the_types_of_gold(session, sql, types, rows):
    gold = session.answer(sql)
    assert gold.types == types and gold.rows == rows
    assert all(type(value) in (int, str, float) for row in gold.rows for value in row) and "-0.0" not in str(gold.rows)


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT sum(price) FROM orders WHERE id < 0", r"'sum'.*NULL"),
        ("SELECT CASE WHEN id > 1 THEN id END AS c FROM orders", "'c'.*NULL"),
        ("SELECT CAST(id AS VARCHAR) AS c FROM orders", "'c'.*numbers-as-text"),
        ("SELECT '1,234.5 %' AS c", "'c'.*numbers-as-text"),
        ("SELECT ' ' AS c", "'c'.*empty"),
        ("SELECT price > 3 AS c FROM orders", "'c'.*BOOLEAN"),
        ("SELECT 0.0::DOUBLE / 0 AS c", "'c'.*nan"),
        ("SELECT -1 / 0 AS c", "'c'.*-inf"),
        ("SELECT 0.125::DOUBLE AS c", "'c'.*0.125.*between"),
        ("SELECT 0.1250004::DOUBLE AS c", "'c'.*between"),
        ("SELECT price / 3 AS c, id FROM orders WHERE id = 0 UNION SELECT 0.005::DOUBLE, 1", "'c'.*between"),
        ("SELECT 12345678901234567.25 AS c", "'c'.*15 digits"),
        ("SELECT * FROM orders a, orders b", "more than 500 rows"),
        ("SELECT nothing FROM orders", "'nothing'; the columns are: id, price, day, city"),
        ('SELECT id FROM orders WHERE city = "city 1"', "single quotes"),
        ("SELECT id FROM nowhere", "'nowhere'; the tables are: orders, people"),
        ("SELECT city, id FROM orders GROUP BY city", "GROUP BY"),
        ("SELECT sum(city) FROM orders", "No function matches"),
        ("SELECT CAST(city AS INTEGER) FROM orders", "city"),
        ("SELECT count(*) FROM orders a, orders b, orders c, orders d, orders e", "0.2 seconds|memory"),
    ],
)
def test_what_is_no_answer_is_refused_by_name(session, sql, reason):
    with pytest.raises(GoldError, match=reason):
        session.answer(sql)


def test_an_answer_that_other_rows_might_have_is_told_from_one_that_no_rows_have(session):
    for sql in (
        "SELECT sum(id) FROM people WHERE id > 9",
        "SELECT 1 / 0",
        "SELECT id FROM orders ORDER BY city LIMIT 3",
        "FROM orders a, orders b",
    ):
        with pytest.raises(UnfitRows):
            session.answer(sql)
    for sql in ("SELECT nothing FROM orders", "DROP TABLE orders", "SELECT price > 3 FROM orders", "SELECT sum(city) FROM orders"):
        with pytest.raises(GoldError) as refusal:
            session.answer(sql)
        assert not isinstance(refusal.value, UnfitRows)


def test_a_session_goes_on_after_each_way_to_fail(session):
    failing = (
        "SELECT * FROM orders a, orders b",
        "SELECT CAST(city AS INTEGER) FROM orders",
        "SELECT sum(a.id * b.id) FROM orders a, orders b, orders c, orders d, orders e",
    )
    for sql in failing:
        with Session([ORDERS], SMALL) as opened:
            for _ in range(2):
                with pytest.raises(GoldError):
                    opened.answer(sql)
                assert opened.answer("SELECT id FROM orders ORDER BY id LIMIT 1").rows == ((0,),)


def test_the_order_of_the_tables_rows_changes_nothing():
    questions = (
        "SELECT city, price FROM orders WHERE id < 50",
        "SELECT city, count(*) FROM orders GROUP BY city ORDER BY count(*)",
        "SELECT city FROM orders ORDER BY city",
        "SELECT price FROM orders ORDER BY price DESC LIMIT 9",
        "SELECT city, ROUND(sum(price / 7), 3) FROM orders GROUP BY city ORDER BY sum(price / 7)",
    )
    answers = []
    for numbers in (range(200), reversed(range(200)), [number * 77 % 200 for number in range(200)]):
        with Session([ORDERS.with_rows(numbers)]) as opened:
            answers.append([opened.answer(sql) for sql in questions])
    assert answers[0] == answers[1] == answers[2]


def test_rows_without_an_order_are_sorted_by_value_and_those_with_one_keep_it():
    table = Table("t", (Column("n", "integer"), Column("x", "text")), ((10, "b"), (9, "Z"), (9, "a"), (-1, "é"), (10, "B")))
    with Session([table]) as opened:
        assert opened.answer("SELECT n, x FROM t").rows == ((-1, "é"), (9, "Z"), (9, "a"), (10, "B"), (10, "b"))
        assert opened.answer("SELECT x FROM t").rows == (("B",), ("Z",), ("a",), ("b",), ("é",))
        assert opened.answer("SELECT n, x FROM t ORDER BY n DESC").rows == ((10, "B"), (10, "b"), (9, "Z"), (9, "a"), (-1, "é"))


def test_columns_have_names_that_no_version_of_duckdb_changes(session):
    sql = "SELECT count(*), sum(price), id, id + 1, CAST(id AS INTEGER), city AS c FROM orders WHERE id = 1 GROUP BY id, city"
    assert session.answer(sql).columns == ("count", "sum", "id", "value", "value", "c")


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ([PEOPLE, PEOPLE], "two tables have the name 'people'"),
        ([PEOPLE, Table("PEOPLE", PEOPLE.columns, ())], "two tables have the name 'PEOPLE'"),
        ([Table("t", (Column("a", "text"), Column("A", "text")), ())], "two columns of table 't' have the name 'A'"),
        ([Table("t", (), ())], "'t' has no columns"),
        ([Table("t", PEOPLE.columns, ((1,),))], "another number of values"),
        ([Table("t", (Column("a", "integer"),), ((2**63,),))], "column 'a' of table 't'.*integer"),
        ([Table("t", (Column("a", "integer"),), (("x",),))], "column 'a' of table 't'.*integer"),
        ([Table("t", (Column("a", "decimal", decimals=2),), ((Decimal("0.125"),),))], "column 'a' of table 't'.*decimal"),
        ([Table("t", (Column("a", "decimal", decimals=2),), ((Decimal("1e17"),),))], "column 'a' of table 't'.*decimal"),
        ([Table("t", (Column("a", "date"),), (("2021-02-30",),))], "column 'a' of table 't'.*date"),
        ([Table("t", (Column("a", "text"),), (("\ud800",),))], "column 'a' of table 't'.*text"),
        ([Table("", (Column("a", "text"),), ())], "table ''"),
    ],
)
def test_tables_that_do_not_fit_are_refused_by_name(tables, reason):
    with pytest.raises(GoldError, match=reason):
        Session(tables)


def test_long_values_and_empty_tables_are_taken():
    long = Table("long", (Column("x", "text"),), (("x" * 3_000_000,), ("short",)))
    with Session([long, Table("empty", PEOPLE.columns, ())]) as opened:
        assert opened.answer("SELECT count(*) FROM empty").rows == ((0,),)
        assert opened.answer("SELECT name FROM empty").rows == ()
        assert opened.answer("SELECT x FROM long WHERE length(x) < 9").rows == (("short",),)
        assert opened.answer("SELECT max(length(x)) FROM long").rows == ((3_000_000,),)
        with pytest.raises(UnfitRows, match="characters"):
            opened.answer("SELECT a.x FROM long a, long b, long c WHERE length(a.x) > 9")


def test_a_session_leaves_no_thread_and_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = threading.active_count()
    with Session([ORDERS], SMALL) as opened:
        opened.answer("SELECT count(*) FROM orders")
        with pytest.raises(UnfitRows):
            opened.answer("SELECT count(*) FROM orders a, orders b, orders c, orders d, orders e")
    assert threading.active_count() == before and os.listdir(tmp_path) == []


def test_tables_of_names_what_the_sql_reads():
    database = Database("shop", (ORDERS, PEOPLE))
    assert tables_of("SELECT * FROM PEOPLE p JOIN Orders o ON o.id = p.id", database) == ("orders", "people")


def test_keys_references_and_years_are_identifiers_wherever_they_stand():
    columns = (Column("id", "integer"), Column("boss", "integer"), Column("Since", "integer", role="year"), Column("n", "integer"))
    table = Table("t", columns, ((1, 1, 1999, 5), (2, 1, 2003, 6)), key="id", references=(Reference("boss", "t", "id"),))
    with Session([table]) as opened:
        assert opened.answer("SELECT * FROM t").types == ("identifier", "identifier", "identifier", "integer")
        assert opened.answer("SELECT a.since AS x, a.boss AS y FROM t a UNION SELECT id, n FROM t").types == ("identifier", "identifier")
        selected = "max(since), min(id), since + 1, count(DISTINCT id), sum(boss), n AS id, CAST(since AS INTEGER)"
        assert opened.answer(f"SELECT {selected} FROM t WHERE id = 1 GROUP BY since, n").types == (
            "identifier",
            "identifier",
            "integer",
            "integer",
            "integer",
            "integer",
            "identifier",
        )


def _prices(*values) -> Table:
    columns = (Column("id", "integer", role="key"), Column("price", "decimal", decimals=2, role="measure"))
    return Table("orders", columns, tuple((n, Decimal(value)) for n, value in enumerate(values, 1)), key="id")


def test_a_rounding_within_a_cast_is_half_up_too():
    with Session([_prices("1.00", "1.01")]) as session:
        assert session.answer("SELECT CAST(ROUND(AVG(price), 2) AS DECIMAL(18, 2)) FROM orders").rows == ((1.01,),)
        assert session.answer("SELECT CAST(ROUND(AVG(price), 1) AS DECIMAL(18, 2)) FROM orders").rows == ((1.0,),)
        assert session.answer("SELECT CAST(AVG(price) AS DECIMAL(18, 2)) FROM orders").rows == ((1.01,),)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM orders WHERE price < (SELECT AVG(price) FROM orders)",
        "SELECT id FROM orders WHERE price >= (SELECT AVG(price) FROM orders)",
        "SELECT COUNT(*) FROM orders HAVING AVG(price) > 15.84",
        "WITH m AS (SELECT AVG(price) AS mean FROM orders) SELECT id FROM orders, m WHERE price > mean",
    ],
)
def test_a_row_that_equals_an_average_is_no_gold(sql):
    with (
        Session([_prices("21.38", "24.32", "1.50", "24.05", "7.95", "15.84")]) as session,
        pytest.raises(UnfitRows, match="last digits of an average"),
    ):
        session.answer(sql)


def test_a_row_away_from_the_average_is_gold():
    with Session([_prices("21.38", "24.32", "1.50", "24.05", "7.95", "15.85")]) as session:
        assert session.answer("SELECT id FROM orders WHERE price < (SELECT AVG(price) FROM orders)").rows == ((3,), (5,))
        assert len(session.answer("SELECT id, price FROM orders WHERE price > (SELECT mean(price) FROM orders) ORDER BY id").rows) == 4
        assert session.answer("SELECT ROUND(AVG(price), 2) FROM orders").rows == ((15.84,),)


@pytest.mark.parametrize(
    "sql", ["SELECT id + 100 AS rowid FROM orders WHERE rowid < 3", "SELECT id FROM orders o WHERE o.rowid IN (SELECT 2 AS rowid)"]
)
def test_the_number_of_a_row_is_no_column_though_an_alias_has_its_name(sql):
    with Session([_prices("1", "2")]) as session, pytest.raises(GoldError, match="there is no column 'rowid'"):
        session.answer(sql)


def test_with_parts_that_double_each_other_are_refused_at_once():
    parts = ["t0 AS (SELECT id FROM orders)"]
    parts += [f"t{n} AS NOT MATERIALIZED (SELECT a.id FROM t{n - 1} a JOIN t{n - 1} b ON a.id = b.id)" for n in range(1, 12)]
    with Session([_prices("1", "2")]) as session, pytest.raises(GoldError, match="also by WITH"):
        session.answer(f"WITH {', '.join(parts)} SELECT COUNT(*) FROM t11")
