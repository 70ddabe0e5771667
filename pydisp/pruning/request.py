"""FolderRequest: the arguments of `pydisp prune`, and the command line that repeats them."""

import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from pydisp.arguments import BY_NAME, NAME, PATH, SOURCES, SWITCH, check_fields, instance_of, optional, whole
from pydisp.loading import displayed_name
from pydisp.pruning.folder import SETTINGS_FILE
from pydisp.pruning.recovery_settings import RecoverySettings
from pydisp.pruning.settings import PruneSettings

_FILE = replace(PATH, made=os.fspath)
_NAMED = replace(
    _FILE, error=TypeError, needed="give a folder, a hub name, or 'demo'; a model in memory goes to pydisp.prune or pydisp.recover"
)
_SHARED = {
    "out": PATH, "text": optional(SOURCES), **BY_NAME, "device_map": optional(NAME),
    **dict.fromkeys(("resume", "overwrite", "measures_speed"), SWITCH), "evaluation_tokens": optional(whole(0)),
}  # fmt: skip


@dataclass(frozen=True)
class FolderRequest:
    """The arguments of `prune_to_folder`; with a plan file, `settings` is None, and `context_tokens` and `evaluation_tokens` may be set.

    minutes: the time in which the run should end; its steps, batch and evaluation are chosen for it.
    device_map: as `pydisp.placement.read_device_map` takes it; not together with a device.
    """

    model: str
    out: str | os.PathLike
    settings: PruneSettings | None
    text: tuple[str, ...] | None = None
    plan_file: str | None = None
    device: str | None = None
    device_map: str | None = None
    dtype: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    resume: bool = False
    overwrite: bool = False
    context_tokens: int | None = None
    evaluation_tokens: int | None = None
    minutes: float | None = None
    measures_speed: bool = True
    recovery: RecoverySettings | None = None

    def __post_init__(self):
        check_fields(
            self, model=_NAMED, **_SHARED, settings=optional(instance_of(PruneSettings, "give PruneSettings")), plan_file=optional(_FILE),
            context_tokens=optional(whole(2)), recovery=optional(instance_of(RecoverySettings, "give RecoverySettings")),
        )  # fmt: skip
        if self.settings is None and self.plan_file is None:
            raise ValueError("settings is None, and there is no plan_file either; give PruneSettings, or the file of a plan.")

    @property
    def source(self) -> dict:
        """The keyword arguments with which `pydisp.loading` finds the model."""
        return {"revision": self.revision, "trust_remote_code": self.trust_remote_code}

    @property
    def of_a_plan(self) -> dict:
        """The settings of a run with a given plan."""
        return {"context_tokens": self.context_tokens, "evaluation_tokens": self.evaluation_tokens}

    def command(self, settings: PruneSettings, *, is_usual: bool, recovery: RecoverySettings | None = None) -> str:
        """The command line that makes the same folder, without paths of the machine.

        Args:
            settings: resolved (no None).
            is_usual: whether all settings without an option have their defaults; if not, the command names the configuration file in the
                folder.
            recovery: resolved, if the model was recovered.
        """
        parts = ["pydisp", "prune", displayed_name(self.model), "--out", "DIR"]
        parts += [] if is_usual else ["--config", SETTINGS_FILE]
        if self.plan_file:
            parts += ["--plan", Path(self.plan_file).name]
        else:
            parts += ["--keep-ratio", str(settings.keep_ratio), "--ratio-of", settings.ratio_of, "--method", settings.method]
            for name in ("steps", "start", "batch_size", "seed", "round_to"):
                parts += [f"--{name.replace('_', '-')}", str(getattr(settings, name))] if name in settings.in_use() else []
            parts += ["--accumulate", str(settings.accumulate)] if settings.in_use().get("accumulate", 1) != 1 else []
            parts += ["--bfloat16" if settings.bfloat16 else "--no-bfloat16"] if "bfloat16" in settings.in_use() else []
        parts += ["--context", str(settings.context_tokens)]
        parts += ["--evaluation-tokens", str(settings.evaluation_tokens)] if settings.evaluation_tokens else []
        parts += ["--gradient-checkpointing"] if settings.in_use().get("gradient_checkpointing") else []
        if recovery:  # the rest follows from the run and the machine
            parts += ["--recover", "--recover-steps", str(recovery.steps), "--recover-learning-rate", str(recovery.learning_rate)]
            parts += ["--recover-lora-rank", str(recovery.lora_rank)] if recovery.lora_rank else []
            parts += ["--recover-bfloat16" if recovery.bfloat16 else "--no-recover-bfloat16"]
        for source in self.text or ():
            parts += ["--text", without_folder(source)]
        parts += _where(self)
        return shlex.join(parts + (["--trust-remote-code"] if self.trust_remote_code else []))


@dataclass(frozen=True)
class RecoverRequest:
    """The arguments of `recover_to_folder`; without a teacher's name, it is the model that the folder names."""

    folder: str | os.PathLike
    out: str | os.PathLike
    settings: RecoverySettings
    teacher: str | None = None
    text: tuple[str, ...] | None = None
    device: str | None = None
    device_map: str | None = None
    dtype: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    resume: bool = False
    overwrite: bool = False
    evaluation_tokens: int | None = None
    minutes: float | None = None
    measures_speed: bool = True

    def __post_init__(self):
        check_fields(
            self, folder=PATH, **_SHARED, settings=instance_of(RecoverySettings, "give RecoverySettings"), teacher=optional(_NAMED)
        )  # fmt: skip

    @property
    def source(self) -> dict:
        """The keyword arguments with which `pydisp.loading` finds the teacher."""
        return {"revision": self.revision, "trust_remote_code": self.trust_remote_code}

    def command(self, settings: RecoverySettings, teacher: str) -> str:
        """The command line that makes the same folder from the pruned one, without paths of the machine; `settings` resolved."""
        parts = ["pydisp", "recover", "DIR", "--out", "RECOVERED", "--teacher", displayed_name(teacher), *_options(settings)]
        parts += [] if self.evaluation_tokens is None else ["--evaluation-tokens", str(self.evaluation_tokens)]
        for source in self.text or ():
            parts += ["--text", without_folder(source)]
        parts += _where(self)
        return shlex.join(parts + (["--trust-remote-code"] if self.trust_remote_code else []))


def _where(request: FolderRequest | RecoverRequest) -> list[str]:
    """The options that say where and in which dtype a model runs, and which revision of it."""
    placement = request.device_map and without_folder(request.device_map)
    options = {"--device": request.device, "--device-map": placement, "--dtype": request.dtype, "--revision": request.revision}
    return [word for option, value in options.items() if value for word in (option, value)]


def _options(settings: RecoverySettings) -> list[str]:
    """The options of `pydisp recover` that give these settings, resolved; without those that have their defaults anyway."""
    options = []
    for name, value in settings.as_dict().items():
        option = {"context_tokens": "context", "trains_head": "head"}.get(name, name).replace("_", "-")
        usual = RecoverySettings.__dataclass_fields__[name].default
        if value is True or value is False:
            options += [f"--{option}" if value else f"--no-{option}"] if value != usual else []
        elif value != usual:
            options += [f"--{option}", str(value)]
    return options


def without_folder(source: str) -> str:
    """The name of a source of text without its parent folders; `pythondoc` and `hub:` names stay as they are."""
    path, mark, field = source.partition("#")
    return Path(path).resolve().name + mark + field if Path(path).exists() else source
