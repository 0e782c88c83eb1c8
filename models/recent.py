"""What was computed of a volume, kept until another volume comes."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

from workflow.domain.geometry import Volume

Kept = TypeVar("Kept")


class Recent(Generic[Kept]):
    """One value that belongs to one volume (by identity: volumes are never changed in place).

    A reader who moves a prompt asks for the same volume again and again; so does
    `models.confidence.PromptSensitivity`.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._volume: weakref.ref[Volume] | None = None
        self._kept: Kept | None = None

    def of(self, volume: Volume, make: Callable[[], Kept]) -> Kept:
        """The value of this volume: the kept one if it is the same volume as last time, else a new one."""
        if self._kept is None or self._volume is None or self._volume() is not volume:
            self._kept = make()
            self._volume = weakref.ref(volume, self._forget)
        return self._kept

    def _forget(self, gone: weakref.ref[Volume]) -> None:
        if self._volume is gone:
            self._kept = self._volume = None
