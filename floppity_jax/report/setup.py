"""The set-up of a run, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from floppity_jax.priors import Fixed, ParameterSpace, Prior, Tied
from floppity_jax.summary import parameters

if TYPE_CHECKING:
    import xarray


def prior_rows(
    datatree: xarray.DataTree, configuration: Mapping[str, Any]
) -> list[tuple[str, str, str]]:
    """Return name, unit and prior of each parameter, in words.

    From the configuration of the manifest where there is one; else the range of the group
    ``prior``, where there is one.
    """
    if "parameters" in configuration:
        space = ParameterSpace.from_description(configuration["parameters"])
        return [
            (name, getattr(entry, "unit", ""), entry_in_words(entry))
            for name, entry in space.entries.items()
        ]
    return [
        (name, variable.attrs.get("unit", ""), _range_of_draws(datatree, name))
        for name, variable in parameters(datatree).items()
    ]


def entry_in_words(entry: Prior | Fixed | Tied) -> str:
    """Say what a parameter may be."""
    if isinstance(entry, Fixed):
        return f"fixed at {entry.value:g}"
    if isinstance(entry, Tied):
        return f"equal to {entry.other}"
    law, (low, high) = entry.law, entry.support
    match law.dist.name:
        case "uniform":
            return f"uniform from {low:g} to {high:g}"
        case "loguniform" | "reciprocal":
            return f"log-uniform from {low:g} to {high:g}"
        case "norm":
            return f"normal, mean {law.mean():g}, standard deviation {law.std():g}"
        case "lognorm" if low == 0:
            # The central 68% of a log-normal law ends one deviation of the logarithm from it.
            deviation = np.log(law.ppf(0.841344746) / law.median())
            return f"log-normal, median {law.median():g}, deviation {deviation:g} of ln"
    low, middle, high = law.ppf([0.025, 0.5, 0.975])
    return f"{law.dist.name}, median {middle:g}, 95% from {low:g} to {high:g}"


def step_in_words(kind: str, fields: Mapping[str, Any]) -> str:
    """Say what a step of the instrument does, of what `Instrument.describe` has of it."""
    shown = {
        key: f"a table of {len(value[0])}" if isinstance(value, list | tuple) else value
        for key, value in fields.items()
        if value is not None
    }
    return f"{kind}, {', '.join(f'{key} {value}' for key, value in shown.items())}"


def settings(datatree: xarray.DataTree, configuration: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return titles and values of what decided the result, as far as it is known."""
    known = datatree.attrs
    rows = [
        ("inference", f"{known.get('inference_library', '')} "
                      f"{known.get('inference_library_version', '')}"),
        ("method", known.get("method", "")),
        ("seed", known.get("seed", "")),
        ("simulations by round", configuration.get("simulations", "")),
        ("fingerprint of the simulator", configuration.get("simulator", "")),
        ("observation", _observation(datatree)),
        ("digest of the observation", configuration.get("observation", "")),
        *(("instrument", step) for step in _instrument(configuration)),
        ("flow", configuration.get("flow", "")),
        ("training", configuration.get("training", "")),
    ]  # fmt: skip
    return [(title, text) for title, value in rows if (text := _in_words(value).strip())]


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def _observation(datatree: xarray.DataTree) -> str:
    if "observed_data" not in datatree.children:
        return ""
    data = datatree["observed_data"].data_vars
    return ", ".join(f"{name}: {values.size} channels" for name, values in data.items())


def _instrument(configuration: Mapping[str, Any]) -> Iterator[str]:
    """Yield each step, with the dataset that it acts on."""
    for name, steps in configuration.get("instrument", {}).get("steps", {}).items():
        for step in steps:
            yield f"{name}: {step_in_words(*step)}"


def _range_of_draws(datatree: xarray.DataTree, name: str) -> str:
    if "prior" not in datatree.children or name not in datatree["prior"].data_vars:
        return ""
    low, high = np.quantile(datatree["prior"][name].to_numpy(), (0.025, 0.975))
    return f"95% from {low:.3g} to {high:.3g}"
