"""Calls run in a worker: every end of a function is a value here, nothing of it reaches outside, and the worker serves on."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from toolken_calling import QUICK, children, hostile_tools

from pydisp.toolken.tools.arguments import written
from pydisp.toolken.tools.builtin import BUILTIN
from pydisp.toolken.tools.calling import KINDS, Caller
from pydisp.toolken.tools.limits import Limits
from pydisp.toolken.tools.tool import Tool, ToolError
from pydisp.toolken.tools.tools import Tools

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the limits of POSIX hold")


@pytest.fixture(scope="module")
def caller():
    with Caller(Tools([*hostile_tools(), *BUILTIN]), QUICK) as caller:
        yield caller


def ended(caller: Caller, name: str, arguments: str = "") -> str:
    """How a call ended, after it was seen that it says so in one sentence and that the worker goes on with no child left."""
    result = caller.call(name, arguments)
    assert (result.text is None) == (result.kind != "done") == (result.error is not None)
    assert result.error is None or (result.error and result.error.isprintable() and len(result.error) <= 1000)
    assert result.seconds < 5
    assert caller.call("add", "1, 2").text == "3"
    if sys.platform == "linux":
        assert not children(caller._process.pid)
    return result.kind


def test_what_is_right_is_done(caller):
    result = caller.call("divide", " 84 ,b=12")
    assert (result.text, result.error, result.kind, result.values) == ("7", None, "done", "a=84, b=12")
    assert caller.call("divide", "84, 12").values == result.values
    assert caller.call("add", "0.1, 0.2").text == "0.3"
    assert caller.call("divide", "1, 3").text == "0.333333333333"
    assert caller.call("convert", '5.2, "kilometres", "metres"').text == "5200"
    assert caller.call("upper", "'a\"b\\u00e9\\n'").text == 'A"BÉ'
    assert caller.call("half", "3").text == "1.5"


@pytest.mark.parametrize(
    "name, arguments, kind, says",
    [("add", "1", "bad arguments", "'b' is missing"), ("add", "1, 2, 3", "bad arguments", "3 arguments"), ("add", "1,, 2", "bad arguments", "at character 3"),
     ("add", "9" * 100 + ", 1", "refused", "100 digits"), ("add", "1" * 5000, "refused", "5000 characters"), ("choose", "5000, 2", "refused", "n is 5000"),
     ("power", "2, 999999", "refused", "the exponent"), ("power", "2, 3, limits=5", "bad arguments", "3, limits"), ("divide", "1, 0", "failed", "by zero"),
     ("weekday", "'x'", "failed", "is no date")],
)  # fmt: skip
def test_what_is_wrong_is_said(caller, name, arguments, kind, says):
    result = caller.call(name, arguments)
    assert result.kind == kind and (says in result.error or says == "3, limits")
    assert (result.values is None) == (kind == "bad arguments" or "digits" in says or "characters" in says)


@pytest.mark.parametrize("name", ["loop", "sleep", "ignore_signals", "memory_caught", "huge_number", "flood"])
def test_what_takes_too_long_is_stopped(caller, name):
    assert ended(caller, name) == "too slow"


@pytest.mark.parametrize("name", ["memory", "memory_at_once", "long_text", "deep_list"])
def test_what_is_too_large_is_refused(caller, name):
    assert ended(caller, name) == "too large"


@pytest.mark.parametrize(
    "name", ["recursion", "leave", "leave_at_once", "crash", "abort", "none", "strange", "angry", "interrupt", "not_a_number"]
)
def test_what_fails_is_recorded(caller, name):
    assert ended(caller, name) == "failed"


@pytest.mark.parametrize("name", ["close_and_go_on", "flood_answers", "deep_recursion", "threads", "stop_itself"])
def test_what_misuses_its_process_ends(caller, name):
    assert ended(caller, name) != "done"


@ON_LINUX
@pytest.mark.parametrize(
    "name",
    ["write_file", "make_file", "append_file", "remove_file", "rename_file", "make_folder", "link_file", "truncate_file", "change_mode", "run_program",
     "shell", "fork_quietly"],
)  # fmt: skip
def test_nothing_is_written(caller, tmp_path, name):
    kept = tmp_path / "kept"
    kept.write_text("as it was")
    kept.chmod(0o600)
    for path in (kept, tmp_path / "new"):
        assert ended(caller, name, f'"{path}"') == "failed"
    time.sleep(0.3 if name == "fork_quietly" else 0)
    assert [one.name for one in tmp_path.iterdir()] == ["kept"] and kept.read_text() == "as it was" and kept.stat().st_mode & 0o777 == 0o600


@ON_LINUX
@pytest.mark.parametrize("name", ["fork_bomb", "kill_parent", "kill_group", "kill_all", "connect", "connect_local", "raise_limits"])
def test_nobody_else_is_reached(caller, name):
    assert ended(caller, name) == "failed"


@ON_LINUX
def test_the_caller_cannot_be_read(caller):
    assert caller.call("add", "1, 2").confined[-1] == "rlimits"
    if "landlock" not in caller.call("add", "1, 2").confined:
        pytest.skip("this kernel has no Landlock")
    for path in (
        "/proc/{worker}/environ",
        "/proc/{worker}/mem",
        f"/proc/{os.getpid()}/environ",
        f"/proc/{os.getpid()}/mem",
        "/proc/self/environ",
    ):
        assert ended(caller, "read_parent", f'"{path}"') == "failed"
    assert ended(caller, "read_parent", f'"{__file__}"') == "done", "other files can be read"


def test_secrets_and_files_of_the_caller_stay_with_it(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere")
    with open(__file__) as file, Caller(hostile_tools("environment", "descriptors", "modules"), QUICK) as caller:
        os.set_inheritable(file.fileno(), True)
        found = caller.call("environment", "").text
        assert "hunter2" not in found and "HOME" not in found and "PYTHONSTARTUP" not in found
        assert caller.call("descriptors", "").text.split(", ")[:3] == ["0", "1", "2"]
        assert len(caller.call("descriptors", "").text.split(", ")) == 4, "and the pipe for its answer"
        assert caller.call("modules", "").text == "none"


@pytest.mark.parametrize(
    "answer, kind",
    [({"text": "a\nb\x00"}, "done"), ({"text": 3}, "failed"), ({"text": ""}, "failed"), ({"text": "\n"}, "failed"), ([], "failed"), ("text", "failed"),
     ({"error": "e", "kind": "done"}, "failed"), ({"error": 5, "kind": "failed"}, "failed"), ({"error": "e\n\x1b", "kind": "refused"}, "refused"),
     ({"error": "e", "kind": []}, "failed"), ({"text": "a", "confined": 5}, "done"), ({"text": "a", "confined": ["x" * 99] * 9}, "done"), (None, "failed")],
)  # fmt: skip
def test_an_answer_that_a_function_forges_is_only_text(caller, answer, kind):
    assert ended(caller, "forge", written([json.dumps(answer)])) == kind
    result = caller.call("forge", written([json.dumps(answer)]))
    assert result.text is None or (result.text.isprintable() and len(result.text) <= QUICK.result_length)
    assert len(result.confined) <= 3 and all(len(one) <= 20 for one in result.confined)


@pytest.mark.parametrize("text", ["{", "[" * 990, "\x00", '{"text": "' + "x" * 900, '{"a": NaN}'])
def test_an_answer_that_cannot_be_read_is_a_failure(caller, text):
    assert ended(caller, "forge", written([text])) == "failed"


def test_a_forged_text_over_the_limit_is_no_result():
    with Caller(hostile_tools("forge"), replace(QUICK, result_length=20)) as caller:
        assert caller.call("forge", written([json.dumps({"text": "x" * 20})])).text == "x" * 20
        assert caller.call("forge", written([json.dumps({"text": "x" * 21})])).kind == "failed"
        assert caller.call("forge", written([json.dumps({"text": "\x1b" * 20})])).kind == "failed", "each is shown by six characters"


def test_a_thread_that_goes_on_ends_with_its_call(caller):
    assert ended(caller, "leave_a_thread") == "done"


def test_a_tool_without_a_function_cannot_be_called():
    with Caller(Tools([Tool("t", "A tool.")])) as caller:
        result = caller.call("t", "")
        assert result.kind == "failed" and "documentation only" in result.error and caller._process is None
        with pytest.raises(ToolError, match="no tool 'u'"):
            caller.call("u", "")


@pytest.mark.parametrize(
    "function", ["no_such_module:f", "math:no_such", "toolken_hostile:_Angry.x", "/no/such/file.py:f", "os:environ", "math:gcd"]
)
def test_a_function_that_cannot_be_called_is_recorded(function):
    with Caller(Tools([Tool("t", "A tool.", function=function)])) as caller:
        result = caller.call("t", "")
        assert result.kind == "failed" or (function == "math:gcd" and result.text == "0")


@ON_LINUX
def test_an_import_is_confined_too(tmp_path):
    marker = tmp_path / "marker"
    file = tmp_path / "evil.py"
    file.write_text(f"import os\nos.system('touch {marker}')\nopen({str(marker)!r}, 'w').write('x')\ndef f(): return 1\n")
    endless = tmp_path / "endless.py"
    endless.write_text("while True: pass\n")
    with Caller(Tools([Tool("t", "A tool.", function=f"{file}:f"), Tool("u", "A tool.", function=f"{endless}:f")]), QUICK) as caller:
        assert caller.call("t", "").kind == "failed" and not marker.exists()
        assert caller.call("u", "").kind == "too slow"


def test_a_killed_worker_is_replaced():
    with Caller(BUILTIN, QUICK) as caller:
        assert caller.call("add", "1, 2").text == "3"
        first = caller._process.pid
        os.kill(first, signal.SIGKILL)
        caller._process.wait()
        assert caller.call("add", "1, 2").text == "3" and caller._process.pid != first


def test_a_worker_killed_during_a_call_is_recorded_and_its_fork_ends_with_it():
    with Caller(hostile_tools("sleep", "modules"), replace(QUICK, seconds=60)) as caller:
        caller.call("modules", "")
        worker = caller._process.pid
        forks = []

        def kill():
            while not forks:
                forks.extend(children(worker) if sys.platform == "linux" else [0])
            os.kill(worker, signal.SIGKILL)

        thread = threading.Thread(target=kill)
        thread.start()
        result = caller.call("sleep", "")
        thread.join()
        assert result.kind == "failed" and "worker process" in result.error and result.seconds < 10
        assert caller.call("modules", "").text == "none"
        if sys.platform == "linux":
            deadline = time.monotonic() + 5
            while os.path.exists(f"/proc/{forks[0]}") and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not os.path.exists(f"/proc/{forks[0]}")


def test_a_worker_that_is_stopped_or_silent_is_given_up(monkeypatch):
    monkeypatch.setattr("pydisp.toolken.tools.calling._GRACE_SECONDS", 0.2)
    with Caller(BUILTIN, QUICK) as caller:
        caller.call("add", "1, 2")
        os.kill(caller._process.pid, signal.SIGSTOP)
        result = caller.call("add", "1, 2")
        assert result.kind == "failed" and "did not answer in time" in result.error
        assert caller.call("add", "1, 2").text == "3"


def test_a_worker_ends_with_its_caller():
    caller = Caller(BUILTIN, QUICK)
    caller.call("add", "1, 2")
    process = caller._process
    caller.close()
    caller.close()
    assert process.returncode == 0, "by itself, as its input ended"
    assert caller.call("add", "1, 2").text == "3", "and another begins"
    caller.close()


def test_a_worker_ends_when_its_caller_is_killed():
    code = (
        "import os\nfrom pydisp.toolken.tools.calling import Caller\nfrom pydisp.toolken.tools.limits import Limits\nfrom toolken_calling import hostile_tools\n"
        "caller = Caller(hostile_tools('sleep', 'modules'), Limits(seconds=60))\ncaller.call('modules', '')\nprint(caller._process.pid, flush=True)\n"
        "caller.call('sleep', '')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as process:
        worker = int(process.stdout.readline())
        time.sleep(0.2)
        process.kill()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
            with open(f"/proc/{worker}/stat") as file:  # an orphan that nobody buries has ended too
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except OSError:
            return
        time.sleep(0.02)
    pytest.fail("the worker goes on without its caller")


def test_a_stop_during_a_call_leaves_no_answer_behind(monkeypatch):
    with Caller(BUILTIN, QUICK) as caller:
        caller.call("add", "1, 2")
        with monkeypatch.context() as patch:
            patch.setattr("pydisp.toolken.tools.worker.read_message", lambda read: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                caller.call("add", "40, 2")
        assert caller.call("add", "1, 2").text == "3", "not 42"


def test_threads_may_share_a_caller(caller):
    found = {}
    threads = [threading.Thread(target=lambda n=n: found.update({n: caller.call("add", f"{n}, 1").text})) for n in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == {n: str(n + 1) for n in range(8)}


def test_the_limits_given_are_those_of_the_call():
    with Caller(BUILTIN, Limits(factorial=10, digits=3, result_length=5)) as caller:
        assert caller.call("choose", "11, 2").kind == "refused"
        assert caller.call("add", "1000, 1").kind == "refused"
        assert caller.call("permute", "10, 9").kind == "too large"
        assert {*KINDS} == {"done", "bad arguments", "refused", "too slow", "too large", "failed"}
