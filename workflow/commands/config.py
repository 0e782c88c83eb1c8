"""`tumorline config`: the settings in force, and what can be set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, SecretStr

from workflow.commands._shared import ConfigOption, JsonOption, print_json, results, table


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("config")
    def config_command(
        config: ConfigOption = None,
        as_json: JsonOption = False,
        explain: Annotated[bool, typer.Option("--explain", help="Say what each setting means.")] = False,
        markdown: Annotated[
            bool, typer.Option("--markdown", help="The same as a page: docs/settings.md.")
        ] = False,
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

        if markdown:
            typer.echo(settings_page(Settings), nl=False)
            return
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
    """Name, default and meaning of each setting; a section begins with a row of its own, in brackets."""
    rows: list[tuple[str, Any, str]] = []
    sections: list[tuple[str, Any, str]] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        kinds = [k for k in (kind, *getattr(kind, "__args__", ())) if isinstance(k, type)]
        section = next((k for k in kinds if issubclass(k, BaseModel)), None)
        if section is not None:
            meaning = field.description or (section.__doc__ or "").strip()
            sections.append((f"[{prefix}{name}]", "", meaning))
            sections += _explained(section, f"{prefix}{name}.")
        else:
            default = "" if field.is_required() else field.get_default(call_default_factory=True)
            rows.append((prefix + name, default, field.description or ""))
    return rows + sections


_PAGE = """# Settings

Made from the code by `tumorline config --markdown`; do not edit. A setting comes from the TOML file
(`--config` or TUMORLINE_CONFIG) or from an environment variable, which wins: `quiet_s` under `[readiness]`
is TUMORLINE_READINESS__QUIET_S. Values that are lists or tables are JSON in a variable. A variable that
begins with TUMORLINE_ and is no setting is refused, with the nearest that is one. `tumorline config` shows
what is in force.
"""


def settings_page(model: type[BaseModel]) -> str:
    """Every setting as a Markdown page, a table for each section."""
    lines, head = [_PAGE], "| setting | default | meaning |\n|---|---|---|"
    lines.append(head)
    for name, default, meaning in _explained(model):
        if name.startswith("["):
            lines += ["", f"## {name[1:-1]}", "", meaning, "", head]
        else:
            lines.append(
                f"| `{name.rpartition('.')[2]}` | {_written(default)} | {meaning.replace('|', '/')} |"
            )
    return "\n".join(lines) + "\n"


def _written(default: Any) -> str:
    """A default as TOML has it; nothing where there is none."""
    if default is None or default == "":
        return ""
    if isinstance(default, Path):
        default = f"~/{default.relative_to(Path.home())}"
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    return f"`{json.dumps(default)}`" if default != "" else ""
