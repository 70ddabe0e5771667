"""`pydisp info` and `pydisp export`: describe a pruned folder, and write its model in another form."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from pydisp.commands.options import Json, PrunedFolder, TrustRemoteCode
from pydisp.commands.output import WrongUsage, begin, print_json, print_table, print_words


def info(ctx: typer.Context, folder: Annotated[Path, PrunedFolder], as_json: Json = False) -> None:
    """Widths per layer, kept shares and whether the indices of a pruned folder are valid; exit status 1 if they are not."""
    say = begin(ctx)
    from pydisp.pruning.folder import describe

    description = describe(folder, say=say)
    if as_json:
        print_json(description)
        return
    columns = ["layer", *(name.replace("_", "\n") for name in description["layers"][0])]
    rows = [
        [str(number), *("removed" if width is None else str(width) for width in layer.values())]
        for number, layer in enumerate(description["layers"])
    ]
    print_table(f"{description['model_type']}: {description['params']['pruned']:,} parameters", columns, rows)
    kept = description["kept"]
    print_words(f"kept: {kept['total']:.2%} of all, {kept['block']:.2%} of block parameters; all indices are valid")


class Form(enum.StrEnum):
    """What `pydisp export` writes."""

    dense = "dense"
    pt2 = "pt2"
    onnx = "onnx"


def export(
    ctx: typer.Context,
    folder: Annotated[Path, PrunedFolder],
    out: Annotated[Path | None, typer.Option(help="Folder to make; it appears whole or not at all.", show_default="DIR-FORM")] = None,
    to: Annotated[
        Form | None,
        typer.Option(
            help="dense: the stock model with zeros for what was removed, without the speed-up. "
            "pt2 (torch.export), onnx: a program that reads whole texts.",
            show_default=False,
        ),
    ] = None,
    dense: Annotated[bool, typer.Option("--dense", help="The same as --to dense.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Write a pruned model in another form, for programs that do not know pydisp."""
    if dense and to not in (None, Form.dense):
        raise WrongUsage(f"--dense and --to {to.value} are two forms; give one of them.")
    form = "dense" if dense else to and to.value
    if form is None:
        raise WrongUsage("no form to export to was given; add --dense, --to pt2 or --to onnx.")
    say = begin(ctx)
    from pydisp.pruning.folder import export_dense, export_program

    out = out or folder.with_name(f"{folder.resolve().name}-{form}")
    if form == "dense":
        written = export_dense(folder, out, overwrite=overwrite, trust_remote_code=trust_remote_code, say=say)
        words = f"{written['model_type']}, {written['params']:,} parameters"
    else:
        written = export_program(folder, out, form, overwrite=overwrite, trust_remote_code=trust_remote_code, say=say)
        words = f"{written['file']}, {written['params']:,} parameters, logits within {written['largest_difference']:.0e} of the largest"
    print_json(written) if as_json else typer.echo(f"{written['out']}: {words}")
