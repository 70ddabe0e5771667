"""One command to check the kernels on a GPU and then time them, within a time limit; figures go into <out>/<device>-<sm>.json.

    python bench/gpu.py --out results --wheels wheels     # under 9 minutes in all; needs no network and no installed pydisp
    python bench/gpu.py --dry-run                         # names the checks and the cases; needs no GPU

The figures have the form of bench/ratios.py. First come the self-checks that each op's kernels make before they serve, and their duration.
Then tests/kernels run on CUDA tensors (if pytest is installed), then every op at odd and minimal shapes against float64 in three dtypes;
an op that fails is not timed. Then come the cases, all ops in turn, so that a run that is cut short has some of each. The file is written
after each case. Times are taken by CUDA events around single calls; the level-2 cache is overwritten before each; candidates take turns.
"""

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import results

MOST_MINUTES = 8.5
TESTS = "tests/kernels"
SELF_CHECKS_SHARE, TESTS_SHARE, COMPILE_SHARE = 0.15, 0.3, 0.3  # largest shares of the time limit
RESERVE_S = 10.0  # for writing, and for a case to end when it is stopped
FLUSH_BYTES = 256 << 20  # larger than any level-2 cache
MOST_REPEATS = 20
# Sizes for the checks, by op: minimal, odd, and larger than one block of every kernel.
CHECKS = {
    "norm_select": ({"M": 1, "D": 16, "K": 1}, {"M": 37, "D": 1000, "K": 333}, {"M": 300, "D": 12288, "K": 6144}),
    "add_norm_select": (
        {"M": 1, "D": 16, "A": 1, "K": 16},
        {"M": 37, "D": 1000, "A": 777, "K": 333},
        {"M": 300, "D": 12288, "A": 6144, "K": 5000},
    ),
    "index_add": ({"M": 1, "D": 16, "A": 1}, {"M": 37, "D": 1000, "A": 333}, {"M": 300, "D": 12288, "A": 6144}),
    "linear_cross_entropy": ({"M": 1, "D": 64, "V": 17}, {"M": 37, "D": 200, "V": 1001}, {"M": 700, "D": 512, "V": 33001}),
    "linear_cross_entropy_backward": ({"M": 1, "D": 64, "V": 17}, {"M": 37, "D": 200, "V": 1001}, {"M": 700, "D": 512, "V": 33001}),
    "attention_mass": ({"Q": 1, "T": 1}, {"Q": 63, "T": 63}, {"Q": 5, "T": 777}, {"Q": 1500, "T": 1500}),
    "attention_key_mass": ({"Q": 1, "T": 1}, {"Q": 63, "T": 63}, {"Q": 5, "T": 777}, {"Q": 1500, "T": 1500}),
}


def use_wheels(folders: Iterable[Path]) -> list[str]:
    """Make peers importable from a folder made by `pip install --target`, or from a folder of pure Python wheels, which are unpacked.

    Returns: the folder that was put on the path. Triton reads the source of its kernels, so a wheel cannot stay packed.
    """
    added = []
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"--wheels: there is no folder {folder}; give one of wheels, or one that `pip install --target` filled.")
        wheels = sorted(folder.glob("*.whl"))
        if wheels:
            target = tempfile.mkdtemp(prefix="pydisp-wheels-")
            for wheel in wheels:
                zipfile.ZipFile(wheel).extractall(target)
            added.append(target)
        else:
            added.append(str(folder.resolve()))
    sys.path[:0] = added
    os.environ["PYTHONPATH"] = os.pathsep.join([*added, *filter(None, [os.environ.get("PYTHONPATH")])])
    return added


@dataclass(frozen=True)
class Deadline:
    """A deadline in seconds of time.monotonic."""

    at_s: float

    @classmethod
    def in_minutes(cls, minutes: float) -> "Deadline":
        return cls(time.monotonic() + minutes * 60)

    def left_s(self) -> float:
        return self.at_s - time.monotonic()


class TimeIsUp(BaseException):
    """The time limit is over. Not an Exception, because a case goes on after an Exception of a candidate."""


@contextmanager
def stopped_after(seconds: float):
    """Raise TimeIsUp in the main thread when `seconds` are over; a running call into a library finishes first."""

    def stop(_signal, _frame):
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def cuda_clock() -> Callable:
    """A clock for ratios.interleaved: single calls between two events; the level-2 cache is overwritten before each."""
    import torch

    flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda")

    def clock(call: Callable[[], object], repeats: int) -> list[float]:
        events = []
        for _ in range(min(repeats, MOST_REPEATS)):
            # takes longer than one launch; of a call of many launches (an eager block of one token) the later ones are part of the time
            flush.zero_()
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            call()
            end.record()
            events.append((start, end))
        torch.cuda.synchronize()
        return [start.elapsed_time(end) for start, end in events]

    return clock


def in_turns(listed: list) -> list:
    """The first case of every op, then the second of every op, and so on."""
    by_op: dict[str, list] = {}
    for case in listed:
        by_op.setdefault(case.op, []).append(case)
    return [case for turn in zip_longest(*by_op.values()) for case in turn if case is not None]


def checks(timed: list, device: str) -> list:
    """For each op of the cases, the small cases of CHECKS in every dtype."""
    from cases import DTYPES

    first = {case.op: case for case in reversed(timed)}
    return [
        replace(case, name=f"check{number}", dtype=dtype, device=device, sizes=case.sizes | sizes)
        for op, case in first.items()
        for number, sizes in enumerate(CHECKS.get(op, ()))
        for dtype in DTYPES
    ]


def check(case) -> list[dict]:
    """The error of each of our candidates in one case, and whether it is right; a crash counts as wrong."""
    from cases import OURS, error

    work = case.build(case)
    gold, lines = work.gold(), []
    for name, candidate in work.candidates.items():
        if candidate.role == OURS:
            work.restore()
            try:
                off, problem = error(candidate.call(), gold, candidate.checked), None
            except TimeIsUp:
                raise
            except Exception as caught:  # whatever a kernel raises, the other ops must still be checked
                off, problem = float("inf"), f"{type(caught).__name__}: {str(caught).splitlines()[0][:200] if str(caught) else ''}"
            line = {"id": case.id, "op": case.op, "sizes": case.sizes, "candidate": name, "error": min(off, 1e30)}
            lines.append(line | {"is_right": off <= case.tolerance} | ({"problem": problem} if problem else {}))
    return lines


def self_checks(limit_s: float) -> tuple[list[dict], bool]:
    """Run the self-check of each op's Triton kernels in each dtype now, and time it, compilation included.

    Returns: a line for each check, and whether the time was over before the last one.
    """
    import torch

    from pydisp.ops import cuda, verdicts

    lines = []
    try:
        with stopped_after(limit_s):
            for op, dtype, verdict in cuda.check_all(torch.device("cuda")):
                lines.append({"op": op, "dtype": verdicts.name_of(dtype), "error": verdict.error, "seconds": round(verdict.seconds, 2)})
    except TimeIsUp:
        return lines, True
    return lines, False


def say(lines: list[dict], is_cut_short: bool) -> str:
    """Describe the self-checks in words: the failed ones with their error, how many passed, and the seconds."""
    failed = [
        f"FAILS ITS SELF-CHECK {line['op']} {line['dtype']} ({line['seconds']} s): {line['error']}" for line in lines if line["error"]
    ]
    each = ", ".join(f"{line['op']} {line['dtype']} {line['seconds']}" for line in lines)
    total = sum(line["seconds"] for line in lines)
    short = "; time was up before the last one" if is_cut_short else ""
    return "\n".join([*failed, f"self-checks: {len(lines) - len(failed)} of {len(lines)} right in {total:.1f} s ({each}){short}"])


def run_tests(deadline: Deadline) -> dict:
    """Run tests/kernels on CUDA tensors in a separate process; `outcome` is pytest's last line, or the reason why there is none."""
    from machine import ROOT

    if not (ROOT / TESTS).is_dir():
        return {"outcome": f"there is no {TESTS} in this checkout", "is_green": None}
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    limit_s = deadline.left_s() * TESTS_SHARE
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "--ignore", f"{TESTS}/test_aot.py"]
    if importlib.util.find_spec("xdist"):  # most of the time is spent on the CPU, compiling kernels
        command += ["-n", str(min(14, os.cpu_count() or 1))]
    # the ops as users call them come first, so that a time limit cuts off only the tests of single kernels
    command += [f"{TESTS}/test_ops_on_gpu.py", TESTS]
    started = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        said, problems = started.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)  # kills the processes of xdist too: nothing may run while cases are timed
        so_far = started.communicate()[0].strip().splitlines()
        return {"outcome": f"not finished in {limit_s:.0f} s" + (f": {so_far[-1]}" if so_far else ""), "is_green": None}
    if "No module named pytest" in problems:
        return {"outcome": "pytest is not installed here", "is_green": None}
    lines = said.strip().splitlines() or problems.strip().splitlines()
    print("\n".join(line for line in lines[-30:]), flush=True)
    return {"outcome": lines[-1] if lines else "no output", "is_green": started.returncode == 0}


def run_cases(to_time: list, deadline: Deadline, measure: Callable, keep: Callable) -> dict[str, str]:
    """Measure one case after the other and keep each record; returns the ids of the cases left out, with the reason.

    Args:
        measure: a function from a case to its record.
        keep: a function that writes down (record, cases left out so far).
    """
    left_out = {case.id: "time was up" for case in to_time}
    for case in to_time:
        left_s = deadline.left_s() - RESERVE_S
        if left_s <= 0:
            break
        try:
            with stopped_after(left_s):
                record = measure(case)
        except TimeIsUp:
            break
        except Exception as problem:  # out of memory, say: the other cases go on
            left_out[case.id] = f"{type(problem).__name__}: {(str(problem).splitlines() or [''])[0][:200]}"
            continue
        del left_out[case.id]
        keep(record, dict(left_out))
    return left_out


def summary(record: dict) -> str:
    """One line: our time in ms, and the others' as multiples of it, with wrong results, and absent candidates with the reason."""

    def words(name: str, row: dict) -> str:
        if row["is_right"] is False:
            return f"{name} WRONG"
        return f"{name} {row['median_ms']:.4g} ms" if row["ratio"] in (None, 1) else f"{name} {row['ratio']:.2f}x"

    parts = [words(name, row) for name, row in record["rows"].items()] + [f"{name}: {why}" for name, why in record["absent"].items()]
    return f"{record['id']}: {'; '.join(parts)}"


def _every_case() -> tuple[list, dict[str, str]]:
    from cases import SUITES, cases

    to_time, absent = [], {}
    for suite in SUITES:
        try:
            to_time += cases(suite, "cuda")
        except ImportError as problem:
            absent[suite] = str(problem)
    return in_turns(to_time), absent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder for the results file")
    parser.add_argument("--wheels", type=Path, action="append", default=[], help="folder with liger_kernel, cut_cross_entropy; repeatable")
    parser.add_argument("--minutes", type=float, default=MOST_MINUTES, help="for everything")
    parser.add_argument("--only", default="", help="cases with this in their id")
    parser.add_argument("--no-tests", action="store_true", help=f"leave {TESTS} out")
    parser.add_argument("--stop-if-wrong", action="store_true", help="time nothing if a self-check, a test or a check fails: mend it first")
    parser.add_argument("--dry-run", action="store_true", help="name the checks and cases and stop")
    args = parser.parse_args()
    if not args.minutes > 0:
        sys.exit(f"--minutes is {args.minutes:g}; it must be more than 0.")
    deadline = Deadline.in_minutes(args.minutes)
    try:
        results.check_folder("--out", args.out)
        use_wheels(args.wheels)
    except ValueError as problem:
        sys.exit(str(problem))
    import machine  # noqa: F401  puts this checkout on the path
    import torch

    if not args.dry_run and not torch.cuda.is_available():
        sys.exit("bench/gpu.py: torch sees no CUDA GPU here; run it on a machine that has one, or with --dry-run to see what it would do.")
    to_time, absent_suites = _every_case()
    to_time = [case for case in to_time if args.only in case.id]
    if not to_time:
        sys.exit(f"no case has {args.only!r} in its id; --dry-run names them.")
    small = checks(to_time, "cuda")
    for suite, why in absent_suites.items():
        print(f"suite {suite} is absent: {why}")
    if args.dry_run:
        from pydisp.ops.cuda import DTYPES, FORMS

        lines = [f"self-check {op} in {len(DTYPES)} dtypes" for op in FORMS]
        lines += [f"check {case.id} {case.sizes}" for case in small]
        lines += [f"time {case.id}: {', '.join(case.names)}" for case in to_time]
        print("\n".join(lines))
        print(f"{len(FORMS) * len(DTYPES)} self-checks, {len(small)} checks, {len(to_time)} cases, at most {args.minutes:g} minutes")
        return
    _run(args, deadline, to_time, small, absent_suites)


def _run(args: argparse.Namespace, deadline: Deadline, to_time: list, small: list, absent_suites: dict[str, str]) -> None:
    import ratios
    import torch
    from cases import COMPILED
    from machine import describe
    from memory import MIB, cuda_extra_bytes

    record = describe("cuda")
    print(f"{record['device']}, commit {record['commit']}", flush=True)
    own, is_cut_short = self_checks(deadline.left_s() * SELF_CHECKS_SHARE)
    print(say(own, is_cut_short), flush=True)
    state = {"self_checks": own, "self_checks_cut_short": is_cut_short, "absent_suites": absent_suites}
    state["tests"] = {"outcome": "left out", "is_green": None} if args.no_tests else run_tests(deadline)
    print(f"tests: {state['tests']['outcome']}", flush=True)
    lines = []
    try:
        with stopped_after(deadline.left_s() * 0.4):
            for case in small:
                lines += check(case)
    except TimeIsUp:
        state["checks_cut_short"] = True
    state["checks"] = lines
    wrong = {line["op"] for line in lines if not line["is_right"]}
    unchecked = {case.op for case in to_time} - {line["op"] for line in lines} - {"block"}
    for line in lines:
        if not line["is_right"]:
            print(f"WRONG {line['id']} {line['sizes']} {line['candidate']}: error {line['error']:.2e} {line.get('problem', '')}")
    print(f"checks: {sum(line['is_right'] for line in lines)} of {len(lines)} right", flush=True)
    refused = {case.id: "its check failed" if case.op in wrong else "not checked" for case in to_time if case.op in wrong | unchecked}

    if args.stop_if_wrong and (refused or any(line["error"] for line in own) or state["tests"]["is_green"] is False):
        results.keep(args.out, record, [], **state, left_out=dict.fromkeys((case.id for case in to_time), "stopped"), is_complete=False)
        sys.exit("not timed, because something above is wrong and --stop-if-wrong is set.")

    clock, compile_s = cuda_clock(), [0.0]
    most_compile_s = deadline.left_s() * COMPILE_SHARE

    def measure(case):
        started = time.monotonic()
        no_time = compile_s[0] > most_compile_s
        leave_out = {COMPILED: "left out: the time for compiling was up"} if no_time else {}
        memory = lambda work, name: cuda_extra_bytes(work.candidates[name].call, work.inputs) / MIB  # noqa: E731
        try:
            return ratios.measure(case, rounds=15, most_s=1.5, clock=clock, memory=memory, leave_out=leave_out)
        finally:
            torch.cuda.empty_cache()
            if not no_time:
                compile_s[0] += time.monotonic() - started

    def keep(one: dict | None, left_out: dict[str, str]) -> Path:
        if one:
            print(summary(one), flush=True)
        return results.keep(
            args.out, record, [one] if one else [], **state, left_out=refused | left_out, is_complete=not (left_out or refused)
        )

    keep(None, {case.id: "time was up" for case in to_time})
    left_out = run_cases([case for case in to_time if case.id not in refused], deadline, measure, keep)
    file = keep(None, left_out)
    print(
        f"{len(to_time) - len(refused) - len(left_out)} of {len(to_time)} cases timed, {-deadline.left_s() + args.minutes * 60:.0f} s; {file}"
    )
    sys.exit(bool(wrong) or any(line["error"] for line in own) or state["tests"]["is_green"] is False)


if __name__ == "__main__":
    os.environ["PYDISP_TRITON"] = (
        "1"  # before pydisp is imported, and for the tests' process: a wrong kernel must show, not be replaced by plain torch
    )
    main()
