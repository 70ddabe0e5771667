"""pydisp: dimension-independent pruning of Hugging Face language models, and the measurement of its effects.

    import pydisp
    model, report = pydisp.prune(model, tokenizer, text=["notes.txt"], keep_ratio=0.5)
    model.save_pretrained("pruned")           # AutoModelForCausalLM.from_pretrained("pruned") after `import pydisp`
    pydisp.evaluate(model, tokenizer, text=["more.txt"]).perplexity

Importing pydisp is cheap: torch and transformers are loaded only when a name of pydisp is used.
"""

import importlib
from typing import TYPE_CHECKING

from pydisp import registration

if TYPE_CHECKING:  # for type checkers and editors: what __getattr__ below gives
    from pydisp.evaluation import evaluate as evaluate
    from pydisp.gates import Gates as Gates
    from pydisp.indices import IndexSet as IndexSet
    from pydisp.plan import LayerPlan as LayerPlan
    from pydisp.plan import PruningPlan as PruningPlan
    from pydisp.pruning import prune as prune
    from pydisp.pruning import recover as recover
    from pydisp.report import Metric as Metric
    from pydisp.report import Report as Report
    from pydisp.spec import ModelSpec as ModelSpec

__version__ = "0.1.0"

# Public name -> the module that defines it.
_LAZY = {
    "prune": "pydisp.pruning",
    "recover": "pydisp.pruning",
    "evaluate": "pydisp.evaluation",
    "IndexSet": "pydisp.indices",
    "LayerPlan": "pydisp.plan",
    "PruningPlan": "pydisp.plan",
    "ModelSpec": "pydisp.spec",
    "Gates": "pydisp.gates",
    "Report": "pydisp.report",
    "Metric": "pydisp.report",
}
__all__ = [*_LAZY, "__version__"]


if not TYPE_CHECKING:  # type checkers would take every name for one of pydisp

    def __getattr__(name: str):
        if name not in _LAZY:
            raise AttributeError(f"module 'pydisp' has no attribute {name!r}; it has {', '.join(sorted(_LAZY))}.")
        return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__():
    return sorted([*globals(), *_LAZY])


registration.install()
