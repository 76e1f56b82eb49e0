"""Published constants of CO2 from which its approximate line list is made.

Levels are in HITRAN's notation (v1 v2 l v3 r) and convention: the energy of level J is
G + B J(J+1) - D J^2(J+1)^2. Sources:

R92   Rothman et al. 1992, JQSRT 48, 537: levels, rotational constants, band strengths
M04   Miller & Brown 2004, J. Mol. Spectrosc. 228, 329: levels above 4000 cm-1
T08   Toth et al. 2008, JQSRT 109, 906: band strengths from 4300 to 7000 cm-1
M73   McClatchey et al. 1973, AFCRL-TR-73-0096, table 9: levels of 636 and 628
H12   Rothman et al. 2013, JQSRT 130, 4 (HITRAN 2012): strengths and Einstein coefficients

Levels check one another: the fit in :mod:`co2_levels` meets those below 9000 cm-1 within
0.05 cm-1. Strengths are rounded to a few percent; those of 1.43, 4.8 and 1.6 um are the least sure
and were not compared with the papers' tables, only with other data.
"""

from typing import NamedTuple

LEVELS_626 = """
01101 667.380  10002 1285.408 02201 1335.132 10001 1388.184 11102 1932.470 03301 2003.246
11101 2076.856 00011 2349.143 20003 2548.367 12202 2585.022 20002 2671.143 04401 2671.717
12201 2760.725 20001 2797.136 01111 3004.012 21103 3181.464 21102 3339.356 21101 3500.672
10012 3612.841 02211 3659.273 10011 3714.782 30004 3792.682 30003 3942.543 30002 4064.275
30001 4225.096 11112 4247.705 03311 4314.914 11111 4390.629 00021 4673.325 20013 4853.623
12212 4887.985 04411 4970.931 20012 4977.834 12211 5061.778 20011 5099.660 01121 5315.713
21113 5475.075 21112 5632.765 21111 5790.576 10022 5915.212 10021 6016.690 30014 6075.980
30013 6227.916 30012 6347.851 30011 6503.081 11122 6537.958 11121 6679.706 00031 6972.577
40015 7283.978 40014 7460.527 40013 7593.690 40012 7734.448 40011 7920.838 01131 7602.513
10032 8192.551 10031 8293.951 20033 9388.99  20032 9516.97  20031 9631.35  00051 11496.4
10052 12672.3  10051 12774.7
"""
"""Band origins of 12C16O2 [cm-1]; R92 below and M04 above 4000 cm-1."""

LEVELS_636 = """
01101 648.478  10002 1265.828 02201 1297.264 10001 1370.063 00011 2283.488 01111 2920.239
10012 3527.738 02211 3557.312 10011 3632.910 20013 4748.058 20012 4887.385 20011 4991.350
01121 5168.600 30014 5951.600 30013 6119.618 30012 6241.964 30011 6363.616
"""
"""Band origins of 13C16O2 [cm-1]; R92, and M73 above 4000 cm-1."""

LEVELS_628 = """
01101 662.373  10002 1259.426 02201 1325.141 10001 1365.844 11102 1901.737 00011 2332.113
01111 2982.112 10012 3571.143 10011 3675.130 20013 4791.260 20012 4904.850 20011 5042.570
00021 4639.502
"""
"""Band origins of 16O12C18O [cm-1]; R92, and M73 above 3500 cm-1."""


class Isotopologue(NamedTuple):
    """Constants of one isotopologue."""

    abundance: float
    """Natural abundance (HITRAN)."""
    spin_weight: int
    """State-independent nuclear spin weight (HITRAN)."""
    symmetric: bool
    """Whether both oxygens are 16O, so that only one parity of each J exists."""
    levels: str
    """Band origins [cm-1]."""
    rotation: tuple[float, float, float, float]
    """B of the ground state and its change with each quantum of v1, v2, v3 [cm-1]."""
    doubling: float
    """q: splitting B_f - B_e of the level 01101 [cm-1]."""
    distortion: float
    """D [cm-1]."""


ISOTOPOLOGUES = {
    # B0, B(00011), B(01101 e, f), D: R92. The change with v1 follows from the sum of B over
    # the dyad 10002, 10001, which Fermi resonance leaves unchanged; that of 636 and 628 is
    # scaled with B^2.
    1: Isotopologue(
        0.984204, 1, True, LEVELS_626,
        (0.3902189, -0.001215, 0.000728, -0.0030775), 0.0006157, 1.3334e-7,
    ),
    2: Isotopologue(
        0.011057, 2, True, LEVELS_636,
        (0.3902379, -0.001215, 0.000690, -0.0029620), 0.0006380, 1.3333e-7,
    ),
    3: Isotopologue(
        0.003947, 1, False, LEVELS_628,
        (0.3681845, -0.001082, 0.000661, -0.0028950), 0.0005500, 1.1870e-7,
    ),
}  # fmt: skip
"""By HITRAN's isotopologue number: 626, 636, 628."""


class System(NamedTuple):
    """Bands whose upper polyad differs from the lower one by the same quanta."""

    polyad_step: int
    """Change of 2 v1 + v2."""
    l_step: int
    """Change of l: 0 for parallel, 1 (which stands for +1 and -1) for perpendicular bands."""
    v3_step: int
    """Change of v3."""
    operators: tuple[tuple[int, int, int], ...]
    """Steps of v1 and of the two circular quanta (v2 + l)/2 and (v2 - l)/2 in each term of the
    effective dipole; as many as bands."""
    bands: tuple[tuple[str, str, float], ...]
    """Upper and lower level and strength at 296 K [cm-1/(molecule cm-2)] of the bands of 626
    that fix the terms."""


SYSTEMS = (
    System(0, 0, 1, ((0, 0, 0),), (("00011", "00001", 9.17e-17),)),  # 4.3 um, H12
    System(2, 0, 1, ((1, 0, 0), (0, 1, 1)),  # 2.7 um, R92
           (("10011", "00001", 1.50e-18), ("10012", "00001", 1.04e-18))),
    System(4, 0, 1, ((2, 0, 0), (1, 1, 1), (0, 2, 2)),  # 2.0 um, T08
           (("20011", "00001", 1.10e-20), ("20012", "00001", 3.40e-20),
            ("20013", "00001", 7.80e-21))),
    System(6, 0, 1, ((3, 0, 0), (2, 1, 1), (1, 2, 2), (0, 3, 3)),  # 1.6 um, T08
           (("30011", "00001", 1.35e-23), ("30012", "00001", 4.60e-22),
            ("30013", "00001", 4.60e-22), ("30014", "00001", 6.00e-23))),
    System(0, 0, 3, ((0, 0, 0),), (("00031", "00001", 1.50e-21),)),  # 1.43 um, T08
    System(1, 1, 0, ((0, 1, 0),), (("01101", "00001", 8.00e-18),)),  # 15 um, R92
    System(3, 1, 0, ((1, 1, 0), (0, 2, 1)),  # 4.8 um, R92
           (("11101", "00001", 5.00e-21), ("11102", "00001", 4.10e-22))),
    System(-2, 0, 1, ((-1, 0, 0), (0, -1, -1)),  # 10 um, from A of P20 and R20, H12
           (("00011", "10001", 5.85e-22), ("00011", "10002", 8.98e-22))),
)  # fmt: skip
"""Band systems of the effective dipole operator."""

# Half widths at 296 K in H2 and in He [cm-1/atm] against |m|: coefficients of the numerators and
# denominators, rising powers; Tan et al. 2022 (ApJS 262, 40), CO2.
WIDTH_H2 = ((0.30051, 1.99925, -0.02836, 6.34937e-4), (1, 14.15, 0.02731, -9.286e-4, 6.254e-5))
WIDTH_HE = ((0.07206, -0.02269, 0.10172, 0.01168), (1, -0.3246, 1.43332, 0.21907, 8.94019e-5))
EXPONENT_H2 = 0.58  # Hanson & Whitty 2014, doi:10.2172/1222583, as Tan et al. take it
EXPONENT_HE = 0.30  # Nakamichi et al. 2006, Phys. Chem. Chem. Phys. 8, 364, as Tan et al. take it
HELIUM_FRACTION = 0.146  # number of He over that of H2 + He: solar (Asplund et al. 2009)
