"""How a lesion and what surrounds it look: intensity distributions learnt from the patch itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

_BINS = 96


@dataclass(frozen=True, eq=False)
class Binned:
    """A patch's intensities as histogram bins; `width` is a bin's width in the image's units."""

    index: np.ndarray
    width: float
    low: float

    @classmethod
    def of(cls, image: np.ndarray, interest: np.ndarray) -> Binned:
        """Bin an image over the range found where `interest` is true, outliers clipped."""
        low, high = np.quantile(image[interest], (0.005, 0.995))
        width = max(float(high - low) / (_BINS - 1), 1e-6)
        index = np.clip((image - low) / width, 0, _BINS - 1).astype(np.intp)
        return cls(index, width, float(low))

    def bin_of(self, image: np.ndarray) -> np.ndarray:
        """The bins of another image's intensities."""
        bins = np.clip((image - self.low) / self.width, 0, _BINS - 1)
        return np.asarray(bins.astype(np.intp))

    def density(self, weight: np.ndarray, blur_bins: float) -> np.ndarray:
        """Smoothed distribution of the intensities under a weight, shape (bins,), sums to 1."""
        counts = np.bincount(self.index.ravel(), weight.ravel().astype(np.float64), minlength=_BINS)
        smooth = ndimage.gaussian_filter1d(counts, blur_bins, mode="nearest", truncate=5)
        # A little of everything: an intensity never seen is surprising, not impossible.
        smooth = smooth / max(smooth.sum(), 1e-12) + 0.02 / _BINS
        return np.asarray(smooth / smooth.sum())

    def log_odds(self, lesion: np.ndarray, background: np.ndarray, blur_bins: float) -> np.ndarray:
        """Log of lesion over background likelihood of each voxel, given the weights of both; patch shape."""
        ratio = np.log(self.density(lesion, blur_bins)) - np.log(self.density(background, blur_bins))
        return np.asarray(ratio[self.index], dtype=np.float32)


def noise_of(image: np.ndarray, inside: np.ndarray) -> float:
    """Standard deviation of neighbouring voxels inside the lesion, robustly, the image's units."""
    differences = [np.diff(image, axis=axis) for axis in range(3)]
    both = [np.diff(inside.astype(np.int8), axis=axis) == 0 for axis in range(3)]
    values = np.concatenate(
        [
            np.abs(d[b & inside[tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))]])
            for axis, (d, b) in enumerate(zip(differences, both, strict=True))
        ]
    )
    if values.size < 8:
        values = np.abs(differences[-1]).ravel()
    spread = float(np.ptp(np.quantile(image, (0.05, 0.95)))) if image.size else 1.0
    return max(1.4826 * float(np.median(values)) if values.size else 0.0, 0.01 * spread, 1e-6)
