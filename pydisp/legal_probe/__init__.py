"""Legal probe: how much attention a causal language model gives to the tokens of annotated concepts (https://arxiv.org/abs/2410.12001)."""

from pydisp.legal_probe.passages import shipped

__all__ = ["shipped"]
