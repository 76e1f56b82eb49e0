"""What the few points in g cost, against the fine grid, for several ways to place eight of them.

Two errors over stretches of 20 bins of water at R = 200: of a transit height, in scale heights
(root mean square over bins of the mean over g of ln(k + grey), for grey absorbers of 0, 0.1, 1 and
10 times the bin's median k), and of the mean k [dex]. Writes ``check_quadrature.json``.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from correlated_k import g_quadrature
from cross_section import cross_section, doppler_width, grid_step, lorentz_widths
from h2o_lines import h2o_lines
from lines import FloatArray, strengths
from make_opacities import H2O_FILE, read_source

WAVELENGTHS = [1.4, 2.2, 2.7, 4.5]
"""Long ends of the stretches [um]."""
STATES = [(400.0, 1e-5), (400.0, 1e-2), (900.0, 1e-4), (900.0, 1e-2), (1800.0, 1e-3)]
"""Temperature [K], pressure [bar]."""
BIN_WIDTH, N_BINS, CUTOFF = 0.005, 20, 25.0


def gauss(n: int) -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre quadrature on [0, 1]."""
    x, w = np.polynomial.legendre.leggauss(n)
    return (x + 1) / 2, w / 2


def double_gauss(split: float) -> tuple[FloatArray, FloatArray]:
    """Four points on either side of ``split``."""
    x, w = gauss(4)
    nodes = np.concatenate([split * x, split + (1 - split) * x])
    return nodes, np.concatenate([split * w, (1 - split) * w])


RULES = {
    "shipped, 8 points": g_quadrature(8),
    "shipped, 12 points": g_quadrature(12),
    "Gauss-Legendre, 8": gauss(8),
    "double Gauss 4 + 4, split 0.95": double_gauss(0.95),
    "double Gauss 4 + 4, split 0.8": double_gauss(0.8),
}


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=Path, required=True, help="as in make_opacities.py")
    records = read_source(parser.parse_args().sources, H2O_FILE)
    height: dict[str, list[float]] = {name: [] for name in RULES}
    mean: dict[str, list[float]] = {name: [] for name in RULES}
    for wavelength in WAVELENGTHS:
        start = np.log(1e4 / wavelength)
        stop = start + N_BINS * BIN_WIDTH
        lines = h2o_lines(records, np.exp(start) - 2 * CUTOFF, np.exp(stop) + 2 * CUTOFF)
        for temperature, pressure in STATES:
            doppler = doppler_width("H2O", temperature)
            lorentz = lorentz_widths(lines, temperature, pressure)
            step = grid_step(doppler, lorentz, BIN_WIDTH)
            per_bin = round(BIN_WIDTH / step)
            grid = start + step * (np.arange(N_BINS * per_bin) + 0.5)
            at_temperature = strengths(lines, "H2O", temperature)
            k = cross_section(grid, lines, at_temperature, lorentz, doppler, CUTOFF)
            k = np.sort(k.reshape(N_BINS, per_bin), axis=1)
            rank = (np.arange(per_bin) + 0.5) / per_bin
            greys = [f * np.median(k, axis=1, keepdims=True) for f in (0, 0.1, 1, 10)]
            for name, (g, weights) in RULES.items():
                few = np.array([np.interp(g, rank, row) for row in k])
                errors = [
                    np.log(few + grey) @ weights - np.log(k + grey).mean(axis=1) for grey in greys
                ]
                height[name].append(float(np.sqrt(np.square(errors).mean())))
                mean[name].append(float(np.log10((few @ weights).sum() / k.mean(axis=1).sum())))
    report = {
        name: {
            "transit height, rms [scale heights]": round(float(np.mean(height[name])), 4),
            "transit height, rms of the worst stretch": round(max(height[name]), 4),
            "mean k, rms [dex]": round(float(np.sqrt(np.square(mean[name]).mean())), 3),
            "mean k, worst [dex]": round(max(mean[name], key=abs), 3),
        }
        for name in RULES
    }
    for name, values in report.items():
        print(name, values)
    Path(__file__).with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
