"""The worker: a process without torch that forks once a call; the fork is confined, runs one function, and ends.

It is started by `calling.Caller` as a program. Messages on its input and output are JSON behind four bytes of length: first what it may import
and its limits, then calls; it answers each with {"text"} or {"error", "kind"}, and with what confines the fork. It ends when its input ends.
A fork says first what confines it, before any code of a tool is loaded, and then its answer: the function can forge the second alone.
"""

import contextlib
import gc
import importlib
import importlib.util
import inspect
import io
import json
import os
import select
import signal
import struct
import sys
import time
import types
import typing
from decimal import Decimal

_HEADER = struct.Struct(">I")
MOST_MESSAGE_BYTES = 2**22
_OWN = "pydisp.toolken.tools."  # modules that are imported once, before the fork; others are imported in the fork, confined


def read_message(read) -> dict | None:
    """The next message, from a function that reads some bytes; None at the end.

    Raises: ValueError for what is no message.
    """

    def exactly(count: int) -> bytes | None:
        parts = b""
        while len(parts) < count:
            part = read(count - len(parts))
            if not part:
                return None
            parts += part
        return parts

    header = exactly(_HEADER.size)
    if header is None:
        return None
    (length,) = _HEADER.unpack(header)
    if length > MOST_MESSAGE_BYTES:
        raise ValueError(f"a message has {length} bytes; it can have {MOST_MESSAGE_BYTES} at most.")
    body = exactly(length)
    return None if body is None else json.loads(body)


def message(values: dict) -> bytes:
    """Values as JSON behind their length, as both sides read them."""
    body = json.dumps(values).encode()
    return _HEADER.pack(len(body)) + body


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of the data; the system may take it in parts."""
    while data:
        data = data[os.write(descriptor, data) :]


def load(function: str):
    """The function of "module:qualified.name", or of "/folder/file.py:qualified.name"."""
    module_name, _, qualified = function.rpartition(":")
    if module_name.endswith(".py"):
        # for good, as this process is for one call: what the function imports while it runs stands there too
        sys.path.append(os.path.dirname(module_name))
        found = module_of_file(module_name)
    else:
        found = importlib.import_module(module_name)
    for name in qualified.split("."):
        found = getattr(found, name)
    return found


def module_of_file(path: str):
    """The module of a file, under a name that hides no other; while it is imported, its folder stands last on `sys.path`."""
    name = f"tool_file_{os.path.basename(path)[:-3]}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    folder, before = os.path.dirname(path), list(sys.path)
    sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    finally:
        if sys.path == [*before, folder]:  # what the file itself puts there stays
            sys.path.pop()
    return module


def fitted(function, values: dict, limits) -> dict:
    """The values as the function wants them: a float or a Decimal where its annotation says so, and the limits if it has a keyword-only `limits`."""
    parameters = inspect.signature(function).parameters
    hints = typing.get_type_hints(function)
    fit = {name: _fitted(value, hints.get(name)) for name, value in values.items()}
    if "limits" in parameters and parameters["limits"].kind is inspect.Parameter.KEYWORD_ONLY:
        fit["limits"] = limits
    return fit


def _fitted(value, hint):
    kinds = _kinds(hint)
    if isinstance(value, list):
        inner = next((args[0] for one in kinds if typing.get_origin(one) is list and (args := typing.get_args(one))), None)
        return [_fitted(one, inner) for one in value]
    if value is None or isinstance(value, (bool, str)) or type(value) in kinds:
        return value
    wanted = next((one for one in (Decimal, float) if one in kinds), None)  # in this order: the first loses nothing
    return value if wanted is None else wanted(value)


def _kinds(hint) -> tuple:
    """The types that an annotation allows: the parts of a union, or itself."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def answer(request: dict, limits) -> dict:
    """Run a call in this process; every failure is an answer."""
    from pydisp.toolken.tools.arguments import parse
    from pydisp.toolken.tools.limits import LimitError
    from pydisp.toolken.tools.results import TooLargeError, result_text

    try:
        function = load(request["function"])
        arguments = parse(request["arguments"], limits)  # as they were given: the caller has compared them with the signature
        values = {**dict(zip(request["names"], arguments.positional, strict=False)), **arguments.named}
        values = {name: value for name, value in values.items() if value is not None}
        return {"text": result_text(function(**fitted(function, values, limits)), limits)}
    except TooLargeError as error:
        return {"error": described(error), "kind": "too large"}
    except LimitError as error:
        return {"error": described(error), "kind": "refused"}
    except MemoryError:
        return {"error": f"the call needs more than {limits.memory_mib} MiB; give smaller arguments.", "kind": "too large"}
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: whatever a function does ends here
        return {"error": described(error), "kind": "failed"}


def described(error: BaseException) -> str:
    """One line of at most 300 characters; the message of an error may itself fail."""
    try:
        text = " ".join(str(error)[:300].split())
    except BaseException:
        text = ""
    if isinstance(error, ValueError) and text:
        return text
    if isinstance(error, PermissionError):
        return f"{text}; a tool computes and reads files: it cannot write, use a network or start processes."
    return f"{type(error).__name__[:60]}{': ' * bool(text)}{text}"[:300]


def run_fork(request: dict, limits, sending: int, others: list[int], parent: int) -> None:
    """In the fork: confine it, run the call, write the answer, and end without a word to anybody else."""
    from pydisp.toolken.tools.confinement import confine, die_with_parent

    status = 1
    try:
        die_with_parent()
        if os.getppid() == parent:  # it has not ended before the line above
            os.setpgid(0, 0)
            for descriptor in others:  # on these it could speak to the caller
                os.close(descriptor)
            write_all(sending, message({"confined": confine(limits.memory_mib, limits.seconds)}))
            write_all(sending, message(answer(request, limits)))
            status = 0
    finally:
        os._exit(status)


def run(request: dict, limits, requests: int, answers: int) -> dict | None:
    """Fork for a call and wait for its answer, for as long as the limits say; None where the caller has gone."""
    receiving, sending = os.pipe()
    parent = os.getpid()
    fork = os.fork()
    if fork == 0:
        run_fork(request, limits, sending, [receiving, requests, answers], parent)
    os.close(sending)
    deadline = time.monotonic() + limits.seconds
    watched = select.poll()
    watched.register(receiving, select.POLLIN)
    watched.register(requests, 0)  # tells when the caller has gone
    data, is_late, is_alone = bytearray(), False, False
    while len(data) <= MOST_MESSAGE_BYTES:
        left = deadline - time.monotonic()  # looked at each time: a function that goes on writing is late as well
        ready = [descriptor for descriptor, _ in watched.poll(left * 1000)] if left > 0 else []
        is_late, is_alone = not ready, requests in ready
        part = os.read(receiving, 65536) if receiving in ready else b""
        if not part:
            break
        data += part
    # To a fork that has ended this does nothing. One that has not is late, or has closed its pipe, and may have stopped itself or ignore
    # every other signal.
    for stop in (os.kill, os.killpg):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            stop(fork, signal.SIGKILL)
    _, status = os.waitpid(fork, 0)
    os.close(receiving)
    if is_alone:
        return None
    stream = io.BytesIO(data)
    confinement = received(stream) or {}
    found = received(stream) if status == 0 and not is_late else None
    return {**(found or ended(status, limits, is_late)), "confined": confinement.get("confined", [])}


def received(stream: io.BytesIO) -> dict | None:
    """The next message in what a fork has written, which may be anything."""
    try:
        found = read_message(stream.read)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def ended(status: int, limits, is_late: bool) -> dict:
    """Why a fork ended without an answer."""
    if is_late or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return {"error": f"the call took more than {limits.seconds:g} s and was stopped; give smaller arguments.", "kind": "too slow"}
    if os.WIFSIGNALED(status):
        return {"error": f"the process of the call was ended by signal {os.WTERMSIG(status)}.", "kind": "failed"}
    return {"error": f"the process of the call ended with status {os.WEXITSTATUS(status)} and without an answer.", "kind": "failed"}


def main() -> None:
    """Answer requests on standard input, each call in a fork of its own, until the input ends."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # what a function prints goes nowhere
        os.dup2(nothing, descriptor)
    os.close(nothing)
    start = read_message(lambda count: os.read(requests, count))
    sys.path[:] = start["path"]

    from pydisp.toolken.tools import arguments, confinement, results  # noqa: F401 (before the first fork, so that none has to import them)
    from pydisp.toolken.tools.limits import Limits

    limits = Limits(**start["limits"])
    for function in start["functions"]:
        if function.startswith(_OWN):
            with contextlib.suppress(Exception):  # one that cannot be loaded says so when it is called, and does not hold up the others
                load(function)
    gc.freeze()
    write_all(answers, message({"ready": True}))
    while (request := read_message(lambda count: os.read(requests, count))) is not None:
        found = run(request, limits, requests, answers)
        if found is None:
            return
        write_all(answers, message(found))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # the caller has gone
        main()
