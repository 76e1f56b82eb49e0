"""An approximate line list of CO2, made from published constants and band strengths.

Energies come from an effective Hamiltonian (:mod:`co2_levels`). The dipole is an effective
operator too (Tashkun et al. 1999, JQSRT 62, 571): each band system has a few terms that step the
harmonic quanta, fixed by the strengths of its bands from the ground state at room temperature, and
every hot band follows.

Left out: the change of the dipole with rotation (Herman-Wallis), which makes 5.1-5.4 um too weak by
a factor of 2 to 5; interactions other than Fermi's; bands forbidden in 626 that 628 shows; bands
shortward of 1.4 um and the weak ones from 3.2 to 3.7 um, all below 1e-23 cm2 up to 2000 K.
"""

import argparse
import functools
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from co2_constants import (
    EXPONENT_H2,
    EXPONENT_HE,
    HELIUM_FRACTION,
    ISOTOPOLOGUES,
    SYSTEMS,
    WIDTH_H2,
    WIDTH_HE,
    System,
)
from co2_levels import J_MAX, Polyad, exists, levels, polyads
from lines import (
    REFERENCE_TEMPERATURE,
    SECOND_RADIATION_CONSTANT,
    FloatArray,
    Lines,
    strengths,
)
from super_lines import merge_weak

STRENGTH_FACTOR = 4.16238e-19
"""8 pi^3/(3 h c), as strength of a line of 1 cm-1 and 1 D^2 [cm-1/(molecule cm-2)]."""
PARTITION_296 = {1: 286.094, 2: 576.644, 3: 607.808}
"""Total internal partition sums at 296 K, TIPS-2021 (Gamache et al. 2021, JQSRT 271, 107713)."""
STRENGTH_FLOOR = 1e-30
"""Lines weaker than this at every temperature are left out [cm-1/(molecule cm-2)]."""


def _ladder(quanta: FloatArray, step: int) -> FloatArray:
    """Harmonic matrix element of the ``step``-th power of a raising (or lowering) operator."""
    factor = np.ones_like(quanta)
    for i in range(abs(step)):
        factor = factor * np.maximum(quanta + 1 + i if step > 0 else quanta - i, 0)
    return np.sqrt(factor)


def _operators(system: System, lower: Polyad, upper: Polyad) -> FloatArray:
    """Matrix elements of each dipole term, shape (n_terms, n_lower, n_upper)."""
    down = upper.l < lower.l
    matrices = np.zeros((len(system.operators), len(lower.v2), len(upper.v2)))
    plus, minus = (lower.v2 + lower.l) / 2, (lower.v2 - lower.l) / 2
    v3_factor = _ladder(np.array(float(lower.v3)), system.v3_step)
    for matrix, (step, step_plus, step_minus) in zip(matrices, system.operators, strict=True):
        if down:
            step_plus, step_minus = step_minus, step_plus
        element = _ladder(lower.v1.astype(float), step) * v3_factor
        element = element * _ladder(plus, step_plus) * _ladder(minus, step_minus)
        matrix[:] = element[:, None] * (lower.v1[:, None] + step == upper.v1)
    # States +l and -l combine in pairs, but l = 0 is alone.
    return matrices * (np.sqrt(2) if (lower.l == 0) != (upper.l == 0) else 1)


def _index(label: str) -> tuple[Polyad, int]:
    """Polyad of a label in HITRAN's notation and the level's place in it."""
    v1, v2, l, v3, rank = map(int, label)  # noqa: E741
    return Polyad(2 * v1 + v2, l, v3), -rank


@functools.cache
def _coefficients(system: System) -> FloatArray:
    """Coefficients of a system's dipole terms [D], shape (n_terms,).

    Strengths leave the signs of the amplitudes open: taken are those that give most to the first
    term, of lowest order in the bend.
    """
    rows, amplitudes = [], []
    ground = Polyad(0, 0, 0)
    weights = (2 * np.arange(J_MAX + 1) + 1) * exists(1, ground, False)
    rotational = np.sum(weights * _boltzmann(levels(1, ground, False)[0][:, 0]))
    for upper_label, lower_label, strength in system.bands:
        (upper, i_upper), (lower, i_lower) = _index(upper_label), _index(lower_label)
        energy, vectors = levels(1, lower, False)
        energy_upper, vectors_upper = levels(1, upper, False)
        wavenumber = energy_upper[0, i_upper] - energy[0, i_lower]
        terms = _operators(system, lower, upper)
        rows.append(vectors[0][:, i_lower] @ terms @ vectors_upper[0][:, i_upper])
        population = rotational / PARTITION_296[1] * _boltzmann(energy[0, i_lower])
        per_square = STRENGTH_FACTOR * ISOTOPOLOGUES[1].abundance * population * wavenumber
        amplitudes.append(np.sqrt(strength / per_square / (1 - _boltzmann(wavenumber))))
    signs = itertools.product([1, -1], repeat=len(rows))
    solutions = [np.linalg.solve(np.array(rows), amplitudes * np.array(s)) for s in signs]
    return np.asarray(max(solutions, key=lambda solution: solution[0]))


def _boltzmann(energy: FloatArray, temperature: float = REFERENCE_TEMPERATURE) -> FloatArray:
    return np.exp(-SECOND_RADIATION_CONSTANT * energy / temperature)


def _honl_london(j: FloatArray, branch: int, l: int, l_step: int) -> FloatArray:  # noqa: E741
    """Hönl-London factors, which add up to 2 J + 1 (Herzberg 1945, IV,2)."""
    jj = np.maximum(j, 0.5)  # J = 0 has no Q or P line; this only keeps it from dividing by 0
    if l_step == 0:
        if branch == 1:
            return ((j + 1) ** 2 - l**2) / (j + 1)
        if branch == 0:
            return (2 * j + 1) * l**2 / (jj * (j + 1))
        return (j**2 - l**2) / jj
    k = l * l_step
    if branch == 1:
        return (j + 2 + k) * (j + 1 + k) / (2 * (j + 1))
    if branch == 0:
        return (j + 1 + k) * (j - k) * (2 * j + 1) / (2 * jj * (j + 1))
    return (j - 1 - k) * (j - k) / (2 * jj)


def _half_width(m: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Half width at 296 K [cm-1/atm] and its exponent in H2 and He, by |m|."""
    polyval = np.polynomial.polynomial.polyval
    h2, he = (polyval(m, top) / polyval(m, bottom) for top, bottom in (WIDTH_H2, WIDTH_HE))
    h2, he = (1 - HELIUM_FRACTION) * h2, HELIUM_FRACTION * he
    return h2 + he, (h2 * EXPONENT_H2 + he * EXPONENT_HE) / (h2 + he)


def _system_lines(isotopologue: int, system: System, lower: Polyad) -> Iterator[FloatArray]:
    """Lines of a system that start from a polyad, in arrays of shape (4, n_lines).

    Rows: wavenumber [cm-1], strength at 296 K, lower energy [cm-1], |m|.
    """
    for l_step in {system.l_step, -system.l_step}:
        upper = Polyad(lower.p + system.polyad_step, lower.l + l_step, lower.v3 + system.v3_step)
        if 0 <= upper.l <= upper.p:
            yield from _polyad_lines(isotopologue, system, lower, upper)


def _polyad_lines(
    isotopologue: int, system: System, lower: Polyad, upper: Polyad
) -> Iterator[FloatArray]:
    table = ISOTOPOLOGUES[isotopologue]
    dipole = np.tensordot(_coefficients(system), _operators(system, lower, upper), axes=1)
    factor = STRENGTH_FACTOR * table.abundance * table.spin_weight / PARTITION_296[isotopologue]
    j_all = np.arange(J_MAX + 1)
    for f_parity, branch in itertools.product([False, True], [-1, 0, 1]):
        f_upper = f_parity != (branch == 0)
        present = exists(isotopologue, lower, f_parity)
        present &= np.roll(exists(isotopologue, upper, f_upper), -branch)
        j = j_all[present & (j_all + branch >= 0) & (j_all + branch <= J_MAX)]
        energy, vectors = (a[j] for a in levels(isotopologue, lower, f_parity))
        upper_energy, upper_vectors = (a[j + branch] for a in levels(isotopologue, upper, f_upper))
        moment = np.swapaxes(vectors, 1, 2) @ dipole @ upper_vectors
        honl_london = _honl_london(j.astype(float), branch, lower.l, upper.l - lower.l)
        wavenumber = upper_energy[:, None, :] - energy[:, :, None]
        strength = factor * wavenumber * moment**2 * honl_london[:, None, None]
        strength *= (_boltzmann(energy)[:, :, None]) * (1 - _boltzmann(wavenumber))
        columns = wavenumber, strength, energy[:, :, None], (j + (branch == 1))[:, None, None]
        yield np.stack([np.broadcast_to(column, moment.shape).ravel() for column in columns])


def co2_lines(wavenumber_min: float, wavenumber_max: float, max_temperature: float) -> Lines:
    """Lines of CO2 (626, 636, 628), sorted by wavenumber; approximate.

    Parameters
    ----------
    wavenumber_min, wavenumber_max
        Range [cm-1].
    max_temperature
        Highest temperature at which the list should be complete [K]; the number of lines grows
        steeply with it.
    """
    temperatures = np.geomspace(150, max_temperature, 4)
    groups = []
    for isotopologue in ISOTOPOLOGUES:
        # Levels up to 8 kT hold 98% of molecules; rare isotopologues need no such completeness.
        highest = (8 if isotopologue == 1 else 5) * max_temperature / SECOND_RADIATION_CONSTANT
        systems = []
        for system in SYSTEMS:
            parts = []
            for lower in polyads(isotopologue, highest):
                for part in _system_lines(isotopologue, system, lower):
                    keep = (part[0] > wavenumber_min) & (part[0] < wavenumber_max)
                    hot = _boltzmann(part[2], max_temperature) / _boltzmann(part[2])
                    keep &= part[1] * np.maximum(1, hot) > STRENGTH_FLOOR
                    parts.append(part[:, keep])
            wavenumber, strength, lower_energy, m = np.concatenate(parts, axis=1)
            number = np.full(len(m), isotopologue)
            lines = Lines(wavenumber, strength, lower_energy, *_half_width(m), number)
            systems.append(merge_weak(lines, "CO2", temperatures))
        joined = Lines(*(np.concatenate(fields) for fields in zip(*systems, strict=True)))
        groups.append(merge_weak(joined, "CO2", temperatures))
    lines = Lines(*(np.concatenate(fields) for fields in zip(*groups, strict=True)))
    order = np.argsort(lines.wavenumber)
    return Lines(*(field[order] for field in lines))


BANDS = {
    "5.2 um": (5.14, 5.40),
    "4.8 um": (4.6, 5.1),
    "4.3 um": (4.1, 4.5),
    "2.7 um": (2.67, 2.9),
    "2.0 um": (1.9, 2.15),
    "1.6 um": (1.5, 1.65),
    "1.4 um": (1.44, 1.5),
}
"""Ranges that name the bins they touch [um]."""


def compare(path: Path) -> dict[str, object]:
    """Differences from correlated-k tables in the mean cross-section of each band [dex].

    A bin's mean cross-section is the sum of its line strengths over its width, whatever the line
    profiles; that of the table is the mean of k over g.

    Parameters
    ----------
    path
        ``opacity_check.npz``.
    """
    with np.load(path) as table:
        # Any pressure at which lines are well inside their bin.
        log_k = table["CO2_log10k"][list(np.round(table["P_bar"], 2)).index(0.03)].astype(float)
        weights, temperatures = table["g_weights"], table["T"]
        edges = 1e4 / table["wl_edges_um"][::-1].astype(float)
    expected = np.sum(10**log_k * weights, axis=-1) / np.sum(weights)
    lines = co2_lines(edges[0], 1e4 / 1.3, float(temperatures.max()))
    sums = [
        np.histogram(lines.wavenumber, edges, weights=strengths(lines, "CO2", t))[0]
        for t in temperatures
    ]
    mean = np.array(sums) / np.diff(edges)
    differences = {}
    for name, (start, end) in BANDS.items():
        touched = (1e4 / edges[:-1] > start) & (1e4 / edges[1:] < end)
        ratio = mean[:, touched].mean(axis=1) / expected[:, touched].mean(axis=1)
        differences[name] = [round(float(d), 3) for d in np.log10(ratio)]
    return {
        "what": "log10 of mean cross-section, generated lines over HITEMP correlated-k tables",
        "n_lines": len(lines.wavenumber),
        "temperature_K": [float(t) for t in temperatures],
        "difference_dex": differences,
    }


def main() -> None:
    """Command line: ``python co2_lines.py --check TABLES`` writes ``co2_check.json``."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--check", type=Path, required=True, help="opacity_check.npz")
    text = json.dumps(compare(parser.parse_args().check), indent=1)
    Path(__file__).with_name("co2_check.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
