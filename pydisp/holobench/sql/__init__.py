"""SQL: gold answers by DuckDB on the rows shown, and questions of a user's file, whose SQL is not trusted.

Files: `gold`: a session on some rows · `locked_database`: DuckDB without a way out · `sql_guard`, `sql_tree`, `sql_vocabulary`: what may run · `sql_class`: the class of a
query · `total_order`, `ordered_rows`: whether a LIMIT leaves anything to chance · `answer_columns`, `answer_values`, `exact_rounding`: what an answer
may hold · `question_file`: questions with SQL.
"""
