"""HoloBench on real models, dense and pruned; the table of docs/holobench.md.

    python bench/holobench_before_after.py smollm2 --model MODEL --pruned "pruned 0.7=DIR" --lengths 512,1024,2048 --amounts 120,300 --template chat
    python bench/holobench_before_after.py demo --model demo --pruned "pruned 0.7=DIR" --form likelihood
    python bench/holobench_before_after.py smollm2 --draw                     # the table again from the results, without any work

One benchmark is built for the model's tokenizer, in both of a row: every model answers it, and the dense one once more without the facts, as a control of
what the choices alone give away. Data and predictions stand in --work and are used again (a stopped run goes on). The figures go to
bench/results/holobench-NAME.json.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path

from machine import ROOT, describe

from pydisp.holobench.items import CLASSES
from pydisp.progress import duration_words, on_stderr
from pydisp.workspace import write_whole

DENSE, CONTROL = "dense", "without the facts"


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def answered(args: argparse.Namespace) -> tuple[dict[str, Path], dict[str, float]]:
    """The predictions of each model, and the seconds that those made now took."""
    import time

    from pydisp.holobench import build, run

    args.work.mkdir(parents=True, exist_ok=True)
    data = args.work / "bench.jsonl"
    if not data.exists():
        share = {"amounts": numbers(args.amounts)} if args.amounts else {}
        lengths = numbers(args.lengths) if args.lengths else None
        build(
            data, database=args.database, tokenizer=args.model, lengths=lengths, template=args.template, per_length=args.per_length, seed=args.seed,
            say=on_stderr, **share,
        )  # fmt: skip
    check(args, data)
    files, seconds = {}, {}
    for label, model, options in [
        (DENSE, args.model, {"form": args.form}),
        *((label, folder, {"form": args.form}) for label, _, folder in (pair.partition("=") for pair in args.pruned)),
        (CONTROL, args.model, {"form": "likelihood", "without_context": True}),
    ]:
        files[label] = out = args.work / f"{label.replace(' ', '-')}.jsonl"
        if not out.exists():
            start = time.monotonic()
            run(model, data, out=out, resume=out.with_name(f"{out.name}.partial").exists(), say=on_stderr, **options)
            seconds[label] = time.monotonic() - start
            on_stderr(f"{label}: {duration_words(seconds[label])}")
    return files, seconds


def check(args: argparse.Namespace, data: Path) -> None:
    """Refuse data of other options, which an earlier run left."""
    manifest = json.loads(data.with_suffix(".manifest.json").read_text(encoding="utf-8"))
    asked = {
        "seed": args.seed,
        "amounts": numbers(args.amounts) if args.amounts else [],
        "lengths": numbers(args.lengths) if args.lengths else manifest["lengths"],
    }
    for name, value in asked.items():
        if manifest[name] != value:
            raise ValueError(f"{data} was built with {name} {manifest[name]}, not {value}; choose another --work.")
    if manifest["style"]["template"] != args.template or manifest["tokenizer"]["name"] != Path(args.model).name:
        raise ValueError(f"{data} was built for {manifest['tokenizer']['name']}, {manifest['style']['template']}; choose another --work.")


def measured(data: Path, files: dict[str, Path]) -> dict:
    """By label the figures, and for pruned models the differences to the dense one."""
    from pydisp.holobench import score
    from pydisp.holobench.figures.claims import claims

    found = {}
    for label, file in files.items():
        scored = score(data, file, against=None if label == DENSE else files[DENSE])
        result = scored.as_dict()
        result.get("against", {}).pop("results", None)
        measures = [name for name, has in (("f1", scored.results.has_answers), ("accuracy", scored.results.has_choices)) if has]
        result["claims"] = {name: [one.as_dict() for one in claims(scored.results.scored, name)] for name in measures}
        found[label] = result
    return found


def _share(one: dict | None, measure: str) -> str:
    """`31 (24 to 39)`, in per cent."""
    if not one or one.get(measure) is None:
        return ""
    value = one[measure]
    interval = one.get("interval") if measure in ("f1", "accuracy") else None
    return f"{100 * value:.0f}" + ("" if not interval else f" ({100 * interval[0]:.0f} to {100 * interval[1]:.0f})")


def tables(record: dict) -> str:
    """Markdown: each model's F1, recall and accuracy in all and by length, amount or density, and class; then differences and claims."""
    models = record["models"]
    first = models[DENSE]
    share = next(name for name in ("by_amount", "by_density") if name in first)
    groups = [("all", None, None)]
    for breakdown in ("by_length", share, "by_class"):
        names = (
            list((first["likelihood"] or first)[breakdown])
            if breakdown != "by_class"
            else [name for name in CLASSES if name in first["by_class"]]
        )
        groups += [
            (f"{breakdown.removeprefix('by_').replace('_', ' ')} {name}".replace("class ", "").replace("_", " "), breakdown, name)
            for name in names
        ]
    lines = []
    for title, measure, of in (
        ("F1 of generated answers, per cent (95 %)", "f1", lambda one: one),
        ("accuracy among four choices, per cent (95 %); chance is 25", "accuracy", lambda one: one["likelihood"]),
    ):
        shown = {label: of(one) for label, one in models.items() if of(one) and of(one).get(measure) is not None}
        if not shown:
            continue
        lines += [title, "", "| | items | " + " | ".join(shown) + " |", "| --- |" + " ---: |" * (len(shown) + 1)]
        for name, breakdown, group in groups:
            cells = [one if breakdown is None else one[breakdown].get(group) or {} for one in shown.values()]
            lines.append(f"| {name} | {cells[0].get('n', '')} | " + " | ".join(_share(cell, measure) for cell in cells) + " |")
        lines.append("")
    for label, one in models.items():
        if label == DENSE:
            continue
        for measure in ("f1", "recall", "accuracy"):
            if measure in one["against"]:
                found = one["against"][measure]
                ends = "" if not found["interval"] else f" ({100 * found['interval'][0]:+.1f} to {100 * found['interval'][1]:+.1f})"
                lines.append(f"- {label} minus {DENSE}, {measure}: {100 * found['mean']:+.1f} points{ends}, p = {found['p']:.3f}")
    for label, one in models.items():
        for measure, found in one["claims"].items() if label != CONTROL else ():
            lines += [f"- {label}, {measure}: {claim['statement']} {claim['verdict']}: {claim['words']}" for claim in found]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the results file")
    parser.add_argument("--model", help="the dense model")
    parser.add_argument("--pruned", action="append", default=[], metavar="LABEL=DIR")
    parser.add_argument("--database", default="generated")
    parser.add_argument("--lengths", help="such as 512,1024; by default what the model reads")
    parser.add_argument("--amounts", help="tokens of relevant rows, such as 120,300; by default the density of pydisp holobench build")
    parser.add_argument("--per-length", type=int, default=45)
    parser.add_argument("--template", default="plain")
    parser.add_argument("--form", default="both")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--note", default="", help="how the models were made")
    parser.add_argument("--work", type=Path, help="folder of data and predictions; by default build/holobench/NAME")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--draw", action="store_true", help="only the table of results that are there")
    args = parser.parse_args()
    file = args.results / f"holobench-{args.name}.json"
    args.work = args.work or Path("build/holobench") / args.name
    try:
        if not args.draw:
            if not args.model:
                raise ValueError("there is no model; give --model MODEL.")
            files, seconds = answered(args)
            words = [f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in vars(args).items()
                     if name in ("lengths", "amounts", "per_length", "template", "form", "seed", "database") and value is not None]  # fmt: skip
            pruned = [
                f"--pruned {shlex.quote(f'{label}={Path(folder).name}')}"
                for label, _, folder in (one.partition("=") for one in args.pruned)
            ]
            record = {
                "command": " ".join(["python bench/holobench_before_after.py", args.name, "--model", Path(args.model).name, *pruned, *words]),
                "note": args.note, "machine": describe("cpu"), "seconds": seconds,
                "manifest": json.loads((args.work / "bench.manifest.json").read_text(encoding="utf-8")),
                "models": measured(args.work / "bench.jsonl", files),
            }  # fmt: skip
            write_whole(file, json.dumps(record, indent=1, default=float) + "\n")
        print(tables(json.loads(file.read_text(encoding="utf-8"))))
    except (OSError, ValueError) as error:
        sys.exit(f"holobench_before_after: {error}")


if __name__ == "__main__":
    main()
