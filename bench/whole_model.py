"""Compares a whole pruned model with the unpruned one and a dense one of the same shapes, by `pydisp speed`, for the results files.

    python bench/whole_model.py                     # some 15 minutes and 12 GB; into bench/results/<device>-<isa>.json, for goals and page
    python bench/whole_model.py --no-memory --results R

The results are kept under `whole_model` as `pydisp speed --json` printed them, with the command, commit, date and versions. Nothing is kept
if the command fails.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import results
from goals import WHOLE_MODEL
from machine import ROOT, describe, pin

SHAPE = ("--shape", "llama-3.2-1b", "--keep-ratio", "0.5", "--prompt-tokens", "256", "--dtype", "float32", "--device", "cpu")


def speed(arguments: list[str]) -> dict:
    """The JSON that `pydisp speed` of this checkout prints; its progress goes to standard error.

    Raises: ChildProcessError if it fails; its own message has then said why.
    """
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "pydisp", "speed", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path})
    if done.returncode:
        raise ChildProcessError(f"`pydisp speed {' '.join(arguments)}` ended with {done.returncode}; nothing was kept.")
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=21, help="7 prompts a model leave 4 %% of noise, more than the goal's 3")
    parser.add_argument("--decode-tokens", type=int, default=8)
    parser.add_argument("--no-memory", action="store_true", help="leave the processes that measure memory out")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results", help="folder of the results files")
    args = parser.parse_args()
    for name in ("threads", "rounds", "decode_tokens"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}; it must be at least 1.")
    try:
        results.check_folder("--results", args.results)
    except ValueError as problem:
        parser.error(str(problem))
    pin(args.threads)
    machine = describe("cpu")
    given = {"--threads": args.threads, "--rounds": args.rounds, "--decode-tokens": args.decode_tokens}
    arguments = [*SHAPE, *(str(word) for pair in given.items() for word in pair), *["--no-memory"] * args.no_memory]
    try:
        measured = speed(arguments)
    except ChildProcessError as problem:
        sys.exit(str(problem))
    run = {name: machine[name] for name in results.OF_THE_RUN}
    print(results.keep(args.results, machine, [], **{WHOLE_MODEL: {"command": f"pydisp speed {' '.join(arguments)}"} | measured | run}))


if __name__ == "__main__":
    main()
