"""Workspace: the folder `DIR.partial` of a run, where everything stays until the finished folder is renamed to DIR.

It holds the last state of the search, which only `--resume` reads, and the output while it is being written. DIR itself appears
whole or not at all.
"""

import errno
import json
import os
import shutil
from pathlib import Path

import torch
from torch import nn

PLAN_FILE = "plan.safetensors"
_STATE, _SETTINGS, _OUTPUT, _REPLACED = "search.pt", "settings.json", "output", "replaced"


def save_model(model: nn.Module, tokenizer, folder: Path) -> None:
    """`save_pretrained` of both; the weights can be read by whom the other files can (safetensors 0.8 lets their owner alone)."""
    for part in (model, tokenizer):
        part.save_pretrained(folder)
    for weights in folder.glob("*.safetensors"):
        weights.chmod((folder / "config.json").stat().st_mode)


class Workspace:
    """Args: out: the folder a run is to make. Nothing is written before `begin`."""

    def __init__(self, out: str | os.PathLike):
        self.out = Path(out)
        self.folder = self.out.with_name(self.out.name + ".partial")
        self.output = self.folder / _OUTPUT

    def check(self, *, overwrite: bool, resume: bool) -> None:
        """Refuse an output that exists, a parent that is a file, or a resume without a start; writes nothing.

        Raises: FileExistsError, FileNotFoundError.
        """
        if self.out.name in ("", ".", ".."):
            raise FileExistsError(f"the output folder {self.out} is no name for a new folder; choose one with --out.")
        if self.out.exists():
            if not overwrite:
                raise FileExistsError(f"{self.out} exists; choose another --out, or replace it with --overwrite.")
            if not (self.out / PLAN_FILE).is_file():
                raise FileExistsError(
                    f"{self.out} exists and is not the output of an earlier prune, so --overwrite leaves it alone; choose another --out."
                )
        if self.out.parent.exists() and not self.out.parent.is_dir():
            raise FileExistsError(f"{self.out.parent} is a file, so {self.out.name} cannot be made in it; choose another --out.")
        if self.folder.exists() and not self.folder.is_dir():
            raise FileExistsError(f"{self.folder} is a file, and the run needs a folder of that name; remove it or choose another --out.")
        is_ours = (self.folder / _SETTINGS).is_file() or (self.folder / _STATE).is_file()
        if self.folder.exists() and any(self.folder.iterdir()) and not is_ours:
            raise FileExistsError(f"{self.folder} exists and was not made by a run; move it away or choose another --out.")
        if resume and not (self.folder / _STATE).is_file():
            raise FileNotFoundError(f"there is nothing to resume in {self.folder}; run the command without --resume.")

    def begin(self, identity: dict, *, resume: bool) -> None:
        """Make the folder, replacing what another run left; or check that the run to resume was the same.

        Args:
            identity: plain values that decide the result (settings, digests of model and text).
        Raises: ValueError naming the value that differs.
        """
        replaced = self.folder / _REPLACED
        if replaced.is_dir() and not self.out.exists():
            replaced.rename(self.out)  # a run was killed between its last two renames
        if resume:
            try:
                was = json.loads((self.folder / _SETTINGS).read_text())
            except ValueError:
                raise ValueError(f"{self.folder / _SETTINGS} is damaged; start anew without --resume.") from None
            for key in sorted(was.keys() | identity.keys()):
                if was.get(key) != identity.get(key):
                    raise ValueError(
                        f"the run in {self.folder} had {key} {was.get(key)!r}, this command has {identity.get(key)!r}; "
                        "repeat its command with --resume, or start anew without."
                    )
            shutil.rmtree(self.output, ignore_errors=True)
            return
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        (self.folder / _SETTINGS).write_text(json.dumps(identity, indent=1, sort_keys=True))

    def save_state(self, state: dict) -> None:
        """Write a search's state by a temporary name, so that a stop in between leaves the last one whole."""
        partial = self.folder / (_STATE + ".writing")
        try:
            torch.save(state, partial)
        except RuntimeError as error:  # torch's writer does not say why the file system refused
            partial.unlink(missing_ok=True)
            raise OSError(errno.ENOSPC, f"cannot write {partial.name}: {str(error).splitlines()[0]}") from None
        partial.replace(self.folder / _STATE)

    def load_state(self) -> dict:
        """The last state.

        Raises: ValueError if the file is damaged.
        """
        try:
            return torch.load(self.folder / _STATE, weights_only=True)
        except Exception as error:  # torch raises whatever the damage makes it trip over
            raise ValueError(f"{self.folder / _STATE} is damaged ({type(error).__name__}); start anew without --resume.") from None

    def finish(self) -> None:
        """Rename the output to DIR, replacing what --overwrite allows, and remove the workspace."""
        old = self.folder / _REPLACED
        shutil.rmtree(old, ignore_errors=True)
        if self.out.exists():
            self.out.rename(old)
        try:
            self.output.rename(self.out)
        except BaseException:
            if not self.out.exists():
                old.rename(self.out)
            raise
        shutil.rmtree(self.folder, ignore_errors=True)

    def abandon(self) -> None:
        """After a failure: keep the state of a search, if there is one, and nothing else."""
        shutil.rmtree(self.output, ignore_errors=True)
        if not (self.folder / _STATE).is_file():
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def has_state(self) -> bool:
        return (self.folder / _STATE).is_file()
