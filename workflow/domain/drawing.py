"""What a reader draws on slices to show a lesion, before it is an object of DICOM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType


class MarkKind(StrEnum):
    """How a mark shows a lesion."""

    POINT = "point"
    LINE = "line"  # its long axis
    AXES = "axes"  # the long axis and the short one
    BOX = "box"  # a rectangle around it, by two opposite corners


POINTS_OF: Mapping[MarkKind, int] = MappingProxyType(
    {MarkKind.POINT: 1, MarkKind.LINE: 2, MarkKind.AXES: 4, MarkKind.BOX: 2}
)
# So many that nobody draws them by hand.
MOST_MARKS = 100


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One mark on one slice of a volume.

    Attributes
    ----------
    slice_index
        Of the volume's first axis.
    points
        (row, column) in the volume, whole numbers at voxel centres; the number is that of `POINTS_OF`, the
        long axis before the short one.
    is_positive
        False for a point that is not part of the lesion.

    Raises
    ------
    ValueError
        If the points are not as many as the kind has, or a mark other than a point is negative.
    """

    kind: MarkKind
    slice_index: int
    points: tuple[tuple[float, float], ...]
    is_positive: bool = True

    def __post_init__(self) -> None:
        if len(self.points) != POINTS_OF[self.kind]:
            raise ValueError(f"a {self.kind} has {POINTS_OF[self.kind]} points, not {len(self.points)}")
        if not self.is_positive and self.kind is not MarkKind.POINT:
            raise ValueError(f"only a point can say what is not part of a lesion, not a {self.kind}")


@dataclass(frozen=True, kw_only=True)
class MarkedLesion:
    """All marks that a reader made of one lesion in one go, on one volume.

    Attributes
    ----------
    id
        Names the marks for good: stored again they are the same object.
    tracking_uid
        Of the known lesion that they show anew, or None: a lesion that nobody has shown before.
    label
        What the reader calls it ("liver segment 6"), or the known lesion's label.
    by, at
        Who drew, and when.

    Raises
    ------
    ValueError
        If nothing shows where the lesion is, or there are too many marks.
    """

    id: str
    marks: tuple[Mark, ...]
    by: str
    at: datetime
    tracking_uid: str | None = None
    label: str = ""

    def __post_init__(self) -> None:
        if not any(mark.is_positive for mark in self.marks):
            raise ValueError("no mark shows where the lesion is; draw one on it")
        if len(self.marks) > MOST_MARKS:
            raise ValueError(f"{len(self.marks)} marks are more than the {MOST_MARKS} that a lesion may have")
