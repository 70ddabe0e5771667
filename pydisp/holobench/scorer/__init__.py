"""Scorer: how much of the gold an answer has, by the rules in data/SCORING.md.

Files: `scoring`: one answer · `answer_text`: which part of a text is the answer · `final_value`: its one value · `blocks`, `readings`: its rows · `values`: when cells are
equal · `matching`: rows against gold rows.
"""
