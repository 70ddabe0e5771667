"""Classes: each shape of SQL has the class that a reader would give it."""

import pytest

pytest.importorskip("duckdb")

from pydisp.holobench.sql.gold import GoldError  # noqa: E402
from pydisp.holobench.sql.sql_class import classify  # noqa: E402


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELECT name FROM t WHERE age > 3", "filter"),
        ("SELECT DISTINCT name FROM t ORDER BY name", "filter"),
        ("SELECT name FROM t WHERE id IN (SELECT id FROM t WHERE age > 3)", "filter"),
        ("WITH a AS (SELECT * FROM t) SELECT name FROM a", "filter"),
        ("SELECT count(*) FROM t", "count"),
        ("SELECT COUNT(DISTINCT name) FROM t WHERE age > 3", "count"),
        ("SELECT sum(age) FROM t", "aggregate"),
        ("SELECT ROUND(AVG(age), 2), max(age) FROM t", "aggregate"),
        ("SELECT sum(age) / count(*) FROM t", "aggregate"),
        ("SELECT max(age) FROM t", "extreme"),
        ("SELECT name FROM t ORDER BY age DESC LIMIT 1", "extreme"),
        ("SELECT name FROM t WHERE age = (SELECT max(age) FROM t)", "extreme"),
        ("SELECT city FROM t JOIN s ON t.id = s.id GROUP BY city ORDER BY count(*) DESC LIMIT 1", "extreme"),
        ("SELECT city, count(*) FROM t GROUP BY city", "group"),
        ("SELECT city FROM t GROUP BY city HAVING avg(age) > 3", "group"),
        ("SELECT name FROM t WHERE age > (SELECT avg(age) FROM t)", "comparison"),
        ("SELECT name FROM t UNION SELECT name FROM s", "comparison"),
        ("SELECT id FROM t EXCEPT SELECT id FROM s", "comparison"),
        ("SELECT max(age) - min(age) FROM t", "comparison"),
        ("SELECT (SELECT count(*) FROM t) - (SELECT count(*) FROM s)", "comparison"),
        ("SELECT city FROM t GROUP BY city HAVING max(age) > 2 * min(age)", "comparison"),
        ("SELECT CASE WHEN (SELECT sum(age) FROM t) > (SELECT sum(age) FROM s) THEN 'a' ELSE 'b' END", "comparison"),
        ("SELECT name FROM t ORDER BY age LIMIT 3", "top_k"),
        ("SELECT city FROM t GROUP BY city ORDER BY count(*) DESC LIMIT 3", "top_k"),
        ("SELECT t.name FROM t JOIN s ON t.id = s.id WHERE s.x = 3", "join"),
        ("SELECT t.name FROM t, s WHERE t.id = s.id", "join"),
        ("SELECT name FROM t WHERE id NOT IN (SELECT id FROM s)", "join"),
        ("SELECT a.name FROM t a JOIN t b ON a.id = b.boss", "join"),
        ("SELECT count(*) FROM t JOIN s ON t.id = s.id", "join_aggregate"),
        ("SELECT city, sum(x) FROM t JOIN s ON t.id = s.id GROUP BY city", "join_aggregate"),
    ],
)
def test_the_shape_of_the_sql_gives_the_class(sql, kind):
    assert classify(sql) == kind


def test_what_is_no_select_has_no_class():
    with pytest.raises(GoldError):
        classify("DELETE FROM t")
