"""`tumorline evaluate`: segmenters beside each other on lesions whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflow.commands._shared import messages
from workflow.domain.errors import UnsuitableInputError

if TYPE_CHECKING:
    from models.training.evaluation import Case
    from workflow.ports import Segmenter


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def evaluate(
        out: Annotated[Path, typer.Argument(help="Folder for rows.csv, summary.json, tables.md and plots.")],
        cases: Annotated[
            Path | None,
            typer.Option(
                help="CSV file: name,patient,modality,image,mask and, if wanted, site.", show_default=False
            ),
        ] = None,
        synthetic: Annotated[int, typer.Option(help="Add that many synthetic lesions.", min=0)] = 0,
        seed: Annotated[
            int, typer.Option(help="Of the synthetic lesions; not one of a training.")
        ] = 1_000_003,
        model: Annotated[str, typer.Option(help="The segmenter in question.")] = "open-lesion",
        weights: Annotated[Path | None, typer.Option(help="Its weights.", show_default=False)] = None,
        against: Annotated[
            list[str] | None,
            typer.Option(help="Other segmenters, NAME or NAME=WEIGHTS; the last is the reference."),
        ] = None,
        prompt: Annotated[
            list[str] | None,
            typer.Option(help="box, line, both axes, outline, prior mask, click; all if left out."),
        ] = None,
        jitter: Annotated[
            list[float] | None, typer.Option(help="How far prompts are off, in parts of the long axis.")
        ] = None,
        device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    ) -> None:
        """Judge a segmenter on real or synthetic lesions, beside others and beside what needs no model.

        The prompt's own ellipsoid and a threshold in it are always among the others; `--against weight-free`
        is the default reference.
        """
        from models.registry import open_segmenter
        from models.training.baselines import PromptShapeSegmenter, ThresholdSegmenter
        from models.training.evaluation import evaluate as run
        from models.training.prompting import PromptKind
        from models.training.tables import markdown, write
        from workflow.settings import load_settings

        if cases is None and not synthetic:
            raise UnsuitableInputError("there is nothing to judge on: give --cases or --synthetic")
        unknown = sorted(set(prompt or []) - {kind.value for kind in PromptKind})
        if unknown:
            raise UnsuitableInputError(
                f"there is no prompt '{unknown[0]}'; there are {', '.join(kind.value for kind in PromptKind)}"
            )
        allowed = load_settings().models.allowed_licences
        segmenters: dict[str, Segmenter] = {
            model: open_segmenter(model, weights, device=device, allowed_licences=allowed)
        }
        for one in (PromptShapeSegmenter(), ThresholdSegmenter()):
            segmenters[one.name] = one
        for text in against or ["weight-free"]:
            name, _, file = text.partition("=")
            segmenters[name] = open_segmenter(
                name, Path(file) if file else None, device=device, allowed_licences=allowed
            )
        rows = run(
            segmenters,
            _cases(cases, synthetic, seed),
            [PromptKind(kind) for kind in prompt] if prompt else tuple(PromptKind),
            jitter or [0.0],
            told=lambda name: messages.print(name),
        )
        summed = write(rows, list(segmenters), out)
        typer.echo(markdown(summed))


def _cases(table: Path | None, synthetic: int, seed: int) -> Iterator[Case]:
    from models.training.config import SynthesisConfig
    from models.training.evaluation import read_cases, synthetic_cases
    from workflow.use_cases.images import read_image

    real: Iterator[Case] = read_cases(table, read_image) if table is not None else iter(())
    return chain(real, synthetic_cases(SynthesisConfig(), [], seed, synthetic))
