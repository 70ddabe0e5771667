"""`pydisp holobench`: database questions over long texts: make a benchmark (`build`), answer it (`run`), score the answers (`score`)."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pydisp.commands.options import Device, Dtype, Json, ModelName, Revision, TrustRemoteCode
from pydisp.commands.output import WrongUsage, begin, claimed, print_json, print_words

RESULT_FILE = "holobench.json"  # the output of --json; no other command writes such a file, so --overwrite recognises its folders by it

app = typer.Typer(help="Questions with answers by SQL over long texts that are written from databases, for any model, without a network.")

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output of an earlier run.")]
Data = Annotated[Path, typer.Option(help="A file that `pydisp holobench build` made.")]


@app.command()
def build(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="JSONL to write, one question with its context a line; a manifest appears beside it.")],
    database: Annotated[
        str, typer.Option(metavar="generated[:DOMAIN]|chinook|FILE", help="Where the facts come from; FILE is a SQLite database.")
    ] = "generated",
    questions: Annotated[
        Path | None, typer.Option(help="JSON or JSONL with a question and its sql each.", show_default="drawn ones")
    ] = None,
    lengths: Annotated[
        str | None, typer.Option(metavar="N,N", help="Tokens of prompt and answer.", show_default="what the model of --tokenizer reads")
    ] = None,
    amount: Annotated[str | None, typer.Option(metavar="N,N", help="Tokens of relevant rows, instead of --density.")] = None,
    density: Annotated[
        str | None, typer.Option(metavar="R,R", help="Share of relevant rows in the facts, above 0 to 1.", show_default="0.5, 0.75 if a length is below 512")
    ] = None,
    placement: Annotated[
        str, typer.Option(metavar="P,P", help="Where relevant rows stand: uniform, begin, middle, end, bimodal, shuffled.")
    ] = "uniform",
    tokenizer: Annotated[str, typer.Option(metavar="MODEL", help="The model whose tokens are counted.")] = "demo",
    template: Annotated[str, typer.Option(metavar="plain|chat", help="chat: in the tokenizer's chat template.")] = "plain",
    answer: Annotated[str, typer.Option(metavar="direct|reason", help="reason: the model is asked to reason before it answers.")] = "direct",
    room: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens kept for the answer.", show_default="64, 32 if a length is below 512; to reason 320")
    ] = None,
    per_length: Annotated[int | None, typer.Option(metavar="N", help="Questions for each length.", show_default="18")] = None,
    questions_per_context: Annotated[int, typer.Option(metavar="N", help="How many questions share a context.")] = 1,
    seed: Annotated[int, typer.Option(help="Of all that is drawn; one seed gives the same bytes.")] = 0,
    overwrite: Overwrite = False,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Write contexts of exact lengths, questions and the answers that SQL gives on the rows shown."""
    wanted = dict(
        lengths=_numbers(lengths, "--lengths", int), amounts=_numbers(amount, "--amount", int) or (),
        densities=_numbers(density, "--density", float) or (), placements=[name.strip() for name in placement.split(",")],
    )  # fmt: skip
    if amount is not None and density is not None:
        raise WrongUsage("--amount and --density exclude each other; an amount of relevant tokens decides the density.")
    if room is not None and room < 1:
        raise WrongUsage(f"--room is {room}; it must be 1 or more.")
    say = begin(ctx)
    from pydisp.holobench import build as build_benchmark
    from pydisp.report.words import counted

    built = build_benchmark(
        out, database=database, questions=questions, tokenizer=tokenizer, template=template, answer=answer, room=room or 0,
        per_length=per_length, questions_per_context=questions_per_context, seed=seed, overwrite=overwrite,
        revision=revision, trust_remote_code=trust_remote_code, say=say, **wanted,
    )  # fmt: skip
    manifest = built.manifest
    if as_json:
        print_json({"out": str(out), **manifest})
        return
    print_words(
        f"{counted(manifest['items'], 'question')} on {counted(manifest['contexts'], 'context')} of {', '.join(f'{one:,}' for one in manifest['lengths'])} tokens of "
        f"{manifest['tokenizer']['name']}'s tokenizer, from {', '.join(one['name'] for one in manifest['database'])}: {out}"
    )
    if built.notes:
        typer.echo(f"{len(built.notes)} notes on what is left out or stands in another's place: in the manifest")


@app.command()
def run(
    ctx: typer.Context,
    model: ModelName,
    data: Data,
    out: Annotated[Path, typer.Option(help="JSONL of predictions to write; a manifest appears beside it.")],
    form: Annotated[
        str, typer.Option(metavar="generate|likelihood|both", help="likelihood: the gold answer against near misses, for small models.")
    ] = "both",
    without_context: Annotated[bool, typer.Option("--without-context", help="A control: the same questions without the facts.")] = False,
    any_tokenizer: Annotated[
        bool, typer.Option("--any-tokenizer", help="Answer though the lengths were counted with another tokenizer.")
    ] = False,
    batch_tokens: Annotated[int, typer.Option(metavar="N", help="Tokens of prompts and answers at once.")] = 8192,
    limit: Annotated[int | None, typer.Option(metavar="N", help="Only the first questions.", show_default="all")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run of the same command stopped.")] = False,
    overwrite: Overwrite = False,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Answer every question of a benchmark with MODEL."""
    if form not in ("generate", "likelihood", "both"):
        raise WrongUsage(f"--form is {form!r}; it must be generate, likelihood or both.")
    for option, value in (("--batch-tokens", batch_tokens), ("--limit", limit)):
        if value is not None and value < 1:
            raise WrongUsage(f"{option} is {value}; it must be 1 or more.")
    say = begin(ctx)
    from pydisp.holobench import run as answer_all

    found = answer_all(
        model, data, out=out, form=form, without_context=without_context, any_tokenizer=any_tokenizer, batch_tokens=batch_tokens,
        limit=limit, resume=resume, overwrite=overwrite, device=device, dtype=dtype, revision=revision,
        trust_remote_code=trust_remote_code, say=say,
    )  # fmt: skip
    skipped = list(found.skipped)
    if as_json:
        print_json({"out": str(out), **found.manifest, "answered": len(found.predictions) - len(skipped), "skipped": skipped})
        return
    print_words(f"{len(found.predictions) - len(skipped)} questions answered by {found.manifest['model']}, {len(skipped)} skipped: {out}")
    for id_ in skipped[:5]:
        typer.echo(f"skipped: {id_}")
    if len(skipped) > 5:
        typer.echo(f"skipped: {len(skipped) - 5} more, named in {out}")


@app.command()
def score(
    ctx: typer.Context,
    data: Data,
    predictions: Annotated[Path, typer.Option(help="What `pydisp holobench run` wrote, or JSONL with an id and an answer each.")],
    against: Annotated[
        Path | None, typer.Option(help="Predictions of another model on the same data, such as the unpruned one; differences are to it.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to make for the report; it appears whole or not at all.")] = None,
    seed: Annotated[int, typer.Option(help="Of the draws for intervals and p-values.")] = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Score predictions: F1 of rows, recall, exactness and likelihood, by class, length and placement."""
    if overwrite and out is None:
        raise WrongUsage("--overwrite goes with --out; leave it out.")
    with claimed(out, RESULT_FILE, "holobench score", overwrite=overwrite) as workspace:
        say = begin(ctx)
        from pydisp.holobench import score as score_files

        scored = score_files(data, predictions, against=against, seed=seed, say=say)
        result, words = scored.as_dict(), scored.in_words()
        if workspace:
            say("writing the report")
            from pydisp.workspace import write_whole

            workspace.begin({})
            scored.report.write(workspace.output)
            write_whole(workspace.output / RESULT_FILE, f"{json.dumps(result, indent=2, allow_nan=False, default=float)}\n")
            workspace.finish()
            result = {"out": str(out), **result}
            words += f"\nreport: {out / 'report.html'}"
    print_json(result) if as_json else print_words(words)


def _numbers(text: str | None, option: str, kind: type) -> list | None:
    if text is None:
        return None
    try:
        return [kind(part.strip().replace("_", "")) for part in text.split(",")]
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise WrongUsage(f"{option} is {text!r}; it must be {what} with commas between them.") from None
