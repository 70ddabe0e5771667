"""`pydisp fairness`: loss by the frequency of a token (`audit`), and what weight decay does to it in training (`sweep`)."""

import csv
import io
import json
from pathlib import Path
from typing import Annotated

import typer

from pydisp.commands.options import TEXT_SOURCES, Device, Dtype, Json, ModelName, Revision, TrustRemoteCode
from pydisp.commands.output import GateClosed, WrongUsage, begin, claimed, print_json, print_words

RESULT_FILE = "audit.json"  # the output of --json; no other command writes such a file, so --overwrite recognises its folders by it

GRAMMAR = (
    'NAME COMPARISON NUMBER, such as "tail.nats > +0.10": with a sign it is of the difference to --against, without one of MODEL itself. '
    "Names: average, balanced, accuracy, ece, nats_per_byte, agreement, excess, and head, torso or tail with .nats, .balanced, .accuracy, "
    ".ece, .rank, .entropy or .confidence."
)

app = typer.Typer(help="Loss, accuracy and calibration by how frequent a token is: of a model, between two models, in training.")


@app.command()
def audit(
    ctx: typer.Context,
    model: ModelName,
    text: Annotated[list[str] | None, typer.Option(help=TEXT_SOURCES)] = None,
    against: Annotated[
        str | None, typer.Option(metavar="REFERENCE", help="A second model, such as the unpruned one; differences are MODEL minus it.")
    ] = None,
    counts: Annotated[
        Path | None, typer.Option(help="JSON or Parquet of id or word to count, best of the training text; or 'demo'.")
    ] = None,
    counts_text: Annotated[
        list[str] | None, typer.Option(help="A text to count instead; repeatable.", show_default="the scored text, which is biased")
    ] = None,
    mode: Annotated[
        str, typer.Option(help="Count ids or words; auto: words below 8,192 ids or for two tokenizers.", metavar="auto|id|word")
    ] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder to make for the report; it appears whole or not at all.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the report of an earlier run.")] = False,
    fail_if: Annotated[
        list[str] | None, typer.Option(metavar="LIMIT", help=f"Exit status 3 if it is true; repeatable. LIMIT is {GRAMMAR}")
    ] = None,
    context: Annotated[int | None, typer.Option(help="Tokens a window.", show_default="256 below 50 M parameters, else 2048")] = None,
    evaluation_tokens: Annotated[
        int | None, typer.Option(help="Score at most so many tokens, evenly over the text.", show_default="all")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows a forward.", show_default="4096 tokens")] = None,
    seed: Annotated[int, typer.Option(help="Of the draws for intervals and p-values.")] = 0,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Show how MODEL treats rare and frequent tokens of a text, and what it has gained or lost against a REFERENCE."""
    if not text:
        raise WrongUsage("there is nothing to audit on; give --text PATH.")
    if overwrite and out is None:
        raise WrongUsage("--overwrite goes with --out; leave it out.")
    if counts is not None and counts_text:
        raise WrongUsage("--counts and --counts-text exclude each other; give one of them.")
    say = begin(ctx)
    from pydisp.fairness.gate import Gate

    gates = [Gate.parse(limit) for limit in fail_if or ()]
    unpaired = [gate for gate in gates if gate.needs_reference and against is None]
    if unpaired:
        raise WrongUsage(f"the limit on {unpaired[0].name} compares two models; give --against REFERENCE.")
    with claimed(out, RESULT_FILE, "fairness audit", overwrite=overwrite) as workspace:
        from pydisp import fairness
        from pydisp.fairness.audit_report import in_words

        audited = fairness.audit(
            model, text=text, against=against, mode=mode, counts=None if counts is None else str(counts), counts_text=counts_text,
            context_tokens=context, most_tokens=evaluation_tokens, batch_size=batch_size, seed=seed, device=device, dtype=dtype,
            revision=revision, trust_remote_code=trust_remote_code, say=say,
        )  # fmt: skip
        result, words = audited.as_dict(), in_words(audited)
        if workspace:
            say("writing the report")
            _write(workspace, audited, result, say)
            result = {"out": str(out), **result}
            words += f"\nreport: {out / 'report.html'}"
    print_json(result) if as_json else print_words(words)
    passed = [sentence for gate in gates if (sentence := gate.passed_by(result))]
    if passed:
        raise GateClosed(" ".join(passed), result)


@app.command()
def sweep(
    ctx: typer.Context,
    config: Annotated[Path, typer.Option(help="YAML file of texts, model and arms; docs/fairness.md describes it.")],
    out: Annotated[Path, typer.Option(help="Folder to make; it appears whole or not at all.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what a stopped sweep left.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output of an earlier sweep.")] = False,
    workers: Annotated[int | None, typer.Option(help="Processes that train side by side.", show_default="one for each core")] = None,
    as_json: Json = False,
) -> None:
    """Train small models from scratch over weight decay, and show whose loss it costs: that of frequent or of rare tokens."""
    say = begin(ctx)
    from pydisp.fairness.weight_decay import sweep as train_and_report

    report, result = train_and_report(config, out, resume=resume, overwrite=overwrite, workers=workers, say=say)
    if as_json:
        print_json({"out": str(out), **result})
    else:
        print_words("\n".join([*report.summary, f"report: {out / 'report.html'}"]))


def _write(workspace, audited, result: dict, say) -> None:
    from pydisp.fairness.audit_report import document_rows, type_rows
    from pydisp.workspace import write_whole

    workspace.begin({})
    audited.report.write(workspace.output)
    write_whole(workspace.output / RESULT_FILE, f"{json.dumps(result, indent=2)}\n")
    against = ["reference_nats", "difference"] if audited.comparison is not None else []
    write_whole(workspace.output / "types.csv", _csv(["type", "text", "count", "units", "nats", *against], type_rows(audited)))
    write_whole(workspace.output / "documents.csv", _csv(["document", "begins_with", "units", "nats", *against], document_rows(audited)))
    try:
        audited.stats.save(workspace.output / "stats.parquet")
    except ImportError as error:
        say(f"stats.parquet was left out: {error}")
    workspace.finish()


def _csv(columns: list[str], rows: list[list]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
