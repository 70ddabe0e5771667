"""Are the marked spans right? A second reader judges a sample of the shipped passages, mixed with spans of other kinds under a false name.

    python bench/legal_judgement.py sample --out items                     # items/items.jsonl for the reader, items/key.json not for the reader
    python bench/legal_judgement.py score items --verdicts verdicts.jsonl --out bench/results/legal-concepts-judged.json

Of each kind, 20 marked spans, and 6 marked spans of other kinds that are shown as of this kind, in random order. The reader did not write the rules and sees the passage, the
marked span and the definition of the kind only, and writes a line {"n": 1, "verdict": "yes" or "no", "reason": "…"} for each item.
"""

import argparse
import json
import random
import re
import sys
from pathlib import Path

from pydisp.legal_probe import shipped

RULES = Path(__file__).parents[1] / "pydisp" / "legal_probe" / "data" / "RULES.md"
SEED, MARKED, OTHERS = 17, 20, 6


def definitions() -> dict[str, str]:
    """By kind what the rules say it is, without their examples."""
    found = re.finditer(r"^\*\*(.+?)\*\*: (.+?)\n(?=Yes:)", RULES.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return {match[1]: match[2].strip() for match in found}


def sample() -> list[dict]:
    """The items with their key: kind, passage, start and end of the span in characters, and whether it is marked as of this kind."""
    generator, items = random.Random(SEED), []
    by_kind: dict[str, list] = {}
    for passage in shipped().passages:
        for span in passage.spans:
            by_kind.setdefault(span.concept, []).append((passage, span.start, span.end))
    for kind, spans in by_kind.items():
        chosen = generator.sample(spans, min(MARKED, len(spans)))
        items += [(kind, *one, True) for one in chosen]
        others = [one for other, theirs in by_kind.items() if other != kind for one in theirs]
        items += [(kind, *one, False) for one in generator.sample(others, OTHERS)]
    generator.shuffle(items)
    return [
        {"n": n, "kind": kind, "passage": passage.id, "start": start, "end": end, "is_marked": is_marked, "text": passage.text}
        for n, (kind, passage, start, end, is_marked) in enumerate(items, 1)
    ]


def score(key: list[dict], verdicts: dict[int, dict]) -> dict:
    """Precision by kind, agreement and Cohen's kappa of the verdicts with the marks, and every verdict.

    Raises: ValueError for an item without a verdict.
    """
    missing = [item["n"] for item in key if verdicts.get(item["n"], {}).get("verdict") not in ("yes", "no")]
    if missing:
        raise ValueError(f"item {missing[0]} has no verdict yes or no; judge all {len(key)} items.")
    counts = {item["kind"]: {"marked": 0, "marked_yes": 0, "other": 0, "other_yes": 0} for item in key}
    rows = []
    for item in key:
        verdict = verdicts[item["n"]]
        which = "marked" if item["is_marked"] else "other"
        counts[item["kind"]][which] += 1
        counts[item["kind"]][f"{which}_yes"] += verdict["verdict"] == "yes"
        row = {"passage": item["passage"], "kind": item["kind"], "span": item["text"][item["start"] : item["end"]]}
        row |= {"is_marked": item["is_marked"], "verdict": verdict["verdict"]}
        rows.append(row | ({"reason": verdict["reason"]} if verdict.get("reason") else {}))
    says_yes = sum(row["verdict"] == "yes" for row in rows) / len(rows)
    is_marked = sum(row["is_marked"] for row in rows) / len(rows)
    agreement = sum((row["verdict"] == "yes") == row["is_marked"] for row in rows) / len(rows)
    by_chance = says_yes * is_marked + (1 - says_yes) * (1 - is_marked)
    return {
        "command": "python bench/legal_judgement.py score items --verdicts verdicts.jsonl",
        "passages_sha256": shipped().sha256,
        "precision": {kind: count["marked_yes"] / count["marked"] for kind, count in counts.items()},
        "counts": counts,
        "agreement": agreement,
        "cohen_kappa": (agreement - by_chance) / (1 - by_chance),
        "verdicts": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("sample")
    make.add_argument("--out", type=Path, required=True, help="folder to make")
    judge = commands.add_parser("score")
    judge.add_argument("items", type=Path, help="the folder that sample made")
    judge.add_argument("--verdicts", type=Path, required=True)
    judge.add_argument("--out", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args()
    try:
        if args.command == "sample":
            _write_sample(args.out)
            return
        lines = args.verdicts.read_text(encoding="utf-8").splitlines()
        verdicts = {one["n"]: one for one in map(json.loads, filter(str.strip, lines))}
        found = score(json.loads((args.items / "key.json").read_text(encoding="utf-8")), verdicts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"legal_judgement: {error}")
    args.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"precision: {found['precision']}; agreement {found['agreement']:.3f}, kappa {found['cohen_kappa']:.3f}")


def _write_sample(out: Path) -> None:
    out.mkdir(parents=True)
    defined, items = definitions(), sample()
    lines = []
    for item in items:
        text, start, end = item["text"], item["start"], item["end"]
        shown = f"{text[:start]}⟦{text[start:end]}⟧{text[end:]}"
        lines.append(
            json.dumps({"n": item["n"], "kind": item["kind"], "definition": defined[item["kind"]], "passage": shown}, ensure_ascii=False)
        )
    (out / "items.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (out / "key.json").write_text(json.dumps(items, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
