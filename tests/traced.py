"""Commands that are killed at the system calls by which they change the disk.

A command runs in a process that is forked from one in which torch and transformers are loaded already, so that one of a tiny model takes about
a second. `strace` counts the calls and kills; where it is missing or may not trace, Python's audit events serve (`killed.STEPS`), which do not
see what torch and safetensors write.
"""

import ctypes
import functools
import inspect
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from killed import STEPS

LOADED = ["torch", "transformers.models.llama.modeling_llama", "pydisp.cli", "pydisp.pruning", "pydisp.modeling", "matplotlib.pyplot"]
CALLS = (
    "openat write writev pwrite64 pwritev sendfile copy_file_range ftruncate fallocate fsync fdatasync sync_file_range rename renameat "
    "renameat2 link linkat symlink symlinkat unlink unlinkat mkdir mkdirat rmdir chmod fchmod fchmodat flock"
)
_CALL = re.compile(r"^(\w+)\((.*)")
_ANY_TRACER = (0x59616D61, ctypes.c_ulong(-1))  # prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY), for kernels that let parents alone trace


@dataclass(frozen=True)
class Moment:
    """Right before the `number`-th call (from 1 on) of this name."""

    call: str
    number: int


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, -9 if it was killed; what it said on standard error; the moments at which the disk changed."""

    status: int
    said: str
    moments: tuple[Moment, ...] = ()


def run(args: Sequence, folder: Path, *, at: Moment | None = None, after: tuple[str, int] | None = None, counts: bool = False) -> Ended:
    """Run a command line of pydisp in a process of its own.

    Args:
        folder: for files of this module. at: the moment to kill it. after: kill it after this step of "Search" or "Recovery" instead.
        counts: whether to note the moments.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    said = folder / f"said.{time.monotonic_ns()}"
    traces = (at or counts) and has_strace()
    audit = None if traces or not (at or counts) else (at.number if at else 0)
    child = context.Process(target=_command, args=([str(arg) for arg in args], str(said), bool(traces), audit, after))
    child.start()
    log = _traced(child.pid, said, at) if traces else None
    child.join()
    words = said.read_text() if said.exists() else ""
    if not counts:
        return Ended(child.exitcode, words)
    if log is None:
        count = int(Path(f"{said}.count").read_text())
        return Ended(child.exitcode, words, tuple(Moment("step", number) for number in range(1, count + 1)))
    return Ended(child.exitcode, words, tuple(_changes(log.read_text().splitlines())))


@functools.cache
def has_strace() -> bool:
    """Whether strace is there and may trace."""
    return shutil.which("strace") is not None and subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode == 0


def _traced(process: int, said: Path, at: Moment | None) -> Path:
    """Let a process go on that has stopped itself, under strace, and wait for its end."""
    log = Path(f"{said}.trace")
    while Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "T":
        time.sleep(0.002)
    kill = ["-e", f"inject={at.call}:signal=SIGKILL:when={at.number}"] if at else []
    names = ",".join(f"?{name}" for name in CALLS.split())  # not every processor has all of them
    tracer = subprocess.Popen(["strace", "-o", log, "-e", f"trace={names}", *kill, "-p", str(process)], stderr=subprocess.PIPE, text=True)
    assert "attached" in tracer.stderr.readline()
    os.kill(process, signal.SIGCONT)
    tracer.communicate()
    return log


def _changes(lines: Sequence[str]):
    """The moments of a trace at which a file, not a terminal or a pipe, is changed."""
    seen = Counter()
    for line in lines:
        if found := _CALL.match(line):
            name, arguments = found.groups()
            seen[name] += 1
            opens_to_read = name == "openat" and not re.search("O_WRONLY|O_RDWR|O_CREAT", arguments)
            if not opens_to_read and not (name == "write" and arguments.startswith(("1,", "2,"))):
                yield Moment(name, seen[name])


def _command(args: list[str], said: str, stops: bool, audit: int | None, after: tuple[str, int] | None) -> None:
    """In the forked process: run the command, with states after every step of a search or a recovery unless it is killed by steps."""
    import torch

    from pydisp import cli
    from pydisp.pruning import corpora, journey, recover_journey, recovery, search
    from pydisp.text import Text

    with open(said, "w") as file:
        os.dup2(file.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    corpora.other_text = lambda: Text("other", ("ANOTHER TEXT OF SOME WORDS, AND THEN SOME MORE OF THEM. " * 20,))
    if after is None:
        for one in (journey.prune_to_folder, recover_journey.recover_to_folder):
            inspect.unwrap(one).__kwdefaults__["checkpoint_seconds"] = 0.0
    else:
        _kill_after({"Search": search.Search, "Recovery": recovery.Recovery}[after[0]], after[1])
    sys.argv = ["pydisp", *args]
    counted = 0

    def count(event, _args):
        nonlocal counted
        if event in STEPS:
            counted += 1
            if counted == audit:
                os.kill(os.getpid(), signal.SIGKILL)

    if stops:
        ctypes.CDLL(None).prctl(*_ANY_TRACER)
        os.kill(os.getpid(), signal.SIGSTOP)
    elif audit is not None:
        sys.addaudithook(count)
    try:
        cli.main()
    finally:
        if audit == 0:
            Path(f"{said}.count").write_text(str(counted - 1))  # without the opening of this file


def _kill_after(kind: type, last: int) -> None:
    """Change a class so that its process is killed right before the step after step `last`, or at the end of its steps."""
    step = kind._step

    def stepping(self, *given):
        if self.progress.step == last:
            os.kill(os.getpid(), signal.SIGKILL)
        step(self, *given)
        if self.progress.step == last == self.settings.steps:
            os.kill(os.getpid(), signal.SIGKILL)

    kind._step = stepping
