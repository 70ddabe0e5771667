"""A folder or a file appears whole or not at all: killed before every step on the file system, with two runs at once, on full disks."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from killed import is_killed_at

from pydisp import workspace as module
from pydisp.workspace import Workspace, whole_file, write_whole

FILES = {"plan": "{}", "weights": "w" * 10, "sub/deep/table": "t", "report": "r"}


def make(folder, content="new", *, overwrite=False, resume=False, saves_state=True):
    """A whole run, as journeys do it, without torch: the state is a file like any other."""
    workspace = Workspace(folder, marker="plan", journey="prune")
    with workspace.claimed(overwrite=overwrite, resume=resume):
        workspace.begin({"seed": 0}, resume=resume)
        if saves_state:
            write_whole(workspace.folder / "search.pt", "state")
        for name, text in FILES.items():
            path = workspace.output / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content + text)
        workspace.finish()


def holds(folder: Path, content="new") -> bool:
    """Whether the folder is there, whole and with nothing else in it."""
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()} == {
        name: content + text for name, text in FILES.items()
    }


def every_kill(tmp_path, prepare, action):
    """Folders in which `action` was killed, one for each of its steps; `prepare` makes what it starts from."""
    for step in range(1000):
        place = tmp_path / str(step)
        place.mkdir()
        prepare(place / "out")
        if not is_killed_at(step, lambda out=place / "out": action(out)):
            assert step > 20 and holds(place / "out")
            return
        yield place / "out"
    pytest.fail("the action never ends")


def nothing(_out):
    pass


def stopped(out):
    """What a killed run leaves: a state, and half an output."""

    def half():
        workspace = Workspace(out, marker="plan", journey="prune")
        with workspace.claimed():
            workspace.begin({"seed": 0})
            write_whole(workspace.folder / "search.pt", "state")
            workspace.output.mkdir()
            (workspace.output / "plan").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)

    assert is_killed_at(1000, half)


def old(out):
    make(out, "old")


def old_with_a_stopped_run(out):
    stopped(out)
    out.mkdir()
    for name, text in FILES.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("old" + text)


@pytest.mark.parametrize("prepare", [nothing, stopped])
@pytest.mark.parametrize("saves_state", [True, False])
def test_a_killed_run_leaves_no_half_folder_and_the_next_one_serves(tmp_path, prepare, saves_state):
    for out in every_kill(tmp_path, prepare, lambda out: make(out, saves_state=saves_state)):
        if out.exists():  # killed while it tidied up
            assert holds(out)
            make(out, "next", overwrite=True)
        else:
            make(out, "next")
        assert holds(out, "next") and [p.name for p in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("prepare", [old, old_with_a_stopped_run])
def test_killed_while_it_replaces_a_folder(tmp_path, prepare):
    """DIR is the old folder or the new one, whole; where it is missing, the next run of any kind brings the old one back."""
    missing = 0
    for out in every_kill(tmp_path, prepare, lambda out: make(out, overwrite=True)):
        if not out.exists():
            missing += 1
            with pytest.raises(FileExistsError, match="exists; choose another --out, or replace it"):
                make(out, "next")
            assert holds(out, "old")
        assert holds(out, "old") or holds(out)
        make(out, "next", overwrite=True)
        assert holds(out, "next") and [p.name for p in out.parent.iterdir()] == ["out"]
    assert missing == 1


def test_a_replaced_folder_never_comes_back_by_halves(tmp_path):
    """DIR is moved away after the kill: the next run makes its own, and no piece of the old one is DIR on the way."""
    for out in every_kill(tmp_path, old, lambda out: make(out, overwrite=True)):
        moved = out.exists()
        if moved:
            out.rename(out.with_name("elsewhere"))
        make(out, "next", overwrite=not moved)  # what was moved away leaves nothing to replace
        assert holds(out, "next")
        elsewhere = out.with_name("elsewhere")
        assert not elsewhere.exists() or holds(elsewhere, "old") or holds(elsewhere)


def test_what_is_killed_next_is_ours_as_well(tmp_path):
    """A run killed while it clears what a killed one left, at every step of both."""
    for first in range(4, 60, 11):
        for second in range(3, 40, 7):
            out = tmp_path / f"{first}-{second}" / "out"
            out.parent.mkdir()
            is_killed_at(first, lambda out=out: make(out))
            if out.exists():
                continue
            is_killed_at(second, lambda out=out: make(out, "second"))
            make(out, "next", overwrite=True)
            assert holds(out, "next") and [p.name for p in out.parent.iterdir()] == ["out"]


def test_a_killed_resume_keeps_the_state(tmp_path):
    for out in every_kill(tmp_path, stopped, lambda out: make(out, resume=True, saves_state=False)):
        if out.exists():
            continue
        make(out, "next", resume=True)
        assert holds(out, "next")


def test_a_second_run_is_refused_and_deletes_nothing(tmp_path):
    out = tmp_path / "out"
    first = Workspace(out, marker="plan", journey="prune")
    with first.claimed():
        first.begin({"seed": 0})
        first.output.mkdir()
        (first.output / "plan").write_text("hours of work")
        for kwargs in ({}, {"overwrite": True}, {"resume": True}):
            with pytest.raises(FileExistsError, match="another run is making .*out at this moment; wait for its end"):
                make(out, **kwargs)
            code = (
                "import sys; from pydisp.workspace import Workspace\n"
                "with Workspace(sys.argv[1], marker='plan', journey='prune').claimed(): pass"
            )
            done = subprocess.run([sys.executable, "-c", code, out], capture_output=True, text=True)
            assert done.returncode == 1 and "another run is making" in done.stderr
        first.finish()
    assert (out / "plan").read_text() == "hours of work" and os.listdir(tmp_path) == ["out"]


def test_many_runs_at_once_make_one_folder(tmp_path):
    code = (
        "import sys, time; from pydisp.workspace import Workspace\n"
        "w = Workspace(sys.argv[1], marker='plan', journey='prune')\n"
        "with w.claimed():\n"
        "    w.begin({}); w.output.mkdir()\n"
        "    for name in ('plan', 'weights', 'report'): (w.output / name).write_text(sys.argv[2]); time.sleep(0.05)\n"
        "    w.finish()\n"
    )
    out = tmp_path / "deep" / "out"
    runs = [subprocess.Popen([sys.executable, "-c", code, out, str(n)], stderr=subprocess.PIPE, text=True) for n in range(8)]
    errors = [run.communicate()[1] for run in runs]
    made_by = {str(n) for n, run in enumerate(runs) if run.returncode == 0}
    assert len(made_by) == 1 and {p.read_text() for p in out.iterdir()} == made_by
    assert sum("FileExistsError" in e for e in errors) == 7 and os.listdir(tmp_path / "deep") == ["out"]


def test_a_refused_run_changes_nothing(tmp_path):
    out = tmp_path / "out"
    stopped(out)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and p.name != "pydisp.lock"}
    with pytest.raises(ValueError, match="no model"), Workspace(out, marker="plan", journey="prune").claimed():
        raise ValueError("no model")
    workspace = Workspace(out, marker="plan", journey="prune")
    with pytest.raises(ValueError, match="had seed 0, this command has 1; repeat its command"), workspace.claimed(resume=True):
        workspace.begin({"seed": 1}, resume=True)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_refused_run_leaves_no_parents(tmp_path):
    with pytest.raises(ValueError, match="no model"), Workspace(tmp_path / "a/b/out", marker="plan", journey="prune").claimed():
        raise ValueError("no model")
    with pytest.raises(FileNotFoundError, match="nothing to resume in .*out.partial"):
        make(tmp_path / "a/b/out", resume=True)
    assert not list(tmp_path.iterdir())


def test_folders_of_others_stay(tmp_path):
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    partial.mkdir()
    (partial / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="was not made by a run; move it away"):
        make(out)
    for name in ("settings.json", "search.pt", "output/mine"):  # names that anybody may use mark nothing
        (partial / name).parent.mkdir(exist_ok=True)
        (partial / name).write_text("{}")
        with pytest.raises(FileExistsError, match="was not made by a run; move it away"):
            make(out)
    for name in ("settings.json", "search.pt", "output/mine"):
        assert (partial / name).read_text() == "{}"
        (partial / name).unlink()
    (partial / "output").rmdir()
    (partial / "pydisp-run.json").write_text("{}")  # a mark of ours among theirs: the run works, and removes its own files alone
    make(out)
    assert holds(out) and [p.name for p in partial.iterdir()] == ["thesis.txt"]
    (partial / "thesis.txt").rename(tmp_path / "thesis.txt")
    partial.rmdir()
    other = Workspace(out, marker="export.json", journey="export")
    with (
        pytest.raises(FileExistsError, match="not the output of an earlier export, so --overwrite leaves it alone"),
        other.claimed(overwrite=True),
    ):
        pass
    (tmp_path / "file").write_text("")
    for path, message in (
        (tmp_path / "file/out", "is a file, so out cannot be made in it"),
        (tmp_path / "..", "is no name for a new folder"),
        (".", "is no name for a new folder"),
        ("", "is no name for a new folder"),
        ("/", "is no name for a new folder"),
    ):
        with pytest.raises(FileExistsError, match=message):
            make(path)
    for target in ("out", "nowhere"):
        (tmp_path / "link").symlink_to(target)
        with pytest.raises(FileExistsError, match="is a link; name the folder that it points to"):
            make(tmp_path / "link", overwrite=True)
        assert (tmp_path / "link").is_symlink() and not (tmp_path / "link.partial").exists() and holds(out)
        (tmp_path / "link").unlink()
    (tmp_path / "new.partial").write_text("")
    with pytest.raises(FileExistsError, match="is a file, and the run needs a folder of that name"):
        make(tmp_path / "new")


def test_a_folder_that_appears_meanwhile_is_not_replaced(tmp_path):
    workspace = Workspace(tmp_path / "out", marker="plan", journey="prune")
    with pytest.raises(FileExistsError, match="out exists; choose another"), workspace.claimed():
        workspace.begin({})
        workspace.output.mkdir()
        workspace.save_state({"step": 1})
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "plan").write_text("theirs")
        workspace.finish()
    assert (tmp_path / "out" / "plan").read_text() == "theirs" and workspace.has_state


@pytest.mark.parametrize("failing", ["out", "output"])
def test_a_failure_while_replacing_keeps_the_old_folder(tmp_path, monkeypatch, failing):
    out = tmp_path / "out"
    make(out, "old")
    rename = Path.rename

    def fail(self, target):
        if self.name == failing:
            raise OSError("Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="Input/output error"):
        make(out, overwrite=True)
    assert holds(out, "old")


@pytest.mark.parametrize("why", ["the platform", "the file system"])
def test_without_locks_a_run_goes_on_and_says_so(tmp_path, monkeypatch, caplog, why):
    if why == "the platform":
        monkeypatch.setitem(sys.modules, "fcntl", None)
    else:
        monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(module.errno.ENOLCK, "No locks available")))
    make(tmp_path / "out")
    assert holds(tmp_path / "out") and os.listdir(tmp_path) == ["out"]
    assert "make sure that no second run has the same --out" in caplog.text


def test_the_state_is_whole_or_the_last_one(tmp_path, monkeypatch):
    workspace = Workspace(tmp_path / "out", marker="plan", journey="prune")
    with workspace.claimed():
        workspace.begin({})
        workspace.save_state({"step": 1, "draws": torch.arange(3)})
        monkeypatch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(RuntimeError("unexpected pos 64 vs 0\nfile a.cc")))
        with pytest.raises(OSError, match="cannot write search.pt: unexpected pos 64 vs 0$") as error:
            workspace.save_state({"step": 2})
        assert error.value.errno == module.errno.ENOSPC
        assert workspace.load_state()["step"] == 1 and not list(workspace.folder.glob(".*"))
        (workspace.folder / "search.pt").write_bytes(b"cut off")
        with pytest.raises(ValueError, match="is damaged .*start anew without --resume"):
            workspace.load_state()


@pytest.mark.parametrize(
    "content", ["", "[1, 2]", '{"a":' * 5000 + "1" + "}" * 5000, '[["seed", 0]]', '{"seed": ' + "9" * 5000 + "}", None]
)
def test_damaged_settings_are_refused(tmp_path, content):
    out = tmp_path / "out"
    stopped(out)
    settings = tmp_path / "out.partial" / "pydisp-run.json"
    settings.unlink()
    settings.write_text(content) if content is not None else os.mkfifo(settings)
    with pytest.raises(ValueError, match="pydisp-run.json is missing or damaged; start anew without --resume"):
        make(out, resume=True)
    assert Workspace(out, marker="plan", journey="prune").identity() == {}


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"format": 5}', '{"a":' * 5000 + "1" + "}" * 5000, None])
def test_a_folder_is_not_replaced_if_its_report_is_not_ours(tmp_path, content):
    out = tmp_path / "out"
    out.mkdir()
    (out / "audit.json").write_text("{}")
    (out / "report.json").write_text(content) if content is not None else os.mkfifo(out / "report.json")
    workspace = Workspace(out, marker="audit.json", journey="audit")
    with pytest.raises(FileExistsError, match="is not the output of an earlier audit"), workspace.claimed(overwrite=True):
        pass
    (out / "report.json").unlink()
    (out / "report.json").write_text('{"format": "pydisp-report"}')
    with workspace.claimed(overwrite=True):
        pass


def test_write_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_whole(path, "Größe\n")
    assert path.read_bytes() == "Größe\n".encode()
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    write_whole(path, b"\0\1")
    assert path.read_bytes() == b"\0\1"
    with pytest.raises(ValueError, match="half"), whole_file(path) as partial:
        partial.write_text("a half")
        assert path.read_bytes() == b"\0\1"
        raise ValueError("half")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "plain"] and path.read_bytes() == b"\0\1"


def test_a_file_is_whole_after_every_kill(tmp_path):
    path = tmp_path / "figures.json"
    write_whole(path, json.dumps({"old": 1}))
    step = 0
    while is_killed_at(step, lambda: write_whole(path, json.dumps({"new": 2}))):
        assert json.loads(path.read_text()) in ({"old": 1}, {"new": 2})
        step += 1
    assert step > 1 and json.loads(path.read_text()) == {"new": 2}


def test_a_folder_that_cannot_be_made_is_told_before_the_work(tmp_path):
    for name in ("n" * 300, "n" * 300 + "/out"):
        with pytest.raises(OSError, match="^the folder .* cannot be made .File name too long.; choose another --out.$"):
            claim(tmp_path / name)
    assert not list(tmp_path.iterdir())


def claim(out):
    with Workspace(out, marker="plan.safetensors", journey="prune").claimed():
        pass


def test_a_disk_without_room_is_told_before_the_work(tmp_path, monkeypatch):
    free = {"total": 10 * 2**20, "free": 2 * 2**20}
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _folder: SimpleNamespace(**free))
    with Workspace(tmp_path / "out", marker="plan.safetensors", journey="prune").claimed() as workspace:
        workspace.check_room(2 * 2**20)
        with pytest.raises(ValueError, match="out will take 3 MiB, its disk has 2 MiB free; make room or choose another --out"):
            workspace.check_room(3 * 2**20)
        free |= {"total": 0, "free": 0}
        workspace.check_room(3 * 2**20)
