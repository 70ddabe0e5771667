"""Toolken+ on real models, dense and pruned: three seeds of training, every mode; the tables of docs/toolken.md.

    python bench/toolken_before_after.py smollm2 --model MODEL --pruned "pruned 0.7=DIR"
    python bench/toolken_before_after.py smollm2-data --model MODEL --pruned "pruned 0.7=DIR" --no-generated --gsm8k FOLDER --metatool FOLDER
    python bench/toolken_before_after.py demo --model demo --answers 0
    python bench/toolken_before_after.py smollm2 --draw                       # the tables again from the results, without any work

Toolkens are trained for each model (they belong to one), on generated problems of family a with each seed. They are evaluated on other problems of
family a and on family b, whose wording was never trained on. With --gsm8k, toolkens of the four basic operations are trained on GSM8K's gold calls and
selection is evaluated on its test part; with --metatool, toolkens of the tools by their documentation. Folders stand in --work and are used
again; a stopped run goes on. The figures go to bench/results/toolken-NAME.json.
"""

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

from machine import ROOT, describe

from pydisp.progress import duration_words, on_stderr
from pydisp.workspace import write_whole

SEEDS = (0, 1, 2)
DENSE = "dense"
# by column the measures, of which the first that there is is shown: end to end before teacher-forced
COLUMNS = {
    "right tool called, %": ("selection",), "right tool first, %": ("top_1",), "right answer, %": ("accuracy",),
    "called, not needed, %": ("unneeded_answers", "unneeded_problems"), "needed, not called, %": ("missed", "missed_problems"),
    "AUROC": ("auroc",), "ECE": ("ece",), "calls": ("calls",), "failed": ("failed",), "rejected": ("rejected",), "repeated": ("repeated",),
}  # fmt: skip


def models(args: argparse.Namespace) -> dict[str, str]:
    return {DENSE: args.model, **{label: folder for label, _, folder in (one.partition("=") for one in args.pruned)}}


def sets(args: argparse.Namespace) -> dict[str, dict]:
    """By name: what is trained on, what is evaluated on."""
    found: dict[str, dict] = {}
    if not args.no_generated:
        found["generated"] = {
            "seeds": SEEDS,
            "train": "builtin",
            "count": args.train,
            "on": {"family a": "builtin:a", "family b": "builtin:b"},
            "test": args.test,
            "answers": args.answers,
        }
    if args.gsm8k:
        found["GSM8K"] = {
            "seeds": SEEDS[: args.other_seeds],
            "train": f"gsm8k:{args.gsm8k}/train.jsonl",
            "count": args.gsm8k_train,
            "on": {"GSM8K": f"gsm8k:{args.gsm8k}/test.jsonl"},
            "test": args.gsm8k_test,
            "answers": args.gsm8k_answers,
        }
    if args.metatool:
        found["MetaTool"] = {
            "seeds": SEEDS[: args.other_seeds],
            "train": f"metatool:{args.metatool}",
            "count": args.metatool_train,
            "on": {"MetaTool": f"metatool:{args.metatool}"},
            "test": args.metatool_test,
            "answers": 0,
        }
    return found


def measured(args: argparse.Namespace) -> tuple[dict, dict]:
    """Figures by model and data, and the seconds that each part took (kept in --work, so that a stopped run has all of them)."""
    from pydisp.toolken import TrainSettings, evaluate_to_folder, train_to_folder

    args.work.mkdir(parents=True, exist_ok=True)
    clock = args.work / "seconds.json"
    found: dict = {}

    def kept() -> dict:
        return json.loads(clock.read_text()) if clock.exists() else {}

    seconds = kept()

    def timed(name: str, out: Path, work) -> None:
        if not out.exists():
            start = time.monotonic()
            try:
                work(out.with_name(f"{out.name}.partial").exists())
            finally:  # what a stopped run did counts too
                seconds.update(kept())  # another part may have written since
                seconds[name] = seconds.get(name, 0) + time.monotonic() - start
                write_whole(clock, json.dumps(seconds, indent=1))
            on_stderr(f"{name}: {duration_words(seconds[name])}")

    for label, model in models(args).items():
        if args.part not in (None, label):
            continue
        for name, part in sets(args).items():
            folders = []
            for seed in part["seeds"]:
                folders.append(args.work / f"{label}-{name}-{seed}".replace(" ", "-"))
                timed(
                    f"train {label}, {name}, seed {seed}",
                    folders[-1],
                    lambda resume, out=folders[-1], seed=seed, model=model, part=part: train_to_folder(
                        model, out, data=part["train"], count=part["count"], settings=TrainSettings(seed=seed), resume=resume, say=on_stderr
                    ),
                )
            for data, source in part["on"].items():
                out = args.work / f"{label}-{data}-report".replace(" ", "-")
                timed(
                    f"evaluate {label}, {data}",
                    out,
                    lambda resume, out=out, source=source, model=model, part=part, folders=tuple(folders): evaluate_to_folder(
                        model,
                        folders,
                        out,
                        data=source,
                        count=part["test"],
                        answers=part["answers"],
                        seed=args.problem_seed,
                        resume=resume,
                        say=on_stderr,
                    ),
                )
                figures = json.loads((out / "toolken.json").read_text(encoding="utf-8"))
                found.setdefault(label, {})[data] = {name: one for name, one in figures.items() if name != "curves"}
    return found, seconds


def cell(mode: dict, names: tuple[str, ...]) -> str:
    """`31 (24 to 39)`, in per cent with the interval, for a share; `0.81 (0.76 to 0.85)` for an AUROC; counts and the ECE as they are."""
    for name in names:
        estimate = mode["estimates"].get(name)
        if estimate is not None:
            factor, places = (1, 2) if name == "auroc" else (100, 0)
            ends = (
                ""
                if estimate["interval"] is None
                else " ({} to {})".format(*(f"{factor * end:.{places}f}" for end in estimate["interval"]))
            )
            return f"{factor * estimate['value']:.{places}f}{ends}"
        if mode.get(name) is not None:
            return f"{mode[name]:.2f}" if name == "ece" else f"{mode[name]:.1f}"
    return ""


def tables(record: dict) -> str:
    from pydisp.toolken.evaluating.claims import Claim

    lines = [f"All of it took {duration_words(sum(record['seconds'].values()))} of one thread.", ""]
    for label, of in record["models"].items():
        for data, one in of.items():
            problems = one["problems"]
            lines += [
                f"**{label}, {data}**: {problems['problems']} problems in {problems['groups']} groups, {problems['need_a_tool']} need a tool, {problems['answered']} answered",
                "",
            ]
            rows = {mode: [cell(values, names) for names in COLUMNS.values()] for mode, values in one["modes"].items()}
            kept = [place for place in range(len(COLUMNS)) if any(row[place] for row in rows.values())]
            lines += ["| mode | " + " | ".join(list(COLUMNS)[place] for place in kept) + " |", "| --- |" + " ---: |" * len(kept)]
            lines += [f"| `{mode}` | " + " | ".join(row[place] for place in kept) + " |" for mode, row in rows.items()]
            lines += ["", *(f"- {Claim(**claim).sentence}" for claim in one["claims"]), ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the results file")
    parser.add_argument("--model", help="the dense model")
    parser.add_argument("--pruned", action="append", default=[], metavar="LABEL=DIR")
    parser.add_argument("--no-generated", action="store_true", help="only GSM8K and MetaTool")
    parser.add_argument("--train", type=int, default=900, help="generated problems to train on")
    parser.add_argument("--test", type=int, default=300, help="generated problems of each family to evaluate on")
    parser.add_argument(
        "--problem-seed", type=int, default=2000, help="of the problems to evaluate on; 1000 was looked at while settings were chosen"
    )
    parser.add_argument("--answers", type=int, default=200, help="how many of them are answered end to end")
    parser.add_argument("--other-seeds", type=int, default=3, choices=(1, 2, 3), help="trainings on GSM8K and on MetaTool")
    parser.add_argument("--gsm8k", type=Path, help="folder of train.jsonl and test.jsonl")
    parser.add_argument("--gsm8k-train", type=int, default=200)
    parser.add_argument("--gsm8k-test", type=int, default=60)
    parser.add_argument("--gsm8k-answers", type=int, default=32)
    parser.add_argument("--metatool", type=Path, help="folder of MetaTool's files")
    parser.add_argument("--metatool-train", type=int, default=600, help="half of its queries without a tool stay for the evaluation")
    parser.add_argument("--metatool-test", type=int, default=300)
    parser.add_argument("--part", metavar="LABEL", help="work on one model only (the dense one is 'dense'), and write no results yet")
    parser.add_argument("--note", default="", help="how the models were made")
    parser.add_argument("--work", type=Path, help="folder of toolkens and reports; by default build/toolken/NAME")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--draw", action="store_true", help="only the tables of results that are there")
    args = parser.parse_args()
    file = args.results / f"toolken-{args.name}.json"
    args.work = args.work or Path("build/toolken") / args.name
    try:
        if not args.draw:
            if not args.model:
                raise ValueError("there is no model; give --model MODEL.")
            if not sets(args):
                raise ValueError("nothing is left to measure; give --gsm8k or --metatool, or leave --no-generated out.")
            if args.part not in (None, *models(args)):
                raise ValueError(f"there is no model {args.part!r}; there are: {', '.join(models(args))}.")
            found, seconds = measured(args)
            if args.part:
                return
            left_out = ("name", "model", "pruned", "work", "results", "draw", "note", "part")
            words = [f"--{key.replace('_', '-')} {Path(value).name if isinstance(value, Path) else value}" for key, value in vars(args).items() if key not in left_out and value is not None and value is not False]  # fmt: skip
            words = [one.removesuffix(" True") for one in words]
            pruned = [f"--pruned {shlex.quote(f'{label}={Path(folder).name}')}" for label, folder in models(args).items() if label != DENSE]
            record = {
                "command": " ".join(["python bench/toolken_before_after.py", args.name, "--model", Path(args.model).name, *pruned, *words]),
                "note": args.note, "machine": describe("cpu"), "seeds": {name: part["seeds"] for name, part in sets(args).items()}, "seconds": seconds, "models": found,
            }  # fmt: skip
            write_whole(file, json.dumps(record, indent=1, default=float) + "\n")
        print(tables(json.loads(file.read_text(encoding="utf-8"))))
    except (OSError, ValueError) as error:
        sys.exit(f"toolken_before_after: {error}")


if __name__ == "__main__":
    main()
