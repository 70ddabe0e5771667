"""`pydisp eval`: what a model loses on a text, or its figures on tasks of lm-eval."""

from pathlib import Path
from typing import Annotated

import typer

from pydisp.commands.options import TEXT_SOURCES, Device, Dtype, Json, ModelName, Revision, TrustRemoteCode
from pydisp.commands.output import GateClosed, WrongUsage, print_json, progress, quiet_libraries


def evaluate(
    ctx: typer.Context,
    model: ModelName,
    text: Annotated[list[str] | None, typer.Option(help=TEXT_SOURCES)] = None,
    tasks: Annotated[str | None, typer.Option(help="Comma-separated tasks for lm-eval, instead of --text.")] = None,
    max_perplexity: Annotated[
        float | None, typer.Option(help="With --text: exit status 3 if the perplexity is above it, for scripts and CI.")
    ] = None,
    context: Annotated[int | None, typer.Option(help="Tokens a window.", show_default="256 below 50 M parameters, else 2048")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Windows, or requests of lm-eval, a forward.", show_default="4096 tokens of text, 1 request")
    ] = None,
    include_path: Annotated[Path | None, typer.Option(help="With --tasks: folder of task files of your own.")] = None,
    limit: Annotated[int | None, typer.Option(help="With --tasks: examples a task.")] = None,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Score MODEL on a text (nats per token, perplexity, bits per byte), or on tasks of lm-eval."""
    with_tasks = {"--include-path": include_path, "--limit": limit is not None}
    with_text = {"--max-perplexity": max_perplexity is not None, "--context": context is not None}
    _check_usage(text, tasks, [option for option, given in (with_text if tasks else with_tasks).items() if given])
    if max_perplexity is not None and not max_perplexity >= 1:
        raise ValueError(f"--max-perplexity is {max_perplexity}; a perplexity is 1 or more.")
    shared = dict(batch_size=batch_size, device=device, dtype=dtype, revision=revision, trust_remote_code=trust_remote_code)
    if tasks:
        from pydisp.integrations.lm_eval import evaluate_tasks

        shared["batch_size"] = batch_size or 1
        options = dict(include_paths=[include_path] if include_path else [], limit=limit)
        quiet_libraries()
        result = evaluate_tasks(model, [name.strip() for name in tasks.split(",")], **options, **shared)
        words = _task_table(result)
    else:
        from pydisp import evaluation

        quiet_libraries()
        evaluated = evaluation.evaluate(model, text=text, context_tokens=context, say=progress(ctx), **shared)
        result, words = evaluated.as_dict(), evaluated.in_words()
    print_json(result) if as_json else typer.echo(words)
    if max_perplexity is not None and evaluated.perplexity > max_perplexity:
        raise GateClosed(f"the perplexity is {evaluated.perplexity:.3f}, above --max-perplexity {max_perplexity:g}.", result)


def _check_usage(text: list[str] | None, tasks: str | None, misplaced: list[str]) -> None:
    if tasks and text:
        raise WrongUsage("--text and --tasks exclude each other; give one of them.")
    if not tasks and not text:
        raise WrongUsage("there is nothing to evaluate on; give --text PATH or --tasks NAMES.")
    if misplaced:
        raise WrongUsage(f"{misplaced[0]} goes with {'--text' if tasks else '--tasks'}; leave it out.")


def _task_table(results: dict) -> str:
    lines = [
        f"{task}: " + ", ".join(f"{n} {v:.4f}" for n, v in values.items() if isinstance(v, float))
        for task, values in results["results"].items()
    ]
    return "\n".join(lines)
