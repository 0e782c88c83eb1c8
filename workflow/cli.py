"""The command `tumorline`: one verb per module of `workflow.commands`."""

from __future__ import annotations

import errno
import importlib
import pkgutil
import traceback

import typer

from workflow import __version__, commands
from workflow.commands._exit import EPILOG, ExitCode, exit_code_of
from workflow.domain.errors import WorkflowError

app = typer.Typer(
    name="tumorline",
    help="Oncology follow-up from PACS event to SEG and SR. Research use: a radiologist signs.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"tumorline {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Say the version, or go on to a command."""


for _module in sorted(m.name for m in pkgutil.iter_modules(commands.__path__)):
    if not _module.startswith("_"):
        importlib.import_module(f"workflow.commands.{_module}").register(app)


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NOT_ALLOWED = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EEXIST,
)  # fmt: skip


def _of_the_machine(error: OSError) -> str | None:
    """What stands in the way on this machine, and what helps; None if it is no such thing."""
    where = f" {error.filename}" if error.filename else ""
    if error.errno in _NO_ROOM:
        return f"no room is left to write{where}: make some, or choose another folder, and try again"
    if error.errno in _NOT_ALLOWED:
        return f"{error.strerror}:{where or ' a file'}; let this user, or choose another path"
    return None


def main() -> None:
    """Run the command line; the process ends with a code of `workflow.commands._exit`."""
    try:
        app()
    except WorkflowError as error:
        typer.echo(f"tumorline: {error}", err=True)
        raise SystemExit(exit_code_of(error)) from None
    except OSError as error:
        reason = _of_the_machine(error)
        if reason is None:
            traceback.print_exc()
            raise SystemExit(ExitCode.DEFECT) from None
        typer.echo(f"tumorline: {reason}", err=True)
        is_room = error.errno in _NO_ROOM
        raise SystemExit(ExitCode.TRY_AGAIN if is_room else ExitCode.WRONG_USE) from None
    except Exception:  # the edge of the process
        traceback.print_exc()
        raise SystemExit(ExitCode.DEFECT) from None
