"""The command line: `app` holds the commands; `main` runs one and reports each error that a user can cause in one sentence.

Standard output carries results only (with --json one object and nothing else); progress and errors go to standard error. Exit status 1:
the command cannot do what was asked; 2: an option is missing or wrong, or two exclude each other; 3: the result was printed, but it is
beyond a limit given with the command; 130: Ctrl-C or SIGTERM.
"""

import copy
import functools
import sys
from typing import Annotated, NoReturn

import typer
import typer.core

from pydisp.commands.compare import compare
from pydisp.commands.environment import env
from pydisp.commands.evaluate import evaluate
from pydisp.commands.fairness import app as fairness
from pydisp.commands.folder import export, info
from pydisp.commands.holobench import app as holobench
from pydisp.commands.output import GateClosed, WrongUsage
from pydisp.commands.probe import app as probe
from pydisp.commands.prune import prune
from pydisp.commands.recover import recover
from pydisp.commands.speed import speed
from pydisp.commands.toolken import app as toolken
from pydisp.progress import Interrupted

_ANYWHERE = ("verbose", "quiet")


class _Pydisp(typer.core.TyperGroup):
    """The command `pydisp`, whose options --verbose and --quiet may stand after the name of a command too (help pages do not repeat them)."""

    def __init__(self, **options):
        super().__init__(**options)
        self._share([param for param in self.params if param.name in _ANYWHERE], self)

    def _share(self, params: list, group: typer.core.TyperGroup) -> None:
        for command in group.commands.values():
            for param in map(copy.copy, params):
                param.hidden, param.expose_value, param.callback = True, False, _set_for_all
                command.params.append(param)
            if hasattr(command, "commands"):
                self._share(params, command)


def _set_for_all(ctx: typer.Context, param, is_set: bool) -> None:
    """Change the value of an option of `pydisp` that stands after a command's name, and until `pydisp` ends the level of the messages."""
    if is_set:
        import logging

        whole, messages = ctx.find_root(), logging.getLogger()
        whole.params[param.name] = True
        whole.call_on_close(functools.partial(messages.setLevel, messages.level))
        messages.setLevel(_level(whole.params["verbose"], whole.params["quiet"]))


app = typer.Typer(
    cls=_Pydisp,
    name="pydisp",
    help="Make a Hugging Face language model smaller along independent dimensions, and see what that did to it.",
    pretty_exceptions_enable=False,
)
for _name, _command in {
    "prune": prune,
    "recover": recover,
    "eval": evaluate,
    "info": info,
    "export": export,
    "speed": speed,
    "compare": compare,
    "env": env,
}.items():
    app.command(_name)(_command)
app.add_typer(fairness, name="fairness")
app.add_typer(probe, name="probe")
app.add_typer(holobench, name="holobench")
app.add_typer(toolken, name="toolken")


def _version(wanted: bool) -> None:
    if wanted:
        from pydisp import __version__

        typer.echo(f"pydisp {__version__}")
        raise typer.Exit()


@app.callback()
def _main(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also show the libraries' own messages.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show errors and results only.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    import logging

    logging.basicConfig(format="%(message)s", level=_level(verbose, quiet))


def _level(verbose: bool, quiet: bool) -> str:
    return "INFO" if verbose else "ERROR" if quiet else "WARNING"


def main() -> None:
    """Run a command; an error that a user can cause ends in one sentence on standard error and a non-zero status."""
    import signal
    import threading

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        sys.exit(app(None if sys.argv[1:] else ["--help"], prog_name="pydisp", standalone_mode=False))
    except _Stopped:
        _fail("stopped; nothing was written.", 130)
    except Interrupted as error:
        _fail(str(error), 130)
    except WrongUsage as error:
        _fail(_usage_words(error), 2)
    except GateClosed as error:  # the result is printed
        _fail(str(error), 3)
    except (ValueError, TypeError, ImportError, OSError) as error:
        _fail(_disk_is_full(error) or _words(error))
    except Exception as error:
        words = _disk_is_full(error) or _memory_is_full(error)
        if words is None:
            raise
        _fail(words)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Stopped(BaseException):
    """Ctrl-C or SIGTERM; typer would turn a KeyboardInterrupt into a silent exit."""


def _stop(_number, _frame):
    raise _Stopped


def _fail(sentence: str, status: int = 1) -> NoReturn:
    typer.echo(f"pydisp: {sentence}", err=True)
    sys.exit(status)


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _usage_words(error: WrongUsage) -> str:
    """Typer's message for wrong options as one sentence; the typed value is added if the message lacks it (as pydantic's do)."""
    words, cause = error.format_message().rstrip(".?"), error.__cause__
    typed = f", not {cause.errors()[0]['input']!r}" if hasattr(cause, "errors") else ""
    return f"{words[0].lower()}{words[1:]}{typed}; add --help to see what there is."


def _disk_is_full(error: Exception) -> str | None:
    """The sentence on a full disk, if the error is one: by its number, or by its words if a library that writes weights raised it."""
    import errno

    if isinstance(error, OSError):
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    else:
        is_full = type(error).__name__ == "SafetensorError" and "No space" in str(error) or "No space left" in str(error)
    return "the disk is full; make room, then repeat the command (a search or a recovery goes on with --resume)." if is_full else None


def _memory_is_full(error: Exception) -> str | None:
    if type(error).__name__ == "OutOfMemoryError" or any(words in str(error) for words in ("not enough memory", "can't allocate memory")):
        return "the memory is used up; choose a smaller --batch-size or --context, another --device, or --dtype bfloat16."
    return None


if __name__ == "__main__":
    main()
