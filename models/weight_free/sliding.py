"""Sums of products of a kernel with an image at every offset, by Fourier transform."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from workflow.domain.geometry import FloatArray


def slide(image: NDArray[Any], kernel: NDArray[Any], *, overhanging: bool = False) -> FloatArray:
    """Correlate an image with a kernel, both three-dimensional.

    Returns
    -------
    numpy.ndarray
        Shape image - kernel + 1, one value per offset at which the kernel lies inside the image; or, if
        `overhanging`, image + kernel - 1, from the offset at which only the last voxels meet.
    """
    whole = [a + b - 1 for a, b in zip(image.shape, kernel.shape, strict=True)]
    size = [fft.next_fast_len(n, real=True) for n in whole]
    flipped = kernel[::-1, ::-1, ::-1].astype(np.float64)
    product = fft.rfftn(image.astype(np.float64), size) * fft.rfftn(flipped, size)
    sums: FloatArray = fft.irfftn(product, size)
    first = [0] * 3 if overhanging else [n - 1 for n in kernel.shape]
    last = whole if overhanging else list(image.shape)
    a, b, c = (slice(i, j) for i, j in zip(first, last, strict=True))
    return sums[a, b, c]
