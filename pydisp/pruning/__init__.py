"""DISP-LLM: dimension-independent structural pruning (https://arxiv.org/abs/2410.11988), and the baselines it is measured against.

    pruned, report = pydisp.prune(model, tokenizer, text=["notes.txt"], keep_ratio=0.5)

`settings` what a run is asked for · `hypernetwork`, `search` the learned masks · `baselines` the others · `conversion` from scores
to a plan at the exact budget · `planning` all methods behind one call · `journey` from names to a folder · `outcome`, `pictures`
what is told of it · `workspace` the folder while it is being made.
"""

from pydisp.pruning.journey import FolderRequest, prune, prune_to_folder
from pydisp.pruning.planning import Planned, make_plan
from pydisp.pruning.settings import METHODS, PruneSettings

__all__ = ["METHODS", "FolderRequest", "Planned", "PruneSettings", "make_plan", "prune", "prune_to_folder"]
