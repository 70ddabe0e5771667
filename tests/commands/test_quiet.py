"""--quiet and --verbose stand before or after the name of any command; with --quiet a command that succeeds writes nothing to standard error."""

import logging
import subprocess
import sys

import huggingface_hub
import pytest
import typer
from command_line import call, every_command

from pydisp import cli
from pydisp.commands import output
from pydisp.progress import silence, write_line

PATHS = [path for path in every_command() if path]


def parsed(*args):
    """The values of `pydisp`'s own options, and the level of messages, when the command of these arguments starts."""
    seen = {}
    root = typer.main.get_command(cli.app)
    asked = root
    for name in args:
        if name in getattr(asked, "commands", {}):
            asked = asked.commands[name]
    for param in asked.params:  # what is required is left out here
        param.required = False

    def note(ctx):
        seen.update(ctx.find_root().params, level=logging.getLogger().level, says=output.progress(ctx))

    asked.invoke, asked.no_args_is_help = note, False
    before = logging.getLogger().level
    with root.make_context("pydisp", list(args)) as ctx:
        root.invoke(ctx)
    assert logging.getLogger().level == before
    return seen


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_quiet_and_verbose_are_taken_after_every_command(path):
    assert parsed(*path)["quiet"] is parsed(*path)["verbose"] is False
    for option in ("--quiet", "-q"):
        for place in range(len(path) + 1):
            seen = parsed(*path[:place], option, *path[place:])
            assert seen["quiet"] is True and seen["verbose"] is False and seen["says"] is silence
            assert not place or seen["level"] == logging.ERROR
    for option in ("--verbose", "-v"):
        seen = parsed(*path, option)
        assert seen["verbose"] is True and seen["quiet"] is False and seen["level"] == logging.INFO and seen["says"] is write_line


def test_a_download_in_a_command_has_our_bar_unless_it_is_quiet(many_lines, capsys):
    """transformers' switch for its own bars, which a command uses, switches the hub's off too."""
    hub_bar = huggingface_hub.utils.tqdm
    root, before = typer.main.get_command(cli.app), vars(hub_bar).get("update")

    def download(ctx):
        output.begin(ctx)
        with hub_bar(desc="weights", total=2**20, unit="B", disable=None) as bar:
            bar.update(2**19)
            bar.update(2**19)

    root.commands["env"].invoke = download
    for args, told in ((["env"], True), (["env", "-q"], False)):
        with root.make_context("pydisp", args) as ctx:
            root.invoke(ctx)
        assert ("downloading weights: 1.0 of 1.0 MiB, in " in capsys.readouterr().err) is told
        assert vars(hub_bar).get("update") is before


def test_help_pages_of_commands_do_not_repeat_them():
    assert "--quiet" in call("--help")[1]
    assert all("--quiet" not in call(*path, "--help")[1] for path in (("prune",), ("probe", "check")))


# The least of each command that gets past the checks of its options.
LEAST = [
    "prune demo --keep-ratio 0.5 --out o", "recover d", "eval demo --text t", "info d", "export d --dense", "speed d", "compare a b --out o", "env",
    "fairness audit demo --text t", "fairness sweep --config c --out o", "probe run demo", "probe check", "probe stats a b",
    "holobench build --out o", "holobench run demo --data d --out o", "holobench score --data d --predictions p",
    "toolken train demo --out o", "toolken eval demo --toolkens t --out o", "toolken run demo q --toolkens t",
]  # fmt: skip


def test_every_command_says_that_it_loads_torch_before_it_does(tmp_path):
    """Else seconds pass without a word, and torch's and torchao's own warnings come before they are switched off."""
    groups = {path[:-1] for path in PATHS}
    assert {tuple(one.split()[:2]) if (one.split()[0],) in groups else (one.split()[0],) for one in LEAST} == set(PATHS) - groups
    code = """
import sys
from pydisp import cli
from pydisp.commands import output
class Began(Exception): pass
def begin(ctx):
    loaded = sorted({"torch", "transformers", "torchao"} & sys.modules.keys())
    assert not loaded, (sys.argv, loaded)
    raise Began
for module in [one for name, one in sys.modules.items() if name.startswith("pydisp.commands.") and hasattr(one, "begin")]:
    module.begin = begin
for line in sys.stdin.read().splitlines():
    sys.argv = ["pydisp", *line.split()]
    try:
        cli.main()
    except Began:
        print("began", line)
"""
    done = subprocess.run([sys.executable, "-c", code], input="\n".join(LEAST), cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines() == [f"began {one}" for one in LEAST], done.stderr


def test_a_quiet_command_writes_nothing_to_standard_error():
    """In a process of its own, because what the libraries say they say once."""
    done = subprocess.run([sys.executable, "-m", "pydisp", "probe", "check", "-q"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "fact elements" in done.stdout
