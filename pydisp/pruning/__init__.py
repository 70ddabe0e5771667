"""DISP-LLM: dimension-independent structural pruning (https://arxiv.org/abs/2410.11988), and the baselines to compare it with.

    pruned, report = pydisp.prune(model, tokenizer, text=["notes.txt"], keep_ratio=0.5)

Files: `settings`, `request`: the options of a run · `corpora`: its texts · `start`, `hypernetwork`, `calibration`, `search`: the learned
masks · `baselines`: the other methods · `conversion`: from scores to a plan at the exact budget · `planning`: all methods behind one call
· `estimate`: the duration of a search · `run`: one run, in memory or into a folder · `journey`: from a model or its name to a pruned model
· `outcome`, `pictures`: the report · `folder`: the files of a pruned folder.
"""

from pydisp.pruning.journey import FolderRequest, prune, prune_to_folder
from pydisp.pruning.planning import Planned, make_plan
from pydisp.pruning.settings import METHODS, PruneSettings

__all__ = ["METHODS", "FolderRequest", "Planned", "PruneSettings", "make_plan", "prune", "prune_to_folder"]
