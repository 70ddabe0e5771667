"""Databases by name: the generated ones, Chinook and files; an unknown name says what there is."""

import sqlite3
from contextlib import closing

import pytest

from pydisp.holobench.database.databases import names, open_database
from pydisp.holobench.database.domains import DOMAINS
from pydisp.holobench.database.tables import Reference, TableError


def test_every_name_opens_a_database_of_that_name():
    assert names()[0] == "generated" and len(names()) == len(DOMAINS) + 2
    assert open_database("generated", rows=60).name == "generated:shop"
    for name in names()[1:]:
        assert open_database(name, rows=60).name == name


def test_a_generated_database_has_the_seed_and_rows_asked_for():
    one, other = (open_database("generated:school", seed=seed, rows=100).table("exams") for seed in (0, 1))
    assert len(one.rows) == 100 and one.rows != other.rows
    assert len(open_database("generated:school").table("exams").rows) == 4000


def test_chinook():
    notes = []
    database = open_database("chinook", say=notes.append)
    assert notes == []
    assert {table.name: len(table.rows) for table in database.tables} == {
        "Album": 347, "Artist": 275, "Customer": 59, "Employee": 8, "Genre": 25, "Invoice": 412, "InvoiceLine": 2240, "MediaType": 5,
        "Playlist": 18, "PlaylistTrack": 8715, "Track": 3503,
    }  # fmt: skip
    invoice, track = database.table("Invoice"), database.table("Track")
    assert [str(value) for value in invoice.rows[0]][2::6] == ["2021-01-01", "1.98"]
    assert (invoice.column("Total").kind, invoice.column("Total").decimals, invoice.column("Total").role) == ("decimal", 2, "measure")
    assert (invoice.column("InvoiceDate").kind, invoice.column("BillingCity").role) == ("date", "category")
    assert sum(invoice.values("Total")) * 100 == 232860
    assert track.key == "TrackId" and Reference("AlbumId", "Album", "AlbumId") in track.references
    assert database.table("Employee").references == (Reference("ReportsTo", "Employee", "EmployeeId"),)
    assert database.table("PlaylistTrack").key is None
    labels = {table.name: [column.name for column in table.columns if column.role == "label"] for table in database.tables}
    assert (labels["Album"], labels["Customer"], labels["Track"]) == (["Title"], ["LastName"], ["Name"])


def test_chinook_comes_with_its_licence():
    from importlib import resources

    assert "Luis Rocha" in (resources.files("pydisp.holobench") / "data" / "chinook.LICENSE.md").read_text()


def test_a_file_is_opened_by_its_path_and_its_notes_are_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("wine.db", "chinook"):
        with closing(sqlite3.connect(name)) as connection:
            connection.executescript("CREATE TABLE t (id INTEGER, none TEXT); INSERT INTO t VALUES (1, NULL)")
    notes = []
    assert open_database(tmp_path / "wine.db", say=notes.append, rows=5).table("t").rows == ((1,),)
    assert notes == ["t.none is left out: it has no values."]
    assert open_database("wine.db").name == "wine"
    assert open_database("./chinook").table("t").rows == ((1,),)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("chinok", "did you mean 'chinook'?"),
        ("generate", "did you mean 'generated'?"),
        ("generated:shopp", "did you mean 'generated:shop'?"),
        ("generated:", "generated:league"),
        ("league", "did you mean 'generated:league'?"),
        ("wine", "there is no database 'wine'; give generated, generated:shop,"),
        ("", "there is no database ''"),
        ("wine.sqlite", "No such file"),
        ("no/where", "No such file"),
    ],
)
def test_an_unknown_name_says_what_there_is(name, part):
    with pytest.raises(TableError) as refused:
        open_database(name)
    assert part in str(refused.value) and "\n" not in str(refused.value)
