"""Workers: the runs of a sweep, one after the other in this process or side by side in several, so that each can go on where it stopped.

    train_all(runs, text, folder, workers=2, say=print)      # folder/NAME.json for each run

In the folder each run has a checkpoint until it ends, then its result (JSON) and, with pyarrow, its sums by type (Parquet). Every file
appears whole, and a run has the same bytes however often it was stopped and whichever process trained it: all compute with one thread.
"""

import contextlib
import json
import multiprocessing
import multiprocessing.connection
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from pydisp.fairness.weight_decay.settings import RunSettings
from pydisp.fairness.weight_decay.text import SweepText
from pydisp.fairness.weight_decay.training_run import TrainingRun
from pydisp.progress import Bar, Interrupted, stop_requests
from pydisp.workspace import whole_file, write_whole

CHECKPOINT_SECONDS = 60.0
_SECONDS_BETWEEN_LOOKS = 0.2


class _Stopped(Exception):
    """A run was asked to stop; its checkpoint is written."""


def train_all(
    runs: Sequence[RunSettings],
    text: SweepText,
    folder: Path,
    *,
    workers: int,
    say: Callable[[str], None],
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> None:
    """Train every run that has no result in the folder yet. With one worker this happens in this process.

    Raises: Interrupted after Ctrl-C or SIGTERM, when each run has written its checkpoint; RuntimeError if a process ended by itself;
        whatever stopped a run, such as OSError for a full disk.
    """
    left = [run for run in runs if not _result_file(folder, run).exists()]
    if len(left) < len(runs):
        say(f"{len(runs) - len(left)} of {len(runs)} runs were finished before")
    board = _Board(runs, left, folder, say)
    with stop_requests() as is_stop_requested, board.bar:
        if workers == 1:
            _train_here(left, text, folder, board, is_stop_requested, checkpoint_seconds)
        else:
            _train_beside(left, text, folder, min(workers, len(left)), board, is_stop_requested, checkpoint_seconds)
        if is_stop_requested():
            done = sum(_result_file(folder, run).exists() for run in runs)
            raise Interrupted(f"stopped with {done} of {len(runs)} runs finished; repeat the command with --resume to go on from there.")


def results_of(runs: Sequence[RunSettings], folder: Path) -> list[dict]:
    """What the runs have written, in their order."""
    return [json.loads(_result_file(folder, run).read_text(encoding="utf-8")) for run in runs]


def files_of(run: RunSettings, folder: Path) -> list[Path]:
    """The files of a run that belong to the output: its result and, where there are any, its sums by type."""
    return [_result_file(folder, run), *(path for path in _stats_files(folder, run).values() if path.exists())]


class _Board:
    """What a person sees of a sweep: a bar over the windows of all runs, and a line for each run that ends."""

    def __init__(self, runs: Sequence[RunSettings], left: Sequence[RunSettings], folder: Path, say: Callable[[str], None]):
        self.runs, self.folder, self.say = runs, folder, say
        self.unfinished = list(left)
        self.before = sum(_windows_of(run) for run in runs) - sum(_windows_of(run) for run in left)
        total = sum(_windows_of(run) for run in runs)
        self.bar = Bar(total, say, done=self.before, title="sweep", unit="window")
        self.shown = self.before

    def show(self, windows: int) -> None:
        """Show that so many windows of the runs that were left are done, and the runs that have ended since."""
        if self.before + windows > self.shown:
            self.shown = self.before + windows
            self.bar(self.shown)
        for run in [run for run in self.unfinished if _result_file(self.folder, run).exists()]:
            self.unfinished.remove(run)
            (result,) = results_of([run], self.folder)
            self.say(f"{run.words}: {_ending(result)} ({len(self.runs) - len(self.unfinished)} of {len(self.runs)} runs)")


def _ending(result: dict) -> str:
    if result["diverged"]:
        return f"diverged at step {result['diverged']['step']}"
    train, held_out = (result["final"][name]["average_nats"] for name in ("train", "held_out"))
    return f"{train:.3f} nats a token on the train text, {held_out:.3f} held out"


def _train_here(
    left: Sequence[RunSettings],
    text: SweepText,
    folder: Path,
    board: _Board,
    is_stop_requested: Callable[[], bool],
    checkpoint_seconds: float,
) -> None:
    done = 0
    with _one_thread():
        for run in left:

            def is_asked(windows: int, done: int = done) -> bool:
                board.show(done + windows)
                return is_stop_requested()

            with contextlib.suppress(_Stopped):
                _train(run, text, folder, is_asked, checkpoint_seconds)
            if is_stop_requested():
                return
            done += _windows_of(run)
            board.show(done)


def _train_beside(
    left: Sequence[RunSettings],
    text: SweepText,
    folder: Path,
    workers: int,
    board: _Board,
    is_stop_requested: Callable[[], bool],
    checkpoint_seconds: float,
) -> None:
    """Start the processes and wait for them. The largest runs come first, so that the last ones to end are short."""
    context = multiprocessing.get_context("spawn")
    ordered = sorted(left, key=_windows_of, reverse=True)
    stop, errors = context.Event(), context.SimpleQueue()
    turn, windows = context.Value("q", 0), context.Array("q", len(ordered))
    shared = (ordered, text, folder, turn, windows, stop, errors, checkpoint_seconds)
    processes = [context.Process(target=_work, args=shared, name=f"sweep worker {number + 1}") for number in range(workers)]
    try:
        with _children_without_interrupts():
            for process in processes:
                process.start()
        while any(process.is_alive() for process in processes):
            multiprocessing.connection.wait([process.sentinel for process in processes if process.is_alive()], _SECONDS_BETWEEN_LOOKS)
            board.show(sum(windows))
            if is_stop_requested() or any(process.exitcode for process in processes):
                stop.set()
    finally:
        stop.set()
        for process in processes:
            if process.pid is not None:
                process.join()
    board.show(sum(windows))
    if not errors.empty():
        raise errors.get()
    broken = next((process for process in processes if process.exitcode), None)
    if broken and not is_stop_requested():
        raise RuntimeError(
            f"a process of the sweep ended with status {broken.exitcode} before its runs did, perhaps for want of memory; "
            "repeat the command with --resume and fewer --workers."
        )


def _work(ordered: Sequence[RunSettings], text: SweepText, folder: Path, turn, windows, stop, errors, checkpoint_seconds: float) -> None:
    """Train the next run that no process has taken until none is left; runs in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group of processes; the parent asks by `stop`
    parent = multiprocessing.parent_process()
    torch.set_num_threads(1)
    while not stop.is_set():
        with turn.get_lock():
            number = turn.value
            turn.value += 1
        if number >= len(ordered):
            return

        def is_asked(done: int, number: int = number) -> bool:
            windows[number] = done
            return stop.is_set() or not parent.is_alive()  # a killed parent may be resumed, and then another process has this run

        try:
            _train(ordered[number], text, folder, is_asked, checkpoint_seconds)
        except _Stopped:
            return
        except Exception as error:
            errors.put(error)
            stop.set()
            return


def _train(run: RunSettings, text: SweepText, folder: Path, is_asked: Callable[[int], bool], checkpoint_seconds: float) -> None:
    """One run, from its checkpoint or from the start, to its result; `is_asked`: whether to stop, told how many windows are done.

    Raises: _Stopped.
    """
    training = TrainingRun(run, text)
    checkpoint = folder / f"{run.name}.pt"
    if checkpoint.exists():
        training.load_state_dict(_loaded(checkpoint))
    saved_at = time.monotonic()

    def after_part(training: TrainingRun) -> None:
        nonlocal saved_at
        is_stopped = is_asked(training.step * run.settings.batch_windows)
        if is_stopped or time.monotonic() - saved_at >= checkpoint_seconds:
            with whole_file(checkpoint) as partial:
                torch.save(training.state_dict(), partial)
            saved_at = time.monotonic()
        if is_stopped:
            raise _Stopped

    training.train(after_part)
    for name, stats in training.stats.items():
        with contextlib.suppress(ImportError):  # without pyarrow the sums by type are not kept; every figure of the report is in the result
            stats.save(_stats_files(folder, run)[name])
    write_whole(_result_file(folder, run), json.dumps(training.result(), indent=1, sort_keys=True, allow_nan=False) + "\n")
    checkpoint.unlink(missing_ok=True)


def _loaded(checkpoint: Path) -> dict:
    try:
        return torch.load(checkpoint, weights_only=True)
    except Exception as error:  # a damaged file can make torch raise anything
        raise ValueError(f"{checkpoint} is damaged ({type(error).__name__}); start the sweep anew without --resume.") from None


def _result_file(folder: Path, run: RunSettings) -> Path:
    return folder / f"{run.name}.json"


def _stats_files(folder: Path, run: RunSettings) -> dict[str, Path]:
    return {name: folder / f"{run.name}-{name}.parquet" for name in ("train", "held_out")}


def _windows_of(run: RunSettings) -> int:
    return run.settings.total_steps * run.settings.batch_windows


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread inside the `with`, as every worker does: sums of two threads have other bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _children_without_interrupts() -> Iterator[None]:
    """Processes that are started inside the `with` get no Ctrl-C, not even before their first line; one that comes now is not lost."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
