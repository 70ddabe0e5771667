"""Results files: bench/results/<device>-<isa>.json, one per device and instruction set; each case names the commit that was measured.

{"format": "pydisp-bench-1", "machine": {...}, "cases": {"norm_select[...]": {..., "commit": "0123abcd4567", "date": "2026-11-21"}},
 "whole_model": {"command": "pydisp speed ...", "times": {...}, ..., "commit": ..., "date": ...}}
"""

import json
import os
import re
from pathlib import Path

from machine import file_stem

from pydisp.workspace import write_whole

FORMAT = "pydisp-bench-1"
OF_THE_RUN = ("commit", "date", "threads", "versions")  # may differ between cases, so each case has its own


def check_folder(option: str, folder: Path) -> None:
    """Raise ValueError, before anything is measured, for a folder that `keep` could not make or write to."""
    place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise ValueError(f"{option} is {folder}, but {place} is no folder that can be written to; give another one.")


def keep(folder: Path, machine: dict, records: list[dict], **more) -> Path:
    """Put the records into the file of their device, replacing those with the same id; returns the file.

    Args:
        machine: the result of machine.describe.
        more: further entries at the top level, such as `is_complete` and `whole_model`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{file_stem(machine)}.json"
    content = read(file) if file.is_file() else {"format": FORMAT, "cases": {}}
    run = {name: machine[name] for name in OF_THE_RUN}
    content["machine"] = machine
    known = content["cases"] | {record["id"]: record | run for record in records}
    content["cases"] = {case_id: known[case_id] for case_id in sorted(known, key=_natural)}
    write_whole(file, json.dumps(content | more, indent=1, ensure_ascii=False) + "\n")
    return file


def read(file: Path) -> dict:
    """Read a file that `keep` wrote.

    Raises: ValueError for any other file.
    """
    content = _load(file)
    if not _is_ours(content):
        raise ValueError(f"{file.name} is not a results file of format {FORMAT}; give one that bench/ratios.py or bench/gpu.py wrote.")
    return content


def _load(file: Path):
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as problem:
        raise ValueError(f"{file.name} is no JSON ({problem}); delete it or take it from git again.") from None


def _is_ours(content) -> bool:
    return isinstance(content, dict) and content.get("format") == FORMAT


def read_all(folder: Path) -> list[tuple[Path, dict]]:
    """Every results file of a folder, by name; other JSON files there (of bench/masks.py) are ignored.

    Raises: ValueError for a file that is not JSON, because a file that was cut off must not vanish from a page unnoticed.
    """
    return [(file, content) for file in sorted(folder.glob("*.json")) if _is_ours(content := _load(file))]


def _natural(case_id: str) -> list:
    """A sort key that puts tokens16 before tokens128."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", case_id)]
