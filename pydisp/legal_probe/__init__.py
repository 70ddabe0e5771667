"""Legal probe: how much attention a causal language model gives to the tokens of annotated concepts (https://arxiv.org/abs/2410.12001).

    report = pydisp.legal_probe.probe("pruned", against="SMOLLM2").report
    probe(model, tokenizer, read_concepts("concepts.yaml")).figures["role"].enrichment

Files: `probing`: from models and passages to figures · `passages`, `records`, `spans`, `fields`: annotated texts and what is wrong in them ·
`passage_tokens`, `exclusion`, `windows`: the tokens of a passage, what does not count, passages that are too long · `received`: what each token
received · `uniform`, `place`: what it would receive under uniform attention, and by its place alone · `null_spans`, `chance`: random spans like the
concept's, and p-values · `concept_mass`, `window_mass`, `reading`: one concept, one text and all texts in one model · `figures`, `comparison`: of a
concept, and between models · `moments`, `matrices`: the paper's statistics, of values measured elsewhere too · `probe_report` and its parts
(`probe_words`, `method_section`, `reference_section`, `strip_section`, `pictures`, `head_map`, `token_strip`) · `data/`: the passages that come with
pydisp, and the rules they follow.
"""

from pydisp.legal_probe.exclusion import Exclusion
from pydisp.legal_probe.passages import ConceptSet, Passage, Span, concept_set, read_concepts, shipped
from pydisp.legal_probe.probing import Probe, probe

__all__ = ["ConceptSet", "Exclusion", "Passage", "Probe", "Span", "concept_set", "probe", "read_concepts", "shipped"]
