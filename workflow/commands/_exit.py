"""What the command's exit code says, in one place."""

from __future__ import annotations

from enum import IntEnum

from workflow.domain.errors import TransientError, WorkflowError


class ExitCode(IntEnum):
    """How a command ended; scripts and supervisors go by it."""

    DONE = 0
    NEEDS_A_PERSON = 1
    WRONG_USE = 2  # also what Typer says of a wrong option
    TRY_AGAIN = 3
    DEFECT = 70  # sysexits.h: EX_SOFTWARE


WORDS = {
    ExitCode.DONE: "done",
    ExitCode.NEEDS_A_PERSON: "done, but something needs a person",
    ExitCode.WRONG_USE: "wrong use, input or configuration; the same call fails again",
    ExitCode.TRY_AGAIN: "something was not there (PACS, database, port, room on the disk): try again",
    ExitCode.DEFECT: "a defect of the software; its traceback is on stderr",
}
EPILOG = "Exit codes: " + "; ".join(f"**{code:d}** {words}" for code, words in WORDS.items()) + "."


def exit_code_of(error: Exception) -> ExitCode:
    """The exit code of a command that ended in an error."""
    if isinstance(error, TransientError):
        return ExitCode.TRY_AGAIN
    return ExitCode.WRONG_USE if isinstance(error, WorkflowError) else ExitCode.DEFECT


def done(*, needs_a_person: bool) -> ExitCode:
    """The exit code of a command that did what it was asked for."""
    return ExitCode.NEEDS_A_PERSON if needs_a_person else ExitCode.DONE
