"""Problems: texts with gold calls, where they come from, and their labels.

problem          a prompt, the text that solves it, and which characters of it are results of tools
problem_set      problems with the tools that they ask for, and what of a source was not used
joining          how a result follows what stands before it, in gold texts and in decoding
labels           what a model should choose at each token, from character spans, for any fast tokenizer
generator        generated problems: `values` are drawn, `template`s filled, those of `templates_a` or of `templates_b` (held out)
gsm8k, metatool, funcqa, gsm8k_xl, kamel, virtualhome   readers of published data; `annotated_text` is what some of them share
problem_file     the file of problems
sources          problems by a name
checking         gold calls executed again
splits           train, validation and test, by groups of paraphrases
"""
