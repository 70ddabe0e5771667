"""1,000 hostile calls, drawn by a seed over all kinds: none acts outside its limits, each leaves a recorded error, and the next call is served."""

import os
import sys
import threading

import pytest
from toolken_calling import QUICK, children, hostile_tools

from pydisp.draws import Draws
from pydisp.toolken.tools.arguments import written
from pydisp.toolken.tools.builtin import BUILTIN
from pydisp.toolken.tools.calling import KINDS, Caller
from pydisp.toolken.tools.tools import Tools

CALLS = 1000
ENDLESS = ["loop", "sleep", "ignore_signals", "memory_caught", "huge_number", "flood"]  # each takes its whole time
FAILING = [
    "memory", "memory_at_once", "long_text", "deep_list", "recursion", "leave", "leave_at_once", "crash", "abort", "none", "strange", "angry",
    "interrupt", "not_a_number", "close_and_go_on", "stop_itself", "fork_bomb", "kill_parent", "kill_group", "kill_all", "connect", "connect_local",
    "raise_limits",
]  # fmt: skip
WRITING = ["write_file", "make_file", "append_file", "run_program", "shell", "fork_quietly", "make_folder", "link_file"]
CODE = [
    "__import__('os').system('touch {marker}')", "open('{marker}', 'w')", "exec('import os')", "eval(\"1\")", "(lambda: 0)()", "().__class__.__bases__[0]",
    "[].__class__", "1 .__class__", "print(1)", "f'{{1}}'", "{{'a': 1}}", "{{1, 2}}", "1 if True else 2", "x := 1", "*[1, 2]", "**{{}}", "1 + 1", "2 ** 9999",
    "9**9**9", "'a' * 10", "not 1", "a.b.c", "`touch {marker}`", "$(touch {marker})", "; touch {marker}", "1; import os", "1) or open('{marker}', 'w'",
    "1, 2) + add(3, 4", "[x for x in (1, 2)]", "1_000", "0x10", "1j", "...", "@", "\\", "#", "'''a'''", "b'a'", "r'a'", "True", "None", "NaN", "Infinity",
]  # fmt: skip
NAMES = ["__class__", "__import__", "__builtins__", "self", "limits", "function", "__dict__", "a.__class__", "_", "return", "a", "lambda"]
TEXTS = [
    "__import__('os')", "{0.__class__.__init__.__globals__}", "%s%s%n", "${PATH}", "$(touch {marker})", "{marker}", "../../etc/passwd", "/dev/zero",
    "'; DROP TABLE shop; --", "<|im_end|>", "<|endoftext|>", "</s>", "<s>", "[INST]", "<0x0A>", "<tool:add>", "\x1b[31m", "\u202e", "\u200b", "\x00", "\n",
    "a" * 999, "\U0001f600" * 400, "\u0661\u0662-01-01", "2024-02-30", "9999-99-99", "=cmd|' /C calc'!A0", "__class__", "\ufeff", "\uffff",
]  # fmt: skip
BUILT_IN_TEXT = ["weekday", "add_days", "days_between", "convert", "look_up"]


def drawn(draws: Draws, place: int, marker: str) -> tuple[str, str]:
    """The next call: a tool, and what stands between its brackets."""
    kind = place % 10
    number = draws.choice(["", "-"]) + str(draws.between(1, 9)) * draws.choice([61, 300, 5000])
    name = draws.choice(BUILTIN.names)
    if kind in (0, 1):
        return name, draws.choice(CODE).format(marker=marker)
    if kind == 2:
        return name, f"{draws.choice(NAMES)}={draws.below(9)}, {draws.choice(NAMES)}={draws.below(9)}, {draws.choice(NAMES)}=1"
    if kind == 3:
        huge = [
            f"{number}, 2",
            f"1e{'9' * draws.between(3, 400)}, 1",
            f"1, 1e-{draws.between(201, 10**9)}",
            "0." + "0" * 100 + "1, 2",
            f"{'-' * 900}1, 1",
        ]
        return draws.choice(["add", "multiply", "power", "divide"]), draws.choice(huge)
    if kind == 4:
        calls = [("power", f"{draws.between(10, 99)}e50, {draws.between(21, 200)}"), ("power", f"2, {draws.between(201, 10**9)}"), ("divide", f"{place}, 0"),
                 ("permute", f"{draws.between(900, 1000)}, 800"), ("choose", f"{10 ** draws.between(4, 50)}, 3"), ("permute", f"{draws.between(1001, 10**9)}, 1000"), ("sqrt", f"-{place}"),
                 ("log", "0"), ("ln", f"-{place}"), ("log", "5, 1"), ("power", "-8, 0.5"), ("add_days", f"'2024-01-01', {10**draws.between(7, 50)}")]  # fmt: skip
        return draws.choice(calls)
    if kind == 5:
        depth = draws.between(5, 900)
        nested = ["[" * depth, "[" * depth + "]" * depth, "[1, " * depth, "[" + "1," * 500 + "1]", "[[[[[]]]]]", "((((1))))"]
        return name, draws.choice(nested)
    if kind == 6:
        return draws.choice(BUILT_IN_TEXT), written([draws.choice(TEXTS).replace("{marker}", marker) for _ in range(draws.between(1, 3))])
    if kind == 7:
        invisible = [
            "\u0661, 2",
            "1\u200b, 2",
            "\u202e1, 2",
            "\uff11, 2",
            "1\u00a02",
            "\ufeff1, 2",
            "\x001, 2",
            "'\x1b'",
            "'\ud800'",
            "\u2028",
            "1,\x0b2",
            "\u00b2, 1",
        ]
        return name, draws.choice(invisible)
    if kind == 8:
        return draws.choice(ENDLESS if place % 80 == 8 else FAILING), ""
    return (
        (draws.choice(WRITING), f'"{marker}"') if place % 20 == 9 else ("forge", written(['{"text": ' + '"\\u001b' * draws.between(1, 90)]))
    )


def test_a_thousand_hostile_calls_leave_a_thousand_errors_and_nothing_else(tmp_path):
    marker = str(tmp_path / "marker")
    draws = Draws(20240229, "hostile calls")
    before = (dict(os.environ), os.getcwd(), len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0, threading.active_count())
    kinds = dict.fromkeys(KINDS, 0)
    with Caller(Tools([*hostile_tools(), *BUILTIN]), QUICK) as caller:
        assert caller.call("add", "1, 2").text == "3"
        worker = caller._process.pid
        for place in range(CALLS):
            name, arguments = drawn(draws, place, marker)
            result = caller.call(name, arguments)
            kinds[result.kind] += 1
            where = (place, name, arguments[:80], result)
            assert result.kind != "done" and result.text is None, where
            assert result.error and result.error.isprintable() and len(result.error) <= 6000, where
            assert result.seconds < QUICK.seconds + 2, where
            if place % 20 == 0:
                assert caller.call("multiply", f"{place}, 2").text == str(2 * place), where
        assert caller._process.pid == worker, "no call took the worker with it"
        if sys.platform == "linux":
            assert not children(worker)
    assert list(tmp_path.iterdir()) == []
    assert before[:2] == (dict(os.environ), os.getcwd()) and before[3] == threading.active_count()
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) == before[2]
    assert kinds["done"] == 0 and min(kinds[kind] for kind in KINDS[1:]) >= 8, kinds


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the limits of POSIX hold")
def test_the_kernel_holds_the_calls():
    with Caller(BUILTIN, QUICK) as caller:
        assert "seccomp" in caller.call("add", "1, 2").confined
