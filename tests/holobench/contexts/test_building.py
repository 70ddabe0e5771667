"""Building: items of exact lengths, the same bytes from the same seed, and what is wrong said in one sentence."""

import dataclasses
import hashlib
import json

import pytest
from holobench_databases import shop, sqlite_rows

pytest.importorskip("duckdb")

from pydisp.holobench.contexts.build_settings import BuildSettings, lengths_for  # noqa: E402
from pydisp.holobench.contexts.building import build  # noqa: E402
from pydisp.holobench.contexts.context import BudgetError  # noqa: E402
from pydisp.holobench.contexts.draft import NoQuestion  # noqa: E402
from pydisp.holobench.contexts.sampling import NotEnoughRows  # noqa: E402
from pydisp.holobench.database.tables import Column, Database, Table  # noqa: E402
from pydisp.holobench.item_file import read_items  # noqa: E402
from pydisp.holobench.items import CLASSES  # noqa: E402
from pydisp.holobench.prompts import Prompts, Style  # noqa: E402
from pydisp.holobench.scorer.answer_text import write_gold  # noqa: E402
from pydisp.holobench.scorer.scoring import score  # noqa: E402
from pydisp.holobench.sql.gold import Session  # noqa: E402
from pydisp.loading import load_tokenizer  # noqa: E402


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("demo")


@pytest.fixture(scope="module")
def built():
    return build(lengths=[448, 900], placements=["uniform", "end"], questions_per_context=1)


def test_every_item_is_what_it_says(built, tokenizer):
    prompts = Prompts(tokenizer, Style(**built.manifest["style"]))
    assert len(built.items) == 2 * 2 * 18 and len({item.id for item in built.items}) == len(built.items)
    for item in built.items:
        text = prompts.text(item.context, item.question)
        ids = prompts.ids(item.context, item.question)
        assert item.sha256 == hashlib.sha256(text.encode()).hexdigest() and item.prompt_tokens == len(ids)
        assert item.length * 0.9 < item.prompt_tokens + prompts.style.room <= item.length
        lines = item.context.split("\n")
        for offset in item.offsets:
            sentence = item.context[slice(*offset["characters"])]
            assert lines.count(sentence) == 1
            assert tokenizer.decode(ids[slice(*offset["tokens"])]).strip() == sentence
        assert item.amount == sum(stop - first for first, stop in (one["tokens"] for one in item.offsets)) and 0 < item.density <= 1
        if item.gold.rows:
            assert item.choices[item.correct] == write_gold(item.gold) and len(set(item.choices)) == 4
            sizes = {len(prompts.encode(prompts.with_answer(text, choice))) for choice in item.choices}
            assert len(sizes) == 1
            assert score(item.gold, item.kind, write_gold(item.gold), answer_marker=False).f1 == 1
            assert all(
                score(item.gold, item.kind, one, answer_marker=False).strict == (one == item.choices[item.correct]) for one in item.choices
            )
        else:
            assert item.choices is None and item.kind == "filter"
    assert {kind: sum(item.kind == kind for item in built.items) for kind in CLASSES} == dict.fromkeys(CLASSES, 8)
    assert sum(not item.gold.rows for item in built.items) == 4  # one in eighteen


def test_the_gold_is_that_of_the_rows_shown(built):
    from pydisp.holobench.contexts.building import open_databases

    databases = {one.name: one for one in open_databases("generated", seed=0, rows=1000, say=print)}
    for item in built.items[::5]:
        database = databases[item.draw.rpartition("-")[0]]
        rows: dict[str, list[int]] = {}
        for offset in item.offsets:
            rows.setdefault(offset["table"], []).append(offset["row"])
        tables = [database.table(name).with_rows(numbers) for name, numbers in rows.items()]
        with Session(tables) as session:
            assert session.answer(item.sql).rows == item.gold.rows
        assert len(sqlite_rows(item.sql, tables)) == len(item.gold.rows)


def test_placements_of_one_draw_have_the_same_facts(built):
    by_place = {}
    for item in built.items:
        by_place.setdefault((item.length, item.draw), {})[item.placement] = item
    for pair in by_place.values():
        uniform, end = pair["uniform"], pair["end"]
        assert uniform.question == end.question and uniform.gold == end.gold and uniform.choices == end.choices
        assert abs(len(uniform.context) - len(end.context)) < 200
        lines = end.context.split("\n")
        relevant = [end.context[slice(*one["characters"])] for one in end.offsets]
        if len(end.offsets) and end.kind not in ("join", "join_aggregate"):
            assert lines[-len(relevant) :] == relevant


def test_an_amount_is_the_same_rows_and_question_at_every_length():
    built = build(lengths=[700, 1400], amounts=[250], per_length=9, seed=5)
    short, long = built.items[:9], built.items[9:]
    for a, b in zip(short, long, strict=True):
        assert (a.draw, a.question, a.gold, a.choices) == (b.draw, b.question, b.gold, b.choices)
        assert {(one["table"], one["row"]) for one in a.offsets} == {(one["table"], one["row"]) for one in b.offsets}
        assert abs(a.amount - 250) < 60 and a.density > 1.5 * b.density


def test_questions_share_a_context_on_request():
    built = build(lengths=[1000], questions_per_context=6, database="generated:clinic")
    contexts = {}
    for item in built.items:
        contexts.setdefault(item.context_id, []).append(item)
    assert [len(group) for group in contexts.values()] == [6, 6, 6] and built.manifest["contexts"] == 3
    for group in contexts.values():
        assert len({item.context for item in group}) == 1 and len({item.question for item in group}) == 6
        assert len({item.draw for item in group}) == 1


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    options = dict(lengths=[512], per_length=9, seed=11)
    first = build(tmp_path / "a.jsonl", **options).manifest
    build(tmp_path / "b.jsonl", **options)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert (tmp_path / "a.manifest.json").read_bytes() == (tmp_path / "b.manifest.json").read_bytes()
    assert first["sha256"] == hashlib.sha256((tmp_path / "a.jsonl").read_bytes()).hexdigest() == COMMITTED
    items, manifest = read_items(tmp_path / "a.jsonl")
    assert manifest == first and [item.id for item in items] == [
        json.loads(line)["id"] for line in (tmp_path / "a.jsonl").read_text().splitlines()
    ]
    assert build(**{**options, "seed": 12}).items[0].context != items[0].context
    with pytest.raises(FileExistsError, match="exists; choose another --out, or replace it with --overwrite"):
        build(tmp_path / "a.jsonl", **options)
    assert build(tmp_path / "a.jsonl", overwrite=True, **{**options, "seed": 12}).manifest["sha256"] != COMMITTED


COMMITTED = "3c252fbe4ab8dc989735a8f2eba3f40a24a9b74721d51275ec1d905b0798b995"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (dict(lengths=[60]), BudgetError, "a length of 60 tokens leaves no room for facts: the prompt without them has about"),
        (dict(lengths=[]), ValueError, r"lengths is \[\]; it must be a list of tokens, one or more"),
        (dict(lengths=[512, 512]), ValueError, "lengths has one value twice"),
        (dict(lengths=[0]), ValueError, r"lengths\[0\] is 0; it must be a whole number from 1 to 4000000"),
        (dict(lengths=[512], densities=[1.5]), ValueError, "densities\\[0\\] is 1.5; it must be a share above 0"),
        (dict(lengths=[512], densities=[0.5], amounts=[100]), ValueError, "amounts and densities are both given"),
        (dict(lengths=[512], placements=["top"]), ValueError, "placements\\[0\\] is 'top'; it must be one of: uniform"),
        (dict(lengths=[512], seed=-1), ValueError, "seed is -1"),
        (dict(lengths=[512], template="chat"), ValueError, "has no chat template"),
        (dict(lengths=[512], answer="loud"), ValueError, "answer is 'loud'"),
        (dict(lengths=[512], database="nowhere"), ValueError, "there is no database 'nowhere'"),
        (dict(lengths=[300], amounts=[2000]), BudgetError, "tokens are .* too few for"),
        (dict(lengths=[130], database="generated:railway"), NoQuestion, "130 tokens leave .* for relevant rows"),
        (dict(lengths=[10**9]), ValueError, "it must be a whole number from 1 to 4000000"),
    ],
)
def test_what_cannot_be_built_is_said_before_anything_is_written(tmp_path, options, error, words):
    with pytest.raises(error, match=words) as caught:
        build(tmp_path / "x.jsonl", **options)
    assert str(caught.value).count("\n") == 0 and not list(tmp_path.iterdir())


def test_a_small_database_says_how_many_tokens_it_gives():
    with pytest.raises(NotEnoughRows, match=r"in shop give [\d,]+ tokens, and [\d,]+ relevant ones are asked for"):
        build(database=shop(), lengths=[9000], tokenizer="demo")
    only = Database("only", shop().tables[2:])
    with pytest.raises(NotEnoughRows, match="it touches every table"):
        build(database=only, lengths=[600])
    bare = Database("bare", (Table("t", (Column("x", "text"),), tuple((str(n),) for n in range(90))),))
    with pytest.raises(NoQuestion, match="bare has no table on which questions can be drawn"):
        build(database=bare, lengths=[600])


def test_a_users_questions_are_asked_and_the_unusable_ones_named(tmp_path):
    rows = [
        {"question": "How many customers live in Rome?", "sql": "SELECT COUNT(*) FROM Customers WHERE CITY = 'Rome'"},
        {"question": "Who is the oldest?", "sql": "SELECT name FROM customers ORDER BY age DESC, name LIMIT 1"},
        {"question": "Nobody?", "sql": "SELECT nobody FROM customers"},
        {"question": "Drop it", "sql": "DROP TABLE customers"},
        {"question": "Who is a thousand?", "sql": "SELECT name FROM customers WHERE age > 1000"},
    ]
    (tmp_path / "q.json").write_text(json.dumps(rows))
    said = []
    built = build(database=shop(), questions=tmp_path / "q.json", lengths=[700], questions_per_context=2, densities=[0.3], say=said.append)
    assert [item.question for item in built.items][:2] == [rows[0]["question"], rows[1]["question"]]
    assert [item.kind for item in built.items] == ["count", "extreme"]
    notes = "\n".join(built.notes)
    assert "nobody" in notes and "SELECT" in notes and "no answer on the rows that fit" in notes and len(built.notes) == 3
    with pytest.raises(ValueError, match="leave it out"):
        build(database=shop(), questions=tmp_path / "q.json", lengths=[700], per_length=5)
    with pytest.raises(ValueError, match="goes with one database"):
        build(questions=tmp_path / "q.json", lengths=[700])


def test_defaults_fit_the_model():
    assert lengths_for(512) == (256, 448) and lengths_for(8192) == (512, 1024, 2048, 4096) and lengths_for(2048) == (512, 1024, 2048)
    assert lengths_for(None) == (512, 1024, 2048, 4096)
    assert BuildSettings((256, 448)).densities == (0.75,) and BuildSettings((512,)).densities == (0.5,)
    built = build()
    assert built.manifest["lengths"] == [256, 448] and len(built.items) == 36
    assert dataclasses.asdict(built.items[0])["length"] == 256


def test_density_one_shows_relevant_rows_only():
    built = build(lengths=[512], densities=[1.0], per_length=9)
    assert all(item.density == 1 for item in built.items if item.kind.startswith("join"))
    assert all(item.prompt_tokens > 300 for item in built.items)


def test_in_a_shared_context_the_share_is_that_of_both_tables(tokenizer):
    built = build(lengths=[1000], densities=[0.4], questions_per_context=9, database="generated:shop", per_length=9)
    assert {item.asked for item in built.items} == {0.4}
    joins = [item.density for item in built.items if item.kind.startswith("join")]
    assert all(abs(one - 0.4) < 0.05 for one in joins) and min(item.density for item in built.items) < 0.35


def test_what_is_read_and_what_is_no_benchmark_is_never_replaced(tmp_path):
    import sqlite3

    path = tmp_path / "db.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="is read by this command"):
        build(path, database=path, lengths=[512], overwrite=True)
    with pytest.raises(FileExistsError, match="is not of an earlier build, so --overwrite leaves it alone"):
        build(path, lengths=[512], overwrite=True)
    build(tmp_path / "a.jsonl", lengths=[512], per_length=1)
    with pytest.raises(FileExistsError, match="a.manifest.json exists"):
        build(tmp_path / "a", lengths=[512], per_length=1)
    assert path.read_bytes() == before


def test_a_question_left_out_is_named_once_for_each_length(tmp_path):
    rows = [
        {"question": "How many customers are there?", "sql": "SELECT COUNT(*) FROM customers"},
        {"question": "Who is a thousand?", "sql": "SELECT name FROM customers WHERE age > 1000"},
    ]
    (tmp_path / "q.json").write_text(json.dumps(rows))
    built = build(database=shop(), questions=tmp_path / "q.json", lengths=[500, 700], amounts=[90], placements=["begin", "end"])
    assert sorted(note[:22] for note in built.notes) == ["500 tokens, question 2", "700 tokens, question 2"]


def test_a_class_that_cannot_be_asked_gives_way_and_is_named():
    without_joins = Database("plants", (shop().tables[2], shop().tables[0]))  # plants, and customers for filler
    built = build(database=without_joins, lengths=[360], per_length=9)
    assert len(built.items) == 9 and not any(item.kind.startswith("join") for item in built.items)
    assert len(built.notes) == 2 and all("stands in the place of one of the class join" in note for note in built.notes)
    assert built.manifest["notes"] == list(built.notes)
    assert len(build(database="chinook", lengths=[512], tokenizer="demo").items) == 18


def test_a_database_of_one_table_is_asked_without_filler():
    built = build(database=Database("only", shop().tables[2:]), lengths=[600], densities=[1.0], per_length=9)
    assert len(built.items) == 9 and {item.density for item in built.items} == {1.0}


def test_folders_above_the_file_are_made(tmp_path):
    build(tmp_path / "a" / "b" / "x.jsonl", lengths=[512], per_length=1)
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {"x.jsonl", "x.manifest.json"}
    with pytest.raises(FileExistsError, match="is a file, so y.jsonl cannot be made in it"):
        build(tmp_path / "a" / "b" / "x.jsonl" / "y.jsonl", lengths=[512], per_length=1)
