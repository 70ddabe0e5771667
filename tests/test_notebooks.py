"""The notebooks of docs/ run from top to bottom as a newcomer would run them, and are stored without outputs."""

import importlib.util
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


HAS_KERNEL = all(importlib.util.find_spec(name) for name in ("ipykernel", "ipywidgets", "nbclient"))


def run_in_a_kernel(sources: list[str], folder: Path, monkeypatch) -> tuple[str, list[str], dict]:
    """What cells print, what they write to standard error, and the texts of the widgets that they show, run as Jupyter runs them."""
    import nbclient
    import nbformat

    for name, value in {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "JUPYTER_PLATFORM_DIRS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    client = nbclient.NotebookClient(book, timeout=1200, resources={"metadata": {"path": str(folder)}})
    client.execute()  # raises what a cell raises
    outputs = [output for cell in book.cells for output in cell.outputs]
    said = {name: "".join(one["text"] for one in outputs if one.get("name") == name) for name in ("stdout", "stderr")}
    shown = [one["data"].get("application/vnd.jupyter.widget-view+json", {}).get("model_id") for one in outputs if "data" in one]
    state = client.widget_state
    parts = [[state[child.removeprefix("IPY_MODEL_")]["value"] for child in state[model]["children"]] for model in shown if model]
    return said["stdout"], said["stderr"], [" ".join(map(str, one)).replace("\u2007", " ") for one in parts]


def run_as_a_script(sources: list[str], folder: Path) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "\n\n".join(sources)]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1200)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.skipif(not HAS_KERNEL, reason="needs ipykernel, ipywidgets and nbclient")
def test_in_a_notebook_bars_are_widgets_and_short_or_silent_phases_have_none(tmp_path, monkeypatch):
    source = """
import time
from pydisp.hub_bars import hub_as_ours
from pydisp.progress import Bar, is_notebook, on_stderr, silence
from huggingface_hub.utils import tqdm
print(is_notebook())
for say, title, options in (on_stderr, "search", {}), (on_stderr, "short", {"is_brief": True}), (silence, "silent", {}):
    with Bar(3, say, title=title, **options) as bar:
        for step in (1, 2, 3):
            bar(step, loss=0.5)
with hub_as_ours(on_stderr), tqdm(desc="weights", total=3 * 2**20, unit="B") as download:
    for _ in range(3):
        time.sleep(0.9)
        download.update(2**20)
"""
    printed, err, widgets = run_in_a_kernel([source], tmp_path, monkeypatch)
    assert printed == "True\n" and err == ""
    search, download = widgets
    assert "search: 100%" in search and "3/3" in search and "loss=0.500" in search
    assert "downloading weights: 100%" in download and "3.00M/3.00M" in download


def test_the_demo_notebook_makes_a_smaller_model_that_loads_and_writes(tmp_path, monkeypatch):
    (path,) = [path for path in NOTEBOOKS if path.stem == "prune_the_demo_model"]
    sources = ["".join(cell["source"]) for cell in cells(path, "code")]
    sources.append("""
import json, math, torch
same = torch.equal(small(prompt["input_ids"]).logits, pruned.eval()(prompt["input_ids"]).logits)
print("END", json.dumps([model.num_parameters(), small.num_parameters(), same, text, result["damage"]["nats"], result["damage_other"]["nats"]]))
""")
    if HAS_KERNEL:
        printed, err, widgets = run_in_a_kernel(sources, tmp_path, monkeypatch)
        assert any("search: 100%" in one and "30/30" in one for one in widgets), widgets
        assert "step/s" not in err and "window/s" not in err, err  # every bar of ours is a widget
    else:
        printed = run_as_a_script(sources, tmp_path)
    printed = printed.splitlines()
    dense, kept, is_same, text, damage, damage_other = json.loads(printed[-1].removeprefix("END "))
    assert dense == 2_828_736 and 0.495 < kept / dense < 0.505 and is_same
    assert text.startswith("Return the number of") and len(text) > len("Return the number of") + 5
    assert 0.1 < damage < 1.5 and 0.1 < damage_other < 2  # random masks of this size cost more than 4
    assert printed[0] == "2,828,736 parameters" and any(line.startswith("held-out text: perplexity ") for line in printed)
    assert (tmp_path / "small" / "report.html").is_file() and (tmp_path / "small" / "modeling_pydisp.py").is_file()
