"""The output of a command: results on standard output, progress on standard error, and one sentence for wrong usage."""

import contextlib
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from pydisp.progress import folded, silence, write_line

# The exception that typer raises for wrong options (exit status 2). Typer does not export it, and its versions keep it in different places.
WrongUsage = typer.BadParameter.__base__


class GateClosed(Exception):
    """The result is beyond a limit that the user set. A command raises this after it has printed its result; exit status 3.

    Args:
        sentence: the figure and the limit.
        result: the object that --json prints.
    """

    def __init__(self, sentence: str, result: dict):
        super().__init__(sentence)
        self.result = result


def progress(ctx: typer.Context) -> Callable[[str], None]:
    """The function that receives a command's progress lines: it writes to standard error, or drops them with --quiet."""
    return silence if ctx.find_root().params["quiet"] else write_line


def begin(ctx: typer.Context) -> Callable[[str], None]:
    """`progress`, when torch and transformers are loaded and silent: before that a line, because it takes seconds. Downloads have our bars."""
    say = progress(ctx)
    if not {"torch", "transformers"} <= sys.modules.keys():
        say("loading torch and transformers")
    import torch  # noqa: F401

    quiet_libraries()
    from pydisp.hub_bars import hub_as_ours

    ctx.find_root().with_resource(hub_as_ours(say))
    return say


def quietly(say: Callable[[str], None]):
    """Inside this context nothing is written to standard error if `say` is silent; for libraries that draw bars of their own."""
    return contextlib.redirect_stderr(io.StringIO()) if say is silence else contextlib.nullcontext()


def print_words(words: str) -> None:
    """Print the result of a command for people."""
    typer.echo(folded(words, sys.stdout))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table for people; on a terminal too narrow for it, each row as a block of lines with a name and a figure.

    Args:
        columns: their names, which may have several lines; the first is that of the rows' names.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, highlight=False)
    table = Table(title=title)
    table.add_column(columns[0], justify="right" if all(row[0].isdecimal() for row in rows) else "left")
    for column in columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    names, *others = zip(columns, *rows, strict=True)
    widths = [max(cell_len(word) for name in names for word in name.split() or [""])]  # names wrap, figures do not
    widths += [max(cell_len(line) for cell in column for line in cell.split("\n")) for column in others]
    if sum(widths) + 3 * len(widths) + 1 <= console.width:  # with a space to each side, and lines between
        console.print(table)
        return
    heads = [" ".join(column.split("\n")) for column in columns]
    blocks = [
        [f"{heads[0]} {row[0]}".strip(), *(f"  {head}: {cell}" for head, cell in zip(heads[1:], row[1:], strict=True))] for row in rows
    ]
    console.print("\n".join([title, *(line for block in blocks for line in block)]))


def print_json(values: dict) -> None:
    """Print one JSON object on standard output; numbers of numpy and torch become floats."""
    typer.echo(json.dumps(values, indent=2, allow_nan=False, default=float))


def claimed(out: Path | None, marker: str, journey: str, *, overwrite: bool):
    """The workspace of the folder to make (`pydisp.workspace.Workspace`), refused before the work if it cannot be made; None without one."""
    if out is None:
        return contextlib.nullcontext()
    from pydisp.workspace import Workspace

    return Workspace(out, marker=marker, journey=journey).claimed(overwrite=overwrite)


def quiet_libraries() -> None:
    """Silence the progress bars and warnings of transformers and of torch's exporters, so that only pydisp writes."""
    import logging
    import warnings

    import huggingface_hub
    import transformers

    huggingface_hub.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in (
        "torch.onnx",
        "torchao",
        "torch.utils._pytree",
    ):  # torchao, where it is there, tells of its GPU libraries when it is imported
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="copyreg")  # of torch, about its own program files
