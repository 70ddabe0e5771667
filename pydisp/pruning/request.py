"""FolderRequest: what `pydisp prune` is asked for, and the command line that asks for the same."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from pydisp.loading import displayed_name
from pydisp.pruning.folder import SETTINGS_FILE
from pydisp.pruning.settings import PruneSettings


@dataclass(frozen=True)
class FolderRequest:
    """What `prune_to_folder` is asked for; `settings` is None where a plan file is given, with which goes `context_tokens`."""

    model: str
    out: str | os.PathLike
    settings: PruneSettings | None
    text: tuple[str, ...] | None = None
    plan_file: str | None = None
    device: str | None = None
    dtype: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    resume: bool = False
    overwrite: bool = False
    context_tokens: int | None = None
    measures_speed: bool = True

    @property
    def source(self) -> dict:
        """The keyword arguments by which `pydisp.loading` finds the model."""
        return {"revision": self.revision, "trust_remote_code": self.trust_remote_code}

    def command(self, settings: PruneSettings, *, is_usual: bool) -> str:
        """The command line that makes the same folder, without a machine's paths.

        Args:
            settings: resolved.
            is_usual: whether all settings without an option have their defaults; the command names the configuration that the folder
                holds where not.
        """
        parts = ["pydisp", "prune", displayed_name(self.model), "--out", "DIR"]
        parts += [] if is_usual else ["--config", SETTINGS_FILE]
        if self.plan_file:
            parts += ["--plan", Path(self.plan_file).name]
        else:
            parts += ["--keep-ratio", str(settings.keep_ratio), "--ratio-of", settings.ratio_of, "--method", settings.method]
            for name in ("steps", "batch_size", "seed", "round_to"):
                parts += [f"--{name.replace('_', '-')}", str(getattr(settings, name))] if name in settings.in_use() else []
            parts += ["--accumulate", str(settings.accumulate)] if settings.in_use().get("accumulate", 1) != 1 else []
        parts += ["--context", str(settings.context_tokens)]
        for source in self.text or ():
            parts += ["--text", without_folder(source)]
        for option, value in (("--device", self.device), ("--dtype", self.dtype), ("--revision", self.revision)):
            parts += [option, value] if value else []
        return shlex.join(parts + (["--trust-remote-code"] if self.trust_remote_code else []))


def without_folder(source: str) -> str:
    """A source of text without the folders above it; `pythondoc` and `hub:` names as they are."""
    path, mark, field = source.partition("#")
    return Path(path).resolve().name + mark + field if Path(path).exists() else source
