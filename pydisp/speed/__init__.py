"""Speed: time and memory of a pruned model, compared with the unpruned model and with a dense model of the same smaller shapes.

Three models take turns in every round: `unpruned` (the stock shapes), `pruned`, and `same shapes` (`pydisp.modeling.plain`: the pruned
model's linears between plain slices, to show the cost of the junctions, which lie between the blocks). Times depend on shapes, not on
values. So without another model to compare with, the unpruned model is made from the pruned one, with zeros in the gaps.

    comparison = compare(Source(shape="llama-3.2-1b", keep_ratio=0.5), Workload(prompt_tokens=256), say=print)
    comparison["times"]["same shapes"]["decode"]    # the pruned model's time for a token over that of the same shapes

Files: `models`: where the three come from · `timing`: their turns · `memory`: the peaks, each in a process of its own (`__main__`) ·
`record`: the results for programs, in a sentence and as a section of a page
"""

import time
from collections.abc import Callable

import torch
from torch import nn

from pydisp.loading import displayed_name
from pydisp.modeling.plain import plain_model
from pydisp.progress import Bar, silence
from pydisp.report.words import counted
from pydisp.speed.memory import ask_for_huge_pages, peaks_of
from pydisp.speed.models import NAMES, PRUNED, SAME, UNPRUNED, Source, build, check_memory
from pydisp.speed.record import comparison_of
from pydisp.speed.timing import Workload, check_positions, time_models

__all__ = ["NAMES", "PRUNED", "SAME", "UNPRUNED", "Source", "Workload", "ask_for_huge_pages", "compare", "quick"]


def quick(
    dense: nn.Module,
    pruned: nn.Module,
    source: Source,
    workload: Workload,
    *,
    title: str,
    against: str,
    at_most_seconds: float = 60.0,
    say: Callable[[str], None] = silence,
) -> dict:
    """`compare` for two models in memory, in about a minute.

    Args:
        source: the folder of `pruned`, for the processes that measure peaks.
        title, against: the names of the two models in the result.
        at_most_seconds: a third of it is for rounds (one is run however long it takes), the rest for the peaks. If a peak fails or is not
            measured in time, it and the following ones are left out, and "peak_absent" says why.
    """
    started = time.monotonic()
    models = {UNPRUNED: dense, PRUNED: pruned, SAME: plain_model(pruned, dense.config)}
    say(f"measuring speed and memory: at most about {at_most_seconds:.0f} s, more where a single round takes longer")
    peaks, absent = {}, {}
    with _bar(1 + workload.rounds + len(NAMES), say) as bar:
        times = time_models(models, workload, at_most_seconds=at_most_seconds / 3, told=lambda: bar.advance(1))
        bar.steps = bar.step + len(NAMES)  # without the rounds that there was no time for
        try:
            check_memory(source)
            for name, peak in peaks_of(source, workload, at_most_seconds - (time.monotonic() - started)):
                peaks[name] = peak
                bar.advance(1)
        except (OSError, ValueError) as error:
            absent = {"peak_absent": " ".join(str(error).split())}
    return {**comparison_of(title, against, models, times, workload, peaks), **absent}


def _bar(steps: int, say: Callable[[str], None]) -> Bar:
    """A step is the peak of a model, the building of all, their warm-up or a round."""
    return Bar(steps, say, title="speed and memory", unit="measurement")


def _plan(source: Source, workload: Workload, memory: bool) -> str:
    """What `compare` will do, in one line, because loading large models takes minutes without a word."""
    device, dtype = source.placed()
    peaks = f"peak memory of {len(NAMES)} models, each built in a process of its own (--no-memory leaves this out), then " if memory else ""
    return (
        f"{source.title} on {device} in {str(dtype).removeprefix('torch.')}, {counted(torch.get_num_threads(), 'thread')}: {peaks}{counted(workload.rounds, 'round')} of {len(NAMES)} models, "
        f"prompts of {workload.prompt_tokens} tokens and {workload.decode_tokens} one by one"
    )


def compare(source: Source, workload: Workload, *, memory: bool = True, say: Callable[[str], None] = silence) -> dict:
    """Measure the three models of a source. Returns: the object that `pydisp speed --json` prints.

    Args:
        memory: also measure the peaks, each in a fresh process.
        say: a function that receives progress lines.
    Raises: ValueError (LoadingError is one) before anything is measured; ChildProcessError if a process that measures a peak fails.
    """
    check_memory(source)
    check_positions(source, workload)
    say(_plan(source, workload, memory))
    peaks = {}
    with _bar((len(NAMES) if memory else 0) + 1 + 1 + workload.rounds, say) as bar:
        for name, peak in peaks_of(source, workload) if memory else ():
            peaks[name] = peak
            bar.advance(1)
        models = build(source)
        bar.advance(1)
        times = time_models(models, workload, told=lambda: bar.advance(1))
    against = displayed_name(source.against) if source.against else "its stock shapes"
    return comparison_of(source.title, against, models, times, workload, peaks)
