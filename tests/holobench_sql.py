"""SQL that a question must not have. {file} stands for the path of a file that exists, {folder} for a folder that may be written.

Each text is refused, or stopped by a limit; the tables are `orders(id, price, day, city)` and `people(id, name)`.
"""

_READ_FILES = """
SELECT * FROM '{file}'
SELECT * FROM "{file}"
SELECT count(*) FROM '{file}'
SELECT * FROM read_csv('{file}')
SELECT * FROM read_csv_auto('{file}')
SELECT * FROM read_csv(['{file}', '{file}'])
SELECT * FROM sniff_csv('{file}')
SELECT * FROM read_text('{file}')
SELECT content FROM read_text('{folder}/*')
SELECT * FROM read_blob('{file}')
SELECT * FROM read_json('{file}')
SELECT * FROM read_json_auto('{file}')
SELECT * FROM read_json_objects('{file}')
SELECT * FROM read_ndjson('{file}')
SELECT * FROM read_ndjson_objects('{file}')
SELECT * FROM read_parquet('{file}')
SELECT * FROM parquet_scan('{file}')
SELECT * FROM parquet_metadata('{file}')
SELECT * FROM parquet_schema('{file}')
SELECT * FROM parquet_file_metadata('{file}')
SELECT * FROM glob('{folder}/*')
SELECT * FROM glob('/etc/*')
SELECT * FROM '/etc/passwd'
SELECT * FROM '{folder}/*.csv'
SELECT * FROM 'file://{file}'
SELECT * FROM 'https://example.org/data.csv'
SELECT * FROM 's3://bucket/data.parquet'
SELECT * FROM 'gcs://bucket/data.parquet'
SELECT * FROM 'hf://datasets/a/b.csv'
SELECT * FROM '/dev/stdin'
SELECT * FROM '/proc/self/environ'
SELECT * FROM read_text('/proc/self/environ')
SELECT * FROM sqlite_scan('{file}', 'orders')
SELECT * FROM sqlite_query('{file}', 'SELECT 1')
SELECT * FROM postgres_scan('host=localhost', 'public', 'orders')
SELECT * FROM mysql_query('db', 'SELECT 1')
SELECT * FROM st_read('{file}')
SELECT * FROM read_xlsx('{file}')
SELECT * FROM iceberg_scan('{folder}')
SELECT * FROM delta_scan('{folder}')
SELECT * FROM arrow_scan(1, 2, 3)
SELECT * FROM pandas_scan(1)
SELECT * FROM python_map_function()
SELECT * FROM orders, read_text('{file}')
SELECT * FROM orders WHERE city IN (SELECT content FROM read_text('{file}'))
SELECT (SELECT content FROM read_text('{file}')) FROM orders
SELECT * FROM orders UNION ALL SELECT 1, 2.0, DATE '2020-01-01', content FROM read_text('{file}')
WITH t AS (SELECT * FROM read_text('{file}')) SELECT * FROM t
WITH t AS MATERIALIZED (SELECT * FROM '{file}') SELECT count(*) FROM t
SELECT * FROM orders JOIN '{file}' ON true
SELECT * FROM orders, LATERAL (SELECT * FROM '{file}') x
SELECT * FROM (FROM '{file}')
FROM '{file}'
FROM '{file}' SELECT count(*)
TABLE '{file}'
SELECT * FROM orders WHERE EXISTS (SELECT 1 FROM '{file}')
SELECT id FROM orders ORDER BY (SELECT count(*) FROM '{file}')
SELECT count(*) FROM orders GROUP BY (SELECT count(*) FROM '{file}')
SELECT city FROM orders GROUP BY city HAVING count(*) > (SELECT count(*) FROM '{file}')
SELECT CASE WHEN (SELECT count(*) FROM '{file}') > 0 THEN 1 ELSE 2 END
SELECT id FROM orders LIMIT (SELECT count(*) FROM '{file}')
SELECT id FROM orders OFFSET (SELECT count(*) FROM '{file}')
SELECT count(*) FILTER (WHERE EXISTS (SELECT 1 FROM '{file}')) FROM orders
SELECT * FROM query('SELECT * FROM ''{file}''')
SELECT * FROM query_table('orders')
SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))
SELECT read_text('{file}')
"""

_WRITE_FILES = """
COPY orders TO '{folder}/out.csv'
COPY orders TO '{folder}/out.parquet' (FORMAT parquet)
COPY (SELECT * FROM orders) TO '{folder}/out.csv'
COPY (SELECT * FROM orders) TO '{folder}/out.json'
COPY orders FROM '{file}'
COPY orders FROM STDIN
COPY FROM DATABASE memory TO other
EXPORT DATABASE '{folder}/export'
EXPORT DATABASE '{folder}/export' (FORMAT parquet)
IMPORT DATABASE '{folder}'
ATTACH '{folder}/new.db'
ATTACH '{folder}/new.db' AS other
ATTACH IF NOT EXISTS '{folder}/new.db' AS other (TYPE duckdb)
ATTACH '{file}' AS other (TYPE sqlite)
ATTACH ':memory:' AS other
ATTACH 'host=localhost' AS pg (TYPE postgres)
DETACH memory
USE other
CHECKPOINT
FORCE CHECKPOINT
VACUUM
VACUUM ANALYZE
ANALYZE
"""

_SETTINGS = """
INSTALL httpfs
INSTALL 'httpfs'
FORCE INSTALL httpfs
INSTALL h3 FROM community
INSTALL '{file}'
LOAD httpfs
LOAD '{file}'
UPDATE EXTENSIONS
SET threads = 4
SET enable_external_access = true
SET GLOBAL enable_external_access = true
SET SESSION search_path = 'other'
SET lock_configuration = false
SET memory_limit = '100GB'
SET temp_directory = '{folder}'
SET log_query_path = '{folder}/log'
SET allowed_paths = ['{file}']
SET VARIABLE a = 1
RESET threads
RESET ALL
RESET VARIABLE a
PRAGMA enable_external_access = true
PRAGMA version
PRAGMA database_list
PRAGMA table_info('orders')
PRAGMA show_tables
PRAGMA enable_profiling
PRAGMA profile_output = '{folder}/profile'
PRAGMA threads = 4
PRAGMA database_size
PRAGMA user_agent
PRAGMA import_database('{folder}')
SELECT getvariable('a')
SELECT current_setting('threads')
SELECT getenv('HOLOBENCH_CANARY')
SELECT getenv('HOME')
SELECT set_config('threads', '4', false)
SELECT enable_logging()
CREATE SECRET s (TYPE s3)
CREATE PERSISTENT SECRET s (TYPE s3)
DROP SECRET s
"""

_STATEMENTS = """
SELECT 1; SELECT 2
SELECT count(*) FROM orders; DROP TABLE orders
SELECT count(*) FROM orders;;; DROP TABLE orders
DROP TABLE orders; SELECT count(*) FROM orders
BEGIN; SELECT 1; COMMIT
SELECT count(*) FROM orders -- a comment\\n; DROP TABLE orders
SELECT count(*) FROM orders /* ; */ ; DELETE FROM orders
SELECT 'a;b'; DELETE FROM orders
SELECT $$a;b$$; DELETE FROM orders
DROP TABLE orders
DROP TABLE IF EXISTS orders CASCADE
DROP SCHEMA main CASCADE
DROP VIEW orders
CREATE TABLE other (a INT)
CREATE TABLE other AS SELECT * FROM orders
CREATE OR REPLACE TABLE orders AS SELECT 1 AS id
CREATE TEMP TABLE other (a INT)
CREATE VIEW other AS SELECT * FROM orders
CREATE SCHEMA other
CREATE SEQUENCE s
CREATE INDEX i ON orders (id)
CREATE TYPE t AS ENUM ('a')
CREATE MACRO m(a) AS a + 1
CREATE FUNCTION m(a) AS TABLE SELECT * FROM '{file}'
ALTER TABLE orders RENAME TO other
ALTER TABLE orders ADD COLUMN x INT
COMMENT ON TABLE orders IS 'x'
INSERT INTO orders VALUES (1, 2.0, DATE '2020-01-01', 'x')
INSERT INTO orders SELECT * FROM orders
INSERT INTO orders SELECT * FROM orders RETURNING id
UPDATE orders SET price = 0
UPDATE orders SET price = 0 RETURNING price
DELETE FROM orders
DELETE FROM orders RETURNING id
TRUNCATE orders
MERGE INTO orders USING people ON orders.id = people.id WHEN MATCHED THEN DELETE
WITH x AS (INSERT INTO people VALUES (1, 'x') RETURNING id) SELECT * FROM x
WITH x AS (DELETE FROM orders RETURNING id) SELECT * FROM x
WITH x AS (UPDATE orders SET price = 0 RETURNING id) SELECT * FROM x
WITH x AS (SELECT 1) INSERT INTO people SELECT 1, 'x' FROM x
WITH x AS (SELECT 1) DELETE FROM orders
BEGIN
BEGIN TRANSACTION
COMMIT
ROLLBACK
ABORT
EXPLAIN SELECT count(*) FROM orders
EXPLAIN ANALYZE SELECT count(*) FROM orders
EXPLAIN ANALYZE DELETE FROM orders
DESCRIBE orders
DESCRIBE SELECT * FROM orders
SUMMARIZE orders
SUMMARIZE SELECT * FROM orders
SHOW TABLES
SHOW ALL TABLES
SHOW DATABASES
SHOW orders
SELECT * FROM (DESCRIBE orders)
SELECT * FROM (SUMMARIZE orders)
SELECT * FROM (SHOW TABLES)
SELECT * FROM (SHOW ALL TABLES)
PREPARE p AS SELECT 1
PREPARE p AS DELETE FROM orders
EXECUTE p
EXECUTE p(1)
DEALLOCATE p
CALL pragma_version()
CALL duckdb_tables()
CALL enable_logging()
PIVOT orders ON city USING sum(price)
SELECT * FROM (PIVOT orders ON city USING sum(price))
UNPIVOT orders ON id, price INTO NAME n VALUE v
SELECT ?
SELECT $1
SELECT $name
SELECT * FROM orders WHERE id = ?
SELECT * FROM orders WHERE city = $city
VALUES (random())
"""

_SYSTEM = """
SELECT * FROM information_schema.tables
SELECT * FROM information_schema.columns
SELECT table_name FROM information_schema.tables WHERE table_name = 'orders'
SELECT * FROM pg_catalog.pg_tables
SELECT * FROM pg_tables
SELECT * FROM pg_class
SELECT * FROM sqlite_master
SELECT * FROM sqlite_schema
SELECT * FROM sqlite_temp_master
SELECT * FROM duckdb_tables
SELECT * FROM duckdb_columns
SELECT * FROM duckdb_settings
SELECT * FROM duckdb_secrets
SELECT * FROM duckdb_tables()
SELECT * FROM duckdb_columns()
SELECT * FROM duckdb_settings()
SELECT * FROM duckdb_secrets()
SELECT * FROM duckdb_extensions()
SELECT * FROM duckdb_functions()
SELECT * FROM duckdb_memory()
SELECT * FROM duckdb_temporary_files()
SELECT * FROM duckdb_logs()
SELECT * FROM duckdb_variables()
SELECT * FROM pragma_version()
SELECT * FROM pragma_table_info('orders')
SELECT * FROM pragma_database_size()
SELECT * FROM pragma_storage_info('orders')
SELECT * FROM pragma_user_agent()
SELECT * FROM test_all_types()
SELECT * FROM main.orders
SELECT * FROM memory.main.orders
SELECT * FROM temp.orders
SELECT * FROM system.main.duckdb_tables
SELECT * FROM reversed.orders
SELECT * FROM orders AT (VERSION => 1)
SELECT main.orders.id FROM orders
SELECT memory.main.orders.id FROM orders
SELECT current_user
SELECT current_schema
SELECT current_catalog
SELECT current_database()
SELECT current_schemas(true)
SELECT session_user
SELECT user
SELECT user FROM orders
SELECT version()
SELECT pg_typeof(id) FROM orders
SELECT current_query()
SELECT txid_current()
SELECT connection_id()
SELECT in_search_path('a', 'b')
SELECT has_table_privilege('orders', 'select')
SELECT nextval('s')
SELECT error('x')
SELECT sleep(10)
SELECT write_log('x')
SELECT frame.city FROM frame
SELECT * FROM frame
SELECT count(*) FROM "frame"
"""

_CHANCE = """
SELECT random()
SELECT setseed(0.5)
SELECT uuid()
SELECT gen_random_uuid()
SELECT now()
SELECT today()
SELECT current_date
SELECT current_timestamp
SELECT current_time
SELECT localtime
SELECT localtimestamp
SELECT get_current_timestamp()
SELECT transaction_timestamp()
SELECT epoch_ms(now())
SELECT age(day) FROM orders
SELECT id FROM orders WHERE day < current_date
SELECT id FROM orders ORDER BY random()
SELECT rowid FROM orders
SELECT id FROM orders WHERE rowid < 3
SELECT orders.rowid FROM orders
SELECT a.id FROM orders a JOIN orders b USING (rowid)
SELECT * FROM orders USING SAMPLE 3
SELECT * FROM orders USING SAMPLE 10%
SELECT * FROM orders TABLESAMPLE 10%
SELECT count(*) FROM (SELECT * FROM orders USING SAMPLE reservoir(5 ROWS))
SELECT first(id) FROM orders
SELECT last(id) FROM orders
SELECT any_value(id) FROM orders
SELECT arbitrary(id) FROM orders
SELECT arg_min(city, price) FROM orders
SELECT max_by(city, price) FROM orders
SELECT mode(city) FROM orders
SELECT approx_count_distinct(city) FROM orders
SELECT reservoir_quantile(price, 0.5) FROM orders
SELECT string_agg(city, ',') FROM orders
SELECT group_concat(city) FROM orders
SELECT list(id) FROM orders
SELECT DISTINCT ON (city) city, id FROM orders
SELECT row_number() OVER () FROM orders
SELECT id FROM orders QUALIFY row_number() OVER () < 3
SELECT sum(price) OVER (PARTITION BY city) FROM orders
SELECT * FROM orders POSITIONAL JOIN people
SELECT * FROM orders ASOF JOIN people ON orders.id >= people.id
SELECT #1 FROM orders
SELECT COLUMNS('.*') FROM orders
SELECT id FROM orders LIMIT 3
SELECT id FROM orders ORDER BY city LIMIT 3
SELECT id FROM orders LIMIT 10%
SELECT id FROM orders OFFSET 3
SELECT count(*) FROM (SELECT id FROM orders LIMIT 3)
SELECT id FROM orders a WHERE price = (SELECT price FROM orders b WHERE b.city = a.city ORDER BY day LIMIT 1)
"""

_ENDLESS = """
WITH RECURSIVE t(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM t) SELECT count(*) FROM t
WITH RECURSIVE t AS (SELECT 1 AS a UNION SELECT a + 1 FROM t WHERE a < 1000000000) SELECT max(a) FROM t
WITH RECURSIVE t AS (SELECT 'a' AS a UNION ALL SELECT a || a FROM t) SELECT * FROM t
SELECT count(*) FROM orders a, orders b, orders c, orders d, orders e, orders f
SELECT count(*) FROM orders a CROSS JOIN orders b CROSS JOIN orders c CROSS JOIN orders d CROSS JOIN orders e
SELECT sum(a.price * b.price) FROM orders a, orders b, orders c, orders d, orders e
SELECT DISTINCT a.id, b.id, c.id, d.id FROM orders a, orders b, orders c, orders d
SELECT a.id, b.id, c.id, count(*) FROM orders a, orders b, orders c, orders d GROUP BY ALL
SELECT a.id, b.id, c.id, count(*) FROM orders a, orders b, orders c, orders d GROUP BY 1, 2, 3
SELECT a.id FROM orders a, orders b, orders c, orders d ORDER BY a.price + b.price + c.price LIMIT 1
SELECT * FROM orders a, orders b
SELECT a.city FROM orders a, orders b, orders c
SELECT * FROM orders a, orders b, orders c, orders d, orders e, orders f, orders g, orders h, orders i, orders j, orders k, orders l
SELECT count(*) FROM orders a, orders b, orders c, orders d, orders e, orders f, orders g, orders h, orders i, orders j, orders k, orders l, orders m, orders n, orders o, orders p, orders q
SELECT count(*) FROM range(100000000000)
SELECT count(*) FROM generate_series(1, 100000000000)
SELECT * FROM range(1000000)
SELECT unnest(range(100000000))
SELECT * FROM unnest([1, 2, 3])
SELECT generate_series(1, 1000000000)
SELECT range(1000000000)
SELECT repeat('x', 2000000000)
SELECT length(repeat(city, 1000000000)) FROM orders
SELECT lpad('x', 2000000000, 'y')
SELECT rpad('x', 2000000000, 'y')
SELECT bar(1, 0, 1, 100000000)
SELECT format('{{:2000000000}}', 1)
SELECT printf('%2000000000d', 1)
SELECT replace(replace(replace(city, 'c', 'cccccccccc'), 'c', 'cccccccccc'), 'c', 'cccccccccc') FROM orders
SELECT list_resize([1], 1000000000)
SELECT array_agg(a.id) FROM orders a, orders b, orders c
SELECT string_agg(a.city, '') FROM orders a, orders b, orders c
SELECT histogram(a.id) FROM orders a, orders b, orders c
SELECT median(a.id + b.id) FROM orders a, orders b, orders c
SELECT max(a.id, 999999) FROM orders a, orders b
SELECT regexp_matches(city, '(a+)+$') FROM orders
SELECT regexp_replace(city, '(.*)*', 'x') FROM orders
SELECT city SIMILAR TO '(a+)+' FROM orders
SELECT count(*) FROM orders WHERE city LIKE '%a_%a_%a_%a_%a_%a_%a_%b'
SELECT count(*) FROM orders WHERE city NOT ILIKE '%a%a%a%a%a%a%b'
SELECT count(*) FROM orders WHERE city GLOB '*a?*a?*a?*a?*a?*b'
SELECT count(*) FROM orders WHERE city LIKE city
SELECT count(*) FROM orders WHERE city LIKE '%' || city || '%' || city
SELECT count(*) FROM orders WHERE city LIKE '%!%a' ESCAPE city
SELECT levenshtein(a.city, b.city) FROM orders a, orders b, orders c
SELECT factorial(1000000)
SELECT list_transform(range(100000000), x -> x)
SELECT reduce(range(100000000), (a, b) -> a + b)
SELECT [x FOR x IN range(100000000)]
SELECT sum(id)::BIT FROM orders
SELECT CAST(repeat('1', 1000000) AS BIGNUM)
WITH a AS (SELECT city || city AS x FROM orders), b AS (SELECT x || x AS x FROM a), c AS (SELECT x || x || x || x || x || x || x || x AS x FROM b), d AS (SELECT x || x || x || x || x || x || x || x AS x FROM c), e AS (SELECT x || x || x || x || x || x || x || x AS x FROM d), f AS (SELECT x || x || x || x || x || x || x || x AS x FROM e), g AS (SELECT x || x || x || x || x || x || x || x AS x FROM f), h AS (SELECT x || x || x || x || x || x || x || x AS x FROM g) SELECT length(x) AS n, count(*) FROM h GROUP BY x
"""

_TRICKS = (
    "",
    " ",
    ";",
    ";;;",
    "-- SELECT 1",
    "/* SELECT 1 */",
    "/* SELECT 1",
    "SELECT",
    "SELECT FROM",
    "SELECT 'a",
    'SELECT "a',
    "SELECT $$a",
    "\0",
    "SELECT 1\0; DROP TABLE orders",
    "SELECT '\ud800'",
    "\ufeff",
    "SELECT\u00a0random()",
    "SELECT/**/random()",
    "SELECT/**/*/**/FROM/**/'{file}'",
    "SELECT * FROM\n--\n'{file}'",
    "SeLeCt * FrOm ReAd_TeXt('{file}')",
    "SELECT * FROM \"read_text\"('{file}')",
    "SELECT * FROM main.read_text('{file}')",
    "SELECT * FROM system.main.read_text('{file}')",
    "SELECT \"getenv\"('HOLOBENCH_CANARY')",
    "SELECT main.getenv('HOLOBENCH_CANARY')",
    "SELECT pg_catalog.getenv('HOLOBENCH_CANARY')",
    "SELECT 'HOLOBENCH_CANARY'.getenv()",
    "SELECT city.upper().repeat(1000000000) FROM orders",
    "SELECT U&'\\0041'",
    "SELECT e'\\x41'::BLOB",
    "ＳＥＬＥＣＴ 1",
    "SELECT * FROM оrders",  # a Cyrillic letter
    "SELECT * FROM \u202eorders",
    'SELECT * FROM "orders\u0000"',
    "SELECT ½",
    "SELECT * FROM “orders”",
    "SELECT * FROM [orders]",
    "DROP\u3000TABLE orders",
    "SELECT 1 INTO other",
    "SELECT * INTO OUTFILE '{folder}/out' FROM orders",
    "SELECT load_extension('{file}')",
    "SELECT xp_cmdshell('id')",
    "SELECT 1 UNION SELECT random()",
    "SELECT (SELECT (SELECT (SELECT random())))",
    "SELECT * FROM (VALUES (random())) t(a)",
    "SELECT * REPLACE (random() AS id) FROM orders",
    "SELECT struct_pack(a := 1)",
    "SELECT {{'a': 1}}",
    "SELECT [1, 2]",
    "SELECT MAP {{'a': 1}}",
    "SELECT orders FROM orders",
    "SELECT id[1] FROM orders",
    "SELECT TRUE",
    "SELECT NULL",
    "SELECT INTERVAL 3 DAY",
    "SELECT TIMESTAMP '2020-01-01 10:00:00'",
    "SELECT now()::TIMESTAMPTZ",
    "SELECT 'x'::BLOB",
    "SELECT 'x'::JSON",
    "SELECT '1'::REAL",
    "SELECT 'NaN'::DOUBLE",
    "SELECT 1e308::DOUBLE * 10",
    "SELECT city COLLATE nocase FROM orders",
    "SELECT DEFAULT",
    "SELECT lambda x: x",
    "SELECT try(error('x'))",
    "SELECT count(*) FROM orders GROUP BY ALL",
    "SELECT id FROM orders ORDER BY ALL",
    "SELECT 1/0",
    "SELECT " + "(" * 100 + "1" + ")" * 100,
    "SELECT " + "(" * 20_000,
    "SELECT " + "abs(" * 500 + "1" + ")" * 500,
    "SELECT " + "NOT " * 3_000 + "TRUE",
    "SELECT " + "CASE WHEN 1 = 1 THEN " * 300 + "1" + " END" * 300,
    "SELECT " + "+".join(["1"] * 4_000),
    " UNION ALL ".join(["SELECT 1"] * 5_000),
    "SELECT '" + "x" * 100_000 + "'",
    "SELECT " + "[" * 200 + "]" * 200,
    "SELECT * FROM " + "(SELECT * FROM " * 100 + "orders" + ")" * 100,
    "SELECT id" + ", id" * 80 + " FROM orders",
    "WITH x AS (SELECT 1 AS a), x AS (SELECT 2 AS a) SELECT * FROM x",
    "SELECT * FROM orders WHERE id IN (" + ",".join(["1"] * 10_000) + ")",
)


def _lines(text: str) -> list[str]:
    return [line.replace("\\n", "\n") for line in text.strip().split("\n")]


FILES = _lines(_READ_FILES) + _lines(_WRITE_FILES) + _lines(_SETTINGS)
HOSTILE = FILES + _lines(_STATEMENTS) + _lines(_SYSTEM) + _lines(_CHANCE) + _lines(_ENDLESS) + list(_TRICKS)


def filled(text: str, file: str, folder: str) -> str:
    """The text with the paths put in."""
    return text.replace("{file}", file).replace("{folder}", folder).replace("{{", "{").replace("}}", "}")
