"""`pydisp compare`: what the reports of two models say, side by side on one page."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pydisp.commands.options import Json
from pydisp.commands.output import begin, claimed, print_json

RESULT_FILE = "compare.json"  # the output of --json; no other command writes such a file, so --overwrite recognises its folders by it
_SIDE = "A folder of reports (of prune, recover, eval, fairness, probe, holobench, toolken eval; or with such folders in it), or a model."


def compare(
    ctx: typer.Context,
    a: Annotated[str, typer.Argument(metavar="A", help=_SIDE)],
    b: Annotated[str, typer.Argument(metavar="B", help="The other one; differences are B minus A.")],
    out: Annotated[Path, typer.Option(help="Folder to make for the page; it appears whole or not at all.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier comparison.")] = False,
    as_json: Json = False,
) -> None:
    """Put what the reports of two models say side by side."""
    with claimed(out, RESULT_FILE, "compare", overwrite=overwrite) as workspace:
        say = begin(ctx)
        from pydisp.comparison import compare as compare_reports
        from pydisp.workspace import write_whole

        say("reading the reports")
        found = compare_reports(a, b)
        result = found.as_dict()
        say("writing the page")
        workspace.begin({})
        found.report.write(workspace.output)
        write_whole(workspace.output / RESULT_FILE, f"{json.dumps(result, indent=2, allow_nan=False)}\n")
        workspace.finish()
    words = "\n".join([*found.sentences, f"page: {out / 'report.html'}"])
    print_json({"out": str(out), **result}) if as_json else typer.echo(words)
