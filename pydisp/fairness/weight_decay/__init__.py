"""A sweep: small models trained from scratch over weight decay, and their loss by how often the training text has a token.

    report, result = sweep("bench/fairness/imdb.yaml", "results/imdb")

Files: `settings`, `config`: what is trained, from YAML · `text`: a tokenizer of its own, and the ids · `training_run`: one run · `workers`:
runs side by side, checkpoints · `figures`, `pictures`, `report`: over seeds · `journey`: from a configuration to a folder.
"""

from pydisp.fairness.weight_decay.config import read_config
from pydisp.fairness.weight_decay.journey import sweep

__all__ = ["read_config", "sweep"]
