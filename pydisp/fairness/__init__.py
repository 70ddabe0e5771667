"""Token fairness: loss by the frequency of a token, in a model, between two models, in training (https://arxiv.org/abs/2410.11985).

    report, stats = pydisp.fairness.audit("pruned", text=["test.txt"], against="SMOLLM2", counts="train_counts.json")

Files: `auditing`: from models and a text to figures · `documents`: the replicates, tokens with their
characters · `units`: token ids or words · `counts`, `frequency`, `groups`: how frequent a type is, bins, head and tail · `token_values`,
`scores`: what a model did on each token and unit · `token_stats`: sums by type, which can be added up and kept · `measures`, `comparison`:
figures and differences (errors: `pydisp.intervals`) · `gate`: limits for CI · `audit_report`, `pictures`: the report · `frequency_probe`,
`frequency_loss`, `callback`: the same in training · `slope`: a law of memorised text · `weight_decay/`: a sweep of small models over weight decay.
"""

from pydisp.fairness.auditing import Audit, audit
from pydisp.fairness.counts import Counts
from pydisp.fairness.frequency_probe import FrequencyProbe
from pydisp.fairness.slope import Slope, slope_of
from pydisp.fairness.token_stats import TokenStats, UnitValues
from pydisp.fairness.weight_decay import sweep

__all__ = ["Audit", "Counts", "FrequencyProbe", "Slope", "TokenStats", "UnitValues", "audit", "slope_of", "sweep"]
