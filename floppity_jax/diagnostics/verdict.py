"""From ranks of the truth to a reading: calibrated, overconfident, underconfident, biased."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from floppity_jax.diagnostics.uniformity import Side, Uniformity, uniformity
from floppity_jax.typing import Float

FALSE_ALARMS = 0.05  # chance that the verdict finds a fault in posteriors without any
DENSITY, DISTANCE = "highest-density region", "TARP"


class Finding(NamedTuple):
    """What one of the tests says.

    Attributes
    ----------
    of : str
        ``"highest-density region"``, ``"TARP"`` or the name of a parameter.
    p_value : float
        Of this test alone (`uniformity`).
    reading : str
        ``"calibrated"``; of the highest-density region or a parameter also ``"overconfident"`` or
        ``"underconfident"``, of a parameter ``"too low"`` or ``"too high"``, of TARP
        ``"miscalibrated"``.
    """

    of: str
    p_value: float
    reading: str


class Verdict(NamedTuple):
    """What all tests say together.

    Attributes
    ----------
    reading : str
        ``"calibrated"``, or what the tests found, the plainest first: ``"overconfident"`` (regions
        hold the truth too seldom), ``"underconfident"`` (too often) or ``"biased"`` (a parameter is
        too low or too high), joined by commas; ``"miscalibrated"`` where TARP alone found a fault.
    findings : tuple of Finding
        One a test.
    p_value : float
        The smallest one, times the number of tests (Bonferroni).
    """

    reading: str
    findings: tuple[Finding, ...]
    p_value: float

    @property
    def calibrated(self) -> bool:
        """Whether nothing was found: that much, and no more, the observations can tell."""
        return self.reading == "calibrated"


def judge(
    names: tuple[str, ...],
    credibility: Float[np.ndarray, " n"],
    tarp: Float[np.ndarray, " n"],
    pit: Float[np.ndarray, "n d"],
) -> Verdict:
    """Test all ranks for uniformity, and say what is wrong where they are not.

    One test each by density, by distance and by each parameter (`uniformity.uniformity`). A fault
    is found where a p value lies below 0.05 over the number of tests, so that posteriors without
    fault are found at fault by any of them in at most 5% of such calibrations.

    By density, too many large ranks mean that the truth lies far out too often: overconfident. By a
    parameter, ranks ``u`` that are further off uniform than their distances from the middle, ``|2 u
    - 1|``, mean a bias; otherwise these distances tell of the width. By distance from a random
    point either may be the reason, and so may a correlation that is missed.

    Parameters
    ----------
    names
        Parameters: the columns of ``pit``.
    credibility, tarp, pit
        As in `Calibration`.
    """
    tests = [uniformity(ranks) for ranks in (credibility, tarp, *pit.T)]
    readings = (
        _WIDTH[tests[0].side],
        "miscalibrated",
        *(_of_parameter(test, ranks) for test, ranks in zip(tests[2:], pit.T, strict=True)),
    )
    alarm = FALSE_ALARMS / len(tests)
    findings = tuple(
        Finding(of, test.p_value, reading if test.p_value < alarm else "calibrated")
        for of, test, reading in zip((DENSITY, DISTANCE, *names), tests, readings, strict=True)
    )
    found = sorted(finding[1:] for finding in findings if finding.reading != "calibrated")
    words = ["biased" if reading.startswith("too") else reading for _, reading in found]
    if len(found) > 1:  # the others say in what way
        words = [word for word in words if word != "miscalibrated"]
    smallest = min(test.p_value for test in tests)
    reading = ", ".join(dict.fromkeys(words)) or "calibrated"
    return Verdict(reading, findings, min(1.0, smallest * len(tests)))


def _of_parameter(test: Uniformity, pit: Float[np.ndarray, " n"]) -> str:
    """Say what a parameter's test means, where it finds a fault."""
    folded = uniformity(np.abs(2 * pit - 1))
    return _WIDTH[folded.side] if folded.level < test.level else _BIAS[test.side]


_WIDTH = {Side.HIGH: "overconfident", Side.LOW: "underconfident"}
# A truth that ranks low lies below most draws: these are too high.
_BIAS = {Side.HIGH: "too low", Side.LOW: "too high"}
