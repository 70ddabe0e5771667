"""Compares the times of candidates in one run: they take turns in rounds, figures are ratios of medians, and wrong results do not count.

python bench/ratios.py                      # every suite: tables here, figures into bench/results/<device>-<isa>.json
python bench/ratios.py linear_cross_entropy --only bf16     # one suite, the cases with that in their name
python bench/ratios.py --goals              # the table of goals, each line met or not
python bench/ratios.py --list

from ratios import ratios
ratios({"c++": f, "torch": g})              # {"c++": (2.7, 1.0), "torch": (26.4, 9.8)}: median ms, and its ratio to the first one's
"""

import argparse
import random
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import goals
import results
from cases import EAGER, LIMIT, OURS, SUITES, Candidate, Case, cases, error
from machine import describe, pin
from memory import extra_mib
from torch import Tensor

FIRST_CALL_S = 8.0  # a candidate whose call takes longer than this gets only one sample
Clock = Callable[[Callable[[], object], int], list[float]]


def wall_clock(call: Callable[[], object], repeats: int) -> list[float]:
    """One sample in ms: the mean of `repeats` calls, one after the other."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return [(time.perf_counter() - start) / repeats * 1e3]


def interleaved(
    calls: dict[str, Callable[[], object]],
    call_s: dict[str, float],
    rounds: int = 21,
    at_least_s: float = 0.002,
    most_s: float = 10.0,
    clock: Clock = wall_clock,
    before_turn: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Samples in ms of each candidate; in each round every candidate has a turn, in another order each time.

    Args:
        call_s: approximate seconds of a warm call, by name.
        at_least_s: least seconds of a turn; a turn repeats the call for so long.
        most_s: most seconds of one candidate in all: a slow one skips rounds, evenly over the run, but has at least one turn.
        before_turn: called before each turn, outside its time.
    """
    repeats = {name: max(1, round(at_least_s / max(call_s[name], 1e-9))) for name in calls}
    turns = {name: max(1, min(rounds, int(most_s / max(call_s[name] * repeats[name], 1e-9)))) for name in calls}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for order in turns_of(turns):
        for name in order:
            before_turn()
            samples[name] += clock(calls[name], repeats[name])
    return samples


def turns_of(turns: dict[str, int]) -> list[list[str]]:
    """The candidates of each round, in order: shuffled (the same in every run); if a candidate has fewer turns, they are spread evenly.

    The caches hold the data of the candidate that ran before. In a fixed or rotating order, a candidate would always follow the same one.
    """
    shuffled, rounds = random.Random(0), max(turns.values(), default=0)
    turns_by_round = []
    for number in range(rounds):
        order = shuffled.sample(list(turns), len(turns))
        turns_by_round.append([name for name in order if (number + 1) * turns[name] // rounds > number * turns[name] // rounds])
    return turns_by_round


def ratios(candidates: dict[str, Callable[[], object]], rounds: int = 21, at_least_s: float = 0.002) -> dict[str, tuple[float, float]]:
    """Median runtime_ms of each candidate and its ratio to that of the first; the caller has to check the results."""
    call_s = {name: (wall_clock(call, 1), wall_clock(call, 1))[1][0] / 1e3 for name, call in candidates.items()}
    medians = {name: statistics.median(samples) for name, samples in interleaved(candidates, call_s, rounds, at_least_s).items()}
    first = next(iter(medians.values()))
    return {name: (median, median / first) for name, median in medians.items()}


@dataclass
class _Warm:
    """A candidate after its first calls; it has a `result` only if it is so slow that there will be no samples besides `samples_ms`."""

    call_s: float
    samples_ms: list[float]
    result: object = None


def _warmed(candidate: Candidate, clock: Clock, restore: Callable[[], None], first_counts: bool) -> _Warm:
    """Call once to warm up, and once more to see how long it takes; a slow call that needs no warm-up is already the sample."""
    captured = []

    def call():
        captured[:] = [candidate.call()]

    for number in range(2):
        restore()
        call_s = [ms / 1e3 for ms in clock(call, 1)]
        if (number or first_counts) and call_s[0] > FIRST_CALL_S:
            return _Warm(call_s[0], [s * 1e3 for s in call_s], captured[0])
    return _Warm(statistics.median(call_s), [])


def measure(
    case: Case,
    rounds: int = 21,
    most_s: float = 10.0,
    clock: Clock = wall_clock,
    memory: Callable | None = None,
    leave_out: dict[str, str] | None = None,
) -> dict:
    """Time every candidate of a case, then check each result against the gold; a wrong one gets no ratio.

    Args:
        memory: a function from (work, name) to MiB beyond inputs and outputs, for the cases that measure memory.
        leave_out: roles that are not run, with the reason for the record.
    Returns: the case's record for a results file: `rows` by candidate with median, quartiles, samples, ratio to the first, error, whether
        it is right (None: not checked) and extra memory; `absent` candidates, including those that failed, with the reason.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peers warn about their fall-backs, but only the table counts
        work = case.build(case)
        absent, warm = dict(work.absent), {}
        for name, candidate in work.candidates.items():
            if candidate.role in (leave_out or {}):
                absent[name] = leave_out[candidate.role]
                continue
            try:
                warm[name] = _warmed(candidate, clock, work.restore, first_counts=case.device == "cpu" and "compile" not in name)
            except Exception as problem:  # whatever a peer raises, the other candidates go on
                absent[name] = f"failed: {_first_line(problem)}"
        calls = {name: work.candidates[name].call for name, warmed in warm.items() if not warmed.samples_ms}
        samples = interleaved(
            calls, {name: warm[name].call_s for name in calls}, rounds, most_s=most_s, clock=clock, before_turn=work.restore
        )
        gold = work.gold()
        rows = {}
        for name, warmed in warm.items():
            work.restore()
            result = warmed.result if warmed.samples_ms else calls[name]()
            rows[name] = _row(work.candidates[name], samples.get(name) or warmed.samples_ms, result, gold, case.tolerance)
            warmed.result = result = None
        del gold
        if memory is not None and case.measures_memory:
            for name, row in rows.items():
                # Too slow to run once more, unless its figure is one that others are compared with.
                is_skipped = bool(warm[name].samples_ms) and row["role"] not in (OURS, EAGER)
                if row["role"] != LIMIT and not is_skipped:
                    try:
                        row["extra_mib"] = _rounded(memory(work, name))
                    except (RuntimeError, OSError) as problem:
                        row["extra_mib_absent"] = _first_line(problem)
    first = rows.get(next(iter(work.candidates)))
    for row in rows.values():
        counts = first is not None and False not in (row["is_right"], first["is_right"])
        row["ratio"] = _rounded(row["median_ms"] / first["median_ms"]) if counts else None
    return {
        "id": case.id,
        "suite": case.suite,
        "op": case.op,
        "name": case.name,
        "dtype": case.dtype,
        "sizes": case.sizes,
        "axes": list(case.axes),
        "tolerance": case.tolerance,
        "rows": rows,
        "absent": absent,
    }


def _row(candidate: Candidate, times_ms: list[float], result: object, gold: tuple[Tensor, ...], tolerance: float) -> dict:
    off = None if candidate.checked == 0 else error(result, gold, candidate.checked)
    return {
        "role": candidate.role,
        "median_ms": _rounded(statistics.median(times_ms)),
        "quartiles_ms": [_rounded(v) for v in _quartiles(times_ms)],
        "samples": len(times_ms),
        "error": off if off is None else _rounded(min(off, 1e30)),  # JSON has no infinity
        "is_right": None if off is None else off <= tolerance,
    }


def table(record: dict) -> str:
    """A case's record as a Markdown table."""
    lines = [
        f"### {record['id']}",
        "",
        "| candidate | ms | quartiles | n | × first | error | extra MiB |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    for name, row in record["rows"].items():
        low, high = row["quartiles_ms"]
        ratio = "wrong" if row["is_right"] is False else "–" if row["ratio"] is None else f"{row['ratio']:.3f}"
        off = "–" if row["error"] is None else f"{row['error']:.1e}"
        extra = f"{row['extra_mib']:.1f}" if "extra_mib" in row else "–"
        lines.append(f"| {name} | {row['median_ms']:.4g} | {low:.4g} to {high:.4g} | {row['samples']} | {ratio} | {off} | {extra} |")
    lines += ["", f"Right is an error of at most {record['tolerance']:g} of the largest value of the float64 gold."]
    lines += [f"Absent: {name} ({reason})." for name, reason in record["absent"].items()]
    return "\n".join(lines)


def _quartiles(values: list[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _first_line(problem: BaseException) -> str:
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return f"{type(problem).__name__}: {lines[0][:160]}" if lines else type(problem).__name__


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "suites", nargs="*", help="add_norm_select, linear_cross_entropy, attention_mass, upcast_linear, block; default: all"
    )
    parser.add_argument("--goals", action="store_true", help="only the cases that goals are set for, and the table of the goals")
    parser.add_argument("--only", default="", help="cases with this in their id")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--seconds", type=float, default=10.0, help="for one candidate of one case, about")
    parser.add_argument("--no-memory", action="store_true", help="leave the processes that measure memory out")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results", help="folder of the results files")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    args = parser.parse_args()
    for name, least in (("threads", 1), ("rounds", 1), ("seconds", 0.001)):
        if not getattr(args, name) >= least:
            parser.error(f"--{name} is {getattr(args, name)}; it must be at least {least}.")
    try:
        results.check_folder("--results", args.results)
    except ValueError as problem:
        parser.error(str(problem))
    pin(args.threads)
    unknown = sorted(set(args.suites) - set(SUITES))
    if unknown:
        parser.error(f"unknown suite {unknown[0]!r}; known: {', '.join(SUITES)}.")
    wanted = [case for suite in args.suites or SUITES for case in cases(suite, "cpu") if args.only in case.id]
    if args.goals:
        wanted = [case for case in wanted if case.id in goals.case_ids()]
    if args.list:
        print("\n".join(case.id for case in wanted))
        return
    if not wanted:
        parser.error(f"no case has {args.only!r} in its id; --list names them.")
    machine, records = describe("cpu"), []
    for number, case in enumerate(wanted, 1):
        print(f"[{number}/{len(wanted)}] {case.id}", file=sys.stderr, flush=True)
        record = measure(
            case, args.rounds, args.seconds, memory=None if args.no_memory else lambda _work, name, case=case: extra_mib(case.id, name)
        )
        print(table(record), flush=True)
        print(flush=True)
        records.append(record)
        file = results.keep(args.results, machine, [record])  # after each case, so that a run that is stopped loses nothing
    if args.goals:
        lines = goals.judge(results.read(file))
        print(goals.table(lines))
        sys.exit(failure(records, lines))


def failure(records: list[dict], lines: list[dict]) -> str | int:
    """The reason why a run for the goals failed, or 0; decided by the cases that it measured, not by older ones in the results file."""
    for record in records:
        rows, ours = record["rows"], [name for name, row in record["rows"].items() if row["role"] == OURS]
        wrong = [name for name in ours if rows[name]["is_right"] is False]
        if wrong or not ours:
            return f"{record['id']}: {wrong[0] + ' is wrong' if wrong else 'nothing of ours ran'}."
    here = {record["id"] for record in records}
    missed = [line for line in lines if line["is_met"] is False and here & set(line["cases"])]
    return f"{len(missed)} of these goals were missed." if missed else 0


if __name__ == "__main__":
    main()
