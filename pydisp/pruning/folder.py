"""The folder that `pydisp prune` makes: write it, describe it, and export from it the dense model or a program without pydisp."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from pydisp import program
from pydisp.loading import choose_dtype, load_model, load_pruned_config, load_tokenizer, stored_dtype
from pydisp.modeling.config import check_widths, stock_config
from pydisp.modeling.feature_index import INDEX_NAMES
from pydisp.origin import Origin
from pydisp.plan import SETS, PruningPlan
from pydisp.progress import Bar, on_stderr, silence
from pydisp.pruning.model_card import model_card
from pydisp.pruning.outcome import Outcome
from pydisp.spec import decoder_layers, family_of
from pydisp.speed import record
from pydisp.surgery import to_dense
from pydisp.transformers_bars import as_ours
from pydisp.workspace import Workspace, write_whole

PLAN_FILE, SETTINGS_FILE, SPEED_FILE = "plan.safetensors", "pydisp.yaml", "speed.json"
EXPORT_FILE = "pydisp_export.json"
PROGRAMS = {"pt2": (program.save_pt2, program.run_pt2), "onnx": (program.save_onnx, program.run_onnx)}


def check_savable(config, tokenizer) -> None:
    """Write what is small of a model's folder to a temporary place, so that what cannot be saved is told before the work.

    Raises: ValueError.
    """
    for what, part in (("configuration", config), ("tokenizer", tokenizer)):
        with tempfile.TemporaryDirectory() as folder:
            try:
                part.save_pretrained(folder)
            except OSError:
                raise
            except Exception as error:  # a tokenizer may come with code of its own
                why = next(iter(str(error).splitlines()), "") or type(error).__name__
                raise ValueError(f"the {what} of this model cannot be saved ({why}); mend it in the model's folder, then repeat.") from None


def save_model(model: nn.Module, tokenizer, folder: Path, say: Callable[[str], None]) -> None:
    """`save_pretrained` of both. Whoever may read the other files may read the weights too (safetensors 0.8 would allow only the owner)."""
    with as_ours(say, title="writing the weights", unit="file"):
        for part in (model, tokenizer):
            part.save_pretrained(folder)
    _forget_loading(folder / "tokenizer_config.json")
    for weights in folder.glob("*.safetensors"):
        weights.chmod((folder / "config.json").stat().st_mode)


def _forget_loading(path: Path) -> None:
    """Remove from a tokenizer's config how it was loaded here, as by HF_HUB_OFFLINE: transformers writes it beside the tokenizer's own
    values, and a folder would have other bytes for it."""
    if path.is_file():
        values = json.loads(path.read_text(encoding="utf-8"))
        kept = {name: value for name, value in values.items() if name not in ("is_local", "local_files_only")}
        write_whole(path, json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_model(
    pruned: nn.Module, tokenizer, plan: PruningPlan, stored: torch.dtype, folder: Path, say: Callable[[str], None] = silence
) -> None:
    """Write the files that programs load: model, tokenizer and plan. Changes the model's dtype to `stored`, that of the checkpoint."""
    pruned = pruned.to(stored)
    pruned.config.dtype = stored
    save_model(pruned, tokenizer, folder, say)
    plan.save(folder / PLAN_FILE)


def write_words(outcome: Outcome, origin: Origin, speed: dict, folder: Path) -> None:
    """Write the files that people read: settings, model card, figures of speed and the report; `origin` is that of the dense model."""
    import yaml

    settings = {"model": outcome.model_name, **outcome.settings.as_dict()}
    if outcome.settings.method != "plan":  # a plan needs no settings
        (folder / SETTINGS_FILE).write_text(
            "# The settings of this run; usable with `pydisp prune --config`.\n" + yaml.safe_dump(settings, sort_keys=True)
        )
    (folder / "README.md").write_text(model_card(outcome, origin), encoding="utf-8")
    (folder / SPEED_FILE).write_text(json.dumps(speed, indent=2, sort_keys=True) + "\n")
    outcome.report().write(folder, measured=[record.section(speed)])


def describe(folder: str | os.PathLike, *, say: Callable[[str], None] = silence) -> dict:
    """Widths per layer (None: removed), kept shares and parameter counts; the indices are read and checked.

    The dense model's parameters are those with the embeddings that the folder has now: these may have been resized after the pruning.

    Raises: ValueError (LoadingError among them) for another folder, or for indices that are missing or wrong.
    """
    folder = Path(folder)
    config = load_pruned_config(folder)
    check_widths(config)
    model = load_model(str(folder), device=torch.device("cpu"), dtype=stored_dtype(config), say=say)
    total = sum(p.numel() for p in model.parameters())
    block = sum(p.numel() for p in decoder_layers(model, family_of(stock_config(config))).parameters())
    dense_block = config.pydisp["dense_parameters"]["block"]
    dense = total - block + dense_block  # embeddings, head and last norm are never pruned
    layers = []
    for widths in config.pydisp["layers"]:
        flat = {f"{b}_{name}": width for b in ("attention", "mlp") if widths[b] for name, width in widths[b].items()}
        layers.append({name: flat.get(name) for name in SETS})
    return {
        "model_type": config.model_type,
        "layers": layers,
        "full": {"hidden_size": config.hidden_size, "layers": config.num_hidden_layers},
        "kept": {"total": total / dense, "block": block / dense_block},
        "params": {"dense": dense, "pruned": total},
        "indices": sum(name.split(".")[-2] in INDEX_NAMES for name, _ in model.named_buffers() if name.endswith(".index")),
        "indices_valid": True,
        "model_digest": config.pydisp["model_digest"],
        "plan_digest": config.pydisp["plan_digest"],
    }


def export_dense(
    folder: str | os.PathLike,
    out: str | os.PathLike,
    *,
    overwrite: bool = False,
    trust_remote_code: bool = False,
    say: Callable[[str], None] = on_stderr,
) -> dict:
    """Write the stock model of a pruned folder, in the folder's dtype, with zeros in place of the removed weights.

    trust_remote_code: run the code of a tokenizer that comes with its own.
    Raises: ValueError, FileExistsError with one sentence; `out` appears whole or not at all.
    """
    workspace = Workspace(out, marker=EXPORT_FILE, journey="export")
    with workspace.claimed(overwrite=overwrite):
        config = load_pruned_config(folder)
        dtype = choose_dtype(None, torch.device("meta"), stored_dtype(config))
        tokenizer = load_tokenizer(str(folder), trust_remote_code=trust_remote_code)
        dense = to_dense(load_model(str(folder), device=torch.device("cpu"), dtype=dtype, say=say))
        origin = {"exported_from": config.model_type, "plan_digest": config.pydisp["plan_digest"]}
        workspace.begin(origin)
        save_model(dense, tokenizer, workspace.output, say)
        write_whole(workspace.output / EXPORT_FILE, json.dumps(origin, indent=1, sort_keys=True) + "\n")
        workspace.finish()
    return {"out": str(out), "model_type": dense.config.model_type, "params": sum(p.numel() for p in dense.parameters())}


def export_program(
    folder: str | os.PathLike,
    out: str | os.PathLike,
    form: str,
    *,
    overwrite: bool = False,
    trust_remote_code: bool = False,
    say: Callable[[str], None] = on_stderr,
) -> dict:
    """Write a pruned folder's model as a program of torch's own operators, with its tokenizer: `form` is a key of PROGRAMS.

    The program computes in the folder's dtype, but float32 if that has 16 bits. It is run, and its logits are compared with the model's.

    trust_remote_code: run the code of a tokenizer that comes with its own.
    Raises: ValueError, FileExistsError, ImportError with one sentence; `out` appears whole or not at all.
    """
    save, run = PROGRAMS[form]
    if form == "onnx":
        program.check_onnx()
    workspace = Workspace(out, marker=EXPORT_FILE, journey="export")
    with workspace.claimed(overwrite=overwrite):
        config = load_pruned_config(folder)
        dtype = choose_dtype(None, torch.device("cpu"), stored_dtype(config))
        tokenizer = load_tokenizer(str(folder), trust_remote_code=trust_remote_code)
        model = load_model(str(folder), device=torch.device("cpu"), dtype=dtype, say=say)
        origin = {"exported_from": config.model_type, "plan_digest": config.pydisp["plan_digest"], "file": f"model.{form}"}
        file = workspace.output / origin["file"]
        with Bar(5, say, title="making the program", unit="step") as bar:
            made = program.made_program(model, told=lambda: bar.advance(1))  # two steps
            workspace.begin(origin)
            workspace.output.mkdir()
            save(made, file)
            bar.advance(1)
            forward = run(file)
            bar.advance(1)
            difference = program.largest_difference(forward, model)
            bar.advance(1)
        tokenizer.save_pretrained(workspace.output)
        _forget_loading(workspace.output / "tokenizer_config.json")
        write_whole(workspace.output / EXPORT_FILE, json.dumps(origin, indent=1, sort_keys=True) + "\n")
        workspace.finish()
    params = sum(p.numel() for p in model.parameters())
    return {"out": str(out), "file": file.name, "params": params, "largest_difference": difference}
