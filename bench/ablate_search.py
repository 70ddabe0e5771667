"""What each choice of the search is worth: damage of the demo model at equal steps, one choice changed at a time, and the search before.

    python bench/ablate_search.py                                   # every cell that bench/results/demo-search.json does not have yet
    python bench/ablate_search.py --cells new before --steps 50     # some of them
    python bench/ablate_search.py --table                           # print the table of the file

Damage is ln(perplexity pruned / perplexity dense) on the held-out docstrings, all windows of 256 tokens; half of all parameters are kept.
Each cell runs in a process of its own; `before` runs the code of the commit BEFORE, which git must have.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "bench/results/demo-search.json"
BEFORE = "3b23b842"
STEPS, SEEDS = (50, 150, 600), (0, 1, 2)
# name: (words for the table, settings that differ, names in pydisp.pruning.search that differ)
CELLS = {
    "before": ("the search before (all at probability 0.95, penalty)", {}, {}),
    "new": ("as it is now", {}, {}),
    "wanda": ("start: Wanda's scores", {"start": "wanda"}, {}),
    "flap": ("start: FLAP's scores", {"start": "flap"}, {}),
    "none": ("start: all alike", {"start": "none"}, {}),
    "plain": ("plain logits for the hypernetwork", {"hypernetwork": False}, {}),
    "last": ("the last logits for the mean of a tenth of the steps", {}, {"AVERAGED_SHARE": 0.0}),
    "mean-30": ("the mean of the last 30 % of the steps", {}, {"AVERAGED_SHARE": 0.3}),
    "at-once": ("the budget from the first step", {}, {"BUDGET_SHARE": 1e-9}),
    "penalty": ("the offset without its gradient, lambda 6", {"regularization": 6.0}, {"at_budget": "without gradient"}),
}


def measure(cell: str, steps: int, seed: int) -> dict:
    """Search, prune and score in this process, with the pydisp of the cell."""
    sys.path.insert(0, str(source_of(cell)))
    import torch

    from pydisp.evaluation import evaluate_text
    from pydisp.loading import load_model, load_tokenizer
    from pydisp.pruning import search
    from pydisp.pruning.corpora import Corpora
    from pydisp.pruning.settings import PruneSettings
    from pydisp.spec import ModelSpec
    from pydisp.surgery import prune_model

    model, tokenizer = load_model("demo", device=torch.device("cpu"), dtype=torch.float32), load_tokenizer("demo")
    spec = ModelSpec.from_model(model)
    corpora = Corpora.read(None, tokenizer, model.config.vocab_size)
    _, changed, names = CELLS[cell]
    for name, value in names.items():
        setattr(search, name, _without_gradient(search.at_budget) if name == "at_budget" else value)
    settings = PruneSettings(keep_ratio=0.5, steps=steps, seed=seed, **changed).resolved(spec, model.config.max_position_embeddings)
    began = time.perf_counter()
    one = search.Search(model, spec, corpora.calibration.windows(settings.context_tokens), settings)
    pruned = prune_model(model, one.run(), spec)
    seconds = time.perf_counter() - began
    dense, after = (evaluate_text(m, corpora.heldout, settings.context_tokens).nats_per_token for m in (model, pruned))
    kept = sum(p.numel() for p in pruned.parameters()) / spec.parameters_total
    return {"damage": after - dense, "kept_total": kept, "seconds": seconds, "settings": settings.as_dict()}


def _without_gradient(at_budget):
    """The offset as a number."""
    import torch

    def fixed(logits, spec, wanted):
        with torch.enable_grad():
            moved = at_budget([type(g)(*(x.detach() for x in g)) for g in logits], spec, wanted)
        return [type(g)(*(x + (y.detach() - x.detach()) for x, y in zip(g, m, strict=True))) for g, m in zip(logits, moved, strict=True)]

    return fixed


def source_of(cell: str) -> Path:
    """The folder whose pydisp a cell runs."""
    if cell != "before":
        return ROOT
    folder = ROOT / "build" / f"before-{BEFORE}"
    if not folder.is_dir():
        folder.mkdir(parents=True)
        archive = subprocess.run(["git", "-C", ROOT, "archive", BEFORE, "pydisp", "kernels"], check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        for native in (ROOT / "pydisp").glob("_native*.so"):
            shutil.copy(native, folder / "pydisp")
    return folder


def table(cells: dict[str, dict]) -> list[str]:
    """Rows of Markdown: the mean over seeds of the damage, and every seed."""
    lines = [
        f"| damage, {' / '.join(f'seed {s}' for s in SEEDS)} | " + " | ".join(f"{s} steps" for s in STEPS) + " |",
        "|---" * (1 + len(STEPS)) + "|",
    ]
    for name, (words, _, _) in CELLS.items():
        row = []
        for steps in STEPS:
            found = [cells[key]["damage"] for seed in SEEDS if (key := f"{name}-{steps}-{seed}") in cells]
            each = f" ({' / '.join(f'{x:.3f}' for x in found)})" if len(found) > 1 else ""
            row.append(f"{sum(found) / len(found):.3f}{each}" if found else "")
        if any(row):
            lines.append(f"| {words} | " + " | ".join(row) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--steps", nargs="+", type=int, choices=STEPS, default=list(STEPS))
    parser.add_argument("--seeds", nargs="+", type=int, choices=SEEDS, default=list(SEEDS))
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--again", action="store_true", help="measure cells that the file has already")
    parser.add_argument("--table", action="store_true", help="print the table of the file and stop")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one[0], int(args.one[1]), int(args.one[2]))))
        return
    record = json.loads(args.out.read_text()) if args.out.is_file() else {"command": "python bench/ablate_search.py", "cells": {}}
    if args.table:
        print("\n".join(table(record["cells"])))
        return
    # Not at the top: they import the pydisp of this checkout, and `before` runs another.
    from machine import describe

    from pydisp.workspace import write_whole

    machine = describe("cpu")
    for steps in args.steps:
        for seed in args.seeds:
            for cell in args.cells:
                key = f"{cell}-{steps}-{seed}"
                if key in record["cells"] and not args.again:
                    continue
                words = [sys.executable, __file__, "--one", cell, str(steps), str(seed)]
                done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
                commit = BEFORE if cell == "before" else machine["commit"]
                record["cells"][key] = json.loads(done.stdout.splitlines()[-1]) | {"commit": commit, "threads": machine["threads"]}
                record |= {"machine": machine["device"], "versions": machine["versions"], "date": machine["date"]}
                record["table"] = table(record["cells"])
                write_whole(args.out, json.dumps(record, indent=1, sort_keys=True) + "\n")
                print(key, f"{record['cells'][key]['damage']:.4f}", file=sys.stderr, flush=True)
    print("\n".join(table(record["cells"])))


if __name__ == "__main__":
    main()
