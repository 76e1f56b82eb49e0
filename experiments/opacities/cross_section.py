"""Line-by-line cross-sections by fast Fourier transform on a logarithmic wavenumber grid.

A Doppler width is proportional to wavenumber, so in ln(wavenumber) one Gaussian fits every line.
Strengths are shared out over the grid and over a few Lorentz widths, and each width's comb of
strengths is convolved with its Voigt profile (van den Bekerom & Pannier 2021, JQSRT 261, 107476;
Kawahara et al. 2022, ApJS 258, 31). The cost hardly depends on the number of lines.
"""

import numpy as np
import scipy.fft
from lines import REFERENCE_TEMPERATURE, FloatArray, Lines, molar_mass
from scipy.special import wofz

ATMOSPHERE = 1.01325
"""One standard atmosphere [bar]."""
POINTS_PER_WIDTH = 6.0
"""Grid points in the half width of the narrowest line."""
WIDTH_RATIO = 1.25
"""Largest ratio of neighbouring entries in the set of line widths."""


def doppler_width(molecule: str, temperature: float) -> float:
    """Doppler half width at half maximum over line centre, of the main isotopologue."""
    light, gas_constant = 299792458.0, 8.314462618
    thermal = gas_constant * temperature / (1e-3 * molar_mass(molecule, 1))
    return float(np.sqrt(2 * np.log(2) * thermal) / light)


def lorentz_widths(lines: Lines, temperature: float, pressure: float) -> FloatArray:
    """Lorentz half widths over line centre, shape (n_lines,); pressure in bar."""
    scale = (REFERENCE_TEMPERATURE / temperature) ** lines.n_temperature
    return lines.gamma * scale * pressure / ATMOSPHERE / lines.wavenumber


def voigt(offset: FloatArray, doppler: float, lorentz: FloatArray | float) -> FloatArray:
    """Voigt profile of unit area; both widths are half widths at half maximum."""
    sigma = doppler / np.sqrt(2 * np.log(2))
    z = (offset + 1j * lorentz) / (sigma * np.sqrt(2))
    return wofz(z).real / (sigma * np.sqrt(2 * np.pi))


def grid_step(
    doppler: float,
    lorentz: FloatArray,
    bin_width: float,
    fewest: int = 64,
    points_per_width: float = POINTS_PER_WIDTH,
) -> float:
    """Step in ln(wavenumber) that resolves the narrowest line and divides ``bin_width``."""
    narrow = lorentz.min(initial=np.inf)
    if np.isfinite(narrow):  # Voigt half width: Olivero & Longbothum 1977, JQSRT 17, 233
        narrow = 0.5346 * narrow + np.sqrt(0.2166 * narrow**2 + doppler**2)
    return bin_width / max(fewest, int(np.ceil(bin_width * points_per_width / narrow)))


def cross_section(
    log_wavenumber: FloatArray,
    lines: Lines,
    line_strengths: FloatArray,
    lorentz: FloatArray,
    doppler: float,
    cutoff: float,
) -> FloatArray:
    """Absorption cross-section [cm2/molecule] on an even grid of ln(wavenumber).

    Parameters
    ----------
    log_wavenumber
        Grid of ln(wavenumber / cm-1), evenly spaced, shape (n,); short enough for the wing
        cut-off to be one number in ln(wavenumber).
    lines, line_strengths
        The lines, and their strengths at this temperature [cm-1/(molecule cm-2)].
    lorentz, doppler
        Half widths at half maximum over line centre; shape (n_lines,) and one number.
    cutoff
        Line wings end this far from the centre [cm-1].
    """
    step = log_wavenumber[1] - log_wavenumber[0]
    reach = int(cutoff / np.exp(log_wavenumber.mean()) / step)
    size = len(log_wavenumber) + 2 * reach  # lines beyond either end, as far as wings reach
    place = (np.log(lines.wavenumber) - log_wavenumber[0]) / step + reach
    near = (place >= 0) & (place < size - 1)
    place, lorentz = place[near], lorentz[near]
    # A line of strength S contributes S f(nu) = S/nu0 f(ln nu).
    weight = line_strengths[near] / lines.wavenumber[near]
    if not near.any():
        return np.zeros_like(log_wavenumber)

    # Widths are even in log(lorentz + doppler): few where Doppler broadening rules.
    low, high = np.log(lorentz.min() + doppler), np.log(lorentz.max() + doppler)
    count = 2 + int((high - low) / np.log(WIDTH_RATIO))
    widths = np.maximum(np.exp(np.linspace(low, high, count)) - doppler, lorentz.min())
    # Shares linear in position and in width keep every line's centroid, strength and far wings.
    lower = np.clip(np.searchsorted(widths, lorentz, side="right") - 1, 0, count - 2)
    order = np.argsort(lower, kind="stable")
    lower, place, lorentz = lower[order], place[order], lorentz[order]
    gap = np.maximum(widths[lower + 1] - widths[lower], np.finfo(float).tiny)
    upper_share = np.clip((lorentz - widths[lower]) / gap, 0, 1)
    weight = np.stack([weight[order] * (1 - upper_share), weight[order] * upper_share])
    left = place.astype(int)
    right_share = place - left

    length = scipy.fft.next_fast_len(size + reach, real=True)
    offset = step * np.arange(reach + 1)
    total = np.zeros(length // 2 + 1, complex)
    starts = np.searchsorted(lower, np.arange(count + 1))
    for i, width in enumerate(widths):
        comb = np.zeros(length)
        for upper in (0, 1):  # lines between this width and the next, the one before and this
            if i >= upper:
                part = slice(starts[i - upper], starts[i - upper + 1])
                share = weight[upper, part] * right_share[part]
                comb += np.bincount(left[part], weight[upper, part] - share, length)
                comb += np.bincount(left[part] + 1, share, length)
        profile = np.zeros(length)
        profile[: reach + 1] = voigt(offset, doppler, width)
        profile[length - reach :] = profile[reach:0:-1]
        total += scipy.fft.rfft(comb) * scipy.fft.rfft(profile)
    result = scipy.fft.irfft(total, length)[reach : reach + len(log_wavenumber)]
    # Rounding in the transform leaves noise at 1e-16 of the largest value.
    return np.where(result > 1e-15 * result.max(), result, 0)
