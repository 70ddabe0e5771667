"""Speed: what pruning brought in time and memory, against the unpruned model and against a dense model of the same smaller shapes.

Three models take turns in every round: `unpruned` (the stock shapes), `pruned`, and `same shapes` (`pydisp.modeling.plain`: the pruned
model's linears between plain slices, so that what the junctions cost shows). A time depends on shapes, not on values: without another
model to compare with, the unpruned one is the pruned one's stock shapes with zeros in the gaps.

    compared = compare(Source(shape="llama-3.2-1b", keep_ratio=0.5), Workload(prompt_tokens=256), say=print)
    compared["times"]["same shapes"]["decode"]    # the pruned model's time for a token over that of the same shapes
"""

import contextlib
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import permutations
from pathlib import Path

import torch
from torch import Tensor, nn

from pydisp.cost import Cost, cost_of
from pydisp.loading import (
    choose_device,
    choose_dtype,
    displayed_name,
    free_bytes,
    load_config,
    load_model,
    load_pruned_config,
    stored_dtype,
)
from pydisp.modeling.config import stock_config
from pydisp.modeling.plain import plain_model
from pydisp.report.words import counted
from pydisp.shapes import SHAPES, config_of, random_model, random_plan
from pydisp.spec import ModelSpec, decoder_layers, family_of
from pydisp.surgery import prune_model, to_dense

UNPRUNED, PRUNED, SAME = NAMES = ("unpruned", "pruned", "same shapes")

TURN_TOKENS = 4  # decoded by one model before the next one has its turn

_SLACK_BYTES = 1 << 29  # activations, caches and the libraries themselves


@dataclass(frozen=True)
class Source:
    """Where the models come from: a pruned folder (and, if given, the model to compare it with), or random weights of a named shape.

    Raises: ValueError for both or neither, an unknown shape, or a keep ratio outside (0, 1).
    """

    folder: str | None = None
    against: str | None = None
    shape: str | None = None
    keep_ratio: float = 0.5
    dtype: str | None = None
    device: str | None = None
    seed: int = 0

    def __post_init__(self):
        if (self.folder is None) == (self.shape is None):
            raise ValueError("give a folder that `pydisp prune` wrote, or --shape NAME for random weights of a shape; one of them.")
        if self.shape is not None and self.shape not in SHAPES:
            raise ValueError(f"unknown shape {self.shape!r}; known: {', '.join(SHAPES)}.")
        if self.shape is not None and self.against is not None:
            raise ValueError("--shape and --against exclude each other: a shape is compared with its own unpruned model; leave one out.")
        if not 0 < self.keep_ratio < 1:
            raise ValueError(f"the keep ratio is {self.keep_ratio}; it must lie between 0 and 1, both excluded, such as 0.5.")

    @property
    def title(self) -> str:
        return f"{self.shape}, random weights" if self.shape else displayed_name(self.folder)

    def placed(self) -> tuple[torch.device, torch.dtype]:
        """Device and dtype, chosen as everywhere in pydisp; random weights are float32 on a CPU, bfloat16 elsewhere."""
        device = choose_device(self.device)
        return device, choose_dtype(self.dtype, device, torch.bfloat16 if self.shape else stored_dtype(load_pruned_config(self.folder)))


@dataclass(frozen=True)
class Workload:
    """One prompt of random tokens, then `decode_tokens` tokens one by one; `rounds` times each model, in turns.

    Raises: ValueError where a number is below 1.
    """

    prompt_tokens: int = 256
    decode_tokens: int = 16
    rounds: int = 7

    def __post_init__(self):
        for name, value in asdict(self).items():
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1.")


def build(source: Source, names: Sequence[str] = NAMES) -> dict[str, nn.Module]:
    """The models named; `same shapes` shares the weights of `pruned`.

    Raises: LoadingError, ValueError for a folder that is not pruned or a model without memory for it.
    """
    device, dtype = source.placed()
    if source.shape:
        dense = random_model(source.shape, dtype, device, source.seed)
        spec = ModelSpec.from_model(dense)
        pruned = prune_model(dense, random_plan(spec, source.keep_ratio, source.seed), spec)
        made = {UNPRUNED: lambda: dense, PRUNED: lambda: pruned}
        stock = dense.config
    else:
        pruned = load_model(source.folder, device=device, dtype=dtype)
        stock = stock_config(pruned.config)
        made = {
            UNPRUNED: lambda: load_model(source.against, device=device, dtype=dtype) if source.against else to_dense(pruned),
            PRUNED: lambda: pruned,
        }
    made[SAME] = lambda: plain_model(pruned, stock)
    return {name: made[name]() for name in names}


def _parameters(config) -> int:
    import transformers

    with torch.device("meta"):
        return sum(p.numel() for p in transformers.AutoModelForCausalLM.from_config(config).parameters())


def check_memory(source: Source) -> None:
    """Refuse, before anything is built, what would not fit into memory: dense and pruned weights stand side by side.

    Raises: ValueError (LoadingError for a folder or model that cannot be had).
    """
    device, dtype = source.placed()
    free = free_bytes(device)
    if source.shape:
        import transformers

        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config_of(source.shape))
        block = sum(p.numel() for p in decoder_layers(model, family_of(model.config)).parameters())
        dense = sum(p.numel() for p in model.parameters())
        # prune_model copies what it does not slice
        values = dense + dense - block + round(block * source.keep_ratio)
    else:
        values = load_pruned_config(source.folder).pydisp["dense_parameters"]["total"]
        values += _parameters(load_config(source.against)) if source.against else values
    needed = values * dtype.itemsize + _SLACK_BYTES
    if free is not None and needed > free:
        raise ValueError(
            f"unpruned and pruned side by side take {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free on {device}; "
            "choose a smaller shape, --dtype bfloat16, or another --device."
        )


def check_positions(source: Source, workload: Workload) -> None:
    """Refuse, before anything is built, a workload of more tokens than the models of a source have positions for.

    Raises: ValueError (LoadingError for a folder or model that cannot be had).
    """
    folders = [folder for folder in (source.folder, source.against) if folder is not None]
    for config in [config_of(source.shape)] if source.shape else map(load_config, folders):
        _check_positions(config, workload)


def _check_positions(config, workload: Workload) -> None:
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and workload.prompt_tokens + workload.decode_tokens > positions:
        raise ValueError(
            f"{workload.prompt_tokens} and {workload.decode_tokens} tokens are more than the {positions} positions of the model; "
            "choose a smaller --prompt-tokens."
        )


def ask_for_huge_pages() -> None:
    """Have torch put weights on a CPU into pages of 2 MiB where Linux grants them, unless THP_MEM_ALLOC_ENABLE says otherwise already.

    How fast weights in pages of 4 KiB are read depends on which physical pages a model happened to get (LOG.md has figures), so that two
    models, or the same one built twice, do not compare. torch reads the variable at its first tensor: call this before there is one.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def _huge_page_share() -> float | None:
    """Share of this process's anonymous memory that lies in huge pages; None where the system does not tell."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
        sizes = {name: int(size.split()[0]) for name, _, size in (line.partition(":") for line in lines)}
        return sizes["AnonHugePages"] / sizes["Anonymous"]
    except (OSError, KeyError, ValueError, ZeroDivisionError):
        return None


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


@torch.inference_mode()
def _prefill(model: nn.Module, prompt: Tensor) -> tuple[float, object]:
    """Seconds for the prompt, and the cache that it leaves."""
    _synchronize(model.device)
    start = time.perf_counter()
    found = model(prompt, use_cache=True, logits_to_keep=1)
    _synchronize(model.device)
    return time.perf_counter() - start, found.past_key_values


@torch.inference_mode()
def _decode(model: nn.Module, prompt: Tensor, cache, positions: range) -> float:
    """Seconds for one of the tokens decoded one by one after what the cache holds; they join it."""
    _synchronize(model.device)
    start = time.perf_counter()
    for position in positions:
        # given tokens, not the likeliest: the three models then do the same work
        model(prompt[:, position % prompt.shape[1]][:, None], past_key_values=cache, use_cache=True, logits_to_keep=1)
    _synchronize(model.device)
    return (time.perf_counter() - start) / len(positions)


def _once(model: nn.Module, workload: Workload) -> None:
    prompt = _prompt(model, workload.prompt_tokens)
    _decode(model, prompt, _prefill(model, prompt)[1], range(workload.decode_tokens))


def _prompt(model: nn.Module, tokens: int) -> Tensor:
    ids = torch.randint(model.config.vocab_size, (1, tokens), generator=torch.Generator().manual_seed(0))
    return ids.to(model.device)


def _orders(names: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Every order of the names once, shuffled, then all again: none stands behind another more often than the others do."""
    every, shuffled = list(permutations(names)), random.Random(0)
    while True:
        yield from shuffled.sample(every, len(every))


def time_models(
    models: dict[str, nn.Module],
    workload: Workload,
    *,
    at_most_seconds: float = float("inf"),
    say: Callable[[str], None] = lambda _line: None,
) -> dict[str, dict[str, list[float]]]:
    """Seconds of each turn by model and phase ("prefill": a prompt, "decode": a token).

    A round asks every model for the prompt, in turns, then for TURN_TOKENS tokens each, in turns, until all are decoded: what is compared
    lies close together in time. The orders change (as in every run): what ran before is in the caches, and in one order, or one that only
    moves on, a model would always run behind the same one. The first calls of each model warm up and are not counted. Rounds
    stop early once `at_most_seconds` are over, after one at least.
    Raises: ValueError where the tokens are more than the model has positions for.
    """
    for model in models.values():
        _check_positions(model.config, workload)
    orders = {"prefill": _orders(models), "decode": _orders(models)}
    prompts = {name: _prompt(model, workload.prompt_tokens) for name, model in models.items()}
    times = {name: {"prefill": [], "decode": []} for name in models}
    start = time.monotonic()
    for name in models:
        _once(models[name], replace(workload, decode_tokens=min(2, workload.decode_tokens)))
    for number in range(workload.rounds):
        caches = {}
        for name in next(orders["prefill"]):
            seconds, caches[name] = _prefill(models[name], prompts[name])
            times[name]["prefill"].append(seconds)
        for first in range(0, workload.decode_tokens, TURN_TOKENS):
            positions = range(first, min(first + TURN_TOKENS, workload.decode_tokens))
            for name in next(orders["decode"]):
                times[name]["decode"].append(_decode(models[name], prompts[name], caches[name], positions))
        used = time.monotonic() - start
        left = used / (number + 2) * (workload.rounds - number - 1)  # warming up took about a round
        if number + 1 < workload.rounds and used + used / (number + 2) > at_most_seconds:
            break
        say(f"round {number + 1} of {workload.rounds}: {used:.0f} s, about {left:.0f} s left")
    return times


def _peak_mib(model: nn.Module, workload: Workload) -> float:
    """MiB that this process (on an accelerator: its tensors there) held at most while the model, already in memory, ran once."""
    for parameter in model.parameters():
        parameter.sum()  # every page of the weights is there before the count starts
    gc.collect()
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
        _once(model, workload)
        return torch.cuda.max_memory_allocated(model.device) / 2**20
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading and slicing
    _once(model, workload)
    try:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    except (OSError, StopIteration):
        return _peak_since_start_mib()


def _peak_since_start_mib() -> float:
    """Where the system keeps one peak for the whole life of a process, loading and slicing included."""
    try:
        import resource
    except ImportError:
        raise OSError("this system does not tell the peak memory of a process; add --no-memory.") from None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def peak_mib(source: Source, name: str, workload: Workload, threads: int, at_most_seconds: float | None = None) -> float:
    """Peak memory of one model of a source, in a fresh process with nothing else in it.

    Raises: ChildProcessError with the last line that the process wrote, if it fails; TimeoutError once `at_most_seconds` are over.
    """
    recipe = json.dumps({"source": asdict(source), "name": name, "workload": asdict(workload), "threads": threads})
    # python -m puts the working directory first on the path; the package that is running here must be the one that runs there
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    command, environment = [sys.executable, "-m", "pydisp.speed", recipe], {**os.environ, "PYTHONPATH": path}
    try:
        run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=at_most_seconds)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"the process that measures the memory of {name} was not done after {at_most_seconds:.0f} s.") from None
    if run.returncode:
        last = (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1]
        raise ChildProcessError(f"the process that measures the memory of {name} failed ({last}).")
    return float(run.stdout.strip().splitlines()[-1])


def _measure_peak(recipe: str) -> None:
    given = json.loads(recipe)
    torch.set_num_threads(given["threads"])
    model = build(Source(**given["source"]), [given["name"]])[given["name"]]
    print(_peak_mib(model, Workload(**given["workload"])))


def compared(times: dict[str, dict[str, list[float]]], costs: dict[str, Cost], workload: Workload) -> dict:
    """Medians by model, and what the pruned model takes of each other one's: the median of the ratios within a turn.

    Within a turn, because the speed of a machine drifts between turns more than the models differ.
    """
    models = {}
    for name, phases in times.items():
        prefill, decode = (statistics.median(phases[phase]) for phase in ("prefill", "decode"))
        models[name] = {
            "prefill_tokens_per_second": workload.prompt_tokens / prefill, "decode_tokens_per_second": 1 / decode,
            "prefill_ms": prefill * 1e3, "decode_ms": decode * 1e3, **asdict(costs[name]),
        }  # fmt: skip
    ratios = {}
    for name in times:
        if name != PRUNED:
            ratios[name] = {
                phase: statistics.median(ours / theirs for ours, theirs in zip(times[PRUNED][phase], times[name][phase], strict=True))
                for phase in ("prefill", "decode")
            }
            ratios[name]["bytes_per_token"] = costs[PRUNED].bytes_per_token / costs[name].bytes_per_token
            ratios[name]["products_per_prompt"] = costs[PRUNED].products_per_prompt / costs[name].products_per_prompt
    return {"rounds": len(times[PRUNED]["prefill"]), "models": models, "times": ratios}


def _conditions(model: nn.Module, workload: Workload) -> dict:
    return {
        "device": str(model.device), "dtype": str(model.dtype).removeprefix("torch."), "threads": torch.get_num_threads(),
        "prompt_tokens": workload.prompt_tokens, "decode_tokens": workload.decode_tokens, "huge_page_share": _huge_page_share(),
    }  # fmt: skip


def _peaks(
    source: Source, workload: Workload, say: Callable[[str], None], at_most_seconds: float | None = None
) -> Iterator[tuple[str, float]]:
    """Name and peak_mib of each model of a source, one after the other."""
    started = time.monotonic()
    for number, name in enumerate(NAMES):
        used = time.monotonic() - started
        rest = f", about {used / number * (len(NAMES) - number):.0f} s left" if number else ""
        say(f"peak memory of {name} in a process of its own ({number + 1} of {len(NAMES)}){rest}")
        left = None if at_most_seconds is None else max(0.0, at_most_seconds - used)
        yield name, peak_mib(source, name, workload, torch.get_num_threads(), left)


def _record(title: str, against: str, models: dict[str, nn.Module], times: dict, workload: Workload, peaks: dict[str, float]) -> dict:
    """What `pydisp speed --json` prints."""
    pruned = models[PRUNED]
    found = compared(times, {name: cost_of(model, workload.prompt_tokens) for name, model in models.items()}, workload)
    for name, peak in peaks.items():
        found["models"][name]["peak_mib"] = peak
        if name != PRUNED and PRUNED in peaks:
            found["times"][name]["peak"] = peaks[PRUNED] / peak
    family = family_of(stock_config(pruned.config))
    kept = sum(p.numel() for p in decoder_layers(pruned, family).parameters()) / pruned.config.pydisp["dense_parameters"]["block"]
    return {"source": title, "against": against, "kept_block": kept, **_conditions(pruned, workload), **found}


def quick(
    dense: nn.Module,
    pruned: nn.Module,
    source: Source,
    workload: Workload,
    *,
    title: str,
    against: str,
    at_most_seconds: float = 60.0,
    say: Callable[[str], None] = lambda _line: None,
) -> dict:
    """`compare` for two models in memory, in about a minute.

    Args:
        source: the folder of `pruned`, for the processes that measure peaks.
        title, against: what the result calls the two models.
        at_most_seconds: a third of it for rounds, of which one is run however long it takes, the rest for the peaks. Where one is not
            done by then, or fails, it and the next are left out, and "peak_absent" says why.
    """
    started = time.monotonic()
    models = {UNPRUNED: dense, PRUNED: pruned, SAME: plain_model(pruned, dense.config)}
    say(f"measuring speed and memory: at most about {at_most_seconds:.0f} s, more where a single round takes longer")
    times = time_models(models, workload, at_most_seconds=at_most_seconds / 3, say=say)
    peaks, absent = {}, {}
    try:
        check_memory(source)
        for name, peak in _peaks(source, workload, say, at_most_seconds - (time.monotonic() - started)):
            peaks[name] = peak
    except (OSError, ValueError) as error:
        absent = {"peak_absent": " ".join(str(error).split())}
    return {**_record(title, against, models, times, workload, peaks), **absent}


def compare(source: Source, workload: Workload, *, memory: bool = True, say: Callable[[str], None] = lambda _line: None) -> dict:
    """Measure the three models of a source; what `pydisp speed --json` prints.

    Args:
        memory: also measure the peaks, each in a fresh process.
        say: gets the lines of the progress.
    Raises: ValueError (LoadingError among them) before anything is measured; ChildProcessError if a process of its own fails.
    """
    check_memory(source)
    check_positions(source, workload)
    peaks = dict(_peaks(source, workload, say)) if memory else {}
    say(f"building {source.title}")
    models = build(source)
    pruned = models[PRUNED]
    say(
        f"{pruned.config.model_type} on {pruned.device} in {str(pruned.dtype).removeprefix('torch.')}, {counted(torch.get_num_threads(), 'thread')}: "
        f"prompts of {workload.prompt_tokens} tokens, then {workload.decode_tokens} one by one"
    )
    times = time_models(models, workload, say=say)
    against = displayed_name(source.against) if source.against else "its stock shapes"
    return _record(source.title, against, models, times, workload, peaks)


if __name__ == "__main__":
    _measure_peak(sys.argv[1])
