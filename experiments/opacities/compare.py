"""Compare the shipped opacity table with an independent one made from HITEMP lines.

The other table, ``opacity_check.npz`` (photochem_clima_data, GPL-3: read here, never copied),
holds 41 wide bins. Ours is averaged over each of them in two ways: the mean cross-section, which
is the band strength, and the mean of log10 k, which is what sets a transit depth. Differences are
ours minus theirs in log10, written to ``compare.json`` and drawn in ``compare.png``.
"""

import argparse
import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from lines import FloatArray

ROOT = Path(__file__).parents[2]
BANDS = {
    "H2O 5.4-5.7": ("H2O", 1750, 1850),
    "H2O 2.7": ("H2O", 3425, 4030),
    "H2O 1.9": ("H2O", 4950, 5925),
    "H2O 1.4": ("H2O", 6990, 7650),
    "H2O 1.1": ("H2O", 8315, 9350),
    "H2O 0.94": ("H2O", 10400, 11220),
    "H2O window 4.2-4.5": ("H2O", 2200, 2397),
    "H2O window 2.2": ("H2O", 4030, 4950),
    "H2O window 1.65": ("H2O", 5925, 6390),
    "CO2 5.2": ("CO2", 1850, 1949.9999),
    "CO2 4.8": ("CO2", 2050, 2200),
    "CO2 4.2-4.5": ("CO2", 2200, 2397),
    "CO2 2.7": ("CO2", 3425, 3760),
    "CO2 2.0": ("CO2", 4540, 5370),
    "CO2 1.6": ("CO2", 5925, 6390),
    "CO2 1.4": ("CO2", 6390, 6990),
}
"""Molecule and limits [cm-1], at edges of the reference's bins; names are in um."""
PRESSURE = 1e-2
"""Where the table below is made [bar]; band means hardly depend on it."""


class Table:
    """Mean cross-sections of a table in the reference's bins, for one molecule."""

    def __init__(self, log_k: FloatArray, weights: FloatArray, temperature: FloatArray) -> None:
        """Take log10 k of shape (nT, n_bins, n_g) at one pressure."""
        self.temperature = temperature
        self.mean_k = (10.0**log_k * weights).sum(axis=-1)
        self.mean_log_k = (log_k * weights).sum(axis=-1)

    def over(self, share: FloatArray, how: str) -> FloatArray:
        """Average over bins with weights ``share`` of shape (n_bins,): log10, shape (nT,)."""
        if how == "mean_k":
            return np.log10(self.mean_k @ share / share.sum())
        return self.mean_log_k @ share / share.sum()


def decode(data: dict[str, np.ndarray], molecule: str) -> FloatArray:
    """Undo the differences and the rounding of the shipped table."""
    code = data[molecule].astype(np.int32)
    for axis in data["differenced_axes"]:
        code = np.cumsum(code, axis=axis)
    return data["log10k_offset"] + data["log10k_step"] * code


def overlap(edges: FloatArray, low: float, high: float) -> FloatArray:
    """Length of each bin between ascending ``edges`` that lies in [low, high]."""
    clipped = np.clip(edges, low, high)
    return np.diff(clipped)


def draw(panels: dict[str, dict], temperatures: list[float], path: Path) -> None:
    """Draw both tables on the left, ours minus theirs on the right."""
    figure, axes = plt.subplots(len(panels), 2, figsize=(12, 3.2 * len(panels)), sharex=True)
    colours = plt.get_cmap("cividis")(np.linspace(0, 0.85, len(temperatures)))
    for (left, right), (name, curves) in zip(axes, panels.items(), strict=True):
        wavelength, lines = curves["wavelength"], curves["lines"]
        for colour, temperature in zip(colours, temperatures, strict=True):
            ours, theirs = lines[temperature]
            left.plot(wavelength, ours, color=colour, label=f"{temperature:g} K")
            left.plot(wavelength, theirs, color=colour, ls="none", marker="o", ms=3.5)
            right.plot(wavelength, ours - theirs, color=colour, marker="o", ms=3.5)
        left.set_ylabel(f"{name}\n{curves['unit']}")
        right.set_ylabel("ours - reference [dex]")
        right.axhline(0, color="black", lw=0.8)
        right.set_ylim(-1, 1)
        left.set_ylim(curves["floor"], None)
    axes[0, 0].legend(title="lines: ours, dots: reference", fontsize=8, ncol=2, title_fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("wavelength [um]")
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def main() -> None:
    """Compare, write the JSON and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = ROOT / "floppity_jax" / "data" / "opacities.npz"
    parser.add_argument("--table", type=Path, default=default)
    parser.add_argument(
        "--reference", type=Path, default=ROOT.parent / "shared" / "data" / "opacity_check.npz"
    )
    arguments = parser.parse_args()
    if not arguments.reference.exists():
        sys.exit(f"skipped: the reference table ({arguments.reference}) is not here")
    ours, theirs = dict(np.load(arguments.table)), dict(np.load(arguments.reference))

    our_edges = 1e4 / ours["wavelength_edges"][::-1]
    their_edges = 1e4 / theirs["wl_edges_um"].astype(float)[::-1]
    inside = (their_edges[:-1] > our_edges[0]) & (their_edges[1:] < our_edges[-1])
    wanted = theirs["T"]
    our_p = int(np.argmin(np.abs(np.log10(ours["pressure"] / PRESSURE))))
    their_p = int(np.argmin(np.abs(np.log10(theirs["P_bar"] / PRESSURE))))
    tables = {}
    for molecule in ("H2O", "CO2"):
        log_k = decode(ours, molecule)[:, our_p, ::-1]
        shape = (len(wanted), *log_k.shape[1:])
        flat = log_k.reshape(len(log_k), -1).T  # log10 k is interpolated in ln T
        at = [np.interp(np.log(wanted), np.log(ours["temperature"]), row) for row in flat]
        tables[molecule] = (
            Table(np.array(at).T.reshape(shape), ours["g_weights"], wanted),
            Table(theirs[f"{molecule}_log10k"][their_p].astype(float), theirs["g_weights"], wanted),
        )

    report: dict[str, object] = {
        "reference": "opacity_check.npz (HITEMP, photochem_clima_data)",
        "pressure_bar": PRESSURE,
        "temperature_K": wanted.tolist(),
    }
    bands = {}
    for name, (molecule, low, high) in BANDS.items():
        mine, reference = tables[molecule]
        low = max(low, our_edges[0])
        shares = overlap(our_edges, low, high), overlap(their_edges, low, high)
        bands[name] = {
            how: np.round(mine.over(shares[0], how) - reference.over(shares[1], how), 3).tolist()
            for how in ("mean_k", "mean_log_k")
        }
    report["bands, ours minus reference [dex]"] = bands

    panels, shown = {}, [300.0, 700.0, 1100.0, 1600.0, 2000.0]
    limits = np.stack([their_edges[:-1], their_edges[1:]], axis=1)[inside]
    centres = 1e4 / limits.mean(axis=1)
    for molecule, (mine, reference) in tables.items():
        pair = [
            np.array([table.over(overlap(edges, a, b), "mean_k") for a, b in limits])
            for table, edges in ((mine, our_edges), (reference, their_edges))
        ]
        panels[molecule] = {
            "wavelength": centres,
            "unit": "log10 mean k [cm2/molecule]",
            "floor": -27,
            "lines": {t: tuple(c[:, list(wanted).index(t)] for c in pair) for t in shown},
        }
    our_centre = np.sqrt(ours["wavelength_edges"][1:] * ours["wavelength_edges"][:-1])
    for pair_name in ("H2-H2", "H2-He"):
        wavelength = theirs[f"{pair_name}_wl_um"].astype(float)
        use = (wavelength > our_centre[0]) & (wavelength < our_centre[-1])
        mine = [np.interp(wavelength[use], our_centre, row) for row in ours[pair_name]]
        log_t = np.log(ours["cia_temperature"])
        at = np.array([np.interp(np.log(wanted), log_t, row) for row in np.array(mine).T])
        reference = theirs[f"{pair_name}_log10_cm5"].astype(float)[use]
        panels[pair_name] = {
            "wavelength": wavelength[use],
            "unit": "log10 coefficient [cm5]",
            "floor": -52,
            "lines": {
                t: (at[:, list(wanted).index(t)], reference[:, list(wanted).index(t)])
                for t in shown
            },
        }
        deviations = at - reference
        report[f"{pair_name}, ours minus reference [dex]"] = {
            f"{a}-{b} um": {
                "median": np.round(np.median(deviations[part], axis=0), 3).tolist(),
                "largest": np.round(np.abs(deviations[part]).max(axis=0), 3).tolist(),
            }
            for a, b in ((1.0, 1.6), (1.6, 2.0), (2.0, 2.8), (2.8, 3.6), (3.6, 5.5))
            for part in [(wavelength[use] >= a) & (wavelength[use] < b)]
        }
    here = Path(__file__)
    here.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    draw(panels, shown, here.with_suffix(".png"))
    print(f"{'band [um]':20s}" + "".join(f"{t:7.0f}K" for t in wanted))
    for how in ("mean_k", "mean_log_k"):
        print(how)
        for name, values in bands.items():
            print(f"{name:20s}" + "".join(f"{v:8.2f}" for v in values[how]))


if __name__ == "__main__":
    main()
