"""`pydisp eval`: the loss of a model on a text, or its figures on tasks of lm-eval."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pydisp.commands.options import TEXT_SOURCES, Device, Dtype, Json, ModelName, Revision, TrustRemoteCode
from pydisp.commands.output import GateClosed, WrongUsage, begin, claimed, print_json, print_words, quietly
from pydisp.given_value import json_value, short

RESULT_FILE = "evaluation.json"  # the output of --json; no other command writes such a file, so --overwrite recognises its folders by it
LM_EVAL_ARGUMENTS = "as lm-eval takes them: a=1,b=x, or a JSON object."


def evaluate(
    ctx: typer.Context,
    model: ModelName,
    text: Annotated[list[str] | None, typer.Option(help=TEXT_SOURCES)] = None,
    tasks: Annotated[str | None, typer.Option(help="Comma-separated tasks for lm-eval, instead of --text.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to make for the report; it appears whole or not at all.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the report of an earlier run.")] = False,
    max_perplexity: Annotated[
        float | None, typer.Option(help="With --text: exit status 3 if the perplexity is above it, for scripts and CI.")
    ] = None,
    context: Annotated[int | None, typer.Option(help="Tokens a window.", show_default="256 below 50 M parameters, else 2048")] = None,
    evaluation_tokens: Annotated[
        int | None, typer.Option(help="With --text: score at most so many tokens, evenly over the text.", show_default="all")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Windows, or requests of lm-eval, a forward.", show_default="4096 tokens of text, 1 request")
    ] = None,
    include_path: Annotated[list[Path] | None, typer.Option(help="With --tasks: folder of task files of your own; repeatable.")] = None,
    limit: Annotated[int | None, typer.Option(help="With --tasks: examples a task.")] = None,
    model_args: Annotated[str | None, typer.Option(help=f"With --tasks: arguments of the model, {LM_EVAL_ARGUMENTS}")] = None,
    metadata: Annotated[str | None, typer.Option(help=f"With --tasks: arguments that some tasks need, {LM_EVAL_ARGUMENTS}")] = None,
    apply_chat_template: Annotated[
        bool, typer.Option("--apply-chat-template", help="With --tasks: ask in the form of the tokenizer's chat template.")
    ] = False,
    chat_template: Annotated[
        str | None, typer.Option(help="With --tasks: the chat template of this name, where the tokenizer has several.")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Score MODEL on a text (nats per token, perplexity, bits per byte), or on tasks of lm-eval."""
    with_tasks = {
        "--include-path": include_path, "--limit": limit is not None, "--model-args": model_args, "--metadata": metadata,
        "--apply-chat-template": apply_chat_template, "--chat-template": chat_template,
    }  # fmt: skip
    with_text = {
        "--max-perplexity": max_perplexity is not None,
        "--context": context is not None,
        "--evaluation-tokens": evaluation_tokens is not None,
    }
    _check_usage(text, tasks, [option for option, given in (with_text if tasks else with_tasks).items() if given])
    if overwrite and out is None:
        raise WrongUsage("--overwrite goes with --out; leave it out.")
    if max_perplexity is not None and not max_perplexity >= 1:
        raise ValueError(f"--max-perplexity is {max_perplexity}; a perplexity is 1 or more.")
    shared = dict(batch_size=batch_size, device=device, dtype=dtype, revision=revision, trust_remote_code=trust_remote_code)
    with claimed(out, RESULT_FILE, "eval", overwrite=overwrite) as workspace:
        say = begin(ctx)
        if tasks:
            from pydisp.integrations.lm_eval import evaluate_tasks

            shared["batch_size"] = 1 if batch_size is None else batch_size
            options = dict(include_paths=include_path or (), limit=limit, apply_chat_template=chat_template or apply_chat_template)
            arguments = dict(model_args=_arguments(model_args, "--model-args"), metadata=_arguments(metadata, "--metadata"))
            with quietly(say):
                result = evaluate_tasks(model, [name.strip() for name in tasks.split(",")], **options, **arguments, **shared, say=say)
            words = _task_words(result)
        else:
            from pydisp import evaluation

            evaluated = evaluation.evaluate(model, text=text, context_tokens=context, most_tokens=evaluation_tokens, say=say, **shared)
            result, words = evaluated.as_dict(), evaluated.in_words()
        if workspace:
            _write(workspace, result, _task_report(result) if tasks else evaluated.report)
            result = {"out": str(out), **result}
            words += f"\nreport: {out / 'report.html'}"
    print_json(result) if as_json else print_words(words)
    if max_perplexity is not None and evaluated.perplexity > max_perplexity:
        raise GateClosed(f"the perplexity is {evaluated.perplexity:.3f}, above --max-perplexity {max_perplexity:g}.", result)


def _check_usage(text: list[str] | None, tasks: str | None, misplaced: list[str]) -> None:
    if tasks and text:
        raise WrongUsage("--text and --tasks exclude each other; give one of them.")
    if not tasks and not text:
        raise WrongUsage("there is nothing to evaluate on; give --text PATH or --tasks NAMES.")
    if misplaced:
        raise WrongUsage(f"{misplaced[0]} goes with {'--text' if tasks else '--tasks'}; leave it out.")


def _arguments(given: str | None, option: str) -> dict | None:
    """Parse a JSON object, or `a=1,b=x` as lm-eval does."""
    if given is None:
        return None
    from lm_eval.utils import simple_parse_args_string

    needed = "write a=1,b=x, or a JSON object such as '{\"a\": 1}'."
    if given.lstrip().startswith("{"):
        return json_value(given, option, needed, strictly=True)
    if all(part.partition("=")[0].strip() and "=" in part for part in given.split(",")):
        return simple_parse_args_string(given)
    raise ValueError(f"{option} is {short(given)}; {needed}")


def _task_words(results: dict) -> str:
    lines = [
        f"{task}: " + ", ".join(f"{n} {v:.4f}" for n, v in values.items() if isinstance(v, float))
        for task, values in results["results"].items()
    ]
    return "\n".join(lines)


def _task_report(results: dict):
    """A Report of lm-eval's results."""
    from pydisp.environment import run_facts
    from pydisp.report import Report, Section, Table

    rows = [(task, name, value) for task, values in results["results"].items() for name, value in values.items()]
    return Report(
        title=f"{results['model']} on {', '.join(results['results'])}",
        summary=[f"{line}." for line in _task_words(results).splitlines()],
        sections=[Section("Results of lm-eval", [Table("Metrics by task", ("task", "metric", "value"), rows)])],
        facts={"result": results, **run_facts()},
    )


def _write(workspace, result: dict, report) -> None:
    from pydisp.workspace import write_whole

    workspace.begin({})
    report.write(workspace.output)
    write_whole(workspace.output / RESULT_FILE, f"{json.dumps(result, indent=2)}\n")
    workspace.finish()
