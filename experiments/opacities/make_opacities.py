"""Make the opacity table of the embedded forward model from line lists and CIA tables.

With no argument but ``--sources`` it makes the file that the package ships.
"""

import argparse
import json
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from cia import bin_cia, read_cia
from co2_lines import co2_lines
from co_lines import co_lines
from correlated_k import encode, g_quadrature, k_distribution
from cross_section import POINTS_PER_WIDTH
from h2o_lines import h2o_lines
from lines import FloatArray, Lines

H2O_FILE = "tests/inputs/01_hit12.par"
CIA_FILES = {
    "H2-H2": "pyratbay/data/CIA/CIA_Borysow_H2H2_0060-7000K_0.6-500um.dat",
    "H2-He": "pyratbay/data/CIA/CIA_Borysow_H2He_0050-7000K_0.5-031um.dat",
}
TEMPERATURES = [
    *[100, 130, 165, 205, 250, 300, 360, 430, 520],
    *[630, 760, 920, 1110, 1340, 1620, 2000, 2450, 3000],
]
"""Even in ln T, in which a user interpolates log k [K]."""
OFFSET, STEP = -36.0, 0.005
DIFFERENCED_AXES = (0, 1, 3)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--sources",
        type=Path,
        required=True,
        help="pyratbay-2.1.2.tar.gz from the Python package index, or the folder it unpacks to",
    )
    package = Path(__file__).parents[2] / "floppity_jax"
    parser.add_argument("--output", type=Path, default=package / "data" / "opacities.npz")
    parser.add_argument(
        "--wavelength", type=float, nargs=2, default=[0.5, 5.6], help="shortest, longest [um]"
    )
    parser.add_argument("--resolution", type=float, default=200.0, help="wavelength / bin width")
    parser.add_argument("--g-points", type=int, default=8, help="points in g")
    parser.add_argument("--temperatures", type=float, nargs="+", default=TEMPERATURES, help="[K]")
    parser.add_argument(
        "--pressures", type=float, nargs="+", default=[10.0**p for p in range(-6, 3)], help="[bar]"
    )
    parser.add_argument(
        "--molecules", nargs="+", choices=["H2O", "CO2", "CO"], default=["H2O", "CO2"]
    )
    parser.add_argument(
        "--points-per-width",
        type=float,
        default=POINTS_PER_WIDTH,
        help="grid points in the half width of the narrowest line; broad bins need fewer",
    )
    parser.add_argument("--cutoff", type=float, default=25.0, help="reach of line wings [cm-1]")
    return parser.parse_args()


def read_source(sources: Path, name: str) -> bytes:
    """Read one file of the source distribution, packed or unpacked."""
    if sources.is_dir():
        return (sources / name).read_bytes()
    with tarfile.open(sources) as archive:
        root = archive.getnames()[0].split("/")[0]
        member = archive.extractfile(f"{root}/{name}")
        if member is None:
            raise FileNotFoundError(f"sources ({sources}) holds no file {name}")
        return member.read()


def molecule_lines(
    arguments: argparse.Namespace, reach: tuple[float, float]
) -> Iterator[tuple[str, Lines]]:
    """Yield each molecule's name and lines within ``reach`` [cm-1]."""
    if "H2O" in arguments.molecules:
        yield "H2O", h2o_lines(read_source(arguments.sources, H2O_FILE), *reach)
    if "CO2" in arguments.molecules:
        yield "CO2", co2_lines(*reach, max(arguments.temperatures))
    if "CO" in arguments.molecules:
        yield "CO", co_lines(*reach)


def collision_induced(
    arguments: argparse.Namespace, log_edges: FloatArray
) -> dict[str, FloatArray]:
    """CIA coefficients at the temperatures that both tables have within the range asked for."""
    tables = {
        pair: read_cia(read_source(arguments.sources, name).decode())
        for pair, name in CIA_FILES.items()
    }
    common = np.intersect1d(*(table[0] for table in tables.values()))
    low, high = min(arguments.temperatures), max(arguments.temperatures)
    common = common[(common >= low) & (common <= high)]
    result = {"cia_temperature": common}
    for pair, (temperature, wavenumber, coefficient) in tables.items():
        binned = bin_cia(wavenumber, coefficient[np.isin(temperature, common)], log_edges)
        # Bins run with wavelength in the file; three decimals are 0.1%.
        result[pair] = binned[:, ::-1].round(3).astype(np.float32)
    return result


def provenance(arguments: argparse.Namespace) -> str:
    """Where the table comes from, as JSON."""
    molecules = {
        "H2O": "HITRAN 2012 (Rothman et al. 2013, JQSRT 130, 4), all isotopologues, from the "
        f"pyratbay 2.1.2 source distribution, {H2O_FILE}; band strengths complete to about "
        "1200 K, gaps between strong lines too transparent from about 500 K",
        "CO2": "APPROXIMATE: lines computed from published constants and band strengths by "
        "experiments/opacities/co2_lines.py",
        "CO": "APPROXIMATE: lines computed from published constants and band strengths by "
        "experiments/opacities/co_lines.py",
    }
    return json.dumps(
        {
            "script": "experiments/opacities/make_opacities.py",
            **{molecule: molecules[molecule] for molecule in arguments.molecules},
            "partition functions": "TIPS-2021 (Gamache et al. 2021, JQSRT 271, 107713) in "
            "hitran-api",
            "broadening": "85% H2 + 15% He; H2O: Barton et al. 2017 (JQSRT 187, 453), by J; "
            "CO2, CO: see their scripts",
            "CIA": "Borysow tables in pyratbay 2.1.2: " + ", ".join(CIA_FILES.values()),
            "settings": {
                key: value
                for key, value in vars(arguments).items()
                if key not in ("sources", "output")
            },
        }
    )


def main() -> None:
    """Make the table."""
    arguments = parse_arguments()
    start = time.perf_counter()
    short, long = arguments.wavelength
    n_bins = int(np.ceil(arguments.resolution * np.log(long / short)))
    edges = short * np.exp(np.arange(n_bins + 1) / arguments.resolution)
    log_edges = np.log(1e4 / edges[::-1])
    reach = (1e4 / edges[-1] - 2 * arguments.cutoff, 1e4 / edges[0] + 2 * arguments.cutoff)
    g, g_weights = g_quadrature(arguments.g_points)
    pressures = np.array(arguments.pressures)
    table = {}
    for molecule, lines in molecule_lines(arguments, reach):
        print(f"{molecule}: {len(lines.wavenumber)} lines", flush=True)
        k = []
        for temperature in arguments.temperatures:
            k.append(
                k_distribution(
                    lines,
                    molecule,
                    log_edges,
                    g,
                    temperature,
                    pressures,
                    arguments.cutoff,
                    arguments.points_per_width,
                )
            )
            print(f"  {temperature:g} K: {time.perf_counter() - start:.0f} s", flush=True)
        table[molecule] = encode(np.array(k)[:, :, ::-1], OFFSET, STEP, DIFFERENCED_AXES)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        arguments.output,
        wavelength_edges=edges,
        g_weights=g_weights,
        temperature=np.array(arguments.temperatures, float),
        pressure=pressures,
        log10k_offset=OFFSET,
        log10k_step=STEP,
        differenced_axes=np.array(DIFFERENCED_AXES),
        provenance=provenance(arguments),
        **table,
        **collision_induced(arguments, log_edges),
    )
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
