"""The built-in tools: pure functions of arithmetic, units, dates and invented tables, each with documentation and examples.

BUILTIN["multiply"].signature == "multiply(a: number, b: number)"
"""

from pydisp.toolken.problems.problem import QUESTION
from pydisp.toolken.tools.lookup import tables
from pydisp.toolken.tools.tool import Example, Parameter, Tool
from pydisp.toolken.tools.tools import Tools
from pydisp.toolken.tools.units import UNITS

_TABLES = tuple(tables())
_ROWS = tuple(dict.fromkeys(row for one in tables().values() for row in one["rows"]))
_COLUMNS = tuple(dict.fromkeys(column for one in tables().values() for column in one["columns"]))


def _tool(file: str, name: str, documentation: str, parameters: tuple[Parameter, ...], *examples: tuple[str, str]) -> Tool:
    shown = tuple(Example(QUESTION.format(question=question), arguments) for question, arguments in examples)
    return Tool(name, documentation, parameters, shown, f"pydisp.toolken.tools.{file}:{name}")


_NUMBERS = (Parameter("a", "number"), Parameter("b", "number"))
_NUMBER = (Parameter("a", "number"),)
_WHOLE = (Parameter("a", "integer"), Parameter("b", "integer"))
_COUNTS = (Parameter("n", "integer"), Parameter("k", "integer"))

BUILTIN = Tools(
    [
        _tool(
            "arithmetic", "add", "The sum of two numbers: a plus b.", _NUMBERS,
            ("What is 48 plus 24?", "48, 24"),
            ("A bag has 3.5 kg of rice and 1.25 kg are put in. How many kg are in it now?", "3.5, 1.25"),
            ("What do 917 and 684 make together?", "917, 684"),
        ),
        _tool(
            "arithmetic", "subtract", "The difference of two numbers: a minus b.", _NUMBERS,
            ("What is 512 minus 87?", "512, 87"),
            ("Ann had 90.5 dollars and spent 32.75. How many dollars are left?", "90.5, 32.75"),
            ("How much more is 1041 than 365?", "1041, 365"),
        ),
        _tool(
            "arithmetic", "multiply", "The product of two numbers: a times b.", _NUMBERS,
            ("What is 12 times 7?", "12, 7"),
            ("One box holds 36 pens. How many pens are in 48 boxes?", "48, 36"),
            ("What is the product of 4.5 and 1.2?", "4.5, 1.2"),
        ),
        _tool(
            "arithmetic", "divide", "The quotient of two numbers: a divided by b.", _NUMBERS,
            ("What is 84 divided by 12?", "84, 12"),
            ("Five friends share 437.5 dollars. How many dollars does each get?", "437.5, 5"),
            ("How many times does 16 go into 624?", "624, 16"),
        ),
        _tool(
            "arithmetic", "power", "A number to a power: a to the power of b.", _NUMBERS,
            ("What is 2 to the power of 10?", "2, 10"),
            ("What is 1.5 cubed?", "1.5, 3"),
            ("What is 37 squared?", "37, 2"),
        ),
        _tool(
            "arithmetic", "sqrt", "The square root of a number.", _NUMBER,
            ("What is the square root of 1521?", "1521"),
            ("What number times itself is 6.25?", "6.25"),
            ("A square has an area of 196. How long is a side?", "196"),
        ),
        _tool(
            "arithmetic", "log", "The logarithm of a number to a base; the base is 10 if none is given.",
            (Parameter("a", "number"), Parameter("base", "number", is_required=False)),
            ("What is the logarithm of 1000?", "1000"),
            ("What is the logarithm of 64 to base 2?", "64, 2"),
            ("To what power must 3 be raised to give 243?", "243, 3"),
        ),
        _tool(
            "arithmetic", "ln", "The natural logarithm of a number, to base e.", _NUMBER,
            ("What is the natural logarithm of 20?", "20"),
            ("What is ln of 3.7?", "3.7"),
            ("To what power must e be raised to give 150?", "150"),
        ),
        _tool(
            "arithmetic", "lcm", "The least common multiple of two whole numbers.", _WHOLE,
            ("What is the least common multiple of 12 and 18?", "12, 18"),
            ("What is the smallest number that both 14 and 35 divide?", "14, 35"),
            ("One light blinks every 8 seconds and one every 30. After how many seconds do both blink together again?", "8, 30"),
        ),
        _tool(
            "arithmetic", "gcd", "The greatest common divisor of two whole numbers.", _WHOLE,
            ("What is the greatest common divisor of 84 and 36?", "84, 36"),
            ("What is the largest number that divides both 150 and 210?", "150, 210"),
            ("What is the greatest common factor of 96 and 144?", "96, 144"),
        ),
        _tool(
            "arithmetic", "remainder", "What is left when a is divided by b as often as it goes whole: a modulo b.", _NUMBERS,
            ("What is the remainder of 100 divided by 7?", "100, 7"),
            ("Packs of 12 are made of 250 eggs. How many eggs are left over?", "250, 12"),
            ("What is 1234 modulo 56?", "1234, 56"),
        ),
        _tool(
            "arithmetic", "choose", "In how many ways k of n things can be chosen when the order does not matter.", _COUNTS,
            ("In how many ways can 3 of 10 books be chosen?", "10, 3"),
            ("How many different teams of 5 can be made from 12 players?", "12, 5"),
            ("What is 20 choose 4?", "20, 4"),
        ),
        _tool(
            "arithmetic", "permute", "In how many ways k of n things can be put in order, one after another.", _COUNTS,
            ("In how many orders can 3 of 8 runners finish first, second and third?", "8, 3"),
            ("How many codes of 4 different letters can be made from 26 letters?", "26, 4"),
            ("How many permutations are there of 2 out of 15 things?", "15, 2"),
        ),
        _tool(
            "units", "convert", "A length, mass, volume, time, temperature, area, speed or amount of data in another unit.",
            (
                Parameter("value", "number"),
                Parameter("from_unit", "string", tuple(UNITS), documentation="the unit that the value has"),
                Parameter("to_unit", "string", tuple(UNITS), documentation="the unit that is asked for"),
            ),
            ("How many metres are 5.2 kilometres?", '5.2, "kilometres", "metres"'),
            ("What is 86 degrees Fahrenheit in Celsius?", '86, "Fahrenheit", "Celsius"'),
            ("How many grams are 3 pounds?", '3, "pounds", "grams"'),
        ),
        _tool(
            "dates", "add_days", "The date that is a number of days after a date, or before it if the number is negative.",
            (Parameter("date", "string", documentation="year-month-day"), Parameter("days", "integer")),
            ("What is the date 45 days after 2023-11-20?", '"2023-11-20", 45'),
            ("What is the date 10 days before 2024-03-05?", '"2024-03-05", -10'),
            ("A parcel is sent on 2022-06-28 and takes 9 days. On which date does it arrive?", '"2022-06-28", 9'),
        ),
        _tool(
            "dates", "days_between", "How many days lie between a first and a second date.",
            (Parameter("first", "string", documentation="year-month-day"), Parameter("second", "string", documentation="year-month-day")),
            ("How many days are there from 2024-01-15 to 2024-03-01?", '"2024-01-15", "2024-03-01"'),
            ("A show opens on 2021-04-09 and closes on 2021-07-30. How many days later is that?", '"2021-04-09", "2021-07-30"'),
            ("How many days passed between 1999-12-25 and 2000-01-07?", '"1999-12-25", "2000-01-07"'),
        ),
        _tool(
            "dates", "weekday", "The day of the week of a date.", (Parameter("date", "string", documentation="year-month-day"),),
            ("What day of the week was 2020-02-29?", '"2020-02-29"'),
            ("On which weekday does 2031-07-04 fall?", '"2031-07-04"'),
            ("Lea was born on 1994-10-13. What day of the week was that?", '"1994-10-13"'),
        ),
        _tool(
            "lookup", "look_up", f"A value in a table, by row and column; the tables are {', '.join(_TABLES)}.",
            (
                Parameter("table", "string", _TABLES),
                Parameter("row", "string", _ROWS, documentation="what is asked about"),
                Parameter("column", "string", _COLUMNS, documentation="what is asked of it"),
            ),
            ("What is the price of a lantern in the shop?", '"shop", "lantern", "price"'),
            ("In the table of trains, from which platform does train T311 leave?", '"trains", "T311", "platform"'),
            ("How many calories does the lamb curry on the menu have?", '"menu", "lamb curry", "calories"'),
        ),
    ]
)  # fmt: skip
