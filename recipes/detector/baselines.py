"""Baselines for the detector: a centre crop, and classical saliency."""

import numpy as np
from PIL import Image
from scipy import ndimage

from moon_model.detection.region import Box

_SALIENCY_SIZE = 64


def make_centre_crop(share: float) -> Box:
    """Return the box in the middle of a photo with ``share`` of its width and height."""
    edge = (1 - share) / 2
    return edge, edge, 1 - edge, 1 - edge


def find_salient_box(photo: Image.Image) -> Box:
    """Return the box of the largest salient part of an RGB photo.

    Saliency is the spectral residual (Hou and Zhang, CVPR 2007) of the colour channels, weighted towards the middle,
    with Otsu's threshold; small gaps are closed.
    """
    pixels = np.asarray(photo.convert("RGB").resize((_SALIENCY_SIZE, _SALIENCY_SIZE)), np.float64)
    salient = sum(_compute_spectral_residual(pixels[..., channel]) for channel in range(3))
    y, x = np.mgrid[-1 : 1 : _SALIENCY_SIZE * 1j, -1 : 1 : _SALIENCY_SIZE * 1j]
    salient = np.asarray(salient) * np.exp(-(x * x + y * y))
    mask = ndimage.binary_closing(salient > _compute_otsu_threshold(salient), iterations=3, border_value=0)
    labels, count = ndimage.label(mask)
    if count == 0:
        return 0.0, 0.0, 1.0, 1.0
    sizes = ndimage.sum(mask, labels, range(1, count + 1))
    rows, columns = ndimage.find_objects(labels)[int(np.argmax(sizes))]
    n = _SALIENCY_SIZE
    return columns.start / n, rows.start / n, columns.stop / n, rows.stop / n


def _compute_spectral_residual(channel: np.ndarray) -> np.ndarray:
    spectrum = np.fft.fft2(channel)
    log_amplitude = np.log(np.abs(spectrum) + 1e-9)
    residual = log_amplitude - ndimage.uniform_filter(log_amplitude, 3, mode="wrap")
    salient = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
    blurred: np.ndarray = ndimage.gaussian_filter(salient, 2.5)
    return blurred


def _compute_otsu_threshold(values: np.ndarray) -> float:
    """Return the threshold that minimises the variance within the two classes of values."""
    counts, edges = np.histogram(values, 128)
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    weighted = np.cumsum(counts * middles)
    mean_below = weighted / np.maximum(below, 1)
    mean_above = (weighted[-1] - weighted) / np.maximum(above, 1)
    return float(middles[np.argmax(below * above * (mean_below - mean_above) ** 2)])
