"""What is kept about a run, beside its posterior."""

from __future__ import annotations

import dataclasses

from floppity_jax.training import TrainingRecord


@dataclasses.dataclass(frozen=True)
class RoundInfo:
    """How a round went.

    Attributes
    ----------
    simulations, failures, taken_over : int
        Simulations of the round, how many of them failed, and how many came from another run.
    used : int
        Simulations, of all rounds, that the flow learned from.
    acceptance, proposal_ess : float
        Share of the proposal's candidates inside the region, and the effective number of
        independent draws behind the proposed ones.
    sampler : str
        How the parameters of the round were drawn: the name of a `proposals.Sampler`.
    overlap : float
        Share of the posterior that lies in the regions of the rounds before; 1 where there are
        none.
    ignored_regions : int
        Earlier regions that were given up after the round, since less than half of its posterior
        lies in them, and with them the simulations drawn there.
    change : float
        Total variation distance of the posterior from that of the round before, 0 to 1
        (`sequential.distance`); from the prior in round one.
    efficiency : float
        Sampling efficiency that importance sampling would have, estimated from the simulations in
        use (`sequential.efficiency`); NaN where it cannot be.
    misfit : float
        Factor on the errors in training: above 1 where no model comes near the observation
        (`features.misfit`).
    feature_distance, feature_share : float
        Distance of the observation from the nearest simulation in use, and share of simulations
        that lie further from all others (`familiarity.Familiarity`).
    reconstruction_error : float
        What the projection on principal components leaves out of the simulations, root mean square
        over channels, in units of the errors.
    quantiles : dict of str to tuple of float
        Of each parameter's marginal posterior after the round, in physical units, at the levels
        `summary.QUANTILES`.
    training : TrainingRecord
        Losses and stop reason.
    """

    simulations: int
    failures: int
    taken_over: int
    used: int
    acceptance: float
    proposal_ess: float
    sampler: str
    overlap: float
    ignored_regions: int
    change: float
    efficiency: float
    misfit: float
    feature_distance: float
    feature_share: float
    reconstruction_error: float
    quantiles: dict[str, tuple[float, ...]]
    training: TrainingRecord


@dataclasses.dataclass
class RunRecord:
    """How a run went.

    Attributes
    ----------
    seed : int
        Of the run.
    method : str
        ``"truncated"`` or ``"apt"``.
    rounds : list of RoundInfo
        One a round.
    importance_calls : int
        Simulator calls spent on correcting the posterior.
    seconds : dict of str to float
        Spent ``simulating``, ``compiling``, ``training`` and ``sampling``.
    configuration : str
        The text that set the run up.
    """

    seed: int
    method: str
    rounds: list[RoundInfo] = dataclasses.field(default_factory=list)
    importance_calls: int = 0
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    configuration: str = ""

    @property
    def simulator_calls(self) -> int:
        """Every call, failed ones and those of importance sampling included."""
        return sum(r.simulations - r.taken_over for r in self.rounds) + self.importance_calls

    @property
    def excluded_share(self) -> float:
        """Share of the prior in which the simulator fails: the posterior's prior is without it.

        The evidence is that of the whole prior, with no likelihood there.
        Estimated from the first round, whose parameters are drawn from the whole prior; NaN where
        the record holds no rounds.
        """
        if not self.rounds:
            return float("nan")
        return self.rounds[0].failures / self.rounds[0].simulations
