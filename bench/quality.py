"""What each method of pruning leaves of a real model, before and after the same recovery: the main table of the README.

    python bench/quality.py MODEL --text train.txt --test "WikiText-2 test=test.txt" --test "help topics=pythondoc:topics" \\
        --keep-ratio 0.8 --keep-ratio 0.7 --minutes 45 --recover --methods disp,gradient,wanda,magnitude,layerdrop,constrained
    python bench/quality.py --table bench/results/quality-MODEL.json      # the table again, without any work

For each ratio and method: a folder by `pydisp prune`; with --recover one more by `pydisp recover`, all with the same number of steps; then
damage on the test texts. With --minutes and --recover a searched method is one run, `pydisp prune --minutes M --recover`, as a user would
start it, and the others are recovered for as many steps. What --out holds is not made again, so a command that was stopped goes on where it
was. The figures go to bench/results/quality-MODEL.json after each method, plans to bench/quality/plans/MODEL-RATIO-METHOD.safetensors.
"""

import argparse
import json
import math
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import results
from machine import ROOT, describe

from pydisp.commands.output import quiet_libraries
from pydisp.loading import choose_device, choose_dtype, displayed_name, load_config, load_model, load_tokenizer, stored_dtype
from pydisp.pruning.settings import METHODS, SEARCHED, PruneSettings
from pydisp.text import Tokens, read_text, tokenize
from pydisp.workspace import write_whole

USUAL_METHODS = "disp,gradient,wanda,magnitude,layerdrop,constrained"
NAMES = {
    "disp": "learned masks",
    "constrained": "one learned mask for all blocks",
    "gradient": "gradient scores",
    "flap": "FLAP",
    "wanda": "Wanda",
    "magnitude": "magnitude",
    "layerdrop": "layer drop",
    "random": "random",
}
Runner = Callable[[Sequence[str]], None]


@dataclass(frozen=True)
class Job:
    """Everything that decides the figures of a row, but its ratio and method.

    Args:
        model: a folder, a GGUF file or a name.
        texts: sources to learn from, as `pydisp prune --text` takes them.
        tests: by name, sources to score; the first one leads the table.
        minutes: for `pydisp prune --minutes`; None leaves it out.
        recover: whether the kept weights are trained; `recover_steps` None is the default of `pydisp recover`.
        prune_options, recover_options: more words for the two commands.
        test_tokens: score at most so many tokens of a test at each of `contexts`.
    """

    model: str
    texts: tuple[str, ...]
    tests: dict[str, str]
    ratio_of: str = "block"
    minutes: float | None = None
    recover: bool = False
    recover_steps: int | None = None
    prune_options: tuple[str, ...] = ()
    recover_options: tuple[str, ...] = ()
    contexts: tuple[int, ...] = (256, 1024)
    test_tokens: int = 16_384

    @property
    def name(self) -> str:
        return displayed_name(self.model)

    def as_dict(self) -> dict:
        """Plain values without paths of the machine; two jobs with equal ones give equal figures."""
        named = {"model": self.name, "texts": [Path(t).name for t in self.texts], "tests": {n: Path(t).name for n, t in self.tests.items()}}
        return json.loads(json.dumps(asdict(self) | named))

    def command(self, ratios: Sequence[float], methods: Sequence[str]) -> str:
        """The command line that repeats these rows, without folders of this machine."""
        words = ["python", "bench/quality.py", self.name, *_pairs("--text", [Path(t).name for t in self.texts])]
        words += _pairs("--test", [f"{name}={Path(source).name}" for name, source in self.tests.items()])
        words += _pairs("--keep-ratio", ratios) + ["--ratio-of", self.ratio_of, "--methods", ",".join(methods)]
        words += ["--minutes", f"{self.minutes:g}"] if self.minutes else []
        words += ["--recover"] if self.recover else []
        words += ["--recover-steps", str(self.recover_steps)] if self.recover_steps else []
        for option, given in (("--prune-options", self.prune_options), ("--recover-options", self.recover_options)):
            words += [f"{option}={shlex.join(given)}"] if given else []
        return shlex.join([*words, "--contexts", ",".join(map(str, self.contexts)), "--test-tokens", str(self.test_tokens)])


def _pairs(option: str, values: Sequence) -> list[str]:
    return [str(word) for value in values for word in (option, value)]


def pydisp(arguments: Sequence[str]) -> None:
    """Run a command of this checkout; its lines go to standard error.

    Raises: ChildProcessError if it fails; its own message has then said why.
    """
    print(f"pydisp {shlex.join(arguments)}", file=sys.stderr, flush=True)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run([sys.executable, "-m", "pydisp", *arguments], stdout=sys.stderr, env=os.environ | {"PYTHONPATH": path})
    if done.returncode:
        raise ChildProcessError(f"`pydisp {arguments[0]}` ended with {done.returncode}; repeat this command to go on from there.")


def make_folders(job: Job, method: str, ratio: float, out: Path, steps: int | None, run: Runner) -> tuple[Path | None, Path]:
    """The folder before the recovery, if there is one, and the last one; each is made only if it is not there.

    Args:
        steps: of the recovery; None is the default of `pydisp recover`.
    """
    pruned = out / f"{ratio:g}-{method}"
    recovered = out / f"{ratio:g}-{method}-recovered"
    texts = _pairs("--text", job.texts)
    prune = ["prune", job.model, "--keep-ratio", f"{ratio:g}", "--ratio-of", job.ratio_of, "--method", method, *texts, *job.prune_options]
    timed = ["--minutes", f"{job.minutes:g}"] if job.minutes and method in SEARCHED else []
    number = ["--steps", str(steps)] if steps else []
    if not job.recover:
        _made(pruned, [*prune, *timed], run)
        return None, pruned
    if timed and not pruned.exists():
        _made(recovered, [*prune, *timed, "--recover", *(["--recover-steps", str(steps)] if steps else [])], run)
        return None, recovered
    _made(pruned, [*prune, *timed], run)
    _made(recovered, ["recover", str(pruned), "--teacher", job.model, *texts, *number, *job.recover_options], run)
    return pruned, recovered


def _made(folder: Path, arguments: list[str], run: Runner) -> None:
    """Run the command that makes a folder unless it is there; one that was stopped within a search or a recovery goes on."""
    if not folder.exists():
        has_state = any(folder.with_name(f"{folder.name}.partial").glob("*.pt"))
        run([*arguments, "--out", str(folder), *["--resume"] * has_state])


@dataclass(frozen=True)
class Tests:
    """The texts to score, as windows of each context: {name: {context: (N, T) int64}}."""

    windows: dict[str, dict[int, "object"]]

    @classmethod
    def read(cls, job: Job, tokenizer) -> "Tests":
        """Raises: as `read_text` and `Tokens.windows`: a source that is not there, a text shorter than a window."""
        tokens = {name: tokenize(read_text([source]), tokenizer) for name, source in job.tests.items()}
        return cls({name: {context: spread(t, context, job.test_tokens) for context in job.contexts} for name, t in tokens.items()})

    def losses(self, folder: str, say: Callable[[str], None]) -> dict[str, dict[str, list[float]]]:
        """Nats per token of each window: {name: {context: [...]}}, of a model on the CPU in float32 (or the GPU in its own dtype)."""
        from pydisp.evaluation import evaluate_text

        device = choose_device(None)
        model = load_model(folder, device=device, dtype=choose_dtype(None, device, stored_dtype(load_config(folder))))
        scored = {}
        for name, by_context in self.windows.items():
            for context, windows in by_context.items():
                say(f"scoring {displayed_name(folder)} on {windows.numel():,} tokens of {name}, {context} at a time")
                tokens = Tokens(name, windows.flatten(), text_bytes=1, has_bos=False)  # bits per byte are not used
                scored.setdefault(name, {})[str(context)] = list(evaluate_text(model, tokens, context).window_nats)
        return scored


def spread(tokens: Tokens, context_tokens: int, most_tokens: int):
    """(N, T) int64: as many windows as have at most `most_tokens` together, evenly over the text; one at least."""
    windows = tokens.windows(context_tokens)
    wanted = min(len(windows), max(1, most_tokens // context_tokens))
    return windows[[number * len(windows) // wanted for number in range(wanted)]]


def against(dense: list[float], pruned: list[float], context_tokens: int) -> dict:
    """Both perplexities, and the damage in nats per token with its standard error over paired windows (None for a single one)."""
    differences = [after - before for before, after in zip(dense, pruned, strict=True)]
    error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else None
    means = {"dense": statistics.fmean(dense), "pruned": statistics.fmean(pruned)}
    return {
        "perplexity": {name: math.exp(min(mean, 700.0)) for name, mean in means.items()},
        "damage": means["pruned"] - means["dense"],
        "standard_error": error,
        "tokens": len(dense) * (context_tokens - 1),
    }


def compared(dense: dict, pruned: dict) -> dict:
    """`against` for each test and context."""
    return {
        name: {context: against(windows, pruned[name][context], int(context)) for context, windows in by_context.items()}
        for name, by_context in dense.items()
    }


def row_of(job: Job, method: str, ratio: float, folders: tuple[Path | None, Path], dense: dict, score: Callable[[str], dict]) -> dict:
    """Everything that the table and a reader of the JSON need of one ratio and method."""
    before, last = folders
    result = json.loads((last / "report.json").read_text())["facts"]["result"]
    speed = json.loads((last / "speed.json").read_text())
    if before is not None and "models" not in speed:  # the shapes are the same
        speed = json.loads((before / "speed.json").read_text())
    searched = json.loads(((before or last) / "report.json").read_text())["facts"]
    row = {
        "method": method, "keep_ratio": ratio, "ratio_of": job.ratio_of, "kept": result["kept"], "params": result["params"],
        "plan_digest": result["plan_digest"], "command": searched["command"], "settings": searched["settings"],
        "tests": compared(dense, score(str(last))), "speed": speed if "models" in speed else None,
    }  # fmt: skip
    if job.recover:
        row["recovery"] = result.get("recovery", {})
        row["tests_before"] = compared(dense, score(str(before))) if before else None
    return row


def run_all(job: Job, ratios: Sequence[float], methods: Sequence[str], out: Path, keep: Callable[[dict], None], run: Runner) -> dict:
    """Make what is missing, score it, and hand the record to `keep` after each row; returns the whole record.

    Raises: ValueError if `out` holds folders of another job; ChildProcessError if a command fails.
    """

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    tests = Tests.read(job, load_tokenizer(job.model))  # before anything long
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, job)
    dense = _kept(out / "dense.json", lambda: tests.losses(job.model, say))
    record = {
        "command": job.command(ratios, methods), "job": job.as_dict(), "machine": describe("cpu"), "rows": [],
        "dense": {name: {c: against(w, w, int(c)) for c, w in by_context.items()} for name, by_context in dense.items()},
    }  # fmt: skip
    steps = job.recover_steps
    for ratio in ratios:
        for method in methods:
            folders = make_folders(job, method, ratio, out, steps, run)

            def row(method=method, ratio=ratio, folders=folders) -> dict:
                return row_of(job, method, ratio, folders, dense, lambda folder: tests.losses(folder, say))

            record["rows"].append(_kept(out / f"{ratio:g}-{method}.json", row))
            if job.recover and steps is None:  # the first recovery decides: all have as many steps
                steps = record["rows"][-1]["recovery"].get("steps")
            keep(record)
    return record


def _claim(out: Path, job: Job) -> None:
    """Refuse a folder that another job has filled; else write down whose it is."""
    file, ours = out / "quality.json", job.as_dict()
    if file.is_file():
        theirs = json.loads(file.read_text())
        for name, value in ours.items():
            if theirs.get(name) != value:
                raise ValueError(
                    f"{out} holds results with {name} {theirs.get(name)!r}, this command has {value!r}; give another --out, or delete it."
                )
    write_whole(file, json.dumps(ours, indent=1) + "\n")


def _kept(file: Path, make: Callable[[], dict]) -> dict:
    """The contents of a JSON file, which is made first if it is not there."""
    if not file.is_file():
        write_whole(file, json.dumps(make(), indent=1, allow_nan=False) + "\n")
    return json.loads(file.read_text())


def keep_record(record: dict, out: Path, results_folder: Path, plans: Path, planned: Sequence[str]) -> Path:
    """Write the results file, and copy the plans of the methods in `planned`; returns the file."""
    stem = re.sub(r"[^a-z0-9.]+", "-", record["job"]["model"].lower()).strip("-")
    results_folder.mkdir(parents=True, exist_ok=True)
    file = results_folder / f"quality-{stem}.json"
    write_whole(file, json.dumps(record, indent=1, allow_nan=False) + "\n")
    for row in record["rows"]:
        name = f"{row['keep_ratio']:g}-{row['method']}"
        source = next((f for f in (out / name, out / f"{name}-recovered") if f.is_dir()), None)
        if row["method"] in planned and source is not None:
            plans.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / "plan.safetensors", plans / f"{stem}-{name}.safetensors")
    return file


def table(record: dict) -> str:
    """The main table of the README: a row a ratio and method, the best on the first test first."""
    tests = {name: list(by_context) for name, by_context in record["dense"].items()}
    first, (context, *_) = next(iter(tests.items()))
    rows = sorted(record["rows"], key=lambda row: (-row["keep_ratio"], row["tests"][first][context]["damage"]))
    has_before = any(row.get("tests_before") for row in rows)
    measured = next((row["speed"] for row in rows if row["speed"]), None)
    has_peak = bool(measured) and any("peak_mib" in model for model in measured["models"].values())
    of_blocks = record["job"]["ratio_of"] == "block"
    head = [record["job"]["model"], f"kept of {'blocks' if of_blocks else 'all'}", f"kept of {'all' if of_blocks else 'blocks'}"]
    head += [f"perplexity, {first}, {context}"] + [f"damage, {name}, {c}" for name, contexts in tests.items() for c in contexts]
    head += [f"damage without recovery, {first}, {context}"] * has_before
    head += ["prompt, tokens/s", "decoding, tokens/s"] * bool(measured) + ["peak MiB"] * has_peak
    dense = ["dense", "100%", "100%", f"{record['dense'][first][context]['perplexity']['dense']:.2f}"]
    dense += ["0"] * (sum(map(len, tests.values())) + has_before)
    lines = [dense + (_speed_cells(measured, "unpruned", has_peak) if measured else [])]
    for row in rows:
        shares = [f"{row['kept'][of]:.1%}" for of in (("block", "total") if of_blocks else ("total", "block"))]
        cells = [NAMES.get(row["method"], row["method"]), *shares, f"{row['tests'][first][context]['perplexity']['pruned']:,.2f}"]
        cells += [_damage(row["tests"][name][c]) for name, contexts in tests.items() for c in contexts]
        cells += [_damage(row["tests_before"][first][context]) if row.get("tests_before") else ""] * has_before
        lines.append(cells + (_speed_cells(row["speed"], "pruned", has_peak) if measured else []))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---", *["---:"] * (len(head) - 1)], *lines))


def _damage(scored: dict) -> str:
    error = scored["standard_error"]
    return f"{scored['damage']:.3f}" + ("" if error is None else f" ± {error:.3f}")


def _speed_cells(speed: dict | None, name: str, has_peak: bool) -> list[str]:
    """Tokens a second and MiB; for the pruned model also as multiples of the unpruned one, which took turns with it."""
    if speed is None:
        return [""] * (2 + has_peak)
    model, times = speed["models"][name], speed["times"].get("unpruned") if name == "pruned" else None
    cells = []
    for phase in ("prefill", "decode"):
        value = model[f"{phase}_tokens_per_second"]
        cells.append((f"{value:,.0f}" if value >= 100 else f"{value:.1f}") + (f" ({1 / times[phase]:.2f}×)" if times else ""))
    return cells + ([f"{model['peak_mib']:,.0f}" if "peak_mib" in model else ""] if has_peak else [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", help="a folder, a GGUF file, a hub name, or demo")
    parser.add_argument("--text", action="append", default=[], help="source to learn from, repeatable")
    parser.add_argument(
        "--test", action="append", default=[], help="source to score, or NAME=SOURCE; repeatable, the first leads the table"
    )
    parser.add_argument("--keep-ratio", action="append", type=float, default=[], help="repeatable")
    parser.add_argument("--ratio-of", default="block", choices=("block", "total"))
    parser.add_argument("--methods", default=USUAL_METHODS, help="with commas between")
    parser.add_argument("--minutes", type=float, help="for `pydisp prune --minutes` of the searched methods")
    parser.add_argument("--recover", action="store_true", help="train what is kept, as many steps for each method")
    parser.add_argument("--recover-steps", type=int)
    parser.add_argument("--prune-options", default="", help="more options of `pydisp prune`, as one word: --prune-options='--steps 50'")
    parser.add_argument("--recover-options", default="", help="the same for `pydisp recover`")
    parser.add_argument("--contexts", default="256,1024")
    parser.add_argument("--test-tokens", type=int, default=Job.test_tokens, help="score at most so many tokens of a test at each context")
    parser.add_argument("--out", type=Path, default=Path("build/quality"))
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--plans", type=Path, default=ROOT / "bench" / "quality" / "plans")
    parser.add_argument("--keep-plans-of", default="disp", help="methods whose plans are copied, with commas between")
    parser.add_argument("--table", type=Path, help="print the table of this results file and do nothing else")
    args = parser.parse_args()
    if args.table:
        print(table(json.loads(args.table.read_text())))
        return
    try:
        job, methods = _job(args)
        quiet_libraries()
        record = run_all(job, args.keep_ratio, methods, args.out, lambda record: keep_record(record, **_places(args)), pydisp)
    except (ValueError, OSError, ImportError) as problem:  # ChildProcessError and FileNotFoundError are OSErrors
        parser.exit(1, f"{' '.join(str(problem).split())}\n")
    print(table(record))
    print(keep_record(record, **_places(args)), file=sys.stderr)


def _places(args: argparse.Namespace) -> dict:
    return {"out": args.out, "results_folder": args.results, "plans": args.plans, "planned": args.keep_plans_of.split(",")}


def _job(args: argparse.Namespace) -> tuple[Job, list[str]]:
    """The job and the methods that a command line asks for.

    Raises: ValueError, before anything is loaded, for what is missing or wrong.
    """
    for name, given in (("MODEL", args.model), ("--text", args.text), ("--test", args.test), ("--keep-ratio", args.keep_ratio)):
        if not given:
            raise ValueError(f"no {name} was given; `python bench/quality.py --help` lists what it takes.")
    methods = args.methods.split(",")
    for method in (*methods, *args.keep_plans_of.split(",")):
        if method not in METHODS:
            raise ValueError(f"unknown method {method!r}; known: {', '.join(METHODS)}.")
    for ratio in args.keep_ratio:
        PruneSettings(keep_ratio=ratio, ratio_of=args.ratio_of)
    try:
        contexts = tuple(int(context) for context in args.contexts.split(","))
    except ValueError:
        raise ValueError(f"--contexts is {args.contexts!r}; give whole numbers with commas between, such as 256,1024.") from None
    for name, value, least in (
        ("--contexts", min(contexts), 2), ("--test-tokens", args.test_tokens, max(contexts)), ("--recover-steps", args.recover_steps, 1),
    ):  # fmt: skip
        if value is not None and value < least:
            raise ValueError(f"{name} is {value}; it must be at least {least}.")
    if (args.recover_steps or args.recover_options) and not args.recover:
        raise ValueError("options of a recovery were given without --recover; add it.")
    results.check_folder("--out", args.out)
    results.check_folder("--results", args.results)
    more = {name: tuple(shlex.split(getattr(args, name))) for name in ("prune_options", "recover_options")}
    shared = {name: getattr(args, name) for name in ("model", "ratio_of", "minutes", "recover", "recover_steps", "test_tokens")}
    return Job(texts=tuple(args.text), tests=_named(args.test), contexts=contexts, **shared, **more), methods


def _named(tests: Sequence[str]) -> dict[str, str]:
    """By name, the sources of `NAME=SOURCE`; a source without a name is its own."""
    named = {}
    for test in tests:
        name, mark, source = test.partition("=")
        name, source = (name, source) if mark else (Path(test).name, test)
        if named.setdefault(name, source) != source:
            raise ValueError(f"two tests are called {name!r}; give each its own name: --test NAME=SOURCE.")
    return named


if __name__ == "__main__":
    main()
