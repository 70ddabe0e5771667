"""DISP-LLM: dimension-independent structural pruning (https://arxiv.org/abs/2410.11988), and the baselines to compare it with.

    pruned, report = pydisp.prune(model, tokenizer, text=["notes.txt"], keep_ratio=0.5)

Files: `settings`, `request`: the options of a run · `corpora`: its texts · `start`, `hypernetwork`, `calibration`, `search`: the learned
masks · `baselines`: the other methods · `conversion`: from scores to a plan at the exact budget · `planning`: all methods behind one call
· `estimate`: the duration of a search · `run`: one run, in memory or into a folder · `journey`: from a model or its name to a pruned model
· `outcome`, `pictures`: the report · `model_card`: the folder's README.md · `folder`: the files of a pruned folder · `recovery`, `adapters`, `recovery_settings`: training what is
kept · `recovery_stage`: the same as a part of a run · `recover_journey`: from a pruned model or folder to a recovered one.
"""

from pydisp.pruning.journey import FolderRequest, prune, prune_to_folder
from pydisp.pruning.planning import Planned, make_plan
from pydisp.pruning.recover_journey import RecoverRequest, recover, recover_to_folder
from pydisp.pruning.recovery_settings import RecoverySettings
from pydisp.pruning.settings import METHODS, PruneSettings

__all__ = [
    "METHODS", "FolderRequest", "Planned", "PruneSettings", "RecoverRequest", "RecoverySettings", "make_plan", "prune", "prune_to_folder",
    "recover", "recover_to_folder",
]  # fmt: skip
