"""One simulator, several components: a binary, two limbs of a planet, two columns of its disc."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from floppity_jax.errors import InvalidInput
from floppity_jax.fingerprint import fingerprint
from floppity_jax.simulators.base import batch_size, batched, jax_batched, simulator_kind


def combine(
    simulator: Callable[..., Any],
    components: Sequence[str],
    *,
    private: Sequence[str],
    shared: Sequence[str] | None = None,
    weights: str | Sequence[float] | None = None,
    ordered: str | None = None,
) -> "Combined":
    """Add up the spectra of several components, each from one simulator.

    Parameters
    ----------
    simulator
        Any simulator: scalar, `batched` or `jax_batched`; the result is of the same kind.
    components
        Names of the components, two or more: ``["morning", "evening"]``.
    private
        Parameters of which each component has its own: ``["T"]`` becomes ``T_morning`` and
        ``T_evening``.
    shared
        Parameters that are the same for all; unless given, whatever else the simulator lists in
        its ``parameters``.
    weights
        What each spectrum is multiplied by before they are added. None: 1, a plain sum (the
        fluxes of a binary). Numbers, one for each component, taken as they are: ``[0.5, 0.5]``
        for the depths of two limbs. A name: for two components, a parameter of that name is the
        weight of the first and the rest to 1 that of the second; its prior should stay within
        0 and 1.
    ordered
        The private parameter that tells components apart, lowest first, for `Combined.ordered`.

    Returns
    -------
    Combined

    Raises
    ------
    InvalidInput
        Where names repeat or clash, the weights do not fit the components, or ``ordered`` is not
        private or meets unequal weights.

    Notes
    -----
    Two components with the same priors can change places without changing the spectrum, so that
    the posterior has a copy of each solution for each order of the labels. The copies are removed
    *after* the retrieval, by `Combined.ordered`: each draw gets the labels that sort ``ordered``,
    and all other private parameters of a component, and its weight, move along. Likelihood and
    prior do not change under that exchange. The draws then follow the posterior under the prior
    that is restricted to the sorted part and renormalised; the evidence is the same for both.

    Why not inside the simulator? The retrieval's priors are independent, one for each parameter.
    Sorting the values that a simulation gets would leave this symmetric function, and the copies,
    as they are; sorting one parameter without its component's others would be another model;
    drawing one temperature below the other would be another prior. The price is that the flow
    has to learn every copy. Where physics tells the components apart, give them different priors
    and leave ``ordered`` out: relabelling would then be wrong, and `Combined.ordered` refuses.

    Examples
    --------
    ::

        limbs = fp.simulators.combine(
            model, ["morning", "evening"], private=["T"], weights=[0.5, 0.5], ordered="T"
        )
        posterior = fp.Retrieval(limbs, parameters, observation).run()
        theta = limbs.ordered(posterior.sample(4000), posterior.space)
    """
    combined = Combined(simulator, components, private, shared, weights, ordered)
    kind = simulator_kind(simulator)
    if kind == "batched":
        return batched(size=batch_size(simulator))(combined)
    return jax_batched(combined) if kind == "jax_batched" else combined


class Combined:
    """Several components of one simulator; made by `combine`.

    Attributes
    ----------
    parameters : tuple of str
        The names that a call needs: private ones component by component, shared ones, the weight.
    """

    def __init__(
        self,
        simulator: Callable[..., Any],
        components: Sequence[str],
        private: Sequence[str],
        shared: Sequence[str] | None,
        weights: str | Sequence[float] | None,
        ordered: str | None,
    ) -> None:
        self._batched = simulator_kind(simulator) != "scalar"
        self.components = _names("components", components, least=2)
        self.private = _names("private", private, least=1)
        known = getattr(simulator, "parameters", None)
        if shared is None:
            if known is None:
                raise InvalidInput(
                    "shared", None, "must be given where the simulator lists no parameters",
                    "Give shared=[] where there are none.",
                )  # fmt: skip
            shared = [name for name in known if name not in self.private]
        self.shared = _names("shared", shared, least=0)
        if known is not None and set(self.private) | set(self.shared) != set(known):
            raise InvalidInput(
                "private and shared", (self.private, self.shared),
                f"must be, together, what the simulator needs, {list(known)}",
                "Leave shared out for all that is not private.",
            )  # fmt: skip
        self.weights = _weights(weights, self.components)
        pairs = itertools.product(self.components, self.private)
        own = [f"{name}_{component}" for component, name in pairs]
        mixed = [self.weights] if isinstance(self.weights, str) else []
        self.parameters = tuple([*own, *self.shared, *mixed])
        clash = {name for name in self.parameters if self.parameters.count(name) > 1}
        if clash or set(self.private) & set(self.shared):
            raise InvalidInput(
                "parameters", self.parameters, "must be different names", "Rename a component."
            )
        if ordered is not None and ordered not in self.private:
            raise InvalidInput(
                "ordered", ordered, f"must be one of the private parameters, {list(self.private)}",
                "Components that share all parameters have no order.",
            )  # fmt: skip
        if ordered is not None and isinstance(self.weights, tuple) and len(set(self.weights)) > 1:
            raise InvalidInput(
                "ordered", ordered, f"needs equal weights, not {list(self.weights)}",
                "Components of different weights cannot change places: leave ordered out.",
            )  # fmt: skip
        self.simulator, self.order_by = simulator, ordered

    def set_up(self) -> None:
        """Set the simulator up, where it has something to set up."""
        getattr(self.simulator, "set_up", lambda: None)()

    def fingerprint(self) -> str:
        """Text that changes where the simulator or the combination does."""
        settings = (self.components, self.private, self.shared, self.weights)
        return f"combine {settings} of {fingerprint(self.simulator)}"

    def __call__(self, parameters: Mapping[str, Any]) -> Any:
        """Simulate.

        Parameters
        ----------
        parameters
            ``{name: value}``, or ``{name: array (n,)}`` where the simulator is batched, with
            exactly the names in `parameters`.

        Returns
        -------
        array (channels,) or (n, channels), or a mapping of these where the simulator returns one

        Raises
        ------
        InvalidInput
            Where a name is unknown or missing.
        """
        if set(parameters) != set(self.parameters):
            raise InvalidInput(
                "parameters", sorted(parameters), f"must be {list(self.parameters)}",
                "Each private parameter needs a value for each component.",
            )  # fmt: skip
        weights: Sequence[Any] = (1.0,) * len(self.components)
        if isinstance(self.weights, str):
            fraction = parameters[self.weights]
            fraction = fraction[:, None] if self._batched else fraction
            weights = (fraction, 1 - fraction)
        elif self.weights is not None:
            weights = self.weights
        shared = {name: parameters[name] for name in self.shared}
        spectra = [
            self.simulator(
                {name: parameters[f"{name}_{component}"] for name in self.private} | shared
            )
            for component in self.components
        ]
        if isinstance(spectra[0], Mapping):
            return {
                key: _sum(weights, [spectrum[key] for spectrum in spectra]) for key in spectra[0]
            }
        return _sum(weights, spectra)

    def ordered(self, theta: np.ndarray, space: Any) -> np.ndarray:
        """Relabel posterior draws so that the first component has the lowest value.

        Parameters
        ----------
        theta : array (n, d)
            Draws, in physical units and the order of ``space.names``.
        space
            The retrieval's parameters: ``posterior.space`` or ``retrieval.space``.

        Returns
        -------
        array (n, d)
            The same draws; in each, the components' private parameters and weights have changed
            places together.

        Raises
        ------
        InvalidInput
            Where `combine` was not given ``ordered``, or the priors tell the components apart:
            different priors for the same parameter, one of them fixed or tied, or a prior of the
            weight that is not symmetric about 1/2. Components cannot change places then.
        """
        from floppity_jax.simulators.exchange import sort_components  # no worker needs its scipy

        if self.order_by is None:
            raise InvalidInput(
                "ordered", None, "must be given to combine",
                'For example ordered="T", to sort the components by temperature.',
            )  # fmt: skip
        groups = {
            name: [f"{name}_{component}" for component in self.components] for name in self.private
        }
        fraction = self.weights if isinstance(self.weights, str) else None
        return sort_components(theta, space, groups, self.order_by, fraction)


def _sum(weights: Sequence[Any], spectra: Sequence[Any]) -> Any:
    """Add up; a list of numbers counts as an array, and what JAX traces stays with JAX."""
    terms = [
        weight * (spectrum if hasattr(spectrum, "shape") else np.asarray(spectrum, float))
        for weight, spectrum in zip(weights, spectra, strict=True)
    ]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _names(argument: str, names: Sequence[str], *, least: int) -> tuple[str, ...]:
    given = () if isinstance(names, str) else tuple(names)
    if isinstance(names, str) or len(given) < least or len(set(given)) != len(given):
        raise InvalidInput(
            argument, names, f"must be {least} or more names, each once",
            'For example ["morning", "evening"].',
        )  # fmt: skip
    return given


def _weights(
    weights: str | Sequence[float] | None, components: Sequence[str]
) -> str | tuple[float, ...] | None:
    if weights is None:
        return None
    if isinstance(weights, str):
        if len(components) != 2:
            raise InvalidInput(
                "weights", weights, f"can be a parameter for two components, not {len(components)}",
                "Give a number for each.",
            )  # fmt: skip
        return weights
    numbers = tuple(float(weight) for weight in weights)
    if len(numbers) != len(components) or not np.isfinite(numbers).all():
        raise InvalidInput(
            "weights", weights, f"must be {len(components)} finite numbers, one for each component",
            "For example [0.5, 0.5].",
        )  # fmt: skip
    return numbers
