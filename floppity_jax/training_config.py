"""How the flow is trained."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from floppity_jax.errors import InvalidInput, check_whole, require_positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the flow is trained.

    Attributes
    ----------
    batch_size : int
        Simulations a step.
    learning_rate : float
        Of Adam, after the warm-up.
    warmup_steps : int
        Steps over which the rate rises from 0.
    decays : int
        Times that the rate falls by ``decay``, each when patience runs out, before training stops.
    decay : float
        Factor of such a fall; training goes on from the best state.
    weight_decay : float
        Of AdamW (Loshchilov & Hutter 2019); 0 for plain Adam.
    clip_norm : float
        Largest norm of a gradient.
    patience : int
        Epochs without a better validation loss after which the rate falls, or training stops.
    max_epochs : int
        Ceiling of epochs a round.
    validation_fraction : float
        Share of the simulations kept out of training, to tell when to stop.
    validation_draws : int
        Noise draws of each of those: one alone makes the best epoch a matter of luck.
    atoms : int
        Atoms of the APT loss; at most ``batch_size``.
    combined_loss : bool
        Whether APT also learns by maximum likelihood from the draws of the prior. Without it the
        flow may put density where no atom lies, unseen.
    prior_share : float
        Share of the draws of each later round of APT that come from the prior.
    """

    batch_size: int = 100
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    decays: int = 2
    decay: float = 0.3
    weight_decay: float = 0.0
    clip_norm: float = 5.0
    patience: int = 6
    max_epochs: int = 500
    validation_fraction: float = 0.1
    validation_draws: int = 4
    atoms: int = 10
    combined_loss: bool = True
    prior_share: float = 0.0

    def __post_init__(self) -> None:
        numbers = dataclasses.asdict(self)
        for name in ("warmup_steps", "decays", "weight_decay", "combined_loss", "prior_share"):
            if not numbers.pop(name) >= 0:
                raise InvalidInput(
                    f"training.{name}", getattr(self, name), "must not be negative",
                    "Leave it out for the default.",
                )  # fmt: skip
        require_positive("training", numbers)
        if self.validation_fraction >= 0.5:
            raise InvalidInput(
                "training.validation_fraction", self.validation_fraction, "must be below 0.5",
                "0.1 is a good choice.",
            )  # fmt: skip
        if not 2 <= self.atoms <= self.batch_size:
            raise InvalidInput(
                "training.atoms", self.atoms, f"must lie in 2 .. batch_size = {self.batch_size}",
                "Lower atoms or raise batch_size.",
            )  # fmt: skip
        if not self.decay < 1:
            raise InvalidInput(
                "training.decay", self.decay, "must be below 1", "0.3 is a good choice."
            )
        if not self.prior_share < 1:
            raise InvalidInput(
                "training.prior_share", self.prior_share, "must be below 1",
                "0.2 makes every fifth draw one of the prior.",
            )  # fmt: skip

    @classmethod
    def paper(cls) -> TrainingConfig:
        """Return the settings of Ardevol Martinez et al. (2024): batch 50, 10 atoms, no decay."""
        return cls(batch_size=50, learning_rate=5e-4, warmup_steps=0, decays=0, patience=20,
                   validation_draws=1, combined_loss=False)  # fmt: skip


def counts_of_rounds(
    rounds: int, simulations: int | Sequence[int], training: TrainingConfig
) -> list[int]:
    """Return the checked number of simulations of each round.

    Raises
    ------
    InvalidInput
        Where they are no whole numbers, not one for each round, or fewer than training needs.
    """
    check_whole("rounds", rounds, 1, "For example rounds=10.")
    given = [simulations] * rounds if isinstance(simulations, int) else list(simulations)
    if len(given) != rounds:
        raise InvalidInput(
            "simulations", simulations, f"must hold one number for each of {rounds} rounds",
            "Give a single number for the same in each.",
        )  # fmt: skip
    for count in given:
        check_whole("simulations", count, 1, "For example 1000.")
        check_enough(count, training)
    return given


def check_enough(n: int, training: TrainingConfig) -> None:
    """Hold the number of simulations of a round against what training needs."""
    least = math.ceil(training.atoms / training.validation_fraction)
    if n < least:
        raise InvalidInput(
            "simulations", n, f"must be at least atoms / validation_fraction = {least}",
            "Give more simulations a round, or fewer atoms.",
        )  # fmt: skip
