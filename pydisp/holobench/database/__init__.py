"""Databases: tables in memory, from SQLite files, from a seed or shipped, and their rows as sentences.

Files: `tables`: the values · `databases`: by name · `sqlite_file`, `column_kinds`, `column_roles`, `nouns`: a file, what its columns are and what questions
call them · `generated`, `domains/`, `drawn_table`, `drawn_columns`: made databases · `sentences`: rows as text and back.
"""
