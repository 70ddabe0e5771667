"""Contexts: the items of a benchmark: which rows are shown where, what is asked on them, and the wrong answers beside the gold.

Files: `building`: the journey · `build_settings`: what is asked for · `draft`: which questions stand on which rows · `topic_questions`: which of them
are fit · `questions`, `question_forms` (`row_forms`, `group_forms`, `join_forms`), `phrases`, `conditions`: questions with SQL · `near_misses`: wrong answers of the same form · `lines`, `sampling`, `placement`, `context`: sentences with their lengths, which are taken,
where they stand, a text that fills its budget.
"""
