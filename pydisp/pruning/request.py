"""FolderRequest: the arguments of `pydisp prune`, and the command line that repeats them."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from pydisp.loading import displayed_name
from pydisp.pruning.folder import SETTINGS_FILE
from pydisp.pruning.settings import PruneSettings


@dataclass(frozen=True)
class FolderRequest:
    """The arguments of `prune_to_folder`; with a plan file, `settings` is None, and `context_tokens` and `evaluation_tokens` may be set.

    minutes: the time in which the run should end; its steps, batch and evaluation are chosen for it.
    """

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
    evaluation_tokens: int | None = None
    minutes: float | None = None
    measures_speed: bool = True

    @property
    def source(self) -> dict:
        """The keyword arguments with which `pydisp.loading` finds the model."""
        return {"revision": self.revision, "trust_remote_code": self.trust_remote_code}

    @property
    def of_a_plan(self) -> dict:
        """The settings of a run with a given plan."""
        return {"context_tokens": self.context_tokens, "evaluation_tokens": self.evaluation_tokens}

    def command(self, settings: PruneSettings, *, is_usual: bool) -> str:
        """The command line that makes the same folder, without paths of the machine.

        Args:
            settings: resolved (no None).
            is_usual: whether all settings without an option have their defaults; if not, the command names the configuration file in the
                folder.
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
        parts += ["--evaluation-tokens", str(settings.evaluation_tokens)] if settings.evaluation_tokens else []
        parts += ["--gradient-checkpointing"] if settings.in_use().get("gradient_checkpointing") else []
        for source in self.text or ():
            parts += ["--text", without_folder(source)]
        for option, value in (("--device", self.device), ("--dtype", self.dtype), ("--revision", self.revision)):
            parts += [option, value] if value else []
        return shlex.join(parts + (["--trust-remote-code"] if self.trust_remote_code else []))


def without_folder(source: str) -> str:
    """The name of a source of text without its parent folders; `pythondoc` and `hub:` names stay as they are."""
    path, mark, field = source.partition("#")
    return Path(path).resolve().name + mark + field if Path(path).exists() else source
