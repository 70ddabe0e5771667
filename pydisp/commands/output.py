"""What a command says: results on standard output, progress on standard error, and one sentence for wrong usage."""

import json
from collections.abc import Callable
from functools import partial

import typer

from pydisp.progress import silence

# What typer raises for wrong options, which ends in exit status 2. It exports no name for it, and keeps it in different places.
WrongUsage = typer.BadParameter.__base__


class GateClosed(Exception):
    """A result beyond a limit that the user set. A command raises it when it has printed its result; exit status 3.

    Args:
        sentence: the figure and the limit.
        result: what --json prints.
    """

    def __init__(self, sentence: str, result: dict):
        super().__init__(sentence)
        self.result = result


def progress(ctx: typer.Context) -> Callable[[str], None]:
    """Where a command's lines on its progress go: to standard error, or nowhere with --quiet."""
    return silence if ctx.find_root().params["quiet"] else partial(typer.echo, err=True)


def print_json(values: dict) -> None:
    """One object on standard output; numbers of numpy and torch become floats."""
    typer.echo(json.dumps(values, indent=2, allow_nan=False, default=float))


def quiet_libraries() -> None:
    """transformers draws its own bars and warnings; here one voice speaks."""
    import huggingface_hub
    import transformers

    huggingface_hub.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
