"""`pydisp speed`: time and memory of a pruned model beside its unpruned and its dense twin."""

from pathlib import Path
from typing import Annotated

import typer

from pydisp.commands.options import Device, Dtype, Json, PrunedFolder
from pydisp.commands.output import WrongUsage, begin, print_json, print_table, print_words


def speed(
    ctx: typer.Context,
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
    if (folder is None) == (shape is None):
        raise WrongUsage("give a folder that `pydisp prune` wrote, or --shape NAME for random weights of a shape; one of them.")
    if shape is not None and against is not None:
        raise WrongUsage("--shape and --against exclude each other: a shape is compared with its own unpruned model; leave one out.")
    if folder is not None and keep_ratio is not None:
        raise WrongUsage("--keep-ratio goes with --shape; a folder is already pruned.")
    say = begin(ctx)
    import torch

    from pydisp.speed import Source, Workload, ask_for_huge_pages, compare, record

    ask_for_huge_pages()
    ratio = {} if keep_ratio is None else {"keep_ratio": keep_ratio}
    source = Source(folder=None if folder is None else str(folder), against=against, shape=shape, dtype=dtype, device=device, **ratio)
    workload = Workload(prompt_tokens, decode_tokens, rounds)
    if threads is not None:
        torch.set_num_threads(threads)
    comparison = compare(source, workload, memory=memory, say=say)
    if as_json:
        print_json(comparison)
        return
    columns = (
        "",
        "prompt\ntokens/s",
        "decode\ntokens/s",
        "MiB read\na token",
        "10^9 products\na prompt",
        *(["peak\nMiB"] if memory else []),
    )
    rows = []
    for name, values in comparison["models"].items():
        shown = (values["prefill_tokens_per_second"], values["decode_tokens_per_second"])
        work = (values["bytes_per_token"] / 2**20, values["products_per_prompt"] / 1e9, *([values["peak_mib"]] if memory else []))
        rows.append([name, *(f"{v:.2f}" if v < 100 else f"{v:,.0f}" for v in (*shown, *work))])
    kept = f"{comparison['kept_block']:.2%} of block parameters kept"
    print_table(f"{comparison['source']}: {kept}, against {comparison['against']}", columns, rows)
    for name in comparison["times"]:
        print_words(record.sentence(comparison, name))
