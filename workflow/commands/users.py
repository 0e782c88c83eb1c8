"""`tumorline users`: who may come in, and what each may do."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow.commands._shared import ConfigOption, JsonOption, messages, print_json, results, table, who
from workflow.domain.errors import UnsuitableInputError
from workflow.domain.users import User, UserRole

if TYPE_CHECKING:
    from workflow.ports import Account, Users

_Name = Annotated[str, typer.Argument(help="The name that they log in with.")]
_Roles = Annotated[
    list[UserRole] | None, typer.Option("--role", help="What they may do; may be given several times.")
]
_PasswordFile = Annotated[
    typer.FileText | None,
    typer.Option("--password-file", help="File whose first line is the password; - is standard input."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    users = typer.Typer(help="Manage who may come in, and what each may do.", no_args_is_help=True)
    app.add_typer(users, name="users")

    @users.command("list")
    def list_command(config: ConfigOption = None, as_json: JsonOption = False) -> None:
        """List the accounts.

        Examples:

            tumorline users list --json | jq '.[] | select(.is_disabled) | .name'
        """
        accounts = _users(config).accounts()
        if as_json:
            print_json([_to_json(account) for account in accounts])
            return
        columns = ["name", "full name", "roles", "state", "since"]
        rows = [
            (a.user.name, a.user.full_name, ", ".join(sorted(a.user.roles)), _state(a), f"{a.created_at:%F}")
            for a in accounts
        ]
        results.print(table("accounts", columns, rows))

    @users.command("add")
    def add_command(
        name: _Name,
        roles: _Roles = None,
        full_name: Annotated[str, typer.Option("--full-name", help="As pages show them.")] = "",
        password_file: _PasswordFile = None,
        config: ConfigOption = None,
    ) -> None:
        """Open an account. Its password is asked for, or read from a file.

        Examples:

            tumorline users add jroe --full-name "Dr. Jane Roe" --role reader --role adjudicator

            pass tumorline/night | tumorline users add night --role operator --password-file -
        """
        user = User(name=name, full_name=full_name, roles=frozenset(roles or ()))
        _users(config).add(user, _password(password_file), by=who())
        messages.print(f"{name} may log in as {_roles_text(roles)}", markup=False)

    @users.command("roles")
    def roles_command(name: _Name, roles: _Roles = None, config: ConfigOption = None) -> None:
        """Give an account these roles and no others; without any, it only looks.

        Examples:

            tumorline users roles jroe --role reader --role operator
        """
        _users(config).set_roles(name, roles or (), by=who())
        messages.print(f"{name} is {_roles_text(roles)} from the next request on", markup=False)

    @users.command("password")
    def password_command(
        name: _Name, password_file: _PasswordFile = None, config: ConfigOption = None
    ) -> None:
        """Give an account a new password, asked for or read from a file; its logins end.

        Examples:

            tumorline users password jroe
        """
        _users(config).set_password(name, _password(password_file), by=who())
        messages.print(f"{name} has a new password", markup=False)

    @users.command("disable")
    def disable_command(
        name: _Name,
        undo: Annotated[bool, typer.Option("--undo", help="Open it again.")] = False,
        config: ConfigOption = None,
    ) -> None:
        """Close an account, and its logins at once. None is deleted: what they signed names them.

        Examples:

            tumorline users disable jroe

            tumorline users disable jroe --undo
        """
        _users(config).set_disabled(name, is_disabled=not undo, by=who())
        messages.print(f"{name} {'may log in again' if undo else 'may no longer log in'}", markup=False)

    @users.command("unlock")
    def unlock_command(name: _Name, config: ConfigOption = None) -> None:
        """Let somebody try again at once who gave a wrong password too often.

        Examples:

            tumorline users unlock jroe
        """
        _users(config).unlock(name, by=who())
        messages.print(f"{name} may try again", markup=False)


def _users(config: Path | None) -> Users:
    from workflow.bootstrap import build
    from workflow.settings import load_settings

    return build(load_settings(config)).users


def _password(file: typer.FileText | None) -> str:
    """A password, never given as an argument: those are seen in the list of processes."""
    if file is not None:
        return file.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise UnsuitableInputError("nobody is there to be asked for a password; use --password-file")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise UnsuitableInputError("the password was not the same twice; nothing was changed")
    return password


def _roles_text(roles: list[UserRole] | None) -> str:
    return " and ".join(roles or ()) or "somebody who only looks"


def _state(account: Account) -> str:
    if account.is_disabled:
        return "closed"
    if account.locked_until is not None:
        until = f"{account.locked_until:%F %H:%M:%S} UTC"
        return f"{account.failed_attempts} failed attempts, locked until {until}"
    return f"{account.failed_attempts} failed attempts" if account.failed_attempts else ""


def _to_json(account: Account) -> dict[str, object]:
    return {
        "name": account.user.name,
        "full_name": account.user.full_name,
        "roles": sorted(account.user.roles),
        "is_disabled": account.is_disabled,
        "failed_attempts": account.failed_attempts,
        "locked_until": account.locked_until.isoformat() if account.locked_until else None,
        "created_at": account.created_at.isoformat(),
    }
