"""Energies of CO2 from an effective Hamiltonian with Fermi resonance, fitted to its levels.

Basis states are |v1, v2, l, v3>. Since omega_1 is close to 2 omega_2, states of one *polyad*
(2 v1 + v2, l, v3) mix (Fermi resonance); the Hamiltonian is blocked by polyad and by J.
"""

import functools
import itertools
from typing import NamedTuple

import numpy as np
from co2_constants import ISOTOPOLOGUES
from numpy.typing import NDArray
from scipy.optimize import least_squares

FloatArray = NDArray[np.float64]

N_LINEAR, N_QUADRATIC, N_CUBIC, N_FERMI = 3, 7, 13, 4
J_MAX = 230


class Polyad(NamedTuple):
    """States that Fermi resonance mixes; v1 falls and v2 rises along the basis."""

    p: int
    """2 v1 + v2."""
    l: int  # noqa: E741 (the field's name for it)
    """Vibrational angular momentum, never negative."""
    v3: int
    """Quanta of the antisymmetric stretch."""

    @property
    def v1(self) -> NDArray[np.int64]:
        """v1 of each basis state, shape (n,)."""
        return (self.p - self.v2) // 2

    @property
    def v2(self) -> NDArray[np.int64]:
        """v2 of each basis state, shape (n,)."""
        return np.arange(self.l, self.p + 1, 2)


def _polynomial(polyad: Polyad) -> FloatArray:
    """Terms that the anharmonic constants multiply, shape (n, 23)."""
    v1, v2 = polyad.v1.astype(float), polyad.v2.astype(float)
    v3, ll = np.full_like(v1, polyad.v3), np.full_like(v1, polyad.l**2)
    linear = [v1, v2, v3]
    pairs = [(i, j) for i in range(3) for j in range(i, 3)]
    quadratic = [linear[i] * linear[j] for i, j in pairs] + [ll]
    triples = [(i, j, k) for i, j in pairs for k in range(j, 3)]
    cubic = [linear[i] * linear[j] * linear[k] for i, j, k in triples]
    cubic += [v * ll for v in linear]
    return np.stack(linear + quadratic + cubic, axis=1)


def _hamiltonian(constants: FloatArray, polyad: Polyad) -> FloatArray:
    """Vibrational Hamiltonian of a polyad, shape (n, n) [cm-1].

    Tashkun et al. 1998 (JQSRT 60, 785), with terms to third order on the diagonal and a Fermi
    element F + F1 v1 + F2 v2 + F3 v3 times the harmonic factor; v1, v2 of the state common to
    both sides.
    """
    v1, v2 = polyad.v1[:-1], polyad.v2[:-1]
    matrix = np.diag(_polynomial(polyad) @ constants[:-N_FERMI])
    fermi = constants[-N_FERMI:] @ np.stack([v1**0, v1 - 1, v2, v1 * 0 + polyad.v3])
    fermi = fermi * np.sqrt(v1 * (v2 + 2 + polyad.l) * (v2 + 2 - polyad.l))
    return matrix + np.diag(fermi, 1) + np.diag(fermi, -1)


def _fit(levels: str, start: FloatArray, prior: FloatArray, prior_width: FloatArray) -> FloatArray:
    """Least-squares constants from a table of band origins."""
    words = levels.split()
    labels = [tuple(int(digit) for digit in label) for label in words[::2]]
    energies = np.array(words[1::2], float)
    # Band origins are better known than a third-order expansion can follow far up.
    width = np.where(energies < 9000, 0.05, 0.3)

    def residuals(constants: FloatArray) -> FloatArray:
        model = [
            np.linalg.eigvalsh(_hamiltonian(constants, Polyad(2 * v1 + v2, l, v3)))[-rank]
            for v1, v2, l, v3, rank in labels  # noqa: E741
        ]
        return np.concatenate([(model - energies) / width, (constants - prior) / prior_width])

    scale = np.repeat([10, 0.5, 0.01, 0.1], [N_LINEAR, N_QUADRATIC, N_CUBIC, N_FERMI])
    return np.asarray(least_squares(residuals, start, x_scale=scale).x)


def _origin(levels: str, label: str) -> float:
    words = levels.split()
    return float(words[words.index(label) + 1])


@functools.cache
def _constants(isotopologue: int) -> tuple[float, ...]:
    """Anharmonic and Fermi constants [cm-1] of an isotopologue."""
    sizes = [N_LINEAR, N_QUADRATIC, N_CUBIC, N_FERMI]
    if isotopologue == 1:
        # Where the search starts; only third orders and the change of the Fermi element are
        # held near it, that is near 0, since levels reach too low to fix them all.
        start = np.zeros(sum(sizes))
        start[:10] = [1340, 667, 2361, -3, 2, -19, -0.3, -12.5, -12.5, 0.5]
        start[-N_FERMI] = -25.6
        width = np.repeat([1e4, 1e4, 0.02, 0.3], sizes)
        width[-N_FERMI] = 1e4
        prior = start * (width > 1)
        return tuple(_fit(ISOTOPOLOGUES[1].levels, start, prior, width))
    # An isotopologue has the same potential: each order of its constants scales with the
    # frequencies, which leaves little to fit.
    levels = [ISOTOPOLOGUES[i].levels for i in (isotopologue, 1)]
    bend = [_origin(text, "01101") for text in levels]
    dyad = [_origin(text, "10001") + _origin(text, "10002") for text in levels]
    stretch = [_origin(text, "00011") for text in levels]
    ratio = np.array(
        [(dyad[0] - 2 * bend[0]) / (dyad[1] - 2 * bend[1]), bend[0] / bend[1],
         stretch[0] / stretch[1]]
    )  # fmt: skip
    pairs = [(i, j) for i in range(3) for j in range(i, 3)]
    quadratic = [ratio[i] * ratio[j] for i, j in pairs] + [ratio[1] ** 2]
    cubic = [ratio[i] * ratio[j] * ratio[k] for i, j in pairs for k in range(j, 3)]
    cubic += list(ratio * ratio[1] ** 2)
    fermi = np.sqrt(ratio[0]) * ratio[1] * np.append(1, ratio)
    factors = np.concatenate([ratio, quadratic, cubic, fermi])
    prior = factors * np.array(_constants(1))
    width = np.repeat([1e4, 0.2, 1e-4, 0.02], sizes)
    width[-N_FERMI] = 1
    return tuple(_fit(levels[0], prior, prior, width))


def levels(isotopologue: int, polyad: Polyad, f_parity: bool) -> tuple[FloatArray, FloatArray]:
    """Energies and mixing of a polyad's levels for each J.

    Parameters
    ----------
    isotopologue
        HITRAN's isotopologue number.
    polyad
        Which states.
    f_parity
        Rotationless parity: f if true, else e. They differ by l-type doubling where l = 1.

    Returns
    -------
    energies
        Shape (J_MAX + 1, n), rising [cm-1].
    vectors
        Shape (J_MAX + 1, n, n): the second axis is the basis, the third the level.
    """
    return _levels(isotopologue, polyad, f_parity and polyad.l == 1)


@functools.lru_cache(maxsize=4096)
def _levels(isotopologue: int, polyad: Polyad, f_parity: bool) -> tuple[FloatArray, FloatArray]:
    constants = np.array(_constants(isotopologue))
    table = ISOTOPOLOGUES[isotopologue]
    j = np.arange(J_MAX + 1)
    x = (j * (j + 1.0))[:, None]
    v2 = polyad.v2
    b = np.stack([v2**0, polyad.v1, v2, v2 * 0 + polyad.v3], axis=1) @ table.rotation
    if polyad.l == 1:
        # q grows as v2 + 1 (Herzberg 1945, Infrared and Raman Spectra, IV,1).
        b = b + (0.5 if f_parity else -0.5) * table.doubling * (v2 + 1) / 2
    rotation = b * x - table.distortion * x**2
    matrices = _hamiltonian(constants, polyad) + rotation[:, :, None] * np.eye(len(v2))
    return np.linalg.eigh(matrices)


def exists(isotopologue: int, polyad: Polyad, f_parity: bool) -> NDArray[np.bool_]:
    """Which J a polyad has in a parity, shape (J_MAX + 1,).

    In a symmetric isotopologue Bose symmetry of the oxygens leaves one parity to each J.
    """
    j = np.arange(J_MAX + 1)
    present = (j >= polyad.l) & (polyad.l > 0 or not f_parity)
    if ISOTOPOLOGUES[isotopologue].symmetric:
        ungerade = (polyad.p + polyad.v3) % 2
        present &= (j + ungerade + f_parity) % 2 == 0
    return present


@functools.cache
def polyads(isotopologue: int, highest: float) -> list[Polyad]:
    """Polyads whose lowest level lies below ``highest`` [cm-1]."""
    constants = np.array(_constants(isotopologue))
    found: list[Polyad] = []
    for v3 in itertools.count():
        size = len(found)
        for p in itertools.count():
            some = [Polyad(p, l, v3) for l in range(p % 2, p + 1, 2)]  # noqa: E741
            lowest = [np.linalg.eigvalsh(_hamiltonian(constants, polyad))[0] for polyad in some]
            found += [polyad for polyad, e in zip(some, lowest, strict=True) if e < highest]
            if min(lowest) >= highest:
                break
        if len(found) == size:
            break
    return found
