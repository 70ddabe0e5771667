"""`pydisp info` and `pydisp export`: describe a pruned folder, and write its model in another form."""

from pathlib import Path
from typing import Annotated

import typer

from pydisp.commands.options import Json, PrunedFolder
from pydisp.commands.output import WrongUsage, begin, print_json


def info(ctx: typer.Context, folder: Annotated[Path, PrunedFolder], as_json: Json = False) -> None:
    """Widths per layer, kept shares and whether the indices of a pruned folder are valid; exit status 1 if they are not."""
    say = begin(ctx)
    from pydisp.pruning.folder import describe

    description = describe(folder, say=say)
    if as_json:
        print_json(description)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{description['model_type']}: {description['params']['pruned']:,} parameters")
    for column in ("layer", *description["layers"][0]):
        table.add_column(column.replace("_", "\n"), justify="right")
    for number, layer in enumerate(description["layers"]):
        table.add_row(str(number), *("removed" if width is None else str(width) for width in layer.values()))
    console = Console()
    console.print(table)
    kept = description["kept"]
    console.print(f"kept: {kept['total']:.2%} of all, {kept['block']:.2%} of block parameters; all indices are valid", highlight=False)


def export(
    ctx: typer.Context,
    folder: Annotated[Path, PrunedFolder],
    out: Annotated[Path | None, typer.Option(help="Folder to make; it appears whole or not at all.", show_default="DIR-dense")] = None,
    dense: Annotated[bool, typer.Option("--dense", help="Write the stock model with zeros in the place of what was removed.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    as_json: Json = False,
) -> None:
    """Write a pruned model in another form; --dense: as a stock model, which computes the same anywhere, without the speed-up."""
    if not dense:
        raise WrongUsage("there is one form to export to; add --dense.")
    say = begin(ctx)
    from pydisp.pruning.folder import export_dense

    written = export_dense(folder, out or folder.with_name(f"{folder.resolve().name}-dense"), overwrite=overwrite, say=say)
    print_json(written) if as_json else typer.echo(f"{written['out']}: {written['model_type']}, {written['params']:,} parameters")
