"""Compare the Fourier-transform cross-section with direct summation of the same lines.

Prints, for windows and states that span the table, the largest and root-mean-square error of
log10 k over a window, and writes them to ``check_cross_section.json``.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from cross_section import cross_section, doppler_width, grid_step, lorentz_widths, voigt
from h2o_lines import h2o_lines
from lines import FloatArray, Lines, strengths
from make_opacities import H2O_FILE, read_source

WINDOWS = [(1900.0, 1905.0), (3700.0, 3705.0), (7200.0, 7210.0)]
"""[cm-1]"""
STATES = [(100.0, 1e-6), (300.0, 1e-3), (300.0, 1.0), (1000.0, 0.1), (3000.0, 100.0)]
"""Temperature [K], pressure [bar]."""


def direct(
    wavenumber: FloatArray,
    lines: Lines,
    line_strengths: FloatArray,
    lorentz: FloatArray,
    doppler: float,
    cutoff: float,
) -> FloatArray:
    """Sum Voigt profiles in wavenumber, line by line; arguments as in ``cross_section``."""
    total = np.zeros_like(wavenumber)
    for centre, strength, width in zip(lines.wavenumber, line_strengths, lorentz, strict=True):
        offset = wavenumber - centre
        near = np.abs(offset) < cutoff
        profile = voigt(offset[near], doppler * centre, width * centre)
        total[near] += strength * profile
    return total


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=Path, required=True, help="as in make_opacities.py")
    parser.add_argument("--cutoff", type=float, default=25.0, help="reach of line wings [cm-1]")
    arguments = parser.parse_args()
    records = read_source(arguments.sources, H2O_FILE)
    errors = []
    for low, high in WINDOWS:
        margin = 2 * arguments.cutoff
        lines = h2o_lines(records, low - margin, high + margin)
        for temperature, pressure in STATES:
            at_temperature = strengths(lines, "H2O", temperature)
            doppler = doppler_width("H2O", temperature)
            lorentz = lorentz_widths(lines, temperature, pressure)
            step = grid_step(doppler, lorentz, 0.005)
            grid = np.arange(np.log(low), np.log(high), step)
            rest = (lines, at_temperature, lorentz, doppler, arguments.cutoff)
            fast = cross_section(grid, *rest)
            some = slice(None, None, max(1, len(grid) // 4000))
            exact = direct(np.exp(grid[some]), *rest)
            error = np.log10(fast[some] / exact)
            errors.append(
                {
                    "wavenumber_cm-1": [low, high],
                    "temperature_K": temperature,
                    "pressure_bar": pressure,
                    "rms_dex": round(float(np.sqrt((error**2).mean())), 5),
                    "max_dex": round(float(np.abs(error).max()), 5),
                    "mean_k_ratio": round(float(fast[some].mean() / exact.mean()), 5),
                }
            )
            print(errors[-1], flush=True)
    target = Path(__file__).with_suffix(".json")
    target.write_text(json.dumps(errors, indent=1) + "\n")


if __name__ == "__main__":
    main()
