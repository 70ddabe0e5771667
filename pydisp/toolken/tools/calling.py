"""Calling: tools run in a worker process, and whatever happens there comes back as a value.

with Caller(BUILTIN) as caller:
    caller.call("divide", "84, 12")      CallResult(tool="divide", arguments="84, 12", text="7", error=None, kind="done", ...)
    caller.call("divide", "84, 0")       ... text=None, error="a division by zero has no result; divide by another number.", kind="failed"
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

from pydisp.arguments import instance_of, takes
from pydisp.toolken.tools import worker
from pydisp.toolken.tools.arguments import ArgumentsError, bound, parse, written
from pydisp.toolken.tools.limits import LimitError, Limits
from pydisp.toolken.tools.results import visible
from pydisp.toolken.tools.tools import Tools

KINDS = ("done", "bad arguments", "refused", "too slow", "too large", "failed")
_START_SECONDS = 60.0  # for a Python to begin, on a machine that is busy
_GRACE_SECONDS = 3.0  # for a worker to end a fork that is late, and to say so
_END_SECONDS = 1.0  # for a worker to end its fork and itself
_TRIES = 2  # of a call whose worker is lost: what runs in it changes nothing, so that it can run again
_WORDS = instance_of(str, "give a text")  # whatever letters a model has written
_ROOT = str(Path(__file__).parents[3])  # where pydisp is imported from


class _WorkerLost(Exception):
    """The worker ended, was silent for too long, or spoke no sense."""


@dataclass(frozen=True)
class CallResult:
    """What came of a call.

    Args:
        tool: its name. arguments: as they were given. text: the result, one line; None where there is none.
        error: one sentence; None where there is a result.
        kind: "done"; "bad arguments" (they cannot be read, or do not fit the tool); "refused" (a limit, before anything was computed);
            "too slow" and "too large" (a limit of time; of memory or of the result); "failed" (an error of the function, or none to call).
        seconds: of wall time. values: the arguments in one form, by name, equal for equal calls: 'a=84, b=12'; None where they are bad.
        confined: what held the call back, of "landlock", "seccomp" and "rlimits".
    """

    tool: str
    arguments: str
    text: str | None
    error: str | None
    kind: str
    seconds: float
    values: str | None = None
    confined: tuple[str, ...] = ()


def _one_line(text: str) -> str:
    return visible(" ".join(text.split()))


class Caller:
    """Calls tools in a worker process, which is started by the first call, and again where it is lost; the call is then tried once more.

    The worker has an environment of its own without any of the caller's secrets, prints nothing, and ends with the caller. Each call is a fork of
    it that `confinement` holds back: it computes and reads files, and does not write, use a network or start processes.
    Args:
        limits: of every call.
    """

    @takes(tools=instance_of(Tools, "give Tools"), limits=instance_of(Limits, "give Limits"))
    def __init__(self, tools: Tools, limits: Limits = Limits()):  # noqa: B008 (frozen)
        self.tools, self.limits = tools, limits
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()  # one call at a time
        self._has_warned = False

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_exception) -> None:
        self.close()

    def close(self) -> None:
        """End the worker; a later call starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        process.stdin.close()  # at this it ends its fork, which stands in a group of its own, and itself
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()

    @takes(name=_WORDS, arguments=_WORDS)
    def call(self, name: str, arguments: str) -> CallResult:
        """Call a tool; never raises for what stands in the arguments or happens in the function.

        Args:
            arguments: what stands between the brackets, such as '12, 7'.
        Raises: ToolError for a name that no tool has.
        """
        tool = self.tools[name]
        start, values = time.monotonic(), None
        try:
            if len(arguments) > self.limits.argument_length:
                raise LimitError(f"the arguments have {len(arguments)} characters; they can have {self.limits.argument_length} at most.")
            values = written(bound(tool, parse(arguments, self.limits)))
            if tool.function is None:
                found = {"error": f"the tool {name!r} is known by its documentation only; give it a function to call it.", "kind": "failed"}
            else:
                # as they are given: `values` may be longer or have a larger exponent, and the fork reads within the same limits
                names = [one.name for one in tool.parameters]
                found = self._answer({"function": tool.function, "arguments": arguments, "names": names})
        except ArgumentsError as error:
            found = {"error": str(error), "kind": "bad arguments"}
        except LimitError as error:
            found = {"error": str(error), "kind": "refused"}
        text, error, kind, confined = self._checked(found)
        return CallResult(name, arguments, text, error, kind, time.monotonic() - start, values, confined)

    def _checked(self, found: dict) -> tuple[str | None, str | None, str, tuple[str, ...]]:
        """What an answer says, of which a function may have written every part but what confines it."""
        confined = tuple(found.get("confined", ()))
        if confined and "seccomp" not in confined and not self._has_warned:
            self._has_warned = True
            message = "calls of tools are held back by limits of time, memory and files alone here; on Linux with seccomp they cannot reach anything."
            warnings.warn(message, stacklevel=3)
        text, most = found.get("text"), self.limits.result_length
        if isinstance(text, str) and 0 < len(text := _one_line(text[: most + 1])) <= most:
            return text, None, "done", confined
        error, kind = found.get("error"), found.get("kind")
        if not isinstance(error, str) or not error.strip() or kind not in KINDS[1:]:
            return None, "the process of the call gave no answer that can be read.", "failed", confined
        return None, _one_line(error[:1000]), kind, confined

    def _answer(self, request: dict) -> dict:
        with self._lock:
            for _ in range(_TRIES):
                try:
                    if self._process is None or self._process.poll() is not None:
                        self.close()
                        self._start()
                    return self._exchange(request, self.limits.seconds + _GRACE_SECONDS)
                except _WorkerLost as lost:
                    self.close()
                    why = str(lost)
                except BaseException:  # such as Ctrl-C: what the worker says now would be taken for an answer to the next call
                    self.close()
                    raise
            return {"error": f"the worker process {why}, {_TRIES} times; the next call starts another.", "kind": "failed"}

    def _start(self) -> None:
        environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
        environment |= {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
        if "LD_LIBRARY_PATH" in os.environ:  # without which some Pythons do not start
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-B", worker.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                bufsize=0, env=environment, cwd="/", start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise _WorkerLost(f"could not be started ({error})") from None
        path = [os.path.abspath(one) for one in sys.path]
        functions = sorted({tool.function for tool in self.tools if tool.function is not None})
        self._exchange({"path": [*path, _ROOT], "limits": asdict(self.limits), "functions": functions}, _START_SECONDS)

    def _exchange(self, values: dict, seconds: float) -> dict:
        deadline = time.monotonic() + seconds
        stdin, stdout = self._process.stdin.fileno(), self._process.stdout.fileno()

        def wait(descriptor: int, event: int) -> None:
            watched = select.poll()
            watched.register(descriptor, event)
            if not watched.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise _WorkerLost("did not answer in time")

        def read(count: int) -> bytes:
            wait(stdout, select.POLLIN)
            return os.read(stdout, count)

        data = worker.message(values)
        try:
            while data:
                wait(stdin, select.POLLOUT)
                data = data[os.write(stdin, data[: select.PIPE_BUF]) :]  # no more than fits, so that a worker that does not read is noticed
            found = worker.read_message(read)
        except (OSError, ValueError) as error:
            raise _WorkerLost(f"broke off ({type(error).__name__})") from None
        if not isinstance(found, dict):
            raise _WorkerLost("ended")
        return found
