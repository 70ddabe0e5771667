"""Generated problems with gold calls: arithmetic, units, dates, table look-up, and as many that need no tool.

    for problem in generate("a", 500, seed=0):
        problem.prompt, problem.solution, problem.calls, problem.answer

Family "a" trains and tests; family "b" has other wording throughout and only tests. Results are what the built-in tools return. Problems of one group ask
for the same with other words. Those without a tool have numbers and words of the others: a number that stands in the text, a given result, a comparison.
[ours]
"""

import string
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module

from pydisp.arguments import takes, whole
from pydisp.draws import Draws
from pydisp.toolken.problems import templates_a, templates_b
from pydisp.toolken.problems.problem import QUESTION, GoldCall, Problem, ProblemError
from pydisp.toolken.problems.template import Family, Several, Template
from pydisp.toolken.problems.values import TOOL_NAMES, Values, arguments, values, values_of_plain, values_of_two

FAMILIES: dict[str, Family] = {"a": templates_a.FAMILY, "b": templates_b.FAMILY}
KINDS = {
    "convert": "units",
    "add_days": "dates",
    "days_between": "dates",
    "weekday": "dates",
    "look_up": "table",
}  # the others are "arithmetic"
NO_TOOL = "no tool"
_MOST_PARAPHRASES = 3
MOST_PROBLEMS = 10**6  # a larger number is a slip, and would be drawn for hours
_SEVERAL = "two calls"
# Units and tables have more to learn than one operation; they and the problems of two calls come twice as often.
_TOPICS = (*TOOL_NAMES, "convert", "look_up", _SEVERAL, _SEVERAL)

Draft = tuple[str, str, tuple[GoldCall, ...], str]  # question, solution, calls, answer


@takes(count=whole(1, MOST_PROBLEMS))
def generate(family: str, count: int, seed: int) -> list[Problem]:
    """Problems of one family; the same arguments give the same ones on every machine, and a smaller count the first of them.

    Raises: ProblemError for a family that is not there, and for a count below 1.
    """
    if family not in FAMILIES:
        raise ProblemError(f"there is no family {family!r} of problems; known: {', '.join(FAMILIES)}.")
    problems: list[Problem] = []
    asked: set[str] = set()
    draws = Draws(seed, "toolken problems", family)
    number = 0
    while len(problems) < count:
        for group, kind, (question, solution, calls, answer) in _group(family, draws.child(number)):
            if question not in asked and len(problems) < count:
                asked.add(question)
                name = f"{family}-{seed}-{len(problems)}"
                prompt = QUESTION.format(question=question)
                problems.append(Problem(name, prompt, solution, calls, answer, "builtin", family, kind, group))
        number += 1
    return problems


def _group(family: str, draws: Draws) -> Iterator[tuple[str, str, Draft]]:
    """The problems of one group, each with the group's name and its kind."""
    words = FAMILIES[family]
    people = dict(zip(("name", "other"), draws.sample(words.names, 2), strict=True))
    if draws.below(2):
        sort = draws.choice(sorted(words.plain))
        drawn = {**values_of_plain(draws), **people}
        # the dates alone would not tell two groups apart, all numbers together do
        group = f"{NO_TOOL}: {sort} {drawn['a']} {drawn['b']} {drawn['date']}"
        for template in draws.sample(words.plain[sort], min(len(words.plain[sort]), draws.between(1, _MOST_PARAPHRASES))):
            answer = template.solution.format(**drawn)
            behind = f" {template.after}" if template.after and not draws.below(4) else ""
            yield group, NO_TOOL, (template.question.format(**drawn), f" {answer}{behind}", (), answer)
        return
    topic = draws.choice(_TOPICS)
    if topic == _SEVERAL:
        template = draws.choice(words.several)
        draft = _two_calls(template, {**values_of_two(draws), **people})
        yield "; ".join(f"{call.tool}({call.arguments})" for call in draft[2]), KINDS.get(template.calls[0][0], "arithmetic"), draft
        return
    templates = words.one_call[topic]
    first = draws.choice(templates)
    drawn = {**values(topic, draws, counts=first.counts), **people}
    # whole numbers may stand in any template, others only where nothing is counted
    others = [one for one in templates if one is not first and (first.counts or not one.counts)]
    for template in (first, *draws.sample(others, draws.below(_MOST_PARAPHRASES))):
        draft = _one_call(topic, template, words, drawn, draws)
        yield f"{topic}({arguments(topic, drawn)})", KINDS.get(topic, "arithmetic"), draft


def _one_call(tool: str, template: Template, words: Family, drawn: Values, draws: Draws) -> Draft:
    """Mostly the result at once, some with words behind it, some with the expression before it."""
    given = arguments(tool, drawn)
    result = result_of(tool, given)
    form = draws.below(20)
    before = f"{words.written[tool].format(**drawn)} " if form < 3 else ""
    after = f" {template.after.format(**drawn)}" if template.after and form < 8 else ""
    start = len(f" {before}{template.before}")
    call = GoldCall(tool, given, start, start + len(result))
    return template.question.format(**drawn), f" {before}{template.before}{result}{after}", (call,), result


def _two_calls(template: Several, drawn: Values) -> Draft:
    results = []
    given = []
    for tool, pattern in template.calls:
        known = dict(zip(("first", "copied"), results * 2, strict=False))
        given.append(pattern.format(**drawn, **known))
        results.append(result_of(tool, given[-1]))
    known = {**drawn, "first": results[0], "copied": results[0], "second": results[1]}
    solution, places = " ", {}
    for text, name, _, _ in string.Formatter().parse(template.solution):
        solution += text
        if name:
            places[name] = len(solution)
            solution += known[name]
    calls = [
        GoldCall(tool, one, places[name], places[name] + len(result))
        for (tool, _), one, result, name in zip(template.calls, given, results, ("first", "second"), strict=True)
    ]
    is_chain = any("{first}" in pattern for _, pattern in template.calls)
    answer = results[1] if is_chain else " and ".join(results)
    return template.question.format(**drawn), solution, tuple(calls), answer


def result_of(tool: str, given: str) -> str:
    """What a built-in tool returns, as text."""
    from pydisp.toolken.tools.arguments import bound, parse
    from pydisp.toolken.tools.builtin import BUILTIN
    from pydisp.toolken.tools.limits import Limits
    from pydisp.toolken.tools.results import result_text

    return result_text(_function(BUILTIN[tool].function)(**bound(BUILTIN[tool], parse(given))), Limits())


@cache
def _function(name: str) -> Callable:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
