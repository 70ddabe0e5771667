"""Learned masks against every baseline at the same size: the table of docs/pruning.md.

    python bench/masks.py                      # the demo model, as `make demo` runs it
    python bench/masks.py --model M --text T --keep-ratio 0.5 --ratio-of block --out build/masks

Each row is a separate `pydisp prune`, all with the same budget. `--learned` and `--reuse` read folders that exist already.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
from pathlib import Path

import torch

METHODS = {
    "disp": "learned masks",
    "constrained": "one learned mask for all blocks",
    "layerdrop": "layer drop",
    "wanda": "Wanda",
    "magnitude": "magnitude",
    "random": "random",
}


def result_of(folder: Path, arguments: list[str], reuse: bool) -> dict:
    """The facts in a folder's report; the folder is made first, unless it exists and may be reused."""
    if not (reuse and (folder / "report.json").is_file()):
        print(f"{folder.name}: pydisp {' '.join(arguments)}", file=sys.stderr, flush=True)
        subprocess.run(
            [sys.executable, "-m", "pydisp", *arguments, "--out", str(folder), "--overwrite"], check=True, stdout=subprocess.DEVNULL
        )
    return json.loads((folder / "report.json").read_text())["facts"]


def table(rows: dict[str, dict], context_tokens: int) -> str:
    lines = [
        f"| perplexity at {context_tokens} tokens | kept of all | kept of blocks | held-out text | × dense | damage | other text | × dense | damage |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    first = next(iter(rows.values()))
    dense = first["perplexity"]["dense"], first["perplexity_other"]["dense"]
    lines.append(f"| dense | 100 % | 100 % | {dense[0]:.2f} | 1 | 0 | {dense[1]:.2f} | 1 | 0 |")
    for method, run in sorted(rows.items(), key=lambda item: item[1]["perplexity"]["pruned"]):
        held, other = run["perplexity"]["pruned"], run["perplexity_other"]["pruned"]
        kept = run["kept"]
        lines.append(
            f"| {METHODS[method]} | {kept['total']:.2%} | {kept['block']:.2%} | {held:.2f} | {held / dense[0]:.2f} | {math.log(held / dense[0]):.3f} "
            f"| {other:.2f} | {other / dense[1]:.2f} | {math.log(other / dense[1]):.3f} |"
        )
    return "\n".join(lines)


def given(args: argparse.Namespace) -> list[str]:
    """The options that decide the figures, with base names for paths."""
    words = [] if args.model == "demo" else ["--model", Path(args.model).name]
    for text in args.text:
        words += ["--text", Path(text).name]
    return words + ["--keep-ratio", args.keep_ratio, "--ratio-of", args.ratio_of]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--text", action="append", default=[])
    parser.add_argument("--keep-ratio", default="0.5")
    parser.add_argument("--ratio-of", default="total")
    parser.add_argument("--out", type=Path, default=Path("build/masks"))
    parser.add_argument("--learned", type=Path, help="a folder that the method disp has already made")
    parser.add_argument("--reuse", action="store_true", help="read every folder that is there already")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    common = ["--keep-ratio", args.keep_ratio, "--ratio-of", args.ratio_of, *(x for t in args.text for x in ("--text", t))]
    rows, facts = {}, {}
    for method in METHODS:
        is_made = method == "disp" and args.learned is not None
        folder = args.learned if is_made else args.out / method
        facts = result_of(folder, ["prune", args.model, *common, "--method", method, "--no-speed"], reuse=is_made or args.reuse)
        rows[method] = facts["result"]
    text = table(rows, rows["disp"]["context_tokens"])
    print(text)
    # Everything that decides the figures, without the folders of this machine.
    command = " ".join(["python bench/masks.py", *given(args)])
    record = {
        "command": command,
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores",
        "threads": facts["threads"],
        "versions": facts["versions"],
        "texts": facts["texts"],
        "rows": rows,
        "table": text.splitlines(),
    }
    (args.out / "masks.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    worse = [m for m in rows if m != "disp" and rows[m]["perplexity"]["pruned"] <= rows["disp"]["perplexity"]["pruned"]]
    if worse:
        sys.exit(f"the learned masks do not beat {', '.join(METHODS[m] for m in worse)} on held-out text.")


if __name__ == "__main__":
    main()
