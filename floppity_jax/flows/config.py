"""Size and shape of the flow."""

from __future__ import annotations

import dataclasses

from floppity_jax.errors import InvalidInput, require_positive

CHOICES = {
    "transform": ("coupling", "autoregressive"),
    "embedding": ("auto", "projection", "mlp", "convolution"),
    "features": ("linear", "log"),
}
# Spectra of more channels than this get an embedding network unless told otherwise.
MOST_PROJECTED = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """Size and shape of the flow.

    Attributes
    ----------
    transforms : int
        Number of spline transforms.
    transform : str
        Their kind: ``"coupling"`` (one half shapes the splines of the other; fast both ways) or
        ``"autoregressive"`` (each coordinate is shaped by all before it; draws take a pass for
        each parameter).
    bins : int
        Bins of each spline.
    bound : float
        The splines act on -bound .. bound of the whitened parameters.
    width, blocks : int
        Hidden units and residual blocks of each conditioner.
    components : int
        Principal components of the spectra that the flow is given straight.
    members : int
        Flows of the ensemble, trained at once and used as an equal mixture.
    embedding : str
        What the flow is given of a spectrum: ``"projection"``, its principal components;
        ``"mlp"``, these and what a network trained with the flow makes of the leading 256;
        ``"convolution"``, these and what a network makes of the channels themselves; ``"auto"``,
        the projection up to 1,000 channels, the mlp beyond.
    features : str
        How the network looks at data: ``"linear"``, model less observation in units of the errors;
        ``"log"``, the same of their logarithms, for spectra that span orders of magnitude. (The
        logarithm is an inverse hyperbolic sine, straight below twice the error: values that noise
        brings near or below 0 are as good as others.)

    Raises
    ------
    InvalidInput
        Where a number is not above 0, or a choice is none of those above.
    """

    transforms: int = 3
    transform: str = "coupling"
    bins: int = 8
    bound: float = 5.0
    width: int = 50
    blocks: int = 2
    components: int = 16
    members: int = 2
    embedding: str = "auto"
    features: str = "linear"

    def __post_init__(self) -> None:
        settings = dataclasses.asdict(self)
        for name, choices in CHOICES.items():
            value = settings.pop(name)
            if value not in choices:
                raise InvalidInput(
                    f"flow.{name}", value, f"must be one of {choices}",
                    f'The default is "{choices[0]}".',
                )  # fmt: skip
        require_positive("flow", settings)

    def for_spectrum(self, n_channels: int, measured: bool) -> FlowConfig:
        """Return the configuration with ``"auto"`` resolved.

        ``measured`` data, which are more than a spectrum with the noise of each channel, have the
        projection.
        """
        if self.embedding != "auto":
            return self
        projected = measured or n_channels <= MOST_PROJECTED
        return dataclasses.replace(self, embedding="projection" if projected else "mlp")

    @classmethod
    def fast(cls) -> FlowConfig:
        """Return a small flow, for trying things out."""
        return cls(width=32, blocks=1, members=1)

    @classmethod
    def default(cls) -> FlowConfig:
        """Return the settings that a run takes unless told otherwise."""
        return cls()

    @classmethod
    def paper(cls) -> FlowConfig:
        """Return the size of Ardevol Martinez et al. (2024): 15 transforms, 10 bins, 2 x 50.

        `TrainingConfig.paper` has the rest of their settings.
        """
        return cls(transforms=15, bins=10, members=1)
