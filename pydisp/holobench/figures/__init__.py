"""Figures: from scored items to means with intervals, comparisons and a report.

Files: `scored`: the journey · `scored_items`, `results`, `breakdowns`: scores and their means · `estimates`: intervals over draws · `effective_length`, `claims`, `comparison`: what holds at
longer contexts, what the paper found, one model against another · `bench_report` and its parts (`comparison_section`, `method_section`, `example_answers`,
`pictures`, `result_words`).
"""
