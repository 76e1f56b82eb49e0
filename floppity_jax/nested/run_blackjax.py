"""blackjax' nested slice sampling on a `Problem`, compiled as a whole for the device."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from floppity_jax.compilation import full_precision
from floppity_jax.errors import FloppityError, InvalidInput
from floppity_jax.nested.problem import FAILED, Problem
from floppity_jax.nested.sampler import Outcome, Sampler, Settings
from floppity_jax.noise import require_errors
from floppity_jax.priors import Fixed, Tied
from floppity_jax.simulators.base import simulator_kind
from floppity_jax.typing import Array, Float

OLDEST = (1, 7, 1)  # before it, slices may never end in float32
LIVE_POINTS = 500
FURTHEST, NODES = 8.3, 2**14 + 1  # of the table of each prior: as good as float32
PATHS = 200  # simulated sequences of prior volumes


def _run(problem: Problem, settings: Settings) -> Outcome:
    """Run nested slice sampling (Yallup, Kroupa & Handley 2026, arXiv:2601.23252).

    It sees ``z``, whose prior is standard normal, for the unit cube is too coarse in float32.
    """
    import blackjax

    dim = len(problem.space.names)
    n = settings.live_points or LIVE_POINTS
    z = np.random.default_rng(settings.seed).normal(size=(n, dim))
    problem.log_likelihood(special.ndtr(z))  # on the usual way, which says what is wrong
    options = {
        "num_inner_steps": max(5, 2 * dim),  # as blackjax advises
        "num_delete": min(problem.batch, max(1, n // 4)),
        **settings.setup,
    }
    algorithm = blackjax.nss(
        logprior_fn=lambda z: -0.5 * jnp.sum(z**2),
        loglikelihood_fn=_traced(problem),
        **options,
    )
    key = jax.random.key(settings.seed)
    state = jax.jit(algorithm.init)(jnp.asarray(z, float))
    state, dead = _explore(algorithm, state, key, problem, **settings.run)
    return _outcome(blackjax.ns.utils.finalise(state, dead, update_info=False), key, problem)


def _explore(
    algorithm: Any, state: Any, key: Array, problem: Problem, *, frac_remain: float = 0.01
) -> tuple[Any, list[Any]]:
    """Step until the live points hold a share of the evidence below ``frac_remain``.

    Returns the state and the infos of all steps, with the points that died.
    """
    step = jax.jit(algorithm.step)
    dead: list[Any] = []
    key = jax.random.fold_in(key, 1)
    while True:
        z, live = float(state.integrator.logZ), float(state.integrator.logZ_live)
        if live - np.logaddexp(z, live) < np.log(frac_remain):
            return state, dead
        state, info = step(jax.random.fold_in(key, len(dead)), state)
        slices = info.update_info
        if not np.any(slices.is_accepted):
            raise FloppityError(
                "blackjax found no point above the last likelihood: in float32 its live points are "
                "too close to one another. Enable float64 by JAX_ENABLE_X64=1, or choose another "
                "sampler."
            )
        # Two ends, each step outwards, each try between: what other slices of the batch still do
        # meanwhile is computed, and counts no more than what pads a batch.
        problem.count(int(np.sum(2 + slices.num_expansions + slices.num_shrink)))
        dead.append(info._replace(update_info=None))


def _outcome(points: Any, key: Array, problem: Problem) -> Outcome:
    """Weigh all points that ever were alive, over simulated sequences of prior volumes."""
    from blackjax.ns.utils import log_weights

    log_w = np.asarray(log_weights(jax.random.fold_in(key, 2), points, shape=PATHS), float)
    log_z = special.logsumexp(log_w, axis=0)
    constant = _constant(problem)
    log_l = np.asarray(points.particles.loglikelihood, float)
    return Outcome(
        u=special.ndtr(np.asarray(points.particles.position, float)),
        log_weights=special.logsumexp(log_w - log_z, axis=1),
        log_likelihood=np.maximum(log_l + constant, FAILED),
        log_evidence=float(log_z.mean() + constant),
        log_evidence_error=float(log_z.std(ddof=1)),
    )


def _constant(problem: Problem) -> float:
    """Log-likelihood of a perfect fit with the errors as given.

    It is kept out of float32, which has better use for its digits.
    """
    errors = require_errors(problem.measurement.observation)
    return float(-np.log(errors).sum() - len(errors) / 2 * np.log(2 * np.pi))


def _traced(problem: Problem) -> Callable[[Float[Array, " d"]], Float[Array, ""]]:
    """Return the log-likelihood less `_constant`, which JAX can trace."""
    measurement = problem.measurement
    unit, prepared = measurement.prepared.unit, measurement.prepared
    errors = jnp.asarray(require_errors(measurement.observation) / unit, float)
    values = jnp.asarray(measurement.observation.values / unit, float)
    parameters = _parameters(problem)

    @full_precision
    def batch(z: Float[Array, "n d"]) -> Float[Array, " n"]:
        columns = parameters(z)
        spectra = problem.simulator({name: columns[name] for name in measurement.simulator_names})
        if isinstance(spectra, Mapping):
            spectra = jnp.concatenate([spectra[n] for n in measurement.output.names], axis=1)
        own = {name: columns[name] for name in measurement.names}
        prediction = prepared(jnp, prepared.reduce(jnp, spectra / unit), own)
        sd = jnp.sqrt((prediction.factor * errors) ** 2 + prediction.extra)
        log_l = -0.5 * ((prediction.mean - values) / sd) ** 2 - jnp.log(sd / errors)
        log_l = log_l.sum(axis=1)
        return jnp.where(jnp.isfinite(log_l), log_l, -jnp.inf)

    # The simulator takes batches: to vmap over batches of one would ask more of it.
    @jax.custom_batching.custom_vmap
    def one(z: Float[Array, " d"]) -> Float[Array, ""]:
        return batch(z[None])[0]

    @one.def_vmap
    def _(n: int, batched: list[bool], z: Float[Array, "n d"]) -> tuple[Float[Array, " n"], bool]:
        return batch(z), True

    return one


def _parameters(problem: Problem) -> Callable[[Float[Array, "n d"]], dict[str, Float[Array, " n"]]]:
    """Return the inverse of the priors' distribution functions, from tables.

    Laws are SciPy's, on the host. Logarithms are interpolated where the law is one of them.
    """
    space = problem.space
    nodes = np.linspace(-FURTHEST, FURTHEST, NODES)
    tables = space.to_theta(np.repeat(nodes[:, None], len(space.names), axis=1)).T
    logs = [prior.scale == "log" for prior in space.priors.values()]
    laws = [np.log(table) if log else table for table, log in zip(tables, logs, strict=True)]

    def parameters(z: Float[Array, "n d"]) -> dict[str, Float[Array, " n"]]:
        columns = {}
        for i, name in enumerate(space.names):
            column = jnp.interp(z[:, i], nodes, laws[i])
            columns[name] = jnp.exp(column) if logs[i] else column
        for name, entry in space.entries.items():
            if isinstance(entry, Fixed):
                columns[name] = jnp.full(len(z), entry.value, z.dtype)
        for name, entry in space.entries.items():
            if isinstance(entry, Tied):
                columns[name] = columns[entry.other]
        return {name: columns[name].astype(jnp.float32) for name in space.all_names}

    return parameters


def _check(problem: Problem) -> None:
    version = importlib.metadata.version("blackjax")
    if tuple(map(int, re.findall(r"\d+", version)[:3])) < OLDEST:
        raise InvalidInput(
            "sampler", "blackjax", f"must be blackjax 1.7.1 or later; {version} is installed",
            "Get it by: pip install 'blackjax>=1.7.1'",
        )  # fmt: skip
    if simulator_kind(problem.simulator) != "jax_batched":
        raise InvalidInput(
            "sampler", "blackjax", "must not be blackjax where JAX cannot trace the simulator",
            "Mark the simulator by fp.jax_batched if it can, or choose another sampler.",
        )  # fmt: skip
    measurement = problem.measurement
    if measurement.observation.covariance is not None or measurement.instrument.correlates:
        raise InvalidInput(
            "sampler", "blackjax", "must not be blackjax where noise is correlated",
            "Choose another sampler: its likelihood knows channels that are independent.",
        )  # fmt: skip


def _signatures() -> tuple[Callable[..., Any], ...]:
    from blackjax.ns.nss import as_top_level_api

    return as_top_level_api, _explore


BLACKJAX = Sampler(
    run=_run,
    library="blackjax",
    distribution="blackjax",
    resumes=False,
    signatures=_signatures,
    ours=frozenset("logprior_fn loglikelihood_fn algorithm state key problem".split()),
    check=_check,
)
