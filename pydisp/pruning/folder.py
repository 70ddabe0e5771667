"""What can be done with a folder that `pydisp prune` wrote, besides loading it: describe it, and export the dense model."""

import json
import os
import shutil
from pathlib import Path

import torch

from pydisp.loading import choose_dtype, load_model, load_pruned_config, load_tokenizer, stored_dtype
from pydisp.modeling.config import check_widths
from pydisp.modeling.feature_index import INDEX_NAMES
from pydisp.plan import SETS
from pydisp.pruning.workspace import save_model
from pydisp.surgery import to_dense

EXPORT_FILE = "pydisp_export.json"


def describe(folder: str | os.PathLike) -> dict:
    """Widths a layer (None: removed), kept shares and parameter counts; the indices are read and checked.

    Raises: ValueError (LoadingError among them) for another folder, or for indices that are missing or wrong.
    """
    folder = Path(folder)
    config = load_pruned_config(folder)
    check_widths(config)
    model = load_model(str(folder), device=torch.device("cpu"), dtype=stored_dtype(config))
    dense = config.pydisp["dense_parameters"]
    total = sum(p.numel() for p in model.parameters())
    block = total - (dense["total"] - dense["block"])
    layers = []
    for widths in config.pydisp["layers"]:
        flat = {f"{b}_{name}": width for b in ("attention", "mlp") if widths[b] for name, width in widths[b].items()}
        layers.append({name: flat.get(name) for name in SETS})
    return {
        "model_type": config.model_type,
        "layers": layers,
        "full": {"hidden_size": config.hidden_size, "layers": config.num_hidden_layers},
        "kept": {"total": total / dense["total"], "block": block / dense["block"]},
        "params": {"dense": dense["total"], "pruned": total},
        "indices": sum(name.split(".")[-2] in INDEX_NAMES for name, _ in model.named_buffers() if name.endswith(".index")),
        "indices_valid": True,
        "model_digest": config.pydisp["model_digest"],
        "plan_digest": config.pydisp["plan_digest"],
    }


def export_dense(folder: str | os.PathLike, out: str | os.PathLike, *, overwrite: bool = False) -> dict:
    """Write the stock model of a pruned folder, with zeros in the place of what was removed, in the folder's dtype.

    Raises: ValueError, FileExistsError with one sentence; `out` appears whole or not at all.
    """
    folder, out = Path(folder), Path(out)
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; choose another --out, or replace an earlier export with --overwrite.")
    if out.exists() and not (out / EXPORT_FILE).is_file():
        raise FileExistsError(f"{out} exists and is not an earlier export, so --overwrite leaves it alone; choose another --out.")
    config = load_pruned_config(folder)
    cpu = torch.device("cpu")
    dense = to_dense(load_model(str(folder), device=cpu, dtype=choose_dtype(None, torch.device("meta"), stored_dtype(config))))
    tokenizer = load_tokenizer(str(folder))
    partial, old = (out.with_name(f"{out.name}.{state}") for state in ("exporting", "replaced"))
    shutil.rmtree(partial, ignore_errors=True)
    try:
        save_model(dense, tokenizer, partial)
        origin = {"exported_from": config.model_type, "plan_digest": config.pydisp["plan_digest"]}
        (partial / EXPORT_FILE).write_text(json.dumps(origin, indent=1, sort_keys=True) + "\n")
        if out.exists():
            shutil.rmtree(old, ignore_errors=True)
            out.rename(old)
        partial.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return {"out": str(out), "model_type": dense.config.model_type, "params": sum(p.numel() for p in dense.parameters())}
