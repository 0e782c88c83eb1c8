"""`tumorline train`: the open lesion network on synthetic lesions."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow.commands._shared import messages
from workflow.domain.errors import UnsuitableInputError

if TYPE_CHECKING:
    from models.training.backgrounds import Scan


def scans_of(table: Path) -> list[Scan]:
    """Background scans from a CSV file with the columns look (CT, MR or PET) and image, relative to it.

    Raises
    ------
    UnsuitableInputError
        If a row has another look or its image can't be read.
    """
    from models.training.backgrounds import Look, Scan
    from workflow.use_cases.images import read_image

    looks = {"CT": Look.CT, "MR": Look.MR, "PET": Look.PET}
    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        if row.get("look") not in looks or not row.get("image"):
            raise UnsuitableInputError(f"{table}: a row needs a look (CT, MR or PET) and an image, not {row}")
    return [Scan.of(read_image(table.parent / row["image"]), looks[row["look"]]) for row in rows]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def train(
        out: Annotated[Path, typer.Argument(help="Folder for the checkpoint, the curve and the network.")],
        config: Annotated[
            Path | None,
            typer.Option(help="TOML file; docs/models.md lists its values.", show_default=False),
        ] = None,
        backgrounds: Annotated[
            Path | None,
            typer.Option(
                help="CSV file of real scans (look,image) for surroundings; without it all are procedural.",
                show_default=False,
            ),
        ] = None,
        samples: Annotated[
            int | None, typer.Option(help="How many in all, instead of the configuration's.", min=1)
        ] = None,
        minutes: Annotated[
            float | None, typer.Option(help="Stop after that long; run again to go on.")
        ] = None,
        device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    ) -> None:
        """Train the open lesion network; a folder that holds a checkpoint is continued.

        Writes `curve.csv`, `checkpoint.pt` and `network.safetensors`, which `--model open-lesion
        --weights` takes. The same configuration, backgrounds and number of threads give the same curve on a
        CPU, in one go or several.
        """
        from models.devices import pick_device
        from models.open_lesion.weights import save_network
        from models.training.config import TrainingConfig, read_config
        from models.training.loop import CHECKPOINT, NETWORK, Training

        scans = scans_of(backgrounds) if backgrounds else []
        picked = str(pick_device(device))
        if (out / CHECKPOINT).is_file():
            training = Training.resumed(out / CHECKPOINT, scans, picked, samples)
            messages.print(f"going on at sample {training.done} of {training.config.samples}")
        else:
            training = Training(
                (read_config(config) if config else TrainingConfig()).with_samples(samples), scans, picked
            )
        end = time.monotonic() + 60 * minutes if minutes is not None else float("inf")

        def told(done: int, of: int, dice: float, prior: float) -> None:
            messages.print(f"{done} of {of} samples: Dice {dice:.3f}, the prompt's shape alone {prior:.3f}")

        training.run(out, told=told, stopped=lambda: time.monotonic() > end)
        save_network(training.averaged, out / NETWORK, origin=training.origin())
        messages.print(f"{out / NETWORK}: {training.done} samples")
