"""Whether posteriors hold the truth as often as they say, over many synthetic observations."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import floppity_jax
from floppity_jax.diagnostics.uniformity import (
    clopper_pearson,
    pointwise_band,
    simultaneous_band,
)
from floppity_jax.diagnostics.verdict import FALSE_ALARMS, Verdict, judge
from floppity_jax.typing import Float

if TYPE_CHECKING:
    import xarray

LEVELS = (0.5, 0.6827, 0.9545)  # of the table
LEAST_ESS = 100  # draws behind a posterior, for its ranks to be more than coarse


class Coverage(NamedTuple):
    """How often regions of a level hold the truth.

    Attributes
    ----------
    level : array (k,)
        Nominal probability of a region.
    density, distance : array (k,)
        Share of the observations whose truth lies in the highest-density region, and in the TARP
        region, of that level.
    pointwise, simultaneous : tuple of array (k,)
        Lower and upper end of the 95% binomial band of one level, and of the band that all levels
        of one curve leave as seldom as the verdict takes one for a fault.
    """

    level: Float[np.ndarray, " k"]
    density: Float[np.ndarray, " k"]
    distance: Float[np.ndarray, " k"]
    pointwise: tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]
    simultaneous: tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """Ranks of true parameters in the posteriors of ``n`` synthetic observations of theirs.

    Made by `floppity_jax.calibrate` and `floppity_jax.calibrate_amortised`.

    Attributes
    ----------
    names : tuple of str
        Free parameters.
    subject : str
        What was tested.
    truth : array (n, d)
        True parameters, in physical units.
    credibility : array (n,)
        Mass of the highest-density region that has the truth on its edge. The density is that
        over the prior's: the region is the same whatever the parameters are expressed in.
    pit : array (n, d)
        Posterior mass below each true parameter (Talts et al. 2018).
    tarp : array (n,)
        Posterior mass nearer to a random point than the truth is (Lemos et al. 2023).
    ess : array (n,)
        Effective number of draws behind the ranks.
    simulator_calls : int
        Spent on it.
    misfit : float
        Factor on the errors in training: above 1, the flow is no model of data with the errors as
        given, and a test of the first round alone says little.
    uncorrected : Calibration or None
        Of the same observations before importance sampling.
    """

    names: tuple[str, ...]
    subject: str
    truth: Float[np.ndarray, "n d"]
    credibility: Float[np.ndarray, " n"]
    pit: Float[np.ndarray, "n d"]
    tarp: Float[np.ndarray, " n"]
    ess: Float[np.ndarray, " n"]
    simulator_calls: int
    misfit: float = 1.0
    uncorrected: Calibration | None = None

    @property
    def n(self) -> int:
        """Number of observations."""
        return len(self.credibility)

    @property
    def verdict(self) -> Verdict:
        """What tests of all ranks say: `floppity_jax.diagnostics.verdict.judge`."""
        return judge(self.names, self.credibility, self.tarp, self.pit)

    @property
    def _alarm(self) -> float:
        """False alarms of one of the tests behind the verdict."""
        return FALSE_ALARMS / (2 + len(self.names))

    def coverage(self, level: Float[np.ndarray, " k"] | None = None) -> Coverage:
        """Coverage of highest-density and TARP regions (Hermans et al. 2022; Lemos et al. 2023).

        Expected coverage probability, ``ECP(level) = mean_i [theta_i in region(level, x_i)]``,
        where a truth lies in the region of a level if its rank is no larger (Deistler et al. 2022,
        whose sample-based estimate this is).

        Parameters
        ----------
        level
            In 0 .. 1; every hundredth unless given.
        """
        if level is None:
            level = np.linspace(0, 1, 101)
        return Coverage(
            level,
            (self.credibility[:, None] <= level).mean(axis=0),
            (self.tarp[:, None] <= level).mean(axis=0),
            pointwise_band(self.n, level),
            simultaneous_band(self.n, level, 1 - self._alarm),
        )

    def to_datatree(self) -> xarray.DataTree:
        """Return the ranks and curves as an ArviZ DataTree.

        Returns
        -------
        xarray.DataTree
            Group ``prior_sbc``: PIT values of each parameter, one draw an observation, as
            `arviz_plots.plot_ecdf_pit` reads them. Group ``expected_coverage``: the curves and
            bands of `coverage`. Group ``observations``: what is known of each.
        """
        import xarray
        from arviz_base import from_dict

        tree = from_dict(
            {"prior_sbc": {name: self.pit[None, :, i] for i, name in enumerate(self.names)}}
        )
        curves = self.coverage()
        variables = {"density": curves.density, "distance": curves.distance}
        for band in ("pointwise", "simultaneous"):
            variables[f"{band}_low"], variables[f"{band}_high"] = getattr(curves, band)
        tree["expected_coverage"] = xarray.Dataset(
            {name: ("level", values) for name, values in variables.items()},
            coords={"level": curves.level},
        )
        tree["observations"] = xarray.Dataset(
            {
                "credibility": ("observation", self.credibility),
                "tarp": ("observation", self.tarp),
                "ess": ("observation", self.ess),
                "truth": (("observation", "parameter"), self.truth),
            },
            coords={"parameter": list(self.names)},
        )
        verdict = self.verdict
        tree.attrs.update(
            inference_library="floppity_jax",
            inference_library_version=floppity_jax.__version__,
            subject=self.subject,
            n_observations=self.n,
            verdict=verdict.reading,
            p_value=verdict.p_value,
            simulator_calls=self.simulator_calls,
            misfit=self.misfit,
        )
        return tree

    def __str__(self) -> str:
        """Write coverage, tests and verdict as a table."""
        verdict = self.verdict
        level = np.array(LEVELS)
        curves = self.coverage(level)
        lines = [f"{self.subject}: {self.n} synthetic observations", ""]
        lines.append("level   coverage  95% interval    TARP")
        for nominal, share, distance in zip(level, curves.density, curves.distance, strict=True):
            low, high = clopper_pearson(round(share * self.n), self.n)
            lines.append(
                f"{nominal:6.1%}  {share:8.1%}  {low:.1%} .. {high:.1%}".ljust(35)
                + f"{distance:.1%}"
            )
        width = max(len(finding.of) for finding in verdict.findings)
        lines += ["", f"{'test of':<{width}}  p value  reading"]
        lines += [f"{f.of:<{width}}  {f.p_value:7.2g}  {f.reading}" for f in verdict.findings]
        lines += ["", self._conclusion(verdict)]
        if np.median(self.ess) < LEAST_ESS:
            lines.append(
                f"Half of the posteriors have at most {np.median(self.ess):.0f} effective draws:"
                " their ranks are coarse."
            )
        if self.misfit > 1:
            lines.append(
                f"No model fits the observation: the flow was trained with errors {self.misfit:.1f}"
                " times larger, and contracted. The errors of the synthetic data are as given."
            )
        return "\n".join(lines)

    def _conclusion(self, verdict: Verdict) -> str:
        if not verdict.calibrated:
            return f"{verdict.reading} (p = {verdict.p_value:.2g} for all tests together)"
        middle = np.array([LEVELS[1]])
        low, high = simultaneous_band(self.n, middle, 1 - self._alarm)
        return (
            f"calibrated, to within what {self.n} observations can tell: a coverage of "
            f"{float(low[0]):.0%} to {float(high[0]):.0%} at the level {LEVELS[1]:.1%} would pass"
        )
