"""The notebooks of docs/ run from top to bottom as a newcomer would run them, and are stored without outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def cells(path: Path, kind: str) -> list[dict]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_a_notebook_without_outputs(path):
    book = json.loads(path.read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5) and book["metadata"]["kernelspec"]["language"] == "python"
    identifiers = [cell["id"] for cell in book["cells"]]
    assert len(set(identifiers)) == len(identifiers)
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells(path, "code"))


def test_the_demo_notebook_makes_a_smaller_model_that_loads_and_writes(tmp_path):
    (path,) = [path for path in NOTEBOOKS if path.stem == "prune_the_demo_model"]
    program = "\n\n".join("".join(cell["source"]) for cell in cells(path, "code"))
    program += """
import json, math, torch
same = torch.equal(small(prompt["input_ids"]).logits, pruned.eval()(prompt["input_ids"]).logits)
print("END", json.dumps([model.num_parameters(), small.num_parameters(), same, text, result["damage"]["nats"], result["damage_other"]["nats"]]))
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1200)
    assert run.returncode == 0, run.stderr
    printed = run.stdout.splitlines()
    dense, kept, is_same, text, damage, damage_other = json.loads(printed[-1].removeprefix("END "))
    assert dense == 2_828_736 and 0.495 < kept / dense < 0.505 and is_same
    assert text.startswith("Return the number of") and len(text) > len("Return the number of") + 5
    assert 0.1 < damage < 1.5 and 0.1 < damage_other < 2  # random masks of this size cost more than 4
    assert printed[0] == "2,828,736 parameters" and any(line.startswith("held-out text: perplexity ") for line in printed)
    assert (tmp_path / "small" / "report.html").is_file() and (tmp_path / "small" / "modeling_pydisp.py").is_file()
