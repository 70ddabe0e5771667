"""Decoding: a model with toolkens writes texts, calling tools on the way.

Files: `generating` the public `generate` · `loop` the steps of transformers' own loop, with a place for tools · `batch_rows` a batch whose
texts may grow unequally · `choosing` which tool fires and whether it is called · `calling_rows` what follows for each text · `tool_mode`
arguments written by the model · `token_bytes` bytes of unfinished characters · `put_in` how results join the text · `closed_results` what may not follow
them · `trace` every decision · `marked_text` a text with its calls shown.
"""
