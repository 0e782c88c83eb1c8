"""`tumorline viewer`: the viewer OHIF, under /viewer of the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workflow.commands._shared import ConfigOption, messages
from workflow.settings import load_settings
from workflow.use_cases.viewer import PACKAGE, VERSION, install


def register(app: typer.Typer) -> None:
    """Add the commands."""
    viewer = typer.Typer(help="The viewer OHIF, under /viewer of the pages.", no_args_is_help=True)
    viewer.callback()(lambda: None)
    viewer.command("install")(install_command)
    app.add_typer(viewer, name="viewer")


def install_command(
    to: Annotated[
        Path | None,
        typer.Option(help="Folder; name it in the setting viewer.folder then. Default: in the home folder."),
    ] = None,
    tarball: Annotated[
        Path | None,
        typer.Option("--from", help=f"What `npm pack {PACKAGE}@{VERSION}` made elsewhere."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Install the viewer: download OHIF by npm, check it, and put it where the pages serve it.

    Examples:

        tumorline viewer install

        tumorline viewer install --from ohif-app-3.13.2.tgz
    """
    settings = load_settings(config)
    target = to or settings.viewer.folder or settings.home / "viewer"
    size = install(target, tarball)
    messages.print(f"OHIF {VERSION} is in {target} ({size / 1e6:.0f} MB); pages link to it from now on")
