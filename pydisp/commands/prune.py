"""`pydisp prune`: from the name of a model to a pruned folder with its report."""

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
    ModelName,
    RecoverBFloat16,
    RecoverRank,
    RecoverRate,
    RecoverSteps,
    Revision,
    TrustRemoteCode,
)
from pydisp.commands.output import WrongUsage, begin, print_json, print_table, print_words
from pydisp.commands.settings_file import read_settings


def prune(
    ctx: typer.Context,
    model: ModelName,
    out: Annotated[Path, typer.Option(help="Folder to make; it appears whole or not at all.")],
    keep_ratio: Annotated[float | None, typer.Option(help="Share of the parameters to keep, such as 0.5.")] = None,
    ratio_of: Annotated[
        str | None, typer.Option(help="'total' (all parameters) or 'block' (decoder layers).", show_default="total")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help=TEXT_SOURCES, show_default="the documentation of this Python")] = None,
    method: Annotated[
        str | None, typer.Option(help="disp, constrained, gradient, wanda, flap, magnitude, random or layerdrop.", show_default="disp")
    ] = None,
    plan: Annotated[str | None, typer.Option(help="Use this plan.safetensors instead of making one.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the search.", show_default="600 below 50 M parameters, else 300")] = None,
    start: Annotated[
        str | None,
        typer.Option(help="What scores the features before the first step: gradient, wanda, flap or none.", show_default="gradient"),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows of text a forward.", show_default="4")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Forwards a step.", show_default="1")] = None,
    context: Annotated[int | None, typer.Option(help="Tokens a window.", show_default="256")] = None,
    seed: Annotated[int | None, typer.Option(help="Fixes everything random.", show_default="0")] = None,
    round_to: Annotated[
        int | None, typer.Option(help="Widths are multiples of it.", show_default="8 below 50 M parameters, else 16")
    ] = None,
    recover: Annotated[
        bool, typer.Option("--recover", help="Then train what is kept to predict as the dense model does (see `pydisp recover`).")
    ] = False,
    recover_steps: RecoverSteps = None,
    recover_learning_rate: RecoverRate = None,
    recover_lora_rank: RecoverRank = None,
    recover_bfloat16: RecoverBFloat16 = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Choose steps, batch and evaluation so that the run ends in this time.",
            show_default="45 from 50 M parameters on, on a CPU; else no limit",
        ),
    ] = None,
    gradient_checkpointing: Annotated[
        bool | None,
        typer.Option(
            "--gradient-checkpointing/--no-gradient-checkpointing", help="Save memory for time.", show_default="where memory is short"
        ),
    ] = None,
    bfloat16: BFloat16 = None,
    evaluation_tokens: Annotated[
        int | None,
        typer.Option(help="Score at most so many tokens of each text; 0: all.", show_default="all below 50 M parameters, else 32768"),
    ] = None,
    device: Device = None,
    device_map: DeviceMap = None,
    dtype: Dtype = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    config: Annotated[Path | None, typer.Option(help="YAML with these settings; options given here win.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a search or a recovery that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output of an earlier run.")] = False,
    speed: Annotated[bool, typer.Option(help="Also measure speed and peak memory at the end, for about a minute.")] = True,
    as_json: Json = False,
) -> None:
    """Prune MODEL to a share of its parameters, and report the loss before and after."""
    given = {
        "keep_ratio": keep_ratio, "ratio_of": ratio_of, "method": method, "steps": steps, "start": start, "batch_size": batch_size,
        "accumulate": accumulate, "context_tokens": context, "seed": seed, "round_to": round_to, "evaluation_tokens": evaluation_tokens,
        "gradient_checkpointing": gradient_checkpointing, "bfloat16": bfloat16,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    if plan and (clash := given.keys() - {"context_tokens", "evaluation_tokens"}):
        raise WrongUsage(
            f"--plan and --{sorted(clash)[0].replace('_', '-')} exclude each other: with a plan nothing is searched; leave one out."
        )
    if minutes is not None and steps is not None:
        raise WrongUsage("--minutes and --steps exclude each other: the minutes choose the steps; leave one out.")
    if plan and config:
        raise WrongUsage("--plan and --config exclude each other: a plan says what is kept; leave one out.")
    settings = {} if plan else {**(read_settings(config) if config else {}), **given}
    if settings.get("method") == "plan":
        raise WrongUsage("the method 'plan' needs a plan; give it with --plan FILE.")
    if not plan and "keep_ratio" not in settings:
        raise WrongUsage("no --keep-ratio was given; name the share of the parameters to keep, such as --keep-ratio 0.5, or a --plan.")

    recovering = {
        "steps": recover_steps, "learning_rate": recover_learning_rate, "lora_rank": recover_lora_rank, "bfloat16": recover_bfloat16,
    }  # fmt: skip
    recovering = {name: value for name, value in recovering.items() if value is not None}
    if recovering and not recover:
        raise WrongUsage(f"--recover-{min(recovering).replace('_', '-')} is for a recovery; add --recover, or leave it out.")

    say = begin(ctx)
    from pydisp.pruning import FolderRequest, PruneSettings, RecoverySettings, prune_to_folder

    recovering = {"bfloat16": settings.get("bfloat16"), **recovering, "seed": settings.get("seed", 0)}
    recovery = RecoverySettings(**recovering) if recover else None
    checked = PruneSettings(**settings) if settings else None  # before torch loads anything
    request = FolderRequest(
        model=model, out=out, settings=checked, text=tuple(text) if text else None, plan_file=plan, device=device, device_map=device_map, dtype=dtype,
        revision=revision, trust_remote_code=trust_remote_code, resume=resume, overwrite=overwrite,
        context_tokens=context, evaluation_tokens=evaluation_tokens, minutes=minutes, measures_speed=speed, recovery=recovery,
    )  # fmt: skip
    result = prune_to_folder(request, say=say)
    if as_json:
        print_json(result)
        return
    show(result)


def show(result: dict) -> None:
    """Print the result of a pruning or a recovery for people."""
    columns = [f"perplexity at {result['context_tokens']} tokens", "dense", "pruned", "pruned\n÷ dense", "damage,\nnats", "tokens"]
    rows = []
    for name, key in (("held-out text", ""), ("other text", "_other"), ("calibration text", "_calibration")):
        before = result.get("recovery", {})
        for words, figures, end in (("", result, ""), (", before the recovery", before, "_before")):
            if f"damage{key}{end}" in figures:
                rows.append([f"{name}{words}", *_loss_cells(figures[f"perplexity{key}{end}"], figures[f"damage{key}{end}"])])
    print_table(
        f"{result['out']}: {result['kept']['total']:.2%} of all, {result['kept']['block']:.2%} of block parameters kept", columns, rows
    )
    if "absent" not in result["speed"]:  # a line has said so already
        from pydisp.speed import record

        print_words(f"speed: {record.sentence(result['speed'], 'unpruned')}")
    print_words(f"report: {Path(result['out']) / 'report.html'}")


def _loss_cells(perplexity: dict, damage: dict) -> list[str]:
    """Both perplexities, their ratio, the damage with its standard error, and the number of tokens."""
    dense, pruned = perplexity["dense"], perplexity["pruned"]
    error = "" if damage["standard_error"] is None else f" ± {damage['standard_error']:.3f}"
    return [
        *(f"{x:.2f}" if x < 1e5 else f"{x:.2e}" for x in (dense, pruned, pruned / dense)),
        f"{damage['nats']:.3f}{error}",
        f"{damage['tokens']:,}",
    ]
