"""The command line: a command a journey; each parses, calls one function and prints. Heavy imports stand inside the commands.

Standard output carries results only (with --json one object and nothing else); progress and errors go to standard error. What a
user can cause is told in one sentence with exit status 1, wrong options with 2, Ctrl-C and SIGTERM with 130.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pydisp.progress import Interrupted

app = typer.Typer(
    name="pydisp",
    help="Make a Hugging Face language model smaller along independent dimensions, and see what that did to it.",
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else there.")]
ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="A folder, a hub name, or 'demo' (a small model that is part of the package).")
]
TEXT_SOURCES = "File, folder, JSONL (FILE#FIELD), 'pythondoc' or hub:NAME; repeatable."
Device = Annotated[str | None, typer.Option(help="Such as cpu or cuda:0.", show_default="an accelerator if there is one")]
Dtype = Annotated[str | None, typer.Option(help="Dtype to compute in.", show_default="float32 on a CPU, the checkpoint's elsewhere")]
Revision = Annotated[str | None, typer.Option(help="Revision of a hub model.")]
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")]


def _absolute(folder: Path | None) -> Path | None:
    """So that the loaders do not take a folder of the name demo for the packaged model."""
    return folder and folder.absolute()


PrunedFolder = typer.Argument(metavar="DIR", help="A folder that `pydisp prune` wrote.", callback=_absolute)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _print_json(values: dict) -> None:
    typer.echo(json.dumps(values, indent=2, allow_nan=False, default=_plain))


def _plain(value: Any):
    return float(value)


def _version(wanted: bool) -> None:
    if wanted:
        from pydisp import __version__

        typer.echo(f"pydisp {__version__}")
        raise typer.Exit()


@app.callback()
def _main(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also show the libraries' own messages.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show errors and results only.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    import logging

    global _say
    logging.basicConfig(format="%(message)s", level=logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING)
    if quiet:
        _say = lambda line: None  # noqa: E731


def _quiet_libraries() -> None:
    """transformers draws its own bars and warnings; here one voice speaks."""
    import huggingface_hub
    import transformers

    huggingface_hub.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


@app.command()
def prune(
    model: ModelName,
    out: Annotated[Path, typer.Option(help="Folder to make; it appears whole or not at all.")],
    keep_ratio: Annotated[float | None, typer.Option(help="Share of the parameters to keep, such as 0.5.")] = None,
    ratio_of: Annotated[
        str | None, typer.Option(help="'total' (all parameters) or 'block' (decoder layers).", show_default="total")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help=TEXT_SOURCES, show_default="the documentation of this Python")] = None,
    method: Annotated[
        str | None, typer.Option(help="disp, magnitude, wanda, random, constrained or layerdrop.", show_default="disp")
    ] = None,
    plan: Annotated[str | None, typer.Option(help="Use this plan.safetensors instead of making one.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the search.", show_default="600 below 50 M parameters, else 10000")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Windows of text a forward.", show_default="4 below 50 M parameters, else 1")
    ] = None,
    accumulate: Annotated[int | None, typer.Option(help="Forwards a step.", show_default="1")] = None,
    context: Annotated[int | None, typer.Option(help="Tokens a window.", show_default="256 below 50 M parameters, else 2048")] = None,
    seed: Annotated[int | None, typer.Option(help="Fixes everything random.", show_default="0")] = None,
    round_to: Annotated[
        int | None, typer.Option(help="Widths are multiples of it.", show_default="8 below 50 M parameters, else 64")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    config: Annotated[Path | None, typer.Option(help="YAML with these settings; options given here win.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a search that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output of an earlier run.")] = False,
    speed: Annotated[bool, typer.Option(help="Also measure speed and peak memory at the end, for about a minute.")] = True,
    as_json: Json = False,
) -> None:
    """Prune MODEL to a share of its parameters and report what it cost."""
    given = {
        "keep_ratio": keep_ratio, "ratio_of": ratio_of, "method": method, "steps": steps, "batch_size": batch_size,
        "accumulate": accumulate, "context_tokens": context, "seed": seed, "round_to": round_to,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    if plan and (clash := given.keys() - {"context_tokens"}):
        raise ValueError(
            f"--plan and --{sorted(clash)[0].replace('_', '-')} exclude each other: with a plan nothing is searched; leave one out."
        )
    if plan and config:
        raise ValueError("--plan and --config exclude each other: a plan says what is kept; leave one out.")
    settings = {} if plan else {**(_read_config(config) if config else {}), **given}
    if settings.get("method") == "plan":
        raise ValueError("the method 'plan' needs a plan; give it with --plan FILE.")
    if not plan and "keep_ratio" not in settings:
        raise ValueError("no --keep-ratio was given; name the share of the parameters to keep, such as --keep-ratio 0.5, or a --plan.")

    from pydisp.pruning import FolderRequest, PruneSettings, prune_to_folder

    checked = PruneSettings(**settings) if settings else None  # before torch loads anything
    _quiet_libraries()
    request = FolderRequest(
        model=model, out=out, settings=checked, text=tuple(text) if text else None, plan_file=plan, device=device, dtype=dtype,
        revision=revision, trust_remote_code=trust_remote_code, resume=resume, overwrite=overwrite,
        context_tokens=context, measures_speed=speed,
    )  # fmt: skip
    result = prune_to_folder(request, say=_say)
    if as_json:
        _print_json(result)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{result['out']}: {result['kept']['total']:.2%} of all, {result['kept']['block']:.2%} of block parameters kept")
    for column in (f"perplexity at {result['context_tokens']} tokens", "dense", "pruned", "pruned ÷ dense"):
        table.add_column(column, justify="left" if "perplexity" in column else "right")
    for name, key in (("held-out text", "perplexity"), ("other text", "perplexity_other"), ("calibration text", "perplexity_calibration")):
        dense, pruned = result[key]["dense"], result[key]["pruned"]
        table.add_row(name, f"{dense:.2f}", f"{pruned:.2f}", f"{pruned / dense:.2f}")
    console = Console()
    console.print(table)
    if "absent" not in result["speed"]:  # told already
        console.print(f"speed: {_speed_words(result['speed'], 'unpruned')}", highlight=False, soft_wrap=True)
    console.print(f"report: {Path(result['out']) / 'report.html'}", highlight=False, soft_wrap=True)


def _read_config(path: Path) -> dict:
    """Settings from YAML, strictly: every key of PruneSettings, every value of its type; `model` (which `prune` writes) is passed over."""
    import yaml

    if not path.is_file():
        raise FileNotFoundError(f"there is no configuration at {path}; give a YAML file such as the pydisp.yaml of a pruned folder.")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML ({str(error).splitlines()[0]}); write lines such as 'keep_ratio: 0.5'.") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no settings; write lines such as 'keep_ratio: 0.5'.")
    found.pop("model", None)
    from pydantic import TypeAdapter, ValidationError

    from pydisp.pruning import PruneSettings

    try:
        # As JSON, because pydantic's strict mode makes a dataclass from nothing else.
        TypeAdapter(PruneSettings).validate_json(json.dumps({"keep_ratio": 0.5, **found}, default=str))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        if first["type"] == "unexpected_keyword_argument":
            known = ", ".join(sorted(PruneSettings.__dataclass_fields__))
            raise ValueError(f"{path} has the unknown setting {key!r}; known: {known}.") from None
        raise ValueError(f"{path}: {key} is {first['input']!r}: {first['msg'].removeprefix('Value error, ')}") from None
    return {key: value for key, value in found.items() if value is not None}


@app.command("eval")
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
        raise ValueError("--text and --tasks exclude each other; give one of them.")
    if not tasks and not text:
        raise ValueError("there is nothing to evaluate on; give --text PATH or --tasks NAMES.")
    if tasks:
        from pydisp.integrations.lm_eval import evaluate_tasks

        _quiet_libraries()
        results = evaluate_tasks(
            model, [name.strip() for name in tasks.split(",")], include_path=include_path, limit=limit, batch_size=batch_size or 1, device=device, dtype=dtype,
            revision=revision, trust_remote_code=trust_remote_code,
        )  # fmt: skip
        _print_json(results) if as_json else typer.echo(_task_table(results))
        return

    from dataclasses import asdict

    from pydisp.evaluate import evaluate_text
    from pydisp.loading import choose_device, choose_dtype, displayed_name, load_config, load_model, load_tokenizer, stored_dtype
    from pydisp.text import read_text, tokenize

    if context is not None and context < 2:
        raise ValueError(f"the context is {context} tokens; it must be at least 2.")
    corpus = read_text(text)
    chosen = choose_device(device)
    _quiet_libraries()
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
        _print_json(result)
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


@app.command()
def info(folder: Annotated[Path, PrunedFolder], as_json: Json = False) -> None:
    """Widths a layer, kept shares and whether the indices of a pruned folder are valid; exit status 1 if they are not."""
    from pydisp.pruning.folder import describe

    _quiet_libraries()
    found = describe(folder)
    if as_json:
        _print_json(found)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{found['model_type']}: {found['params']['pruned']:,} parameters")
    for column in ("layer", *found["layers"][0]):
        table.add_column(column.replace("_", "\n"), justify="right")
    for number, layer in enumerate(found["layers"]):
        table.add_row(str(number), *("removed" if width is None else str(width) for width in layer.values()))
    console = Console()
    console.print(table)
    kept = found["kept"]
    console.print(f"kept: {kept['total']:.2%} of all, {kept['block']:.2%} of block parameters; all indices are valid", highlight=False)


@app.command()
def export(
    folder: Annotated[Path, PrunedFolder],
    out: Annotated[Path | None, typer.Option(help="Folder to make; it appears whole or not at all.", show_default="DIR-dense")] = None,
    dense: Annotated[bool, typer.Option("--dense", help="Write the stock model with zeros in the place of what was removed.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    as_json: Json = False,
) -> None:
    """Write a pruned model in another form; --dense: the stock model, the same function anywhere, without the speed-up."""
    if not dense:
        raise ValueError("there is one form to export to; add --dense.")
    from pydisp.pruning.folder import export_dense

    _quiet_libraries()
    written = export_dense(folder, out or folder.with_name(f"{folder.resolve().name}-dense"), overwrite=overwrite)
    _print_json(written) if as_json else typer.echo(f"{written['out']}: {written['model_type']}, {written['params']:,} parameters")


@app.command()
def speed(
    folder: Annotated[Path | None, PrunedFolder] = None,
    against: Annotated[str | None, typer.Option(help="Model to compare with.", show_default="the stock shapes of the pruned one")] = None,
    shape: Annotated[str | None, typer.Option(help="Instead of DIR: random weights of llama-3.2-1b, llama-2-7b or qwen2.5-0.5b.")] = None,
    keep_ratio: Annotated[
        float | None, typer.Option(help="With --shape: share of the block parameters to keep.", show_default="0.5")
    ] = None,
    prompt_tokens: Annotated[int, typer.Option(help="Tokens of the prompt.")] = 256,
    decode_tokens: Annotated[int, typer.Option(help="Tokens decoded one by one after it.")] = 16,
    rounds: Annotated[int, typer.Option(help="Measurements of each model, in turns.")] = 7,
    threads: Annotated[int | None, typer.Option(help="Threads on a CPU.", show_default="torch's")] = None,
    memory: Annotated[bool, typer.Option(help="Also measure peak memory, each model in a process of its own.")] = True,
    device: Device = None,
    dtype: Dtype = None,
    as_json: Json = False,
) -> None:
    """Time and memory of a pruned model against the unpruned one and a dense model of the same smaller shapes."""
    if threads is not None and threads < 1:
        raise ValueError(f"--threads is {threads}; it must be at least 1.")
    if folder is not None and shape is None and keep_ratio is not None:
        raise ValueError("--keep-ratio goes with --shape; a folder is already pruned.")
    import torch

    from pydisp.speed import Source, Workload, ask_for_huge_pages, compare

    ask_for_huge_pages()
    ratio = {} if keep_ratio is None else {"keep_ratio": keep_ratio}
    source = Source(folder=None if folder is None else str(folder), against=against, shape=shape, dtype=dtype, device=device, **ratio)
    workload = Workload(prompt_tokens, decode_tokens, rounds)
    _quiet_libraries()
    if threads is not None:
        torch.set_num_threads(threads)
    found = compare(source, workload, memory=memory, say=_say)
    if as_json:
        _print_json(found)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{found['source']}: {found['kept_block']:.2%} of block parameters kept, against {found['against']}")
    columns = (
        "",
        "prompt\ntokens/s",
        "decode\ntokens/s",
        "MiB read\na token",
        "10^9 products\na prompt",
        *(["peak\nMiB"] if memory else []),
    )
    for column in columns:
        table.add_column(column, justify="right" if column else "left")
    for name, values in found["models"].items():
        shown = (values["prefill_tokens_per_second"], values["decode_tokens_per_second"])
        work = (values["bytes_per_token"] / 2**20, values["products_per_prompt"] / 1e9, *([values["peak_mib"]] if memory else []))
        table.add_row(name, *(f"{v:.2f}" if v < 100 else f"{v:,.0f}" for v in (*shown, *work)))
    console = Console()
    console.print(table)
    for name in found["times"]:
        console.print(_speed_words(found, name), highlight=False, soft_wrap=True)


def _speed_words(found: dict, name: str) -> str:
    """One sentence on the pruned model's times against one of the others'."""
    from pydisp.report.words import counted

    times = found["times"][name]
    rounds = f"{counted(found['rounds'], 'round')} on {found['device']} in {found['dtype']}, {counted(found['threads'], 'thread')}"
    return (
        f"pruned / {name}: {times['prefill']:.3f} of the time for {found['prompt_tokens']} tokens of prompt (with {times['products_per_prompt']:.3f} of the products), "
        f"{times['decode']:.3f} for a decoded token (with {times['bytes_per_token']:.3f} of the bytes read); medians of the ratios within a turn, {rounds}"
    )


@app.command()
def env(as_json: Json = False) -> None:
    """Versions, devices, instruction sets, and which implementation each op will run."""
    from pydisp.environment import environment

    found = environment()
    if as_json:
        _print_json(found)
        return
    for section, values in found.items():
        typer.echo(f"{section}:")
        for name, value in values.items():
            shown = ", ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else value
            typer.echo(f"  {name}: {', '.join(shown) if isinstance(shown, list) else shown}")


def main() -> None:
    """Run a command; what a user can cause ends in one sentence on standard error and a non-zero status."""
    import signal
    import threading

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        sys.exit(app(None if sys.argv[1:] else ["--help"], standalone_mode=False))
    except _Stopped:
        _say_error("stopped; nothing was written.")
        sys.exit(130)
    except Interrupted as error:
        _say_error(str(error))
        sys.exit(130)
    except _WrongOptions as error:
        _say_error(_usage_words(error))
        sys.exit(2)
    except (ValueError, TypeError, ImportError, FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError) as error:
        _fail(error)
    except OSError as error:
        import errno

        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            _fail(error)
        _say_error("the disk is full; make room, then repeat the command (a search goes on with --resume).")
        sys.exit(1)
    except Exception as error:
        if type(error).__name__ == "SafetensorError" and "No space" in str(error) or "No space left" in str(error):
            _say_error("the disk is full; make room, then repeat the command (a search goes on with --resume).")
            sys.exit(1)
        if type(error).__name__ == "OutOfMemoryError" or "not enough memory" in str(error):
            _say_error("the memory is used up; choose a smaller --batch-size or --context, another --device, or --dtype bfloat16.")
            sys.exit(1)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_WrongOptions = typer.BadParameter.__base__  # typer exports no name for it, and its versions keep it in different places


def _usage_words(error: _WrongOptions) -> str:
    """Typer's words for wrong options in one sentence, with what was typed where they leave it out (pydantic's do)."""
    words, cause = error.format_message().rstrip(".?"), error.__cause__
    typed = f", not {cause.errors()[0]['input']!r}" if hasattr(cause, "errors") else ""
    return f"{words[0].lower()}{words[1:]}{typed}; add --help to see what there is."


class _Stopped(BaseException):
    """Ctrl-C or SIGTERM; typer would turn a KeyboardInterrupt into a silent exit."""


def _stop(_number, _frame):
    raise _Stopped


def _fail(error: Exception) -> None:
    _say_error(" ".join(str(error).split()) or type(error).__name__)
    sys.exit(1)


def _say_error(sentence: str) -> None:
    typer.echo(f"pydisp: {sentence}", err=True)


if __name__ == "__main__":
    main()
