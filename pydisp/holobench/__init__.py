"""HoloBench: database questions over long texts, with gold answers by SQL on the rows shown (https://arxiv.org/abs/2410.11996).

build("bench.jsonl", lengths=[512, 1024], tokenizer="SMOLLM2")
run("SMOLLM2", "bench.jsonl", out="dense.jsonl", form="both")
score("bench.jsonl", "pruned.jsonl", against="dense.jsonl").report.write("report")
"""

from pydisp.holobench.answers.answering import run
from pydisp.holobench.contexts.building import build
from pydisp.holobench.figures.scored import score

__all__ = ["build", "run", "score"]
