"""The record of a comparison: figures for programs, and the same figures in a sentence and as a section of a page."""

import statistics
from dataclasses import asdict

import torch
from torch import nn

from pydisp.cost import Cost, cost_of
from pydisp.modeling.config import stock_config
from pydisp.report import Metric, Report, Section, Table
from pydisp.report.words import counted, number
from pydisp.spec import decoder_layers, family_of
from pydisp.speed.memory import huge_page_share
from pydisp.speed.models import PRUNED, UNPRUNED
from pydisp.speed.timing import Workload


def compared(times: dict[str, dict[str, list[float]]], costs: dict[str, Cost], workload: Workload) -> dict:
    """The median time of each model, and the pruned model's time divided by that of each other one: the median of the ratios within a turn.

    The ratio is taken within a turn, because the speed of a machine drifts between turns by more than the models differ.
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
        "prompt_tokens": workload.prompt_tokens, "decode_tokens": workload.decode_tokens, "huge_page_share": huge_page_share(),
    }  # fmt: skip


def comparison_of(title: str, against: str, models: dict[str, nn.Module], times: dict, workload: Workload, peaks: dict[str, float]) -> dict:
    """The object that `pydisp speed --json` prints."""
    pruned = models[PRUNED]
    figures = compared(times, {name: cost_of(model, workload.prompt_tokens) for name, model in models.items()}, workload)
    for name, peak in peaks.items():
        figures["models"][name]["peak_mib"] = peak
        if name != PRUNED and PRUNED in peaks:
            figures["times"][name]["peak"] = peaks[PRUNED] / peak
    family = family_of(stock_config(pruned.config))
    kept = sum(p.numel() for p in decoder_layers(pruned, family).parameters()) / pruned.config.pydisp["dense_parameters"]["block"]
    return {"source": title, "against": against, "kept_block": kept, **_conditions(pruned, workload), **figures}


def section(comparison: dict) -> Section:
    """A comparison (the result of `comparison_of`), or {"absent": why} in its place, as a section of the page."""
    title = "Speed on this machine"
    if "absent" in comparison:
        return Section(title, [f"It was not measured: {comparison['absent']}"])
    has_peaks = any("peak_mib" in values for values in comparison["models"].values())
    words = [
        f"On {comparison['device']} in {comparison['dtype']}, {counted(comparison['threads'], 'thread')}: medians of {counted(comparison['rounds'], 'round')}, in "
        f"which the models take turns, of a prompt of {comparison['prompt_tokens']} tokens and {comparison['decode_tokens']} decoded ones. "
        "What the pruned model takes of another one's time is the median of the ratios within a turn, so not quite the ratio of the medians. "
        "A glimpse: pydisp speed DIR measures longer."
    ]
    words += [f"Peak memory is left out{' in part' * has_peaks}: {comparison['peak_absent']}"] if "peak_absent" in comparison else []
    return Section(title, [*_headlines(comparison), *words, _table(title, comparison, has_peaks)])


def report_of(comparison: dict) -> Report:
    """A comparison as a report of its own, for a page that holds those of several models.

    Raises: KeyError or TypeError for another object.
    """
    models, rounds = comparison["models"], comparison["rounds"]
    metrics = [
        Metric(f"{words}, {name}", models[name][f"{phase}_tokens_per_second"], "tokens/s", n=rounds, higher_is_better=True)
        for phase, words in (("prefill", "prompt"), ("decode", "decoding"))
        for name in models
    ]
    metrics += [
        Metric(f"peak memory, {name}", values["peak_mib"], "MiB", higher_is_better=False)
        for name, values in models.items()
        if "peak_mib" in values
    ]
    for name, ratios in comparison["times"].items():
        for phase, words in (("prefill", "prompt"), ("decode", "decoding")):
            metrics.append(Metric(f"{words}, pruned against {name}", 1 / ratios[phase], "× as fast", n=rounds, higher_is_better=True))
    sentences = [f"{sentence(comparison, name)}." for name in comparison["times"]]
    return Report("Speed on this machine", sentences, metrics, facts={"result": comparison})


def _headlines(comparison: dict) -> list[Metric]:
    """The pruned model's figures against those of the unpruned model."""
    if UNPRUNED not in comparison["times"]:
        return []
    ratios, rounds = comparison["times"][UNPRUNED], comparison["rounds"]
    headlines = []
    for phase, words in (("prefill", "prompt"), ("decode", "decoding")):
        ours, theirs = (number(comparison["models"][name][f"{phase}_tokens_per_second"]) for name in (PRUNED, UNPRUNED))
        note = f"{ours} tokens/s, unpruned {theirs}"
        headlines.append(Metric(f"{words}, pruned", 1 / ratios[phase], "× as fast as unpruned", n=rounds, higher_is_better=True, note=note))
    if "peak" in ratios:
        peaks = {name: comparison["models"][name]["peak_mib"] for name in (PRUNED, UNPRUNED)}
        note = f"unpruned {number(peaks[UNPRUNED])}: {ratios['peak']:.1%} of it"
        headlines.append(Metric("peak memory, pruned", peaks[PRUNED], "MiB", higher_is_better=False, note=note))
    return headlines


def _table(title: str, comparison: dict, has_peaks: bool) -> Table:
    models = comparison["models"]
    others = list(comparison["times"])

    def row(words: str, key: str, ratio: str | None = None) -> list:
        return [words, *(values.get(key) for values in models.values()), *(comparison["times"][name].get(ratio) for name in others)]

    rows = [
        row("prompt, tokens/s", "prefill_tokens_per_second"),
        row("prompt, ms", "prefill_ms", "prefill"),
        row("decoding, tokens/s", "decode_tokens_per_second"),
        row("decoded token, ms", "decode_ms", "decode"),
        *([row("peak, MiB", "peak_mib", "peak")] if has_peaks else []),
    ]
    return Table(title, ["", *models, *(f"÷ {name}" for name in others)], rows)


def sentence(comparison: dict, name: str) -> str:
    """One sentence that compares the pruned model's times with those of one of the others."""
    times = comparison["times"][name]
    rounds = f"{counted(comparison['rounds'], 'round')} on {comparison['device']} in {comparison['dtype']}, {counted(comparison['threads'], 'thread')}"
    return (
        f"pruned / {name}: {times['prefill']:.3f} of the time for {comparison['prompt_tokens']} tokens of prompt (with {times['products_per_prompt']:.3f} of the products), "
        f"{times['decode']:.3f} for a decoded token (with {times['bytes_per_token']:.3f} of the bytes read); medians of the ratios within a turn, {rounds}"
    )
