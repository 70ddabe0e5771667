"""DISP-LLM: dimension-independent structural pruning (https://arxiv.org/abs/2410.11988), and the baselines it is measured against.

    pruned, report = pydisp.prune(model, tokenizer, text=["notes.txt"], keep_ratio=0.5)

`settings`, `request`, `corpora` what a run is asked for and learns from · `hypernetwork`, `search` the learned masks · `baselines` the
others · `conversion` from scores to a plan at the exact budget · `planning` all methods behind one call · `estimate` what a search will
take · `run` one run, in memory or not · `journey` from a model or its name to a smaller one · `outcome`, `pictures` what is told of it ·
`folder` what is written.
"""

from pydisp.pruning.journey import FolderRequest, prune, prune_to_folder
from pydisp.pruning.planning import Planned, make_plan
from pydisp.pruning.settings import METHODS, PruneSettings

__all__ = ["METHODS", "FolderRequest", "Planned", "PruneSettings", "make_plan", "prune", "prune_to_folder"]
