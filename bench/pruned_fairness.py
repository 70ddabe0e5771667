"""Who pays for pruning: loss by frequency of pruned folders against their dense model, by id and by word; the table of docs/fairness.md.

    python bench/pruned_fairness.py MODEL --text test.txt --counts-text train.txt \\
        --pruned "disp 0.8=OUT/0.8-disp" --pruned "wanda 0.8=OUT/0.8-wanda"
    python bench/pruned_fairness.py --draw bench/results/fairness-of-pruned-MODEL.json      # table and pictures again, without any work

The figures go to bench/results/fairness-of-pruned-MODEL.json after each folder; the same command again audits only folders that are not
there. The picture, by word, goes to docs/.
"""

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path

from machine import ROOT, describe

from pydisp.workspace import write_whole

MODES = ("id", "word")
PICTURED = "word"
_KEPT = ("average", "whole", "balanced", "excess", "parts", "bins", "classes", "agreement")


def remember_passes() -> None:
    """Let audits of this process score each model once: the two units of a folder need the same pass, and all folders that of the dense one."""
    from pydisp.fairness import scores

    score, known = scores.token_values, {}

    def token_values(model, windows, *, title, **options):
        key = title, windows.shape, hashlib.sha256(windows.numpy().tobytes()).hexdigest()
        if key not in known:
            known[key] = score(model, windows, title=title, **options)
        return known[key]

    scores.token_values = token_values


def audited(model: str, folder: str, mode: str, args) -> dict:
    """What the table needs of one audit."""
    from pydisp.fairness import audit
    from pydisp.progress import on_stderr

    found = audit(
        folder, text=args.text, against=model, mode=mode, counts=args.counts, counts_text=args.counts_text, context_tokens=args.context,
        most_tokens=args.evaluation_tokens, say=on_stderr,
    ).as_dict()  # fmt: skip
    dense = {"average_nats": found["average_nats"] - found["delta"]["average"]["mean"]}
    return {
        "unit": found["unit"], "tokens": found["tokens"], "documents": found["documents"], "counts_source": found["counts_source"],
        "average_nats": found["average_nats"], "dense": dense, "delta": {name: found["delta"][name] for name in _KEPT},
        "bins": [{name: one[name] for name in ("low", "high", "types", "units", "documents")} for one in found["bins"]],
        "parts": {name: {k: one[k] for k in ("low", "high", "types", "units")} for name, one in found["parts"].items()},
    }  # fmt: skip


def table(record: dict, mode: str) -> str:
    """A row a folder: mean differences; 95 % intervals of the average and of the tail excess; by word also nats a byte: rare words are long."""
    unit = {"id": "token", "word": "word"}[mode]
    head = [f"pruned minus dense, nats a {unit}", "average", "head", "torso", "tail", "tail minus all", "balanced", "same first choice"]
    head += ["head, nats a byte", "tail, nats a byte"] if mode == "word" else []
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for name, by_mode in record["rows"].items():
        delta = by_mode[mode]["delta"]
        parts = delta["parts"]
        cells = [name, _cell(delta["whole"]), *(f"{parts[part]['mean']:.3f}" for part in ("head", "torso", "tail")), _cell(delta["excess"])]
        cells += [f"{delta['balanced']['mean']:.3f}", f"{delta['agreement']:.0%}"]
        if mode == "word":
            cells += [f"{parts[part]['nats_per_byte']:.3f}" for part in ("head", "tail")]
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(estimate: dict) -> str:
    interval = estimate["interval"]
    return f"{estimate['mean']:.3f}" + ("" if interval is None else f" ({interval[0]:.3f} to {interval[1]:.3f})")


def picture(record: dict, mode: str) -> str:
    """Difference by count, a panel a method, a line a folder, as SVG on white; bins without an interval in any folder are left out."""
    from pydisp.report.drawing import INK, SERIES, SOFT, WIDTH_INCHES, drawing, new_figure, quiet, svg_on_white

    rows = {name: by_mode[mode] for name, by_mode in record["rows"].items()}
    bins = next(iter(rows.values()))["bins"]
    shown = [n for n in range(len(bins)) if any(_interval(row, n) for row in rows.values())]
    methods = list(dict.fromkeys(name.rpartition(" ")[0] for name in rows))
    with drawing(on_white=True):
        figure = new_figure(WIDTH_INCHES, 3.3)
        panels = figure.subplots(1, len(methods), squeeze=False)[0]
        for axes, method in zip(panels, methods, strict=True):
            axes.axhline(0, color=INK, linewidth=0.8)
            its = [name for name in rows if name.rpartition(" ")[0] == method]
            for name, colour, mark in zip(its, SERIES, "osD^vP", strict=False):
                places = [place for place, n in enumerate(shown) if _interval(rows[name], n)]
                deltas = [rows[name]["delta"]["bins"][shown[place]] for place in places]
                axes.plot(places, [one["mean"] for one in deltas], color=colour, marker=mark, markersize=4, linewidth=1.4, label=name)
                for place, one in zip(places, deltas, strict=True):
                    axes.fill_between([place - 0.25, place + 0.25], *one["interval"], color=colour, alpha=0.2, linewidth=0)
            axes.set_xticks(range(len(shown)), [f"{bins[n]['low']:,}" for n in shown], rotation=60, ha="right", rotation_mode="anchor")
            axes.set_xlabel(f"times in {record['counted']}, from", color=SOFT)
            axes.set_ylabel(f"nats a {'token' if mode == 'id' else 'word'}, pruned minus dense")
            axes.legend()
            quiet(axes)
        return svg_on_white(figure)


def _interval(row: dict, number: int) -> list | None:
    one = row["delta"]["bins"][number]
    return None if one is None else one["interval"]


def draw(record: dict, docs: Path) -> None:
    """Print the tables and write the picture that docs/fairness.md shows."""
    for mode in record["modes"]:
        print(f"\n{table(record, mode)}")
    if PICTURED in record["modes"]:
        write_whole(docs / f"fairness-{record['stem']}-{PICTURED}.svg", picture(record, PICTURED))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--pruned", action="append", default=[], help="NAME=FOLDER, repeatable")
    parser.add_argument("--text", action="append", help="held-out text")
    parser.add_argument("--counts", help="file of counts (one mode only), or demo")
    parser.add_argument("--counts-text", action="append")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--evaluation-tokens", type=int, default=65_536)
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    parser.add_argument("--pruned-by", default="", help="the command that made the folders, for the record")
    parser.add_argument("--draw", type=Path, help="only print and draw this results file")
    args = parser.parse_args()
    if args.draw:
        return draw(json.loads(args.draw.read_text()), args.docs)
    if not (args.model and args.text and args.pruned):
        parser.exit(1, "give MODEL, --text and --pruned NAME=FOLDER.\n")
    from pydisp.commands.output import quiet_libraries
    from pydisp.loading import displayed_name

    quiet_libraries()
    remember_passes()
    folders = dict(one.split("=", 1) for one in args.pruned)
    stem = re.sub(r"[^a-z0-9.]+", "-", displayed_name(args.model).lower()).strip("-")
    file = args.results / f"fairness-of-pruned-{stem}.json"
    names = [Path(one).name for one in args.counts_text or ()]
    command = ["python bench/pruned_fairness.py", displayed_name(args.model), "--text", *(Path(one).name for one in args.text)]
    command += [f"--counts {args.counts}"] * bool(args.counts) + [f"--counts-text {name}" for name in names]
    command += [f"--modes {args.modes} --context {args.context} --evaluation-tokens {args.evaluation_tokens}"]
    settings = " ".join(command)
    command += [f'--pruned "{name}={Path(folder).name}"' for name, folder in folders.items()]
    record = {
        "command": " ".join(command), "pruned_by": args.pruned_by, "settings": settings, "stem": stem, "modes": args.modes.split(","), "machine": describe("cpu"),
        "counted": " and ".join(names) or (f"the {args.counts} model's training text" if args.counts else "the scored text"), "rows": {},
    }  # fmt: skip
    known = json.loads(file.read_text()) if file.is_file() else {}
    if known.get("settings") == settings:
        record["rows"] = {name: row for name, row in known["rows"].items() if name in folders}
    for name, folder in folders.items():
        done = record["rows"].get(name, {})
        record["rows"][name] = {mode: done.get(mode) or audited(args.model, folder, mode, args) for mode in record["modes"]}
        write_whole(file, json.dumps(record, indent=1) + "\n")
        print(f"{name}: done", file=sys.stderr, flush=True)
    draw(record, args.docs)


if __name__ == "__main__":
    main()
