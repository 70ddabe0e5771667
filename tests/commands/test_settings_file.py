"""The settings of a file are those written in it; any other file ends in one sentence that names it."""

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
        ("keep_ratio: " + "[" * 5000 + "]" * 5000, "c.yaml holds lists in lists, more than 10 deep"),
        ("".join("{a: " for _ in range(5000)), "c.yaml holds lists in lists"),
        ("x: &a [*a]", "c.yaml has the alias *a; write the value itself."),
        ("steps: &a 5\nseed: *a", "c.yaml has the alias *a"),
        (f"steps: {'9' * 5000}", "c.yaml holds a value that cannot be read, such as a number of thousands of digits"),
        ("steps: 2024-13-45", "c.yaml holds a value that cannot be read"),
        ("steps: !!int ''", "c.yaml holds a value that cannot be read"),
        ("steps: !!bool x", "c.yaml holds a value that cannot be read"),
        ("# " + "x" * (1 << 16), "c.yaml has 65,538 bytes; a file of settings has at most 65,536."),
        ("steps: 5\nseed: 1\nsteps: 6", "c.yaml gives 'steps' twice; leave one out."),
        ("2024-01-01: 5", "c.yaml has the unknown setting datetime.date(2024, 1, 1); known: accumulate"),
        ("steps: {2024-01-01: 5}", "c.yaml: steps is {}: Input should be a valid integer."),
        (f"steps: {'a' * 100}", f"c.yaml: steps is '{'a' * 59}…: Input should be a valid integer."),
        ("learning_rate: -1", "c.yaml: learning_rate is -1.0; it must be a finite number of at least 0."),
        ('method: "\\ud800"', "c.yaml: Invalid JSON"),
        (b"steps: \xff", "c.yaml is not YAML"),
        ("", "c.yaml holds no settings"),
    ],
    ids=range(17),
)
def test_any_other_file_is_refused_in_a_sentence_that_names_it(write, run, tmp_path, content, words):
    status, printed, err = run("prune", "demo", "--config", write(content), "--out", tmp_path / "out")
    assert (status, printed) == (1, "") and words in one_sentence(err), err
    assert "the file is" not in err and len(err) < 500
