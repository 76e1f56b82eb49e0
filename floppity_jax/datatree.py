"""Posteriors as ArviZ DataTrees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

import floppity_jax
from floppity_jax.posterior import ImportancePosterior, Posterior
from floppity_jax.proposals import draw_prior
from floppity_jax.record import RunRecord
from floppity_jax.summary import QUANTILES, variable_name
from floppity_jax.typing import Float

if TYPE_CHECKING:
    import xarray


NOISE = 1  # keeps the noise of predicted spectra apart from other random numbers of a seed


def to_datatree(posterior: Posterior, n: int, seed: int) -> xarray.DataTree:
    """Return ``n`` draws with the groups and attributes of the design.

    Groups: ``posterior`` and ``prior`` (one chain), ``sample_stats`` (``log_prob``, and
    ``log_weight`` of the draws of a corrected posterior), ``observed_data``, ``constant_data``,
    ``rounds``; after importance sampling also ``model_spectra`` (noise-free),
    ``posterior_predictive`` (with noise) and ``log_likelihood`` of the same draws, and
    ``importance`` (``log_weight`` of every draw that was simulated).
    """
    import xarray
    from arviz_base import from_dict

    space, measurement = posterior.space, posterior.measurement
    prior = space.to_theta(draw_prior(jax.random.key(seed), n, len(space.names)).z)
    groups: dict[str, dict[str, Any]] = {"prior": _columns(space.names, prior)}
    if isinstance(posterior, ImportancePosterior):
        rows = posterior.resample(n, seed)
        theta, spectra = posterior.draws[rows], posterior.spectra[rows]
        rng = np.random.default_rng([seed, NOISE])
        log_likelihood = measurement.log_likelihood(spectra, theta)
        log_prob = log_likelihood.sum(1) + space.log_prior(theta) - posterior.log_evidence
        of_datasets = {
            "model_spectra": measurement.predict(spectra, theta),
            "posterior_predictive": measurement.noisy(rng, spectra, theta),
            "log_likelihood": log_likelihood,
        }
        groups |= {key: _by_dataset(posterior, each[None]) for key, each in of_datasets.items()}
        groups["sample_stats"] = {"log_weight": posterior.log_weights[rows][None]}
    else:
        theta = posterior.sample(n, seed)
        log_prob = posterior.log_prob(theta)
        groups["sample_stats"] = {}
    groups["sample_stats"]["log_prob"] = log_prob[None]
    groups["posterior"] = _columns(space.names, theta)
    groups["observed_data"] = _by_dataset(posterior, posterior.observation.values)
    groups["constant_data"] = {}
    dims: dict[str, list[str]] = {}
    for part in posterior.observation.parts:
        name = variable_name(part.name)
        constant = {"wavelength": part.wavelength, "bin_width": part.bin_width,
                    "error": part.errors}  # fmt: skip
        given = {f"{key}_{name}": v for key, v in constant.items() if v is not None}
        groups["constant_data"] |= given
        dims |= {key: [f"channel_{name}"] for key in (name, *given)}
    order = ("posterior", "model_spectra", "posterior_predictive", "log_likelihood",
             "sample_stats", "prior", "observed_data", "constant_data")  # fmt: skip
    tree = from_dict({key: groups[key] for key in order if groups.get(key)}, dims=dims)
    _describe(tree, posterior)
    tree["rounds"] = _rounds(posterior.record)
    if isinstance(posterior, ImportancePosterior):
        tree["importance"] = xarray.Dataset({"log_weight": ("simulation", posterior.log_weights)})
    return tree


def _by_dataset(
    posterior: Posterior, data: Float[np.ndarray, "*n channels"]
) -> dict[str, np.ndarray]:
    """Take channels apart into those of each dataset."""
    observation = posterior.observation
    pairs = zip(observation.parts, observation.slices, strict=True)
    return {variable_name(part.name): data[..., channels] for part, channels in pairs}


def _columns(names: tuple[str, ...], theta: Float[np.ndarray, "n d"]) -> dict[str, np.ndarray]:
    return {variable_name(name): theta[None, :, i] for i, name in enumerate(names)}


def _describe(tree: xarray.DataTree, posterior: Posterior) -> None:
    """Put units, labels, and the numbers of the run into the attributes."""
    for group in ("posterior", "prior"):
        for name, prior in posterior.space.priors.items():
            tree[group][variable_name(name)].attrs.update(
                unit=prior.unit, label=prior.label or name, scale=prior.scale
            )
    observation, record = posterior.observation, posterior.record
    for part in observation.parts:
        name = variable_name(part.name)
        for group in ("observed_data", "model_spectra", "posterior_predictive"):
            if group in tree.children:
                tree[group][name].attrs["unit"] = part.unit
        for kind, unit in (("wavelength", "um"), ("bin_width", "um"), ("error", part.unit)):
            if "constant_data" in tree.children and f"{kind}_{name}" in tree["constant_data"]:
                tree["constant_data"][f"{kind}_{name}"].attrs["unit"] = unit
    tree.attrs.update(
        inference_library="floppity_jax",
        inference_library_version=floppity_jax.__version__,
        method=record.method,
        seed=record.seed,
        simulator_calls=record.simulator_calls,
        configuration=record.configuration,
        **_of_rounds(record),
        **{f"seconds_{work}": seconds for work, seconds in record.seconds.items()},
    )
    if isinstance(posterior, ImportancePosterior):
        tree.attrs.update(
            log_evidence=posterior.log_evidence,
            log_evidence_error=posterior.log_evidence_error,
            importance_efficiency=posterior.efficiency,
            ess=posterior.ess,
            pareto_k=posterior.pareto_k,
            reduced_chi2_best=posterior.reduced_chi2_best(),
            chi2_p_value=posterior.chi2_p_value(),
        )
    if posterior.simulations is not None:
        mixture = posterior.reuse_simulations()
        tree.attrs.update(
            mixture_log_evidence=mixture.log_evidence,
            mixture_log_evidence_error=mixture.log_evidence_error,
            mixture_ess=mixture.ess,
        )


def _of_rounds(record: RunRecord) -> dict[str, float]:
    """Say what the rounds tell of the whole run, where they are known."""
    if not record.rounds:
        return {}
    return {
        "misfit": record.rounds[-1].misfit,
        "feature_distance": record.rounds[-1].feature_distance,
        "feature_share": record.rounds[-1].feature_share,
        "reconstruction_error": record.rounds[-1].reconstruction_error,
        "simulator_failures": sum(r.failures for r in record.rounds),
        "prior_share_excluded": record.excluded_share,
    }


def _rounds(record: RunRecord) -> xarray.Dataset:
    """How each round went; losses are padded with NaN to the longest training.

    ``quantiles_NAME`` are those of a parameter's marginal posterior after each round.
    """
    import xarray

    rounds = record.rounds
    epochs = max((len(r.training.train_loss) for r in rounds), default=0)
    losses = {
        kind: np.full((len(rounds), epochs), np.nan) for kind in ("train_loss", "validation_loss")
    }
    for i, r in enumerate(rounds):
        losses["train_loss"][i, : len(r.training.train_loss)] = r.training.train_loss
        losses["validation_loss"][i, : len(r.training.validation_loss)] = r.training.validation_loss
    fields = (
        "simulations",
        "failures",
        "used",
        "acceptance",
        "proposal_ess",
        "overlap",
        "ignored_regions",
        "change",
        "efficiency",
        "misfit",
        "feature_distance",
        "feature_share",
        "reconstruction_error",
    )
    return xarray.Dataset(
        {
            **{field: ("round", [getattr(r, field) for r in rounds]) for field in fields},
            "sampler": ("round", np.array([r.sampler for r in rounds], str)),
            "stop_reason": ("round", np.array([r.training.reason.name for r in rounds], str)),
            **{kind: (("round", "epoch"), values) for kind, values in losses.items()},
            **{
                f"quantiles_{variable_name(name)}": (
                    ("round", "quantile"),
                    [r.quantiles[name] for r in rounds],
                )
                for name in (rounds[0].quantiles if rounds else ())
            },
        },
        coords={"quantile": list(QUANTILES)} if rounds else {},
    )
