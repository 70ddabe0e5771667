"""--quiet and --verbose stand before or after the name of any command; with --quiet a command that succeeds writes nothing to standard error."""

import logging

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


def test_help_pages_of_commands_do_not_repeat_them():
    assert "--quiet" in call("--help")[1]
    assert all("--quiet" not in call(*path, "--help")[1] for path in (("prune",), ("probe", "check")))
