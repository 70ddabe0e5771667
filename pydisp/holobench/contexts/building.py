"""Building: a benchmark file for one tokenizer: contexts of exact lengths, questions on them, gold answers by SQL on the rows shown.

    benchmark = build("bench.jsonl", database="generated", lengths=[512, 1024], tokenizer="SMOLLM2")

Question number d of every length, placement and density comes from draw d: the same database, class and streams of random numbers. Where the
amount of relevant tokens is given, it is the same rows and the same question at every length and placement.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydisp.arguments import BY_NAME, PATH, RECEIVER, SWITCH, TOKENIZER, Kind, one_of, optional, takes, whole
from pydisp.environment import versions
from pydisp.evaluation import positions
from pydisp.holobench.contexts.build_settings import KINDS, PER_LENGTH, ROOM_OF_SHORT, BuildSettings, lengths_for
from pydisp.holobench.contexts.context import BudgetError, Context, Plan, token_offsets, write_context
from pydisp.holobench.contexts.draft import Draft, Drafted, drawn_drafts, fill, relevant_tokens, user_drafts
from pydisp.holobench.contexts.lines import Lines
from pydisp.holobench.contexts.sampling import NotEnoughRows
from pydisp.holobench.contexts.topic_questions import AnswerLengths, AskedQuestion
from pydisp.holobench.database.databases import open_database
from pydisp.holobench.database.domains import DOMAINS
from pydisp.holobench.database.tables import Database
from pydisp.holobench.item_file import FORMAT, items_sha256, write_items
from pydisp.holobench.items import CLASSES, Item
from pydisp.holobench.prompts import ANSWERS, TEMPLATES, Prompts, Style
from pydisp.holobench.sealed_file import manifest_path, read_manifest
from pydisp.holobench.sql.question_file import read_questions
from pydisp.loading import displayed_name, load_config, load_tokenizer
from pydisp.progress import Bar, on_stderr
from pydisp.subject import tokenizer_digest

_FEWEST_ROWS = 1000  # of the largest tables of a generated database: of fewer, the draws would share many rows


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Items and what they were made of.

    Args:
        items: in the order of the file. manifest: as in the file beside it. notes: sentences on what was left out.
    """

    items: tuple[Item, ...]
    manifest: dict
    notes: tuple[str, ...]


@takes(
    out=optional(PATH),
    database=Kind("give 'generated', 'chinook', a SQLite file, or a Database", lambda value: isinstance(value, Database) or PATH.is_right(value)),
    questions=optional(PATH),
    **{**KINDS, "lengths": optional(KINDS["lengths"]), "per_length": optional(KINDS["per_length"])},
    tokenizer=Kind("give the name of a model, or a fast tokenizer of transformers", lambda value: PATH.is_right(value) or TOKENIZER.is_right(value), error=TypeError), template=one_of(TEMPLATES), answer=one_of(ANSWERS), room=whole(0), overwrite=SWITCH, revision=BY_NAME["revision"],
    trust_remote_code=SWITCH, say=RECEIVER,
)  # fmt: skip
def build(
    out: str | os.PathLike | None = None,
    *,
    database: str | os.PathLike | Database = "generated",
    questions: str | os.PathLike | None = None,
    lengths: Sequence[int] | None = None,
    amounts: Sequence[int] = (),
    densities: Sequence[float] = (),
    placements: Sequence[str] = ("uniform",),
    tokenizer="demo",
    template: str = "plain",
    answer: str = "direct",
    room: int = 0,
    per_length: int | None = None,
    questions_per_context: int = 1,
    seed: int = 0,
    overwrite: bool = False,
    revision: str | None = None,
    trust_remote_code: bool = False,
    say: Callable[[str], None] = on_stderr,
) -> Benchmark:
    """Make a benchmark, and write it to `out` with its manifest beside it.

    Args:
        database: "generated" (five made databases in turn), "generated:DOMAIN", "chinook", a SQLite file, or a Database.
        questions: a file of questions with SQL, instead of drawn ones.
        lengths: tokens of prompt and answer; by default those of `lengths_for` the model.
        amounts, densities: tokens of relevant rows, or their share of the facts (0.5 if neither is given).
        placements: where relevant rows stand, some of items.PLACEMENTS.
        tokenizer: a name that `pydisp.loading` knows, or a fast transformers tokenizer (then lengths are needed).
        template, answer, room: see `prompts.Style`.
        per_length: questions for each length, placement and share; 18 if they are drawn.
        questions_per_context: how many of them share a context.
        seed: the same seed gives the same bytes.
    Raises: ValueError (NotEnoughRows, BudgetError, NoQuestion and others) or OSError with one sentence, before anything is written.
    """
    if out is not None:
        _check_new(Path(out), overwrite, [one for one in (database, questions) if isinstance(one, str | os.PathLike)])
    loaded, name, most = _tokenizer(tokenizer, revision, trust_remote_code)
    if questions is not None and per_length is not None:
        raise ValueError("per_length is given with a file of questions, which are all asked at every length; leave it out.")
    if lengths is None and most is ...:
        raise ValueError("a tokenizer in memory does not say how much its model reads; give lengths.")
    settings = BuildSettings(
        tuple(lengths_for(most)) if lengths is None else lengths, placements, amounts, densities,
        PER_LENGTH if per_length is None else per_length, questions_per_context, seed,
    )  # fmt: skip
    style = Style(template, answer, room or (ROOM_OF_SHORT if settings.has_short and answer == "direct" else 0))
    prompts = Prompts(loaded, style)
    for plan in settings.plans():
        relevant_tokens(plan, prompts)
    if most is not ... and most is not None and max(settings.lengths) > most:
        say(
            f"{name} reads {most:,} tokens: it will skip the contexts of {', '.join(f'{one:,}' for one in settings.lengths if one > most)}."
        )
    databases = open_databases(database, seed=seed, rows=max(_FEWEST_ROWS, max(settings.lengths) // 8), say=say)
    sources = [Lines(one, loaded, seed) for one in databases]
    notes: list[str] = []
    if questions is None:
        drafts = drawn_drafts(sources, settings.per_length, questions_per_context)
    else:
        if len(sources) != 1:
            raise ValueError("a file of questions goes with one database; name it by --database FILE, chinook or generated:DOMAIN.")
        usable, notes = read_questions(questions, databases[0])
        drafts = user_drafts(sources[0], usable, questions_per_context)
    for note in notes:
        say(note)
    items = _make(drafts, settings, prompts, notes, say)
    used = [one for one in databases if any(draft.lines.database is one for draft in drafts)]
    manifest = {
        "format": FORMAT, "pydisp": versions()["pydisp"],
        "database": [{"name": one.name, "rows": {t.name: len(t.rows) for t in one.tables}, "digest": digest(one)} for one in used],
        "tokenizer": {"name": name, "digest": tokenizer_digest(loaded)}, "style": style.as_dict(), "seed": seed,
        "lengths": list(settings.lengths), "placements": list(settings.placements), "amounts": list(settings.amounts),
        "densities": list(settings.densities), "questions_per_context": questions_per_context,
        "empty": sum(not one.gold.rows for one in items),
        "items": len(items), "contexts": len({one.context_id for one in items}),
        "classes": {kind: count for kind in CLASSES if (count := sum(one.kind == kind for one in items))}, "notes": notes,
    }  # fmt: skip
    manifest = manifest | {"sha256": items_sha256(items)} if out is None else write_items(Path(out), items, manifest)
    return Benchmark(tuple(items), manifest, tuple(notes))


def _check_new(out: Path, overwrite: bool, inputs: Sequence[str | os.PathLike]) -> None:
    """Refuse an output that is there and is no benchmark that --overwrite may replace."""
    if out.is_dir():
        raise FileExistsError(f"{out} is a folder; name a file to write with --out.")
    above = next(parent for parent in (*out.parents, Path()) if parent.exists())
    if not above.is_dir():
        raise FileExistsError(f"{above} is a file, so {out.name} cannot be made in it; choose another --out.")
    if any(Path(one).exists() and out.exists() and out.samefile(one) for one in inputs):
        raise FileExistsError(f"{out} is read by this command, so it cannot be its --out; choose another.")
    for path in (out, manifest_path(out)):
        if not os.path.lexists(path):
            continue
        if not overwrite:
            raise FileExistsError(f"{path} exists; choose another --out, or replace it with --overwrite.")
        if not path.is_file() or not _is_benchmark(out):
            raise FileExistsError(f"{path} exists and is not of an earlier build, so --overwrite leaves it alone; choose another --out.")


def _is_benchmark(out: Path) -> bool:
    try:
        return (read_manifest(out, ValueError) or {}).get("format") == FORMAT
    except ValueError:
        return False


def _tokenizer(tokenizer, revision: str | None, trust_remote_code: bool):
    """The tokenizer, its name, and the tokens that its model reads (... if that is not known)."""
    if not isinstance(tokenizer, str | os.PathLike):
        if not getattr(tokenizer, "is_fast", False):
            raise TypeError(
                f"the tokenizer is {type(tokenizer).__name__}; offsets need a fast transformers tokenizer, or the name of a model."
            )
        return tokenizer, displayed_name(tokenizer.name_or_path or "tokenizer"), ...
    source = dict(revision=revision, trust_remote_code=trust_remote_code)
    loaded = load_tokenizer(str(tokenizer), **source)
    if not loaded.is_fast:
        raise ValueError(
            f"the tokenizer of {displayed_name(str(tokenizer))} is a slow one, which gives no offsets; take a model with a fast one."
        )
    return loaded, displayed_name(str(tokenizer)), positions(load_config(str(tokenizer), **source))


def digest(database: Database) -> str:
    """SHA-256 of the names, types and rows of all tables."""
    hashed = hashlib.sha256()
    for table in database.tables:
        hashed.update(repr((table.name, [(c.name, c.kind, c.decimals) for c in table.columns])).encode("utf-8", "surrogatepass"))
        for row in table.rows:
            hashed.update(repr([None if value is None else str(value) for value in row]).encode("utf-8", "surrogatepass"))
    return hashed.hexdigest()


def _make(drafts: Sequence[Draft], settings: BuildSettings, prompts: Prompts, notes: list[str], say) -> list[Item]:
    """The items of all plans, in the order of the file; appends to `notes` which of a user's questions could not be asked."""
    lengths = AnswerLengths(prompts)
    filled: dict[tuple[int, int], tuple[Drafted | None, list[str]]] = {}
    items: list[Item] = []
    plans = settings.plans()
    with Bar(len(plans) * len(drafts), say, title="contexts", unit="context") as bar:
        for number, (plan, draft) in enumerate(((plan, draft) for plan in plans for draft in drafts), 1):
            found, missing = _of_draft(draft, plan, prompts, lengths, settings.seed, filled)
            items += found
            for note in (f"{plan.length} tokens, {reason}" for reason in missing):
                if note not in notes:  # as at another placement
                    notes.append(note)
                    say(note)
            bar(number)
    if not items:
        raise ValueError(f"none of the questions can be asked; the first reason: {notes[0] if notes else 'the file has none'}")
    return items


def _of_draft(draft: Draft, plan: Plan, prompts: Prompts, lengths: AnswerLengths, seed: int, filled: dict) -> tuple[list[Item], list[str]]:
    """The items of one context, and which of a user's questions have none for which reason."""
    key = (draft.number, relevant_tokens(plan, prompts))
    try:
        if key not in filled:
            filled[key] = fill(draft, plan, prompts, lengths, seed)
        drafted, missing = filled[key]
        return ([] if drafted is None else list(_items(draft, plan, drafted, prompts, seed))), missing
    except (NotEnoughRows, BudgetError) as error:
        if not draft.questions:
            raise
        return [], [f"{draft.numbers}: {error}"]


def _items(draft: Draft, plan: Plan, drafted: Drafted, prompts: Prompts, seed: int) -> Iterator[Item]:
    questions = [one.question.text for one in drafted.asked]
    context = write_context(draft.lines, prompts, questions, drafted.relevant, drafted.tables, plan, drafted.draws)
    share = f"a{plan.amount}" if plan.amount is not None else f"d{plan.density:g}"
    context_id = f"{plan.length}-{plan.placement}-{share}-{draft.name}"
    for place, asked in enumerate(drafted.asked):
        yield _item(f"{context_id}-{place}", context_id, draft, plan, asked, context, prompts, seed)


def _item(id_: str, context_id: str, draft: Draft, plan: Plan, asked: AskedQuestion, context: Context, prompts: Prompts, seed: int) -> Item:
    tokens, places = token_offsets(prompts, context, asked.question.text)
    offsets = tuple(
        {"table": table, "row": number, "characters": list(characters), "tokens": list(place)}
        for (table, number), characters, place in zip(context.rows, context.characters, places, strict=True)
        if table in asked.question.tables
    )
    amount = sum(one["tokens"][1] - one["tokens"][0] for one in offsets)
    every = sum(stop - first for first, stop in places)
    text = prompts.text(context.text, asked.question.text)
    return Item(
        id=id_, context_id=context_id, draw=draft.name, question=asked.question.text, sql=asked.question.sql, kind=asked.question.kind,
        length=plan.length, context=context.text, prompt_tokens=tokens, gold=asked.gold, choices=asked.choices, correct=asked.correct,
        offsets=offsets, placement=plan.placement, amount=amount, density=round(amount / every, 4),
        asked=plan.density if plan.amount is None else plan.amount, seed=seed,
        sha256=hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
    )  # fmt: skip


def open_databases(database: str | os.PathLike | Database, *, seed: int, rows: int, say: Callable[[str], None]) -> list[Database]:
    """The databases of a name: "generated" stands for all domains."""
    if isinstance(database, Database):
        return [database]
    if str(database) == "generated":
        return [open_database(f"generated:{domain}", seed=seed, rows=rows, say=say) for domain in DOMAINS]
    is_generated = str(database).startswith("generated:")
    return [open_database(database, seed=seed, rows=rows if is_generated else None, say=say)]
