"""`tumorline config`: the settings in force, and what can be set."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import BaseModel

from workflow.commands._shared import ConfigOption, JsonOption, print_json, results, table


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("config")
    def config_command(
        config: ConfigOption = None,
        as_json: JsonOption = False,
        explain: Annotated[bool, typer.Option("--explain", help="Say what each setting means.")] = False,
    ) -> None:
        """Show the settings in force. Secrets are hidden.

        A setting comes from the TOML file or from an environment variable: `readiness.quiet_s` is
        `quiet_s` under `[readiness]`, or TUMORLINE_READINESS__QUIET_S; the variable wins.

        Examples:

            tumorline config

            TUMORLINE_LISTENER__PORT=104 tumorline config --json | jq .listener

            tumorline config --explain
        """
        from workflow.settings import Settings, load_settings

        settings = load_settings(config)
        values = settings.model_dump(mode="json")
        if as_json:
            print_json(values)
        elif explain:
            results.print(table("settings", ["setting", "default", "meaning"], list(_explained(Settings))))
        else:
            results.print(table("settings in force", ["setting", "value"], list(_flat(values))))


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, dict) and value:
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, value))
    return rows


def _explained(model: type[BaseModel], prefix: str = "") -> list[tuple[str, Any, str]]:
    rows: list[tuple[str, Any, str]] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        sections = [k for k in (kind, *getattr(kind, "__args__", ())) if isinstance(k, type)]
        section = next((k for k in sections if issubclass(k, BaseModel)), None)
        if section is not None:
            rows.append((f"[{prefix}{name}]", "", (section.__doc__ or "").strip()))
            rows += _explained(section, f"{prefix}{name}.")
        else:
            default = "" if field.is_required() else field.get_default(call_default_factory=True)
            rows.append((prefix + name, default, field.description or ""))
    return rows
