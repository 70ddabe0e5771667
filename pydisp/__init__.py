"""pydisp: dimension-independent pruning of Hugging Face language models, and what it does to them.

    import pydisp
    model, report = pydisp.prune(model, tokenizer, text=["notes.txt"], keep_ratio=0.5)
    model.save_pretrained("pruned")           # AutoModelForCausalLM.from_pretrained("pruned") after `import pydisp`

Importing it is cheap: nothing of torch or transformers is loaded until a name is used.
"""

import importlib

from pydisp import registration

__version__ = "0.1.0"

# Public name -> the module that defines it.
_LAZY = {
    "prune": "pydisp.pruning",
    "IndexSet": "pydisp.indices",
    "LayerPlan": "pydisp.plan",
    "PruningPlan": "pydisp.plan",
    "ModelSpec": "pydisp.spec",
    "Gates": "pydisp.gates",
    "Report": "pydisp.report",
    "Metric": "pydisp.report",
}
__all__ = [*_LAZY, "__version__"]


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module 'pydisp' has no attribute {name!r}; it has {', '.join(sorted(_LAZY))}.")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__():
    return sorted([*globals(), *_LAZY])


registration.install()
