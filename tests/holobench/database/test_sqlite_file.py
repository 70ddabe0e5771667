"""SQLite files: odd names and values are read or named, nothing in a file runs, and what is no database is refused in one sentence."""

import os
import sqlite3
from contextlib import closing
from decimal import Decimal

import pytest

from pydisp.holobench.database import sqlite_file
from pydisp.holobench.database.sentences import parse, sentences_of
from pydisp.holobench.database.sqlite_file import read_sqlite
from pydisp.holobench.database.tables import Reference, TableError


@pytest.fixture
def made(tmp_path):
    """A function that makes a file from a script and reads it."""

    def make(script: str, name: str = "made.sqlite", rows: dict | None = None):
        path = tmp_path / name
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(script)
            for statement, values in (rows or {}).items():
                connection.executemany(statement, values)
            connection.commit()
        return read_sqlite(path)

    return make


def refusal(path, **limits) -> str:
    with pytest.raises(TableError) as refused:
        read_sqlite(path, **limits)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_small_file_is_read(made):
    database, notes = made(
        """CREATE TABLE shops (shop_id INTEGER PRIMARY KEY, name TEXT, opened DATETIME);
        INSERT INTO shops VALUES (1, 'Corner', '2020-01-31 00:00:00'), (2, 'Market', '2021-12-01');
        CREATE TABLE sales (sale_no INTEGER, shop INTEGER REFERENCES shops, price REAL);
        INSERT INTO sales VALUES (5, 1, 2.5), (6, 2, 10), (7, 1, NULL);
        CREATE VIEW cheap AS SELECT * FROM sales WHERE price < 5;""",
        "Corner shops.db",
    )
    assert (database.name, notes) == ("Corner shops", [])
    shops, sales = database.tables
    assert shops.rows == ((1, "Corner", "2020-01-31"), (2, "Market", "2021-12-01"))
    assert [(c.name, c.words, c.kind, c.decimals, c.role) for c in shops.columns] == [
        ("shop_id", "shop id", "integer", 0, "key"),
        ("name", "name", "text", 0, "label"),
        ("opened", "opened", "date", 0, "date"),
    ]
    assert sales.rows == ((5, 1, Decimal("2.5")), (6, 2, Decimal("10.0")), (7, 1, None))
    assert (sales.key, sales.references) == ("sale_no", (Reference("shop", "shops", "shop_id"),))
    assert [(c.kind, c.decimals, c.role) for c in sales.columns] == [
        ("integer", 0, "key"),
        ("integer", 0, "reference"),
        ("decimal", 1, "measure"),
    ]
    assert (sales.one, sales.many) == ("sale", "sales")


def test_names_with_reserved_words_spaces_quotes_and_unicode(made):
    database, notes = made(
        """CREATE TABLE "select" ("order" INTEGER PRIMARY KEY, "group by" TEXT, "say ""x"" !" TEXT, "größe [m]" REAL, "a{b}" TEXT, "'" INTEGER);
        INSERT INTO "select" VALUES (1, 'x', 'y', 1.5, 'z', 7);
        CREATE TABLE "Straße; DROP TABLE x" ("日本" TEXT); INSERT INTO "Straße; DROP TABLE x" VALUES ('東京');
        CREATE TABLE "it's ""so"" !" ("from" TEXT); INSERT INTO "it's ""so"" !" VALUES ('there');"""
    )
    assert notes == []
    assert [table.name for table in database.tables] == ["select", "Straße; DROP TABLE x", 'it\'s "so" !']
    assert database.tables[0].rows == ((1, "x", "y", Decimal("1.5"), "z", 7),)
    for table in database.tables:
        assert [parse(table, text) for text in sentences_of(table, 0)] == list(table.rows)


def test_what_cannot_be_used_is_left_out_and_named(made):
    database, notes = made(
        """CREATE TABLE facts (id INTEGER PRIMARY KEY, mixed, picture BLOB, nobody TEXT, long TEXT, third REAL, huge REAL, endless REAL, bad TEXT,
            twice INTEGER GENERATED ALWAYS AS (id * 2) VIRTUAL, " " TEXT, "a
b" TEXT);
        CREATE TABLE nobody (id INTEGER); CREATE TABLE pictures (picture BLOB); INSERT INTO pictures VALUES (x'00');
        CREATE TABLE "" (x); CREATE TABLE " _" (x); INSERT INTO " _" VALUES (1);""",
        rows={
            'INSERT INTO facts (id, mixed, picture, long, third, huge, endless, bad, " ", "a\nb") VALUES (?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), 1, 2)': [
                (1, 1, b"\0", "x" * 1001, 1 / 3, 1e30, float("inf"), b"\xff"),
                (2, "one", b"\1", "x", 0.5, 1.0, 2.0, b"ok"),
            ]
        },
    )
    assert [table.name for table in database.tables] == ["facts"]
    assert database.tables[0].rows == ((1,), (2,))
    assert sorted(notes) == sorted(
        [
            "facts.twice is left out: it is computed.",
            "the column ' ' of facts is left out: its name cannot be written.",
            "the column 'a\\nb' of facts is left out: its name cannot be written.",
            "facts.mixed is left out: it holds numbers and texts.",
            "facts.picture is left out: it holds bytes or text that is not Unicode.",
            "facts.nobody is left out: it has no values.",
            "facts.long is left out: it holds a text of more than 1000 characters.",
            "facts.third is left out: it holds a number with more than 6 digits after the point.",
            "facts.huge is left out: it holds a number of more than 64 bits.",
            "facts.endless is left out: it holds a number that is not finite.",
            "facts.bad is left out: it holds bytes or text that is not Unicode.",
            "nobody is left out: it has no rows.",
            "pictures.picture is left out: it holds bytes or text that is not Unicode.",
            "pictures is left out: it has no column that can be used.",
            "the table '' is left out: its name cannot be written.",
            "the table ' _' is left out: its name cannot be written.",
        ]
    )


def test_virtual_tables_are_left_out(made):
    database, notes = made("CREATE VIRTUAL TABLE words USING fts5(word); CREATE TABLE t (x TEXT); INSERT INTO t VALUES ('a')")
    assert "words is left out: it is a virtual table." in notes
    assert "t" in {table.name for table in database.tables} and "words" not in {table.name for table in database.tables}


def test_tables_without_rowid_and_with_expressions_in_their_schema_are_read_in_stored_order(made):
    database, notes = made(
        """CREATE TABLE cards (code TEXT PRIMARY KEY, points INTEGER CHECK (abs(points) < 100) DEFAULT (abs(-1))) WITHOUT ROWID;
        INSERT INTO cards VALUES ('b', 3), ('a', 2);
        CREATE TABLE games (no INTEGER, points INTEGER); INSERT INTO games VALUES (2, 9), (1, 10);
        CREATE INDEX by_no ON games (no, points); CREATE INDEX by_function ON games (abs(points));
        CREATE TRIGGER after_all AFTER INSERT ON games BEGIN DELETE FROM cards; END;"""
    )
    assert database.table("cards").rows == (("a", 2), ("b", 3))
    assert database.table("games").rows == ((2, 9), (1, 10))
    assert notes == []


def test_rows_come_in_stored_order_though_an_index_has_all_that_is_read(made):
    database, _ = made(
        """CREATE TABLE games (no INTEGER, points INTEGER, " " TEXT); CREATE INDEX by_no ON games (no, points);""",
        rows={"INSERT INTO games VALUES (?, ?, ?)": [(100 - number, number, "wide" * 200) for number in range(100)]},
    )
    assert database.table("games").rows == tuple((100 - number, number) for number in range(100))


def test_a_file_that_another_process_has_locked_is_read(tmp_path, made):
    made("CREATE TABLE t (x INTEGER); INSERT INTO t VALUES (1)")
    with closing(sqlite3.connect(tmp_path / "made.sqlite", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert read_sqlite(tmp_path / "made.sqlite")[0].table("t").rows == ((1,),)


def test_tables_that_differ_in_letter_case_are_refused(made):
    with pytest.raises(TableError, match="the tables Ärzte and ärzte, which DuckDB cannot tell apart"):
        made('CREATE TABLE "Ärzte" (x INTEGER); CREATE TABLE "ärzte" (x INTEGER)')


def test_columns_that_differ_in_letter_case_are_left_out(made):
    database, notes = made('CREATE TABLE t ("Ä" INTEGER, "ä" INTEGER); INSERT INTO t VALUES (1, 2)')
    assert database.table("t").rows == ((1,),)
    assert notes == ["t.ä is left out: Ä has the same name but for letter case."]


def test_a_file_name_with_signs_of_a_uri_is_read(made):
    assert made("CREATE TABLE t (x INTEGER); INSERT INTO t VALUES (1)", "a?mode=rwc#b %41.db")[0].table("t").rows == ((1,),)


def test_the_file_and_its_folder_stay_as_they_are(tmp_path, made):
    made("PRAGMA journal_mode = wal; CREATE TABLE t (x INTEGER); INSERT INTO t VALUES (1)")
    path = tmp_path / "made.sqlite"
    path.chmod(0o400)
    before = path.read_bytes()
    assert read_sqlite(path)[0].table("t").rows == ((1,),)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["made.sqlite"]


def test_changes_that_are_not_in_the_file_yet_are_said(tmp_path):
    path = tmp_path / "open.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA journal_mode = wal; CREATE TABLE t (x INTEGER); INSERT INTO t VALUES (1);")
        assert "open.db-wal" in refusal(path)
        (tmp_path / "link.db").symlink_to(path)
        assert "open.db-wal" in refusal(tmp_path / "link.db")


@pytest.mark.parametrize(
    "statement",
    ["SELECT load_extension('x')", "SELECT abs(x) FROM t", "ATTACH 'other.db' AS other", "DELETE FROM t", "PRAGMA user_version"],
)
def test_nothing_but_plain_selects_is_allowed(tmp_path, made, statement):
    made("CREATE TABLE t (x INTEGER); INSERT INTO t VALUES (1)")
    with closing(sqlite_file._opened(tmp_path / "made.sqlite", 10_000)) as connection:
        assert connection.execute("SELECT x FROM t").fetchall() == [(1,)]
        with pytest.raises(sqlite3.DatabaseError, match="not authorized|prohibited"):
            connection.execute(statement)


def test_what_is_no_sqlite_file_is_refused(tmp_path):
    (tmp_path / "text.db").write_text("SELECT 1")
    (tmp_path / "empty.db").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.db")
    assert "No such file" in refusal(tmp_path / "none.db")
    assert "directory" in refusal(tmp_path)
    for name in ("text.db", "empty.db", "pipe.db"):
        assert "is no SQLite file" in refusal(tmp_path / name)
    assert "cannot be read" in refusal("a\0b.db")


def test_a_damaged_file_is_refused(tmp_path, made):
    made("CREATE TABLE t (x TEXT);", rows={"INSERT INTO t VALUES (?)": [("word" * 100,)] * 100})
    path = tmp_path / "made.sqlite"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "cannot be read as a SQLite database" in refusal(path)
    path.write_bytes(whole[:16] + b"\xff" * 2000)
    assert "cannot be read as a SQLite database" in refusal(path)


def test_a_schema_that_is_not_unicode_is_refused_or_left_out(tmp_path, made):
    made("CREATE TABLE xxxx (x TEXT); CREATE TABLE good (yyyy TEXT, z REFERENCES xxxx (zzzz)); INSERT INTO good VALUES (1, 2)")
    path = tmp_path / "made.sqlite"
    whole = path.read_bytes()
    for name in (b"xxxx", b"yyyy", b"zzzz"):
        path.write_bytes(whole.replace(name, b"\xff\xfe\xfd\xfc"))
        try:
            assert [table.name for table in read_sqlite(path)[0].tables] == ["good"]
        except TableError as refused:
            assert "\n" not in str(refused)


def test_references_of_two_columns_are_not_taken_for_one(made):
    database, _ = made(
        """CREATE TABLE pairs (a INTEGER, b INTEGER, PRIMARY KEY (a, b)); INSERT INTO pairs VALUES (1, 2), (5, 3);
        CREATE TABLE users (x INTEGER, y INTEGER, "
z" INTEGER, FOREIGN KEY (x, y) REFERENCES pairs, FOREIGN KEY (x, "
z") REFERENCES pairs (a, b)); INSERT INTO users VALUES (1, 2, 3), (1, 2, 3);"""
    )
    assert database.table("users").references == ()


def test_a_file_without_facts_is_refused(tmp_path, made):
    with pytest.raises(TableError, match="no table with rows"):
        made("CREATE TABLE t (x INTEGER)")


def test_a_file_that_is_too_large_is_refused(tmp_path, made, monkeypatch):
    made(
        "CREATE TABLE a (x INTEGER, y INTEGER); CREATE TABLE b (x INTEGER);",
        rows={"INSERT INTO a VALUES (?, 1)": [(n,) for n in range(30)], "INSERT INTO b VALUES (?)": [(n,) for n in range(40)]},
    )
    path = tmp_path / "made.sqlite"
    assert len(read_sqlite(path, max_cells=100)[0].tables) == 2
    for cells in (99, 59, 0):
        assert "too many values" in refusal(path, max_cells=cells)
    monkeypatch.setattr(sqlite_file, "MAX_BYTES", 100)
    assert "at most 100 are read" in refusal(path)
