"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else there.")]
ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="A folder, a GGUF file, a hub name, or 'demo' (a small model that is part of the package).")
]
TEXT_SOURCES = "File, folder, JSONL (FILE#FIELD), 'pythondoc' or hub:NAME; repeatable."
Device = Annotated[str | None, typer.Option(help="Such as cpu or cuda:0.", show_default="an accelerator if there is one")]
Dtype = Annotated[str | None, typer.Option(help="Dtype to compute in.", show_default="float32 on a CPU, the checkpoint's elsewhere")]
Revision = Annotated[str | None, typer.Option(help="Revision of a hub model.")]
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")]


def _absolute(folder: Path | None) -> Path | None:
    """Make a path absolute, so that the loaders do not take a folder named demo for the packaged model."""
    return folder and folder.absolute()


PrunedFolder = typer.Argument(metavar="DIR", help="A folder that `pydisp prune` wrote.", callback=_absolute)
