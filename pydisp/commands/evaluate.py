"""`pydisp eval`: what a model loses on a text, or its figures on tasks of lm-eval."""

from pathlib import Path
from typing import Annotated

import typer

from pydisp.commands.options import TEXT_SOURCES, Device, Dtype, Json, ModelName, Revision, TrustRemoteCode
from pydisp.commands.output import WrongUsage, print_json, quiet_libraries


def evaluate(
    model: ModelName,
    text: Annotated[list[str] | None, typer.Option(help=TEXT_SOURCES)] = None,
    tasks: Annotated[str | None, typer.Option(help="Comma-separated tasks for lm-eval, instead of --text.")] = None,
    include_path: Annotated[Path | None, typer.Option(help="Folder of task files of your own for lm-eval.")] = None,
    limit: Annotated[int | None, typer.Option(help="Examples a task, for lm-eval.")] = None,
    context: Annotated[int | None, typer.Option(help="Tokens a window.", show_default="256 below 50 M parameters, else 2048")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows, or requests of lm-eval, a forward.")] = None,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Score MODEL on a text (nats per token, perplexity, bits per byte), or on tasks of lm-eval."""
    if tasks and text:
        raise WrongUsage("--text and --tasks exclude each other; give one of them.")
    if not tasks and not text:
        raise WrongUsage("there is nothing to evaluate on; give --text PATH or --tasks NAMES.")
    if tasks:
        from pydisp.integrations.lm_eval import evaluate_tasks

        quiet_libraries()
        results = evaluate_tasks(
            model, [name.strip() for name in tasks.split(",")], include_path=include_path, limit=limit, batch_size=batch_size or 1, device=device, dtype=dtype,
            revision=revision, trust_remote_code=trust_remote_code,
        )  # fmt: skip
        print_json(results) if as_json else typer.echo(_task_table(results))
        return

    from dataclasses import asdict

    from pydisp.evaluate import evaluate_text
    from pydisp.loading import choose_device, choose_dtype, displayed_name, load_config, load_model, load_tokenizer, stored_dtype
    from pydisp.text import read_text, tokenize

    if context is not None and context < 2:
        raise ValueError(f"the context is {context} tokens; it must be at least 2.")
    corpus = read_text(text)
    chosen = choose_device(device)
    quiet_libraries()
    source = dict(revision=revision, trust_remote_code=trust_remote_code)
    values = load_config(model, **source)
    tokens = tokenize(corpus, load_tokenizer(model, **source))
    loaded = load_model(model, device=chosen, dtype=choose_dtype(dtype, chosen, stored_dtype(values)), **source)
    if context is None:
        small = sum(p.numel() for p in loaded.parameters()) < 50_000_000
        context = min(256 if small else 2048, getattr(values, "max_position_embeddings", None) or 2048)
    loss = evaluate_text(loaded, tokens, context, batch_size=batch_size, progress=not as_json)
    result = {"model": displayed_name(model), "text": corpus.name, **asdict(loss), "perplexity": loss.perplexity}
    if as_json:
        print_json(result)
        return
    error = "" if loss.standard_error is None else f" ± {loss.standard_error:.4f}"
    typer.echo(
        f"{result['model']} on {corpus.name}: {loss.nats_per_token:.4f}{error} nats per token, perplexity {loss.perplexity:.3f}, "
        f"{loss.bits_per_byte:.4f} bits per byte ({loss.tokens:,} tokens, context {loss.context_tokens})"
    )


def _task_table(results: dict) -> str:
    lines = [
        f"{task}: " + ", ".join(f"{n} {v:.4f}" for n, v in values.items() if isinstance(v, float))
        for task, values in results["results"].items()
    ]
    return "\n".join(lines)
