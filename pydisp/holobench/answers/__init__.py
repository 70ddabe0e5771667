"""Answers: a model asked the items of a benchmark.

Files: `answering`: the journey · `asked_items`: items as tokens, in batches · `shared_prefix`: facts that are read once · `decoding`, `likelihood`: the two forms
· `journal`: what a stopped run keeps · `predictions`: what comes out.
"""
