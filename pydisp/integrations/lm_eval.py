"""lm-eval: the model `pydisp` (a pruned folder, a dense model, or `demo`), and running tasks offline from a folder of one's own.

pydisp eval DIR --tasks my_task --include-path tasks/
lm_eval run --model pydisp --model_args pretrained=DIR ...       # where lm-eval finds plug-ins by entry point
lm_eval run --model hf --model_args pretrained=DIR,trust_remote_code=True ...    # stock lm-eval, through the folder's shim
"""

import os
from collections.abc import Sequence
from pathlib import Path

import pydisp  # noqa: F401  (makes pydisp_* loadable)
from pydisp.distribution import install_command
from pydisp.loading import choose_device, choose_dtype, displayed_name, load_config, resolved_name, stored_dtype

try:
    from lm_eval.api.registry import register_model
    from lm_eval.models.huggingface import HFLM
except ImportError as error:
    raise ImportError(f"evaluation on tasks needs lm-eval; install it with: {install_command('eval')}") from error


@register_model("pydisp")
class PydispLM(HFLM):
    """HFLM for models by pydisp's names: a folder, a hub name, or `demo`; float32 on a CPU unless asked."""

    def __init__(self, pretrained: str, device: str | None = None, dtype: str | None = "auto", **kwargs):
        source = {key: kwargs[key] for key in ("revision", "trust_remote_code") if kwargs.get(key)}
        chosen = choose_device(None if device in (None, "None") else device)
        stored = stored_dtype(load_config(pretrained, **source))
        computed = choose_dtype(None if dtype in (None, "auto") else str(dtype), chosen, stored)
        name = str(computed).removeprefix("torch.")
        super().__init__(pretrained=resolved_name(pretrained), device=str(chosen), dtype=name, **kwargs)


def evaluate_tasks(
    model: str,
    tasks: Sequence[str],
    *,
    include_path: str | os.PathLike | None = None,
    limit: int | None = None,
    batch_size: int = 1,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> dict:
    """lm-eval's results of some tasks: {"model", "results": {task: {metric: value}}, "n_samples"}.

    Tasks of `include_path` come first; lm-eval's own hundreds are read (half a minute) only if one of the names is not there.
    Raises: ValueError for a task that neither has, FileNotFoundError for a folder that is not there.
    """
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    if include_path is not None and not Path(include_path).is_dir():
        raise FileNotFoundError(f"there is no folder {include_path} of tasks; give one with --include-path.")
    path = None if include_path is None else str(Path(include_path).resolve())
    manager = TaskManager(include_path=path, include_defaults=False) if path else None
    if manager is None or any(name not in manager.all_tasks for name in tasks):
        manager = TaskManager(include_path=path)
        unknown = [name for name in tasks if name not in manager.all_tasks]
        if unknown:
            raise ValueError(
                f"lm-eval knows no task {unknown[0]!r}; `lm_eval ls tasks` lists them, --include-path adds a folder of your own."
            )
    options = dict(device=device, dtype=dtype or "auto", batch_size=batch_size)
    source = dict(trust_remote_code=trust_remote_code, **({"revision": revision} if revision else {}))
    found = simple_evaluate(model=PydispLM(model, **options, **source), tasks=list(tasks), task_manager=manager, limit=limit)
    results = {
        task: {name: value for name, value in values.items() if isinstance(value, int | float)} for task, values in found["results"].items()
    }
    return {"model": displayed_name(model), "results": results, "n_samples": found["n-samples"]}
