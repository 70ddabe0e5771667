"""What HoloBench costs: python bench/bench_holobench.py [--tokenizer MODEL] [--out bench/results]

- building: 90 questions at each of five lengths to 65,536 tokens from generated databases, in all and by part;
- shared_context: the likelihood form of six questions on one context against six contexts of their own, in interleaved rounds;
- attacks: the mean F1 of answers that are made without reading the question, over 90 generated items;
- guesses: how often rules that read no facts, or only count what stands in them, choose the gold answer among its near misses (chance: 0.25);
- scoring: the gold answer of every item given back, and a text of 100,000 characters, by item;
- coverage of the intervals: bench/holobench_coverage.py.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import machine

LENGTHS, QUESTIONS, ROUNDS = (4096, 8192, 16384, 32768, 65536), 90, 5


def building(tokenizer: str, folder: Path) -> dict:
    """Seconds to build and write, with the fill of the budgets."""
    from pydisp.holobench import build
    from pydisp.progress import on_stderr

    start = time.perf_counter()
    built = build(folder / "long.jsonl", lengths=LENGTHS, per_length=QUESTIONS, tokenizer=tokenizer, overwrite=True, say=on_stderr)
    seconds = time.perf_counter() - start
    room = built.manifest["style"]["room"]
    left = [item.length - room - item.prompt_tokens for item in built.items]
    return {
        "lengths": LENGTHS, "questions_a_length": QUESTIONS, "seconds": seconds, "file_mib": (folder / "long.jsonl").stat().st_size / 2**20,
        "tokens": sum(item.prompt_tokens for item in built.items), "left_over_tokens": {"mean": statistics.mean(left), "most": max(left)},
        "over_budget": sum(one < 0 for one in left), "density": statistics.mean(item.density for item in built.items),
    }  # fmt: skip


def shared_context() -> dict:
    """Seconds of the likelihood form where six questions share a context, over those where each has its own; the demo model."""
    from pydisp.holobench import build, run

    data = {}
    for name, per_context in (("own", 1), ("shared", 6)):
        built = build(lengths=[448], database="generated:shop", questions_per_context=per_context, densities=[0.75], room=32)
        data[name] = (built.items, built.manifest)
    seconds: dict[str, list[float]] = {name: [] for name in data}
    for _ in range(ROUNDS):
        for name, one in data.items():
            start = time.perf_counter()
            run("demo", one, form="likelihood")
            seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {"seconds": median, "ratio": median["shared"] / median["own"]}


def scoring() -> dict:
    """Milliseconds an item."""
    from pydisp.holobench import build
    from pydisp.holobench.scorer.scoring import score, write_gold

    items = build(lengths=[2048]).items
    result = {}
    for name, answer_of in (("gold", lambda item: write_gold(item.gold)), ("long", lambda item: (item.context * 40)[:100_000])):
        start = time.perf_counter()
        for item in items:
            score(item.gold, item.kind, answer_of(item), answer_marker=False)
        result[f"{name}_ms"] = 1000 * (time.perf_counter() - start) / len(items)
    return result


def attacks() -> dict:
    """The mean F1 of each way to answer everything alike; and of the gold itself."""
    from pydisp.holobench import build
    from pydisp.holobench.scorer.scoring import score, write_gold

    items = build(lengths=[512, 2048], per_length=45, seed=11).items
    ways = {
        "the gold itself": lambda item: write_gold(item.gold),
        "all facts": lambda item: item.context,
        "1 to 100, one a line": lambda item: "\n".join(map(str, range(1, 101))),
        "1 to 100, with commas": lambda item: ", ".join(map(str, range(1, 101))),
        "the question": lambda item: item.question,
        "No answer": lambda item: "No answer",
        "nothing": lambda item: "",
    }
    return {name: statistics.mean(score(i.gold, i.kind, way(i), answer_marker=False).f1 for i in items) for name, way in ways.items()}


def guesses() -> dict:
    """By rule its share of right choices over 85 items of each of two seeds, ties shared, and that among highest and lowest values."""
    from pydisp.holobench import build

    def number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return 0.0

    rules = {
        "rows in order": lambda item, choice: choice.split("\n") == sorted(choice.split("\n")),
        "smallest number": lambda item, choice: -number(choice),
        "largest number": lambda item, choice: number(choice),
        "ends in 0": lambda item, choice: choice.endswith("0"),
        "most cells in the text": lambda item, choice: sum(cell in item.context for row in choice.split("\n") for cell in row.split(", ")),
    }
    items = [one for seed in (1, 2) for one in build(lengths=[512], per_length=90, seed=seed).items if one.choices]
    result = {"items": len(items)}
    for name, rule in rules.items():
        shares: dict[str, list[float]] = {"all": [], "extreme": []}
        for item in items:
            values = [rule(item, choice) for choice in item.choices]
            best = [place for place, value in enumerate(values) if value == max(values)]
            for group in ("all", *([item.kind] if item.kind in shares else [])):
                shares[group].append((item.correct in best) / len(best))
        result[name] = {group: statistics.mean(values) for group, values in shares.items()}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", default="demo")
    parser.add_argument("--work", type=Path, default=Path("build"))
    parser.add_argument("--out", type=Path, help="folder for holobench-MACHINE.json")
    args = parser.parse_args()
    machine.pin(threads=1)
    args.work.mkdir(parents=True, exist_ok=True)
    record = {"machine": machine.describe("cpu"), "command": f"python bench/bench_holobench.py --tokenizer {Path(args.tokenizer).name}"}
    for part, measure in (
        ("attacks", attacks),
        ("guesses", guesses),
        ("scoring", scoring),
        ("shared_context", shared_context),
        ("building", lambda: building(args.tokenizer, args.work)),
    ):
        record[part] = measure()
        print(part, json.dumps(record[part]), flush=True)
    if args.out:
        (args.out / f"holobench-{machine.file_stem(record['machine'])}.json").write_text(
            json.dumps(record, indent=1) + "\n", encoding="utf-8"
        )


def bench_scoring(benchmark):
    """The gold answers of 18 items given back."""
    from pydisp.holobench import build
    from pydisp.holobench.scorer.scoring import score, write_gold

    items = build(lengths=[512]).items
    found = benchmark(lambda: [score(item.gold, item.kind, write_gold(item.gold), answer_marker=False).f1 for item in items])
    assert found == [1.0] * len(items)


if __name__ == "__main__":
    main()
