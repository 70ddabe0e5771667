"""`pydisp toolken`: tools for a frozen model: train their rows (`train`), compare ways to decide (`eval`), ask one question (`run`)."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pydisp.commands.options import Device, Dtype, Json, ModelName, Revision, TrustRemoteCode
from pydisp.commands.output import WrongUsage, begin, print_json, print_words

app = typer.Typer(help="Tools for a frozen model as trained rows, or none if none helps.")

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output of an earlier run.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where an earlier run of the same command stopped.")]
SOURCES = "'builtin' (generated; 'builtin:b' is the held-out family), gsm8k:PATH, metatool:PATH, funcqa:PATH, kamel:PATH, gsm8k_xl:PATH, virtualhome:PATH, or a JSONL file."
Toolkens = Annotated[Path, typer.Option(metavar="DIR", help="What `pydisp toolken train` wrote for this model.")]


@app.command()
def train(
    ctx: typer.Context,
    model: ModelName,
    out: Annotated[Path, typer.Option(help="Folder to make; it appears whole or not at all.")],
    tools: Annotated[
        str, typer.Option(metavar="builtin|FILE", help="'builtin', a .json of schemas, a .py with decorated functions, or a module.")
    ] = "builtin",
    data: Annotated[str, typer.Option(metavar="SOURCE", help=SOURCES)] = "builtin",
    count: Annotated[int | None, typer.Option(metavar="N", help="Problems to train on.", show_default="600")] = None,
    k: Annotated[
        int | None, typer.Option("-k", "--candidates", metavar="K", help="How many tools are reranked.", show_default="3, or all of fewer")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the problems, their split and the training.")] = 0,
    resume: Resume = False,
    overwrite: Overwrite = False,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Train one row a tool and the second rows for reranking; MODEL stays as it is."""
    for option, value in (("--count", count), ("--candidates", k)):
        if value is not None and value < 1:
            raise WrongUsage(f"{option} is {value}; it must be 1 or more.")
    say = begin(ctx)
    from pydisp.report.words import counted
    from pydisp.toolken import TrainSettings, train_to_folder
    from pydisp.toolken.training_run import TRAINED

    made = train_to_folder(
        model, out, tools=tools, data=data, count=count or TRAINED, settings=TrainSettings(seed=seed, k=k), resume=resume, overwrite=overwrite,
        device=device, dtype=dtype, revision=revision, trust_remote_code=trust_remote_code, say=say,
    )  # fmt: skip
    if as_json:
        facts = {name: value for name, value in made.training.items() if name != "trained_on"}  # digests of all problems: for the file
        print_json({"out": str(out), "tools": list(made.tools.names), "calibration": dict(made.calibration), "training": facts})
        return
    typer.echo(f"{counted(len(made.tools), 'tool')} for {made.base['name']}: {out}")


@app.command("eval")
def evaluate(
    ctx: typer.Context,
    model: ModelName,
    toolkens: Annotated[list[Path], typer.Option(metavar="DIR", help="What `train` wrote; repeatable, one folder for each seed.")],
    out: Annotated[Path, typer.Option(help="Folder to make for the report; it appears whole or not at all.")],
    data: Annotated[str, typer.Option(metavar="SOURCE", help=SOURCES)] = "builtin:b",
    modes: Annotated[
        str | None,
        typer.Option(metavar="M,M", help="Of none, toolkengpt, rerank, reject, calibrated, no_docs, shuffled_docs.", show_default="all"),
    ] = None,
    count: Annotated[int | None, typer.Option(metavar="N", help="Problems to evaluate on.", show_default="200")] = None,
    answers: Annotated[
        int | None, typer.Option(metavar="N", help="How many of them are also answered end to end; 0: selection only.", show_default="all")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the problems and of p-values; not one of a training.")] = 1000,
    max_new_tokens: Annotated[int, typer.Option(metavar="N", help="Most tokens of an answer.")] = 32,
    resume: Resume = False,
    overwrite: Overwrite = False,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Compare the modes of deciding: the right tool at its place, and answers end to end."""
    for option, value, least in (
        ("--count", count, 1),
        ("--answers", answers, 0),
        ("--seed", seed, 0),
        ("--max-new-tokens", max_new_tokens, 1),
    ):
        if value is not None and value < least:
            raise WrongUsage(f"{option} is {value}; it must be {least} or more.")
    say = begin(ctx)
    from pydisp.toolken import evaluate_to_folder
    from pydisp.toolken.evaluating.answering import AnswerSettings
    from pydisp.toolken.evaluation_run import EVALUATED

    found = evaluate_to_folder(
        model, [str(folder) for folder in toolkens], out, data=data, modes=None if modes is None else [one.strip() for one in modes.split(",")],
        count=count or EVALUATED, answers=answers, seed=seed, settings=AnswerSettings(max_new_tokens=max_new_tokens), resume=resume,
        overwrite=overwrite, device=device, dtype=dtype, revision=revision, trust_remote_code=trust_remote_code, say=say,
    )  # fmt: skip
    if as_json:
        print_json({"out": str(out), **found.as_dict()})
        return
    print_words(f"{found.in_words()}\nreport: {out / 'report.html'}")


@app.command()
def run(
    ctx: typer.Context,
    model: ModelName,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What is asked, put as 'Question: ... Answer:'.")],
    toolkens: Toolkens,
    mode: Annotated[str, typer.Option(metavar="MODE", help="none, toolkengpt, rerank, reject or calibrated.")] = "calibrated",
    as_it_is: Annotated[bool, typer.Option("--as-it-is", help="The text is the whole prompt.")] = False,
    max_new_tokens: Annotated[int, typer.Option(metavar="N", help="Most tokens of the answer.")] = 64,
    trace: Annotated[bool, typer.Option("--trace", help="Also print every decision.")] = False,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Answer one QUESTION; calls are marked, with their results."""
    if not question.strip():
        raise WrongUsage("the question is empty; write what is asked.")
    if max_new_tokens < 1:
        raise WrongUsage(f"--max-new-tokens is {max_new_tokens}; it must be 1 or more.")
    say = begin(ctx)
    from pydisp.toolken import ask

    answered = ask(
        model, str(toolkens), question, mode=mode, as_it_is=as_it_is, max_new_tokens=max_new_tokens, device=device, dtype=dtype,
        revision=revision, trust_remote_code=trust_remote_code, say=say,
    )  # fmt: skip
    if as_json:
        print_json(answered.as_dict())
        return
    print_words(answered.marked)
    if trace:
        typer.echo(json.dumps(answered.trace, indent=1))  # in ASCII: what a model writes cannot move the cursor or turn the text
