"""The facts that reports state of their run: versions, threads, device, dtype and the commit of a checkout."""

import json
import subprocess

import pytest
import torch
from families import tiny_model

from pydisp import __version__, environment
from pydisp.environment import CODE, commit, run_facts


def git(folder, *args) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", "-C", folder, *identity, *args], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A checkout with one commit, and its digits."""
    folder = tmp_path / "checkout"
    for name in (*CODE, "docs"):
        (folder / name).mkdir(parents=True)
        (folder / name / "a.py").write_text("1\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "a")
    return folder, git(folder, "rev-parse", "HEAD")


def test_the_commit_of_a_checkout_tells_of_changes_to_the_code_alone(checkout, monkeypatch):
    folder, head = checkout
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as a hook of another repository sets it
    assert commit(checkout=folder) == head[:12]
    (folder / "docs" / "a.py").write_text("2\n")
    assert commit(checkout=folder) == head[:12] and commit(["docs"], folder) == f"{head[:12]}+"
    (folder / "csrc" / "a.py").write_text("2\n")
    assert commit(checkout=folder) == f"{head[:12]}+"


def test_a_worktree_has_its_own_commit(checkout, tmp_path):
    folder, head = checkout
    git(folder, "worktree", "add", "-q", tmp_path / "other", "-b", "other")
    (tmp_path / "other" / "csrc" / "a.py").write_text("3\n")
    git(tmp_path / "other", "commit", "-qam", "b")
    assert commit(checkout=tmp_path / "other") == git(tmp_path / "other", "rev-parse", "HEAD")[:12] != head[:12]


def test_an_installed_pydisp_has_no_commit(checkout, tmp_path, monkeypatch):
    folder, _ = checkout
    (folder / "site-packages").mkdir()
    assert commit(checkout=folder / "site-packages") is None  # inside somebody's checkout
    (tmp_path / "empty" / ".git").mkdir(parents=True)
    assert commit(checkout=tmp_path / "empty") is None
    monkeypatch.setenv("PATH", "")
    assert commit(checkout=folder) is None


def test_facts_of_a_run_are_those_of_its_model_and_hold_no_times_and_no_paths(monkeypatch):
    monkeypatch.setattr(environment, "commit", lambda: "0123456789ab")
    facts = run_facts(tiny_model("llama", dtype=torch.bfloat16))
    assert facts == run_facts(tiny_model("llama", dtype=torch.bfloat16)) and json.loads(json.dumps(facts)) == facts
    assert set(facts) == {"versions", "threads", "device", "dtype", "commit"} and set(facts["versions"]) == {
        "pydisp", "python", "torch", "transformers",
    }  # fmt: skip
    assert (facts["device"], facts["dtype"], facts["threads"]) == ("cpu", "bfloat16", torch.get_num_threads())
    assert facts["versions"]["pydisp"] == __version__ and facts["commit"] == "0123456789ab"
    monkeypatch.setattr(environment, "commit", lambda: None)
    assert set(run_facts()) == {"versions", "threads"}
