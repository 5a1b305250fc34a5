"""Queries that read something else than the inputs, or change from run to run, are refused before they run."""

from __future__ import annotations

from contextlib import suppress

import pytest

from millrace.errors import UsageError
from tests.unit.training.prepare.query.declared import checked

HOSTILE = {
    "a file": "select * from 'x.csv'",
    "a file in double quotes": 'select * from "/etc/passwd"',
    "a file by FROM first": "from 'x.csv' select *",
    "a file by TABLE": "table 'x.csv'",
    "a URL": "select * from 'https://host/x.parquet'",
    "a table function": "select * from read_csv('x.csv')",
    "a table function with a schema": "select * from system.main.read_csv('x.csv')",
    "a text file in a subquery": "select (select content from read_text('x'))",
    "a file in a WITH": "with a as (from 'x.csv') select * from a",
    "a file in EXISTS": "select exists (from 'x.csv') from flights",
    "a file in a lateral join": "select * from flights, lateral (select * from 'x.csv')",
    "a file in IN": "select flight in (select a from 'x.csv') from flights",
    "a file in a UNION": "select 1 union all select * from 'x.csv'",
    "a file in ORDER BY": "select flight from flights order by (select count(*) from 'x.csv')",
    "a file in LIMIT": "select flight from flights limit (select count(*) from 'x.csv')",
    "a file in a window's frame": "select sum(month) over (order by (select max(a) from 'x.csv')) from flights",
    "a file in a list": "select [x for x in (select a from 'x.csv')] from flights",
    "a file in VALUES": "select * from (values ((select a from 'x.csv'))) v",
    "a file in an UNPIVOT": "from (select * from 'x.csv') unpivot (v for n in (a, b))",
    "the temporary folder": "select * from glob('/tmp/*')",
    "an attached database": "attach 'x.db' as x",
    "an extension": "install httpfs",
    "a loaded extension": "load httpfs",
    "a setting": "set memory_limit = '1TB'",
    "a pragma": "pragma threads = 64",
    "a call": "call pragma_version()",
    "a copy": "copy flights to 'x.csv'",
    "an export": "export database 'x'",
    "a table that is made": "create table x as select 1",
    "a change in a WITH": "with x as (delete from flights returning *) select * from x",
    "an insert in a WITH": "with x as (insert into flights values (1) returning *) select * from x",
    "a merge": "merge into flights using weather on true when matched then delete",
    "two statements": "select 1; select 2",
    "two statements after a comment": "select 1 -- the end\n; drop table flights",
    "two statements between comments": "select 1 /* ; */ ; /* */ drop table flights",
    "a transaction": "begin; select 1",
    "a prepared statement": "prepare x as select 1",
    "another dataset": "select * from planes",
    "another dataset in a comma join": "select * from flights, planes",
    "system tables": "select * from information_schema.tables",
    "a catalogue": "select * from pg_catalog.pg_class",
    "a system table by its bare name": "select * from sqlite_master",
    "the settings": "select * from duckdb_settings()",
    "the settings by a view": "select * from duckdb_settings",
    "a WITH that is not valid there": "select * from (with sqlite_master as (select 1) select * from sqlite_master), "
    "sqlite_master",
    "a WITH that reads the table of its name": "with sqlite_master as (select * from sqlite_master) "
    "select * from sqlite_master",
    "a recursive WITH that begins with the table of its name": "with recursive sqlite_master as "
    "(select * from sqlite_master union all select * from sqlite_master) select * from sqlite_master",
    "a WITH of an input's name": "with flights as (select 1) select * from flights",
    "the whole input": "select * from millrace_inputs.flights",
    "the whole input with its database": "select * from work.millrace_inputs.flights",
    "an input with a schema": "select * from main.flights",
    "SQL in a text": "select * from query('select 1')",
    "a table by its name in a text": "select * from query_table('sqlite_master')",
    "a name of the program": 'select flight as "millrace.order" from flights',
    "a name of the program in a subquery": "select * from (select flight as millrace_x from flights)",
    "a PIVOT": "pivot flights on month using sum(distance)",
    "a PIVOT in FROM": "from (pivot flights on month using sum(distance))",
    "VALUES": "values (1)",
    "a description": "describe flights",
    "a summary": "select * from (summarize flights)",
    "a list of tables": "show tables",
    "an explanation": "explain select 1",
    "another time": "select * from flights at (version => 1)",
    "a positional parameter": "select ? from flights",
    "a named parameter": "select $a from flights",
    "the environment": "select getenv('HOME')",
    "a setting by a function": "select current_setting('temp_directory')",
    "a variable": "select getvariable('x')",
    "the version": "select version()",
    "the user": "select user from flights",
    "the schema": "select current_schema from flights",
    "the query": "select md5(current_query())",
    "a function in a schema": "select main.current_setting('threads')",
    "a log entry": "select write_log('x')",
    "a pause": "select pg_sleep(1)",
    "a sequence": "select nextval('s')",
    "chance": "select random() from flights",
    "chance by name": "select list_aggregate([distance], 'Reservoir_Quantile', 0.5) from flights",
    "an aggregate by a computed name": "select aggregate([distance], 'su' || 'm') from flights",
    "chance as a method": "select flight.random() from flights",
    "chance in a window": "select row_number() over (order by random()) from flights",
    "a UUID": "select gen_random_uuid() from flights",
    "a seed": "select setseed(0.5) from flights",
    "a random sketch": "select reservoir_quantile(distance, 0.5) from flights",
    "a sample of a table": "select * from flights tablesample 10%",
    "a sample of a result": "select * from flights using sample 5",
    "the present": "select now() from flights",
    "the present without parentheses": "select current_date from flights",
    "the present in another spelling": "select CURRENT_TIMESTAMP from flights",
    "the present by a macro": "select ago(interval 1 day) from flights",
    "the present by an age": "select age(time_hour) from flights",
    "an unknown function": "select of_an_extension(month) from flights",
}  # fmt: skip


@pytest.mark.parametrize("query", HOSTILE.values(), ids=HOSTILE)
def test_a_query_is_refused_in_one_line(query: str) -> None:
    with pytest.raises(UsageError) as raised:
        checked(query)
    assert "the query of late" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("select * from flights where", "line 1, column 23"),
        ("select flight,\n  , month from flights", "line 2, column 3"),
        ("select 'open from flights", "line 1, column 8"),
        ("select flight\nfrom planes", "line 2, column 6"),
        ("select 'ü', random() from flights", "line 1, column 13"),
        ("select " + "month, " * 60 + ", flight from flights", "line 1, column 428"),
    ],
)
def test_the_message_says_line_and_column(query: str, place: str) -> None:
    with pytest.raises(UsageError, match=place):
        checked(query)


def test_an_unknown_input_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'flight', which is not a declared input .* did you mean flights\?"):
        checked("select * from flight")


@pytest.mark.parametrize(
    "query", ["", "  ", "-- nothing", "select \0", "select '\ud800'", "select 1" + " " * 1_000_000]
)
def test_a_text_that_is_no_query_is_refused(query: str) -> None:
    with pytest.raises(UsageError, match="the query of late"):
        checked(query)


@pytest.mark.parametrize("depth", [300, 3_000, 30_000])
def test_deep_nesting_is_refused_or_read(depth: int) -> None:
    for query in ("(" * depth + "1" + ")" * depth, "not " * depth + "true", "1" + " + 1" * depth):
        with suppress(UsageError):
            checked(f"select {query} from flights")


ALLOWED = {
    "a WITH": "with a as (select * from flights), b(x) as (select flight from a) select * from b",
    "a recursive WITH": "with recursive r as (select 1 as i union all select i + 1 from r where i < 3) "
    "select f.flight, r.i from flights f, r",
    "numbers and lists as rows": "select * from flights, range(3) r(i), unnest([1, 2]) u(v), generate_series(1, 2)",
    "VALUES in FROM": "select * from flights, (values (1), (2)) v(i)",
    "a UNION": "select flight from flights union all by name select month from weather",
    "a window": "select sum(distance) over (partition by carrier order by time_hour rows 3 preceding) from flights",
    "QUALIFY": "select * from flights qualify row_number() over (partition by carrier order by time_hour) = 1",
    "a tensor": "select [distance, month]::FLOAT[2] as v from flights",
    "a lambda": "select list_transform([month], lambda x: x + 1) from flights",
    "a static PIVOT": "from (select carrier, month, distance from flights) pivot (sum(distance) for month in (1, 2))",
    "an UNPIVOT": "from flights unpivot (v for n in (month, distance))",
    "comments": "-- first\nselect flight /* the number; */ from flights -- last",
    "a semicolon at the end": "select flight from flights;",
    "functions of time": "select date_trunc('day', time_hour), extract(hour from time_hour), make_date(2013, 1, 1), "
    "time_hour at time zone 'America/New_York', age(time_hour, time_hour) from flights",
    "texts": "select carrier || '; drop', carrier like 'U%', regexp_matches(carrier, 'a'), upper(carrier) from flights",
    "casts": "select flight::varchar, try_cast(carrier as int), cast(month as tinyint) from flights",
    "a method": "select carrier.lower() from flights",
    "FROM first": "from flights f select f.flight",
    "a quoted alias": 'select "f f".flight from flights as "f f"',
    "upper case": "SELECT FLIGHT FROM Flights",
}  # fmt: skip


@pytest.mark.parametrize("query", ALLOWED.values(), ids=ALLOWED)
def test_a_query_over_the_inputs_is_allowed(query: str) -> None:
    assert checked(query).sql == query
