"""How alike two images are."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Real
from numpy.lib.stride_tricks import sliding_window_view

IDENTICAL = 100.0
"""PSNR in dB reported for images that are equal to float32's precision, where the ratio itself is infinite."""


def psnr(
    images: Real[np.ndarray, " *batch H W C"], others: Real[np.ndarray, " *batch H W C"], data_range: float
) -> Float64[np.ndarray, " *batch"]:
    """Peak signal-to-noise ratio `10 log10(range^2 / mse)` in dB; at most 100."""
    error = np.mean(np.square(np.asarray(images, np.float64) - others), axis=(-3, -2, -1)) / data_range**2
    return -10 * np.log10(np.maximum(error, 10 ** (-IDENTICAL / 10)))


def ssim(
    images: Real[np.ndarray, " *batch H W C"], others: Real[np.ndarray, " *batch H W C"], data_range: float
) -> Float64[np.ndarray, " *batch"]:
    """Structural similarity, mean over channels and windows; 1 for equal images.

    Gaussian window of 11 x 11 with sigma 1.5 (the largest odd one that fits, for smaller images), population moments,
    windows inside the image only, k1 = .01, k2 = .03.

    References: Wang et al. 2004, IEEE Transactions on Image Processing 13.
    """
    a, b = np.asarray(images, np.float64), np.asarray(others, np.float64)
    side = min(11, *(length - (length + 1) % 2 for length in a.shape[-3:-1]))
    window = np.exp(-0.5 * (np.arange(side) - side // 2) ** 2 / 1.5**2)
    window /= window.sum()

    def blur(image: np.ndarray) -> np.ndarray:
        for axis in (-3, -2):
            image = sliding_window_view(image, side, axis=axis) @ window  # type: ignore[call-overload]
        return image

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b, cov = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2, blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return similarity.mean(axis=(-3, -2, -1))
