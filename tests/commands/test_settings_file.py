"""The settings of a file are those written in it; any other file ends in one sentence that names it."""

import os

import pytest
from command_line import one_sentence

from pydisp.commands.settings_file import read_settings


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "c.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_settings_are_read_and_what_is_not_a_setting_is_left_out(write):
    path = write("model: demo\nkeep_ratio: 0.25\nsteps: 7\nround_to: null\nmethod: &name random\n")
    assert read_settings(path) == {"keep_ratio": 0.25, "steps": 7, "method": "random"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("keep_ratio: " + "[" * 5000 + "]" * 5000, "c.yaml, line 1: there are lists in lists, more than 20 deep"),
        ("".join("{a: " for _ in range(5000)), "c.yaml, line 1: there are lists in lists"),
        ("x: &a [*a]", "c.yaml, line 1: there is the alias *a; write the value itself."),
        ("steps: &a 5\nseed: *a", "c.yaml, line 2: there is the alias *a"),
        (
            f"steps: {'9' * 5000}",
            "c.yaml, line 1: a value here cannot be read, such as a date that does not exist or a number of thousands of digits",
        ),
        ("steps: 2024-13-45", "c.yaml, line 1: a value here cannot be read"),
        ("steps: !!int ''", "c.yaml, line 1: a value here cannot be read"),
        ("steps: !!bool x", "c.yaml, line 1: a value here cannot be read"),
        ("# " + "x" * (1 << 16), "c.yaml has more than 65,536 bytes"),
        ("steps: 5\nseed: 1\nsteps: 6", "c.yaml, line 3: the key 'steps' stands twice in one mapping; leave one out."),
        ("2024-01-01: 5", "c.yaml has the unknown setting datetime.date(2024, 1, 1); known: accumulate"),
        ("steps: {2024-01-01: 5}", "c.yaml: steps is {}: Input should be a valid integer."),
        (f"steps: {'a' * 100}", f"c.yaml: steps is '{'a' * 59}…: Input should be a valid integer."),
        ("learning_rate: -1", "c.yaml: learning_rate is -1.0; it must be a finite number of at least 0."),
        ('method: "\\ud800"', "c.yaml: Invalid JSON"),
        ("learning_rate: {a: {b: &x 1}, c: *x}", "c.yaml, line 1: there is the alias *x"),
        ("seed: {seed: 1, seed: 2}", "c.yaml, line 1: the key 'seed' stands twice"),
        (b"steps: \xff", "c.yaml is not UTF-8 (byte 7, line 1)"),
        ("", "c.yaml holds no settings"),
        ("steps: [", "c.yaml, line 1: this is no YAML"),
    ],
    ids=range(20),
)
def test_any_other_file_is_refused_in_a_sentence_that_names_it(write, run, tmp_path, content, words):
    status, printed, err = run("prune", "demo", "--config", write(content), "--out", tmp_path / "out")
    assert (status, printed) == (1, "") and words in one_sentence(err), err
    assert "the file is" not in err and len(err) < 500


def test_a_pipe_is_refused_at_once(run, tmp_path):
    os.mkfifo(tmp_path / "c.yaml")
    status, printed, err = run("prune", "demo", "--config", tmp_path / "c.yaml", "--out", tmp_path / "out")
    assert (status, printed) == (1, "") and "c.yaml is a pipe; give a YAML file such as" in one_sentence(err)
