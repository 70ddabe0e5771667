"""`pydisp recover`: train what is kept of a pruned model to predict as its dense model does."""

from pathlib import Path
from typing import Annotated

import typer

from pydisp.commands.options import (
    TEXT_SOURCES,
    BFloat16,
    Device,
    DeviceMap,
    Dtype,
    Json,
    PrunedFolder,
    RecoverRank,
    RecoverRate,
    RecoverSteps,
    Revision,
    TrustRemoteCode,
)
from pydisp.commands.output import begin, print_json
from pydisp.commands.prune import show


def recover(
    ctx: typer.Context,
    folder: Annotated[Path, PrunedFolder],
    out: Annotated[Path | None, typer.Option(help="Folder to make; it appears whole or not at all.", show_default="DIR-recovered")] = None,
    teacher: Annotated[
        str | None, typer.Option(help="The dense model that DIR was made from.", show_default="the name that DIR has for it")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help=TEXT_SOURCES, show_default="the documentation of this Python")] = None,
    steps: RecoverSteps = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows of text a step.", show_default="that of the pruning")] = None,
    context: Annotated[int | None, typer.Option(help="Tokens a window.", show_default="that of the pruning")] = None,
    learning_rate: RecoverRate = None,
    warmup_share: Annotated[float | None, typer.Option(help="Share of the steps in which the rate rises.", show_default="0.03")] = None,
    lora_rank: RecoverRank = None,
    head: Annotated[
        bool | None, typer.Option(help="Train embeddings and output matrix too.", show_default="below 50 M parameters, without LoRA")
    ] = None,
    cross_entropy: Annotated[float | None, typer.Option(help="Share of the text's own words in the loss.", show_default="0")] = None,
    bfloat16: BFloat16 = None,
    seed: Annotated[int | None, typer.Option(help="Fixes everything random.", show_default="0")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Choose the steps so that the run ends in this time.", show_default="45 from 50 M parameters on, on a CPU; else no limit"
        ),
    ] = None,
    evaluation_tokens: Annotated[
        int | None, typer.Option(help="Score at most so many tokens of each text; 0: all.", show_default="that of the pruning")
    ] = None,
    device: Device = None,
    device_map: DeviceMap = None,
    dtype: Dtype = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a recovery that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output of an earlier run.")] = False,
    speed: Annotated[bool, typer.Option(help="Also measure speed and peak memory at the end, for about a minute.")] = True,
    as_json: Json = False,
) -> None:
    """Train what DIR, a pruned folder, keeps to predict as the dense model does; the plan and its widths stay as they are."""
    say = begin(ctx)
    from pydisp.pruning import RecoverRequest, RecoverySettings, recover_to_folder

    given = {
        "steps": steps, "batch_size": batch_size, "context_tokens": context, "learning_rate": learning_rate, "warmup_share": warmup_share,
        "lora_rank": lora_rank, "trains_head": head, "cross_entropy": cross_entropy, "bfloat16": bfloat16, "seed": seed,
    }  # fmt: skip
    settings = RecoverySettings(**{name: value for name, value in given.items() if value is not None})
    request = RecoverRequest(
        folder=folder, out=out or folder.with_name(f"{folder.resolve().name}-recovered"), settings=settings, teacher=teacher,
        text=tuple(text) if text else None, device=device, device_map=device_map, dtype=dtype, revision=revision, trust_remote_code=trust_remote_code,
        resume=resume, overwrite=overwrite, evaluation_tokens=evaluation_tokens, minutes=minutes, measures_speed=speed,
    )  # fmt: skip
    result = recover_to_folder(request, say=say)
    print_json(result) if as_json else show(result)
