"""LesionLocator: lesions from a point or box on CT, and the same lesions on the next scan.

A clean implementation of the networks and steps of arXiv 2502.20985, from a description and from
numbers that the original program gives; its (GPL-3.0) code was not used. No weights come with it.
`open_segmenter` and `open_tracker` are the ways in.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from workflow.ports import Segmenter, Tracker

NAME = "lesionlocator"
VERSION = "225b419"
"""The commit of the original whose numbers these are."""
LICENCE = "GPL-3.0-only"


def open_segmenter(
    weights: Path,
    *,
    prompt_kind: str = "auto",
    folds: Sequence[int] | None = None,
    mirror: bool = False,
    device: str = "auto",
    precision: str = "auto",
    batch: int | None = None,
    clean_up: bool = True,
) -> Segmenter:
    """Open the segmentation networks.

    Parameters
    ----------
    weights
        The folder of the release (`LesionLocatorCheckpoint`, or the one above it).
    prompt_kind
        "box" or "point" for that network alone; "auto" sends each prompt to the one it fits.
    folds
        Networks of the ensemble to average, by number; None for all that are there (the release: 5).
        Time grows with their number.
    mirror
        Also average over mirrored windows, as the original does by default: 8 times the time.
    device, precision
        "auto", "cpu", "cuda", "cuda:<n>"; "auto" (float16 on a GPU), "float32", "float16", "bfloat16".
    batch
        Windows that go through the network at once.
    clean_up
        False leaves masks as the networks give them: no holes filled, no component chosen, nothing
        clipped, neighbours not divided. That is what the original returns.

    Raises
    ------
    ConfigurationError
        If weights are missing, damaged, or need code to be read.
    """
    from models.lesionlocator.segmenter import open_segmenter as open_it

    return open_it(
        weights,
        prompt_kind=prompt_kind,
        folds=folds,
        mirror=mirror,
        device=device,
        precision=precision,
        batch=batch,
        clean_up=clean_up,
    )


def open_tracker(
    weights: Path,
    *,
    folds: Sequence[int] | None = None,
    mirror: bool = False,
    device: str = "auto",
    precision: str = "auto",
    batch: int | None = None,
    float16_inputs: bool = True,
    registration_grid: int = 175,
    clean_up: bool = True,
) -> Tracker:
    """Open the tracking network; parameters as `open_segmenter` and:

    Parameters
    ----------
    mirror
        The original mirrors always; each mirrored pair is registered again.
    float16_inputs
        Round both images to half precision in front of the network, as the original does.
    registration_grid
        Samples per axis on which a pair is registered; the network was trained on 175.
    """
    from models.lesionlocator.tracker import open_tracker as open_it

    return open_it(
        weights,
        folds=folds,
        mirror=mirror,
        device=device,
        precision=precision,
        batch=batch,
        float16_inputs=float16_inputs,
        registration_grid=registration_grid,
        clean_up=clean_up,
    )
