"""The sweep journey: small models trained from scratch over weight decay, to see whose loss it costs, that of frequent or of rare tokens.

    report, result = sweep("bench/fairness/imdb.yaml", "results/imdb")

The paper (https://arxiv.org/abs/2410.11985) trains one vocabulary on one text and looks at the train text after it has been memorised. Here
arms may differ (few epochs and held-out text beside many epochs), each has several seeds, and every figure has an interval over them.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from pydisp.arguments import PATH, RECEIVER, SWITCH, ZERO_OR_MORE, Kind, optional, takes, whole
from pydisp.environment import run_facts, versions
from pydisp.fairness.weight_decay.config import read_config
from pydisp.fairness.weight_decay.report import OUTCOME_FILE, outcome_text, sweep_report
from pydisp.fairness.weight_decay.settings import RunSettings, SweepSettings
from pydisp.fairness.weight_decay.text import SweepText, read_sweep_text
from pydisp.fairness.weight_decay.workers import CHECKPOINT_SECONDS, files_of, results_of, train_all
from pydisp.memory import free_bytes
from pydisp.progress import Interrupted, on_stderr
from pydisp.report import Report
from pydisp.workspace import Workspace, write_whole

RUNS = "runs"
_BYTES_A_PARAMETER = 16  # weight, gradient and AdamW's two moments in float32
TOKENIZER_FILE = "tokenizer.json"


@takes(
    config=Kind("give a YAML file, or the same as a mapping", lambda value: isinstance(value, Mapping) or PATH.is_right(value)),
    out=PATH, resume=SWITCH, overwrite=SWITCH, workers=optional(whole(1)), say=RECEIVER, checkpoint_seconds=ZERO_OR_MORE,
)  # fmt: skip
def sweep(
    config: Mapping | str | os.PathLike,
    out: str | os.PathLike,
    *,
    resume: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    say: Callable[[str], None] = on_stderr,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> tuple[Report, dict]:
    """Train every run of a configuration and report the loss by frequency; the folder appears whole or not at all.

    Args:
        config: a YAML file, or the same as a mapping; see `pydisp.fairness.weight_decay.config`.
        out: the folder to make: the report, `sweep.json` (the figures that are returned), `tokenizer.json`, and in `runs` the curve of each
            run and, with pyarrow, its sums by type (`TokenStats`).
        resume: go on with what a stopped or killed sweep left; the result has the same bytes as that of an unbroken one.
        overwrite: replace the output of an earlier sweep.
        workers: processes that train side by side, by default one for each core; their number does not change the result.
        say: a function that receives the lines of the sweep.
        checkpoint_seconds: how often a run writes its state.
    Returns: the report, and the same figures as plain values.
    Raises: ValueError, FileNotFoundError, FileExistsError or ImportError with one sentence, before anything is trained; Interrupted, whose
        message says how to resume; RuntimeError if a process ended by itself; OSError if the disk is full. A run whose loss is no longer
        finite ends, and is named in the report; the others go on.
    """
    settings = read_config(config)
    workers = _cores() if workers is None else workers
    workspace = Workspace(out, marker=OUTCOME_FILE, journey="sweep")
    try:
        with workspace.claimed(overwrite=overwrite, resume=resume):
            return _swept(settings, workspace, resume, workers, say, checkpoint_seconds)
    except Exception:
        raise
    except BaseException:  # a second Ctrl-C
        if not (workspace.has_begun and workspace.has_state):
            raise
        raise Interrupted("stopped; repeat the command with --resume to go on from the last checkpoints.") from None


def _swept(
    settings: SweepSettings, workspace: Workspace, resume: bool, workers: int, say: Callable[[str], None], checkpoint_seconds: float
) -> tuple[Report, dict]:
    text = read_sweep_text(settings, say)
    _check_memory(settings, workers)
    say(f"{settings.name}: {_plan_words(settings.runs)}, in {workers} process{'es' * (workers != 1)}")
    workspace.begin(_identity(settings, text), resume=resume)
    folder = workspace.folder / RUNS
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
        workspace.save_state({"runs": [run.name for run in settings.runs]})  # marks the folder as one that can be resumed
    folder.mkdir(exist_ok=True)
    train_all(settings.runs, text, folder, workers=workers, say=say, checkpoint_seconds=checkpoint_seconds)
    results = results_of(settings.runs, folder)
    if all(one["diverged"] for one in results):
        raise ValueError(f"all {len(results)} runs diverged, so there is nothing to report; lower the learning_rate and start anew.")
    facts = {**run_facts(), "threads": 1, "device": "cpu", "dtype": "float32", "texts": text.facts, "vocabulary": text.vocabulary}
    report, outcome = sweep_report(settings, results, facts)
    _write(workspace.output, report, outcome, text, settings, folder)
    workspace.finish()
    shutil.rmtree(folder, ignore_errors=True)
    return report, outcome


def _write(output: Path, report: Report, outcome: dict, text: SweepText, settings: SweepSettings, folder: Path) -> None:
    report.write(output)
    (output / RUNS).mkdir()
    for run in settings.runs:
        for path in files_of(run, folder):
            shutil.copyfile(path, output / RUNS / path.name)
    write_whole(output / TOKENIZER_FILE, text.tokenizer)
    write_whole(output / OUTCOME_FILE, outcome_text(outcome))


def _check_memory(settings: SweepSettings, workers: int) -> None:
    """Refuse models that the memory cannot hold, before anything is trained; activations are not counted.

    Raises: ValueError.
    """
    largest = max(arm.parameters(settings.vocabulary_size) for arm in settings.arms.values())
    side_by_side = min(workers, len(settings.runs))
    needed, free = _BYTES_A_PARAMETER * largest * side_by_side, free_bytes(torch.device("cpu"))
    if free is not None and needed > free:
        raise ValueError(
            f"{side_by_side} models of {largest:,} parameters need {needed / 2**20:,.0f} MiB to be trained side by side, {free / 2**20:,.0f} MiB are "
            "free; make the model smaller, or ask for fewer workers."
        )


def _plan_words(runs: tuple[RunSettings, ...]) -> str:
    tokens = sum(run.settings.total_steps * run.settings.batch_windows * run.settings.context_tokens for run in runs)
    return f"{len(runs)} run{'s' * (len(runs) != 1)}, {tokens:,} tokens to train on"


def _identity(settings: SweepSettings, text: SweepText) -> dict:
    """What decides the result, in plain values."""
    values = settings.as_dict()
    arms = {f"arms.{arm}.{key}": value for arm, own in values.pop("arms").items() for key, value in own.items()}
    digests = {f"{name}.sha256": text.facts[name]["sha256"] for name in ("train", "held_out")}
    return {**values, **arms, **digests, "vocabulary": text.vocabulary, **{f"versions.{name}": v for name, v in versions().items()}}


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
