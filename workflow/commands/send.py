"""`tumorline send`: send DICOM files to a node, like a modality would."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from workflow.commands._shared import JsonOption, messages, print_json


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("send")
    def send_command(
        inputs: Annotated[list[Path], typer.Argument(help="Folders or files of DICOM.", exists=True)],
        to: Annotated[str, typer.Option("--to", help="AE@HOST:PORT", metavar="AE@HOST:PORT")],
        calling: Annotated[
            str, typer.Option("--calling", help="The AE title to call ourselves.")
        ] = "TUMORLINE",
        as_json: JsonOption = False,
    ) -> None:
        """Send DICOM files to a node (C-STORE), each in the transfer syntax that it has.

        Examples:

            tumorline send study/ --to TUMORLINE@127.0.0.1:11112 --calling CT_SCANNER
        """
        from workflow.bootstrap import open_node
        from workflow.domain.errors import UnsuitableInputError
        from workflow.listener import dicom_files
        from workflow.settings import Node

        match = re.fullmatch(r"([^@]{1,16})@(.+):(\d{1,5})", to)
        if match is None:
            raise UnsuitableInputError(f"'{to}' is no node; write AE@HOST:PORT, as in ORTHANC@127.0.0.1:4242")
        files = list(dicom_files(inputs))
        if not files:
            raise UnsuitableInputError(f"no DICOM file below {', '.join(map(str, inputs))}")
        if not 1 <= int(match[3]) <= 65535:
            raise UnsuitableInputError(f"'{to}': there is no port {match[3]}; ports are 1 to 65535")
        node = open_node(Node(ae_title=match[1], host=match[2], port=int(match[3])), calling)
        with messages.status(f"sending to {node.name}") as status:
            node.store(files, progress=lambda n, of: status.update(f"{n} of {of} sent to {node.name}"))
        if as_json:
            print_json({"sent": len(files), "to": node.name})
        else:
            messages.print(f"{len(files)} instances sent to {node.name}")
