"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from pydisp.commands.output import WrongUsage

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else there.")]
ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="A folder, a GGUF file, a hub name, or 'demo' (a small model that is part of the package).")
]
TEXT_SOURCES = "File, folder, JSONL (FILE#FIELD), 'pythondoc' or hub:NAME; repeatable."
Device = Annotated[str | None, typer.Option(help="Such as cpu or cuda:0.", show_default="an accelerator if there is one")]
DeviceMap = Annotated[
    str | None, typer.Option(help="Spread the model over devices, memory and disk: auto, balanced, sequential or a JSON file.")
]
Dtype = Annotated[str | None, typer.Option(help="Dtype to compute in.", show_default="float32 on a CPU, the checkpoint's elsewhere")]
Revision = Annotated[str | None, typer.Option(help="Revision of a hub model.")]
BFloat16 = Annotated[
    bool | None, typer.Option(help="Compute products in bfloat16.", show_default="where the processor multiplies it faster")
]
RecoverBFloat16 = Annotated[
    bool | None,
    typer.Option("--recover-bfloat16/--no-recover-bfloat16", help="The same for the recovery.", show_default="as --bfloat16"),
]
RecoverSteps = Annotated[int | None, typer.Option(help="Steps of the recovery.", show_default="300 below 50 M parameters, else 1000")]
RecoverRate = Annotated[
    float | None, typer.Option(help="Highest learning rate of the recovery.", show_default="by the model's size, 5 times as much with LoRA")
]
RecoverRank = Annotated[int | None, typer.Option(help="Train LoRA adapters of this rank and merge them.", show_default="all weights")]
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")]


def _folder(name: str) -> Path:
    """The absolute path, so that the loaders do not take a folder named demo for the packaged model."""
    if not name:  # as a path it would be the current folder
        raise WrongUsage("the name of the folder is empty; give a folder that `pydisp prune` wrote.")
    return Path(name).absolute()


PrunedFolder = typer.Argument(metavar="DIR", help="A folder that `pydisp prune` wrote.", parser=_folder)
