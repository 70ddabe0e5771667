"""Files and folders that appear whole or not at all, even if a run is stopped or killed; for every kind of run (a "journey").

    write_whole("report.json", text)

    workspace = Workspace("DIR", marker="plan.safetensors", journey="prune")
    with workspace.claimed(overwrite=False):
        workspace.begin({"seed": 0})
        (workspace.output / "plan.safetensors").write_bytes(plan)
        workspace.finish()                                   # DIR is there

Until DIR is there, the folder `DIR.partial` holds everything: the unfinished output, and the last state of a search, which only `--resume`
reads. A lock in it admits one run at a time; if a run is killed, the system releases its lock. A kill is safe at every step; a power cut
is not.
"""

import contextlib
import errno
import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydisp.given_file import read_text
from pydisp.given_value import json_value

_LOCK, _SETTINGS, _STATE = "pydisp.lock", "pydisp-run.json", "search.pt"  # the first two mark a folder as pydisp's: names of no one else
_OUTPUT, _REPLACED, _TRASH = "output", "replaced", "trash"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_FULL = {errno.ENOSPC, errno.EDQUOT}
MOST_REPORT_BYTES, MOST_REPORT_VALUES = 1 << 28, 20_000_000  # a probe of 80 layers of 64 heads has millions of values

logger = logging.getLogger("pydisp")


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside `path` to write to: it is renamed to `path` when the block ends, and removed if the block fails.

    A kill leaves `path` as it was, and perhaps a hidden file `.NAME.PROCESS.partial` beside it.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # each process has its own name, because two may write the same file
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike, content: str | bytes) -> None:
    """Write a file, text as UTF-8 with unchanged line ends. The file appears whole or stays as it was; it has the mode of any new file."""
    with whole_file(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


class Workspace:
    """A folder that a run is making.

    Args:
        out: the folder to make, DIR.
        marker: a file that every finished output has; `--overwrite` never replaces a folder without it. One of JSON stands beside a
            `report.json`, or begins with "pydisp".
        journey: the kind of run, for messages: "prune", "export".
    """

    def __init__(self, out: str | os.PathLike, *, marker: str, journey: str):
        self.out = Path(out)
        self.marker, self.journey = marker, journey
        self.folder = self.out.parent / f"{self.out.name}.partial"
        self.output = self.folder / _OUTPUT
        self.has_begun = False
        self._overwrites = self._is_finished = False
        self._lock: int | None = None
        self._parents_made: list[Path] = []

    @contextlib.contextmanager
    def claimed(self, *, overwrite: bool = False, resume: bool = False) -> Iterator["Workspace"]:
        """Check that the folder may be made, and keep other runs out of it until the block ends.

        If the block fails or ends without `finish`, only the state of a search stays, if there is one. If it does so before `begin`,
        everything that an older run left stays as it is.
        Raises: FileExistsError for an output that exists or that another run is making, OSError for one that cannot be made,
            FileNotFoundError for a resume without a start; nothing is left behind.
        """
        self._overwrites = overwrite
        try:
            self._check_names()
            self._parents_made = [p for p in self.folder.parents if not p.exists()]
            self._lock = self._locked()
        except OSError as error:
            if isinstance(error, FileExistsError) or error.errno in _FULL:
                raise
            raise OSError(f"the folder {self.out} cannot be made ({error.strerror}); choose another --out.") from None
        try:
            self._restore()
            self._check_output()
            if resume and not self.has_state:
                raise FileNotFoundError(f"there is nothing to resume in {self.folder}; run the command without --resume.")
            yield self
        finally:
            self._leave()

    def check_room(self, size: int) -> None:
        """Refuse an output of so many bytes that the disk has no room for now.

        Raises: ValueError.
        """
        disk = shutil.disk_usage(self.folder)
        if size > disk.free and disk.total:  # some network file systems say that they have none at all
            needed, free = (f"{number / 2**20:,.0f} MiB" for number in (size, disk.free))
            raise ValueError(f"{self.out.name} will take {needed}, its disk has {free} free; make room or choose another --out.")

    def begin(self, identity: dict, *, resume: bool = False) -> None:
        """Replace the leftovers of another run; for a resume, check that the earlier run had the same identity.

        Args:
            identity: plain values that decide the result (settings, digests of the model and the text).
        Raises: ValueError naming the value that differs.
        """
        if resume:
            self._refuse_other(identity)
        self.has_begun = True
        if resume:
            self._discard(_OUTPUT)
            return
        self._clear()
        write_whole(self.folder / _SETTINGS, json.dumps(identity, indent=1, sort_keys=True))

    def identity(self) -> dict:
        """The identity that the last run here began with; empty if there is none to read."""
        try:
            return self._settings()
        except (OSError, ValueError):
            return {}

    def _settings(self) -> dict:
        found = _json(self.folder / _SETTINGS)
        if not isinstance(found, dict):
            raise ValueError(f"{_SETTINGS} holds no settings")
        return found

    def save_state(self, state: dict) -> None:
        """Write the state of a search (tensors and plain values); if a stop interrupts the writing, the last state stays whole."""
        import torch

        with whole_file(self.folder / _STATE) as partial:
            try:
                torch.save(state, partial)
            except RuntimeError as error:  # torch's writer hides the reason of the file system
                raise OSError(errno.ENOSPC, f"cannot write {_STATE}: {str(error).splitlines()[0]}") from None

    def load_state(self) -> dict:
        """Read the last state.

        Raises: ValueError if the file is damaged.
        """
        import torch

        try:
            return torch.load(self.folder / _STATE, weights_only=True)
        except Exception as error:  # a damaged file can make torch raise anything
            raise ValueError(f"{self.folder / _STATE} is damaged ({type(error).__name__}); start anew without --resume.") from None

    @property
    def has_state(self) -> bool:
        return (self.folder / _STATE).is_file()

    def finish(self) -> None:
        """Rename the output to DIR, replacing a folder if --overwrite allows it, and remove the workspace.

        Raises: FileExistsError if a folder that may not be replaced has appeared as DIR meanwhile.
        """
        self._check_output()
        self._discard(_REPLACED)
        replaced = self.folder / _REPLACED
        try:
            if self.out.exists():
                self.out.rename(replaced)
            self.output.rename(self.out)
        except BaseException:
            if replaced.exists() and not self.out.exists():
                replaced.rename(self.out)
            raise
        self._is_finished = True

    def _check_names(self) -> None:
        """Refuse a path that cannot be a new folder, and a `.partial` that is not pydisp's; writes nothing."""
        if self.out.name in ("", ".", ".."):
            raise FileExistsError(f"the output folder {self.out} is no name for a new folder; choose one with --out.")
        if self.out.is_symlink():  # a rename would replace the link, not the folder
            raise FileExistsError(f"the output folder {self.out} is a link; name the folder that it points to with --out.")
        if self.out.parent.exists() and not self.out.parent.is_dir():
            raise FileExistsError(f"{self.out.parent} is a file, so {self.out.name} cannot be made in it; choose another --out.")
        if self.folder.exists() and not self.folder.is_dir():
            raise FileExistsError(f"{self.folder} is a file, and the run needs a folder of that name; remove it or choose another --out.")
        try:
            names = set(os.listdir(self.folder))
        except FileNotFoundError:
            return
        if names and not names & {_LOCK, _SETTINGS}:
            raise FileExistsError(f"{self.folder} exists and was not made by a run; move it away or choose another --out.")

    def _check_output(self) -> None:
        if not self.out.exists():
            return
        if not self._overwrites:
            raise FileExistsError(f"{self.out} exists; choose another --out, or replace it with --overwrite.")
        if not self._is_output(self.out):
            raise FileExistsError(
                f"{self.out} exists and is not the output of an earlier {self.journey}, so --overwrite leaves it alone; choose another --out."
            )

    def _is_output(self, folder: Path) -> bool:
        """Whether a folder has the marker; beside one that others may use too (JSON without pydisp's name) a report of pydisp's must stand."""
        if not (folder / self.marker).is_file():
            return False
        if not self.marker.endswith(".json") or self.marker.startswith("pydisp"):
            return True
        try:
            report = _json(folder / "report.json")
        except (OSError, ValueError):
            return False
        return isinstance(report, dict) and str(report.get("format")).startswith("pydisp-")

    def _locked(self) -> int | None:
        """The open lock file; None, with a warning, if the platform or the file system has no locks."""
        path = self.folder / _LOCK
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:  # another run, just ending, has removed the folder
                continue
            try:
                has_locks = lock_file(lock)
            except BlockingIOError:
                os.close(lock)
                raise FileExistsError(
                    f"another run is making {self.out} at this moment; wait for its end, or choose another --out."
                ) from None
            if not has_locks:
                os.close(lock)
                logger.warning(f"files in {self.folder} cannot be locked: make sure that no second run has the same --out.")
                return None
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), path.stat()):
                    return lock
            os.close(lock)  # the lock belonged to a run that has ended and removed it

    def _restore(self) -> None:
        """Bring DIR back if a run was killed between its last two renames; only then are both folders in the workspace."""
        replaced = self.folder / _REPLACED
        if replaced.is_dir() and self.output.is_dir() and not self.out.exists():
            replaced.rename(self.out)

    def _refuse_other(self, identity: dict) -> None:
        try:
            was = self._settings()
        except (OSError, ValueError):
            raise ValueError(f"{self.folder / _SETTINGS} is missing or damaged; start anew without --resume.") from None
        for key in sorted(was.keys() | identity.keys()):
            if was.get(key) != identity.get(key):
                raise ValueError(
                    f"the run in {self.folder} had {key} {was.get(key)!r}, this command has {identity.get(key)!r}; "
                    "repeat its command with --resume, or start anew without."
                )

    def _discard(self, name: str) -> None:
        """Remove a folder of the workspace. It is renamed first, so that a half-removed folder never has its name."""
        trash = self.folder / _TRASH
        shutil.rmtree(trash, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            (self.folder / name).rename(trash)
            shutil.rmtree(trash, ignore_errors=True)

    def _clear(self) -> None:
        """Remove everything that runs write here, except the lock, which marks the folder as pydisp's."""
        self._discard(_OUTPUT)
        self._discard(_REPLACED)
        for name in (_STATE, _SETTINGS):
            for path in (*self.folder.glob(f".{name}.*.partial"), self.folder / name):
                path.unlink(missing_ok=True)

    def _leave(self) -> None:
        """Remove everything that is no longer needed, and release the lock."""
        with contextlib.suppress(OSError):  # a failing removal must not hide the error that ended the run
            if self.has_begun:
                self._discard(_OUTPUT)
                if self._is_finished or not self.has_state:
                    self._clear()
            (self.folder / _LOCK).unlink(missing_ok=True)
            for folder in (self.folder, *self._parents_made):
                folder.rmdir()  # fails at the first folder that is not empty
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _json(path: Path):
    """Raises: ValueError for a damaged file and for a pipe in its place, OSError."""
    needed = "start anew."  # no one reads it: the caller says what the file is for
    return json_value(read_text(path, needed, most_bytes=MOST_REPORT_BYTES), path.name, needed, most_values=MOST_REPORT_VALUES)


def lock_file(file: int) -> bool:
    """Lock an open file for this process until it is closed or the process ends; False if there are no locks.

    Raises: BlockingIOError if another process has the lock.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True
