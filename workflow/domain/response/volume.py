"""Volume change as a supplement to read beside the response. It never decides one: no criteria are agreed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# The cubes of RECIST's 0.7 and 1.2: what a sphere's volume does at the diameter's thresholds.
EQUIVALENT_RESPONSE_PERCENT = -65.7
EQUIVALENT_PROGRESSION_PERCENT = 72.8


@dataclass(frozen=True, kw_only=True)
class VolumeChange:
    """The total volume (ml) of a time point against baseline and smallest volume before; percent, signed."""

    total_ml: float
    baseline_ml: float
    nadir_ml: float
    from_baseline_percent: float | None
    from_nadir_percent: float | None

    @property
    def note(self) -> str:
        """In words, with the volume thresholds that correspond to RECIST's diameters for comparison."""
        if self.from_baseline_percent is None:
            return f"total volume {self.total_ml:.1f} ml (no volume at baseline)"
        return (
            f"total volume {self.total_ml:.1f} ml, {self.from_baseline_percent:+.0f} % from baseline; "
            f"supplementary: -30 % and +20 % in diameter are {EQUIVALENT_RESPONSE_PERCENT} % and "
            f"+{EQUIVALENT_PROGRESSION_PERCENT} % in a sphere's volume"
        )


def volume_changes(volumes_ml: Sequence[Sequence[float | None]]) -> tuple[VolumeChange | None, ...]:
    """The change at each time point; the first is the baseline.

    Parameters
    ----------
    volumes_ml
        For each time point the volumes of the same lesions in the same order, ml; None if not evaluable.

    Returns
    -------
    tuple
        None where a volume is missing, or where the baseline's is.
    """
    totals = [_total(volumes) for volumes in volumes_ml]
    baseline = totals[0] if totals else None
    changes: list[VolumeChange | None] = []
    nadir = baseline
    for total in totals:
        if total is None or baseline is None or nadir is None:
            changes.append(None)
            continue
        changes.append(
            VolumeChange(
                total_ml=total,
                baseline_ml=baseline,
                nadir_ml=nadir,
                from_baseline_percent=_percent(total, baseline),
                from_nadir_percent=_percent(total, nadir),
            )
        )
        nadir = min(nadir, total)
    return tuple(changes)


def _total(volumes: Sequence[float | None]) -> float | None:
    known = [volume for volume in volumes if volume is not None]
    return sum(known) if volumes and len(known) == len(volumes) else None


def _percent(value: float, reference: float) -> float | None:
    return 100 * (value - reference) / reference if reference else None
