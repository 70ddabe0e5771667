"""Calls run in a worker: every end of a function is a value here, nothing of it reaches outside, and the worker serves on."""

import ctypes
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

from pydisp.toolken.tools.argument_prefix import continues
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


@pytest.mark.parametrize(
    "arguments, text",
    [("123456e200, 0", "123456" + "0" * 200), ("10.0e200, 0", "1" + "0" * 201), ("0.001e-200, 0", "1e-203"), ("b=0.5e-200, a=0", "5e-201"),
     ("0." + "0" * 50 + "1e-9, 0", "1e-60"), ("1." + "2" * 59 + "e-6, 0", "0.00000122222222222"), ("9.9E+200 , -0.0", "99" + "0" * 199)],
)  # fmt: skip
def test_every_number_that_can_be_read_can_be_called_with(caller, arguments, text):
    assert continues(BUILTIN["add"], arguments + ")") and caller.call("add", arguments).text == text


def test_arguments_that_are_left_out_are_left_to_the_function(caller):
    assert caller.call("log", "100, null").text == caller.call("log", "a=100, base=null").text == "2"


@pytest.mark.parametrize("name", ["loop", "sleep", "ignore_signals", "ignore_signals_and_wait", "memory_caught", "huge_number", "flood"])
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
    if ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) < 1:  # landlock_create_ruleset, asked for its version
        pytest.skip("this kernel has no Landlock")
    assert caller.call("add", "1, 2").confined == ("landlock", "seccomp", "rlimits")
    for path in (
        "/proc/{worker}/environ",
        "/proc/{worker}/mem",
        f"/proc/{os.getpid()}/environ",
        f"/proc/{os.getpid()}/mem",
        "/proc/self/environ",
    ):
        assert ended(caller, "read_parent", f'"{path}"') == "failed"
    assert ended(caller, "read_parent", f'"{__file__}"') == "done", "other files can be read"


@ON_LINUX
def test_devices_that_say_something_cannot_be_read(caller):
    if "landlock" not in caller.call("add", "1, 2").confined:
        pytest.skip("this kernel has no Landlock")
    for path in ("/dev/full", "/dev/kmsg", "/dev/tty", "/dev/../dev/full"):
        assert "cannot write" in caller.call("opened", f'"{path}"').error or not os.path.exists(path)
    assert [caller.call("opened", f'"/dev/{name}"').text for name in ("null", "zero", "urandom", "random")] == ["opened"] * 4
    assert caller.call("opened", '"/dev/shm"').kind == "failed", "the folder of shared memory too"


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
     ({"error": "e", "kind": []}, "failed"), ({"text": "a", "confined": 5}, "done"), ({"text": "a", "confined": ["seccomp", *["x" * 99] * 9]}, "done"), (None, "failed"),
     ({"confined": ["all"]}, "failed")],
)  # fmt: skip
def test_an_answer_that_a_function_forges_is_only_text(caller, answer, kind):
    assert ended(caller, "forge", written([json.dumps(answer)])) == kind
    result = caller.call("forge", written([json.dumps(answer)]))
    assert result.text is None or (result.text.isprintable() and len(result.text) <= QUICK.result_length)
    assert result.confined == caller.call("add", "1, 2").confined != (), "that it does not write"


def test_an_answer_counts_only_if_its_process_has_ended_well(caller):
    forged = written([json.dumps({"text": "right"})])
    assert [ended(caller, name, forged) for name in ("forge", "forge_and_fail", "forge_and_loop")] == ["done", "failed", "too slow"]


@pytest.mark.parametrize("text", ["{", "[" * 990, "\x00", '{"text": "' + "x" * 900, '{"a": NaN}'])
def test_an_answer_that_cannot_be_read_is_a_failure(caller, text):
    assert ended(caller, "forge", written([text])) == "failed"


def test_a_forged_text_over_the_limit_is_no_result():
    with Caller(hostile_tools("forge"), replace(QUICK, result_length=20)) as caller:
        assert caller.call("forge", written([json.dumps({"text": "x" * 20})])).text == "x" * 20
        assert caller.call("forge", written([json.dumps({"text": "x" * 21})])).kind == "failed"
        assert caller.call("forge", written([json.dumps({"text": "\x1b" * 20})])).kind == "failed", "each is shown by six characters"


@pytest.mark.parametrize("name", ["loop", "memory", "crash", "leave_at_once", "none"])
def test_what_confines_a_call_is_known_however_it_ends(caller, name):
    assert caller.call(name, "").confined == caller.call("add", "1, 2").confined != ()


def test_less_confinement_is_said_once(monkeypatch):
    with Caller(BUILTIN, QUICK) as caller:
        monkeypatch.setattr(caller, "_exchange", lambda *_: {"text": "3", "confined": ["rlimits"]})
        with pytest.warns(UserWarning, match="limits of time, memory and files alone") as caught:
            assert caller.call("add", "1, 2").confined == caller.call("add", "1, 2").confined == ("rlimits",)
        assert len(caught) == 1


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


@pytest.mark.parametrize("function", ["pydisp.toolken.tools.arithmetic:gone", "pydisp.toolken.tools.gone:f"])
def test_a_function_that_cannot_be_loaded_leaves_the_others(function):
    with Caller(Tools([Tool("t", "A tool.", function=function), BUILTIN["add"]]), QUICK) as caller:
        assert caller.call("add", "1, 2").text == "3"
        result = caller.call("t", "")
        assert result.kind == "failed" and "gone" in result.error


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


def is_there(process: int) -> bool:
    return os.path.exists(f"/proc/{process}")


@ON_LINUX
def test_a_worker_killed_during_a_call_is_recorded_and_its_fork_ends_with_it():
    with Caller(hostile_tools("sleep", "modules"), replace(QUICK, seconds=60)) as caller:
        caller.call("modules", "")
        workers, forks = [], []

        def kill():
            end = time.monotonic() + 20
            while len(workers) < 2 and time.monotonic() < end:  # the call is tried once more
                process = caller._process
                if process is not None and process.pid not in workers and (found := children(process.pid)):
                    forks.extend(found)
                    workers.append(process.pid)
                    os.kill(process.pid, signal.SIGKILL)

        thread = threading.Thread(target=kill)
        thread.start()
        result = caller.call("sleep", "")
        thread.join()
        assert result.kind == "failed" and "worker process" in result.error and result.seconds < 10
        assert caller.call("modules", "").text == "none"
        assert len(forks) == 2
        deadline = time.monotonic() + 5
        while any(map(is_there, forks)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not any(map(is_there, forks))


@ON_LINUX
def test_a_caller_that_gives_up_ends_the_fork_though_nothing_ends_with_its_parent(monkeypatch):
    """As on systems without PR_SET_PDEATHSIG: the worker itself ends its fork when its input ends."""
    monkeypatch.setattr("pydisp.toolken.tools.calling._GRACE_SECONDS", -59.7)
    with Caller(hostile_tools("sleep"), replace(QUICK, seconds=60)) as caller:
        signals = []
        monkeypatch.setattr("os.killpg", lambda *given: signals.append(given))
        assert "did not answer in time" in caller.call("sleep", "").error
        assert not signals, "it ended by itself, in time"


def test_a_call_whose_worker_is_stopped_or_silent_is_tried_once_more(monkeypatch):
    monkeypatch.setattr("pydisp.toolken.tools.calling._GRACE_SECONDS", 1.0)
    monkeypatch.setattr("pydisp.toolken.tools.calling._END_SECONDS", 0.1)
    with Caller(BUILTIN, QUICK) as caller:
        caller.call("add", "1, 2")
        os.kill(caller._process.pid, signal.SIGSTOP)
        result = caller.call("add", "1, 2")
        assert result.text == "3" and result.seconds < QUICK.seconds + 5


def test_a_call_that_loses_two_workers_is_given_up(monkeypatch):
    monkeypatch.setattr("pydisp.toolken.tools.calling._GRACE_SECONDS", 0.2)
    monkeypatch.setattr("pydisp.toolken.tools.calling._END_SECONDS", 0.1)
    with Caller(BUILTIN, QUICK) as caller:
        start, started = caller._start, []

        def start_and_stop():
            start()
            started.append(caller._process.pid)
            os.kill(caller._process.pid, signal.SIGSTOP)

        monkeypatch.setattr(caller, "_start", start_and_stop)
        result = caller.call("add", "1, 2")
        assert result.kind == "failed" and "did not answer in time, 2 times" in result.error and len(started) == 2
        monkeypatch.undo()
        assert caller.call("add", "1, 2").text == "3"


def test_a_function_that_writes_without_pause_is_stopped_in_time(caller):
    result = caller.call("write_slowly", "")
    assert result.kind == "too slow" and result.seconds < QUICK.seconds + 1


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
