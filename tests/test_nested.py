"""Nested samplers on retrievals, against posterior and evidence in closed form."""

import functools
import importlib.metadata
import importlib.util
import os
import pathlib
import threading

import numpy as np
import pytest
from processes import Here
from scipy import integrate, stats

import floppity_jax as fp
from floppity_jax.errors import InvalidInput, NoLikelihoodError, SimulatorError
from floppity_jax.nested.problem import FAILED, Problem
from floppity_jax.nested.run_blackjax import _parameters
from floppity_jax.nested.run_dynesty import Together
from floppity_jax.nested.samplers import SAMPLERS
from floppity_jax.pool import Pool
from floppity_jax.store import NoDirectory

DESIGN = np.random.default_rng(0).normal(size=(2, 8)) / 2
ERROR = 0.3
VALUES = np.array([0.4, -0.9]) @ DESIGN + ERROR * np.random.default_rng(1).normal(size=8)
LARGEST = 0.3  # of a, beyond which `partial` fails
QUICK = {"n_networks": 1, "neural_network_kwargs": {"hidden_layer_sizes": (20, 20)}}
SIZES = {
    "ultranest": {"live_points": 400},
    "nautilus": {"live_points": 300, "n_eff": 2000, **QUICK},
    "dynesty": {"live_points": 400},
    "blackjax": {"live_points": 400},
}
SMALL = {
    "ultranest": {"live_points": 40, "min_ess": 40},
    "nautilus": {"live_points": 100, "n_eff": 200, **QUICK},
    "dynesty": {"live_points": 40},
    "blackjax": {"live_points": 40},
}

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries

each = pytest.mark.parametrize("name", SAMPLERS)
resumable = pytest.mark.parametrize("name", [name for name, s in SAMPLERS.items() if s.resumes])


def _sum(p):  # the same rounding for one parameter set as for many
    return p["a"] * DESIGN[0] + p["b"] * DESIGN[1]


@fp.jax_batched
def linear(parameters):
    return _sum({name: value[:, None] for name, value in parameters.items()})


@fp.batched
def on_host(parameters):
    return _sum({name: value[:, None] for name, value in parameters.items()})


def one_by_one(parameters):
    return _sum(parameters)


@fp.jax_batched
def partial(parameters):
    import jax.numpy as jnp

    return jnp.where(parameters["a"][:, None] > LARGEST, jnp.nan, linear(parameters))


def _retrieval(simulator=linear, *, errors=ERROR, pool=None):
    observation = fp.Observation(VALUES, errors and np.full(8, errors))
    return fp.Retrieval(
        simulator, {name: fp.Normal(0.0, 1.0) for name in "ab"}, observation, pool=pool
    )


@functools.cache
def _run(name):
    return _retrieval().nested(name, progress=False, **SIZES[name])


@functools.cache
def _small_run(name):
    return _retrieval().nested(name, progress=False, **SMALL[name])


def _exact():
    """Return log-evidence, and mean and covariance of the posterior."""
    covariance = DESIGN.T @ DESIGN + ERROR**2 * np.eye(8)
    s = np.linalg.inv(np.eye(2) + DESIGN @ DESIGN.T / ERROR**2)
    log_z = stats.multivariate_normal(np.zeros(8), covariance).logpdf(VALUES)
    return log_z, s @ DESIGN @ VALUES / ERROR**2, s


def _draws(tree):
    return np.stack([tree["posterior"][name].to_numpy().ravel() for name in "ab"], axis=1)


def _agrees(tree, log_z):
    error = tree.attrs["log_evidence_error"]
    assert 0 < error < 0.4
    assert tree.attrs["log_evidence"] == pytest.approx(log_z, abs=4.5 * error)


@each
def test_posterior_and_evidence(name):
    """Within 4.5 standard errors each; the run says how many draws it is worth."""
    tree = _run(name)
    log_z, mean, covariance = _exact()
    _agrees(tree, log_z)
    draws, ess, sd = _draws(tree), tree.attrs["ess"], np.sqrt(np.diag(covariance))
    assert ess > 400
    assert (np.abs(draws.mean(axis=0) - mean) < 4.5 * sd / np.sqrt(ess)).all()
    assert (np.abs(draws.std(axis=0) / sd - 1) < 4.5 / np.sqrt(2 * ess)).all()
    correlation = np.corrcoef(draws.T)[0, 1]
    rho = covariance[0, 1] / sd.prod()
    assert abs(correlation - rho) < 4.5 * (1 - rho**2) / np.sqrt(ess)
    log_l = stats.norm(VALUES, ERROR).logpdf(draws @ DESIGN).sum(axis=1)
    found = tree["sample_stats"]["log_likelihood"].to_numpy().ravel()
    np.testing.assert_allclose(found, log_l, rtol=1e-4, atol=1e-4)
    assert tree.attrs["simulator_calls"] > ess
    assert tree.attrs["simulator_failures"] == 0
    assert tree.attrs["inference_library"] == SAMPLERS[name].distribution


@each
def test_the_seed_decides(name):
    first = _small_run(name)
    again, other = (
        _retrieval().nested(name, progress=False, seed=seed, **SMALL[name]) for seed in (0, 1)
    )
    np.testing.assert_array_equal(_draws(first), _draws(again))
    assert first.attrs["log_evidence"] == again.attrs["log_evidence"]
    assert first.attrs["log_evidence"] != other.attrs["log_evidence"]


@each
def test_where_the_simulator_fails_there_is_no_posterior(name):
    """The evidence is that of the rest of the prior: no volume is lost on a plateau."""
    tree = _retrieval(partial).nested(name, progress=False, **SIZES[name])

    def density(b, a):
        log_l = stats.norm(VALUES, ERROR).logpdf(a * DESIGN[0] + b * DESIGN[1]).sum()
        return np.exp(log_l + stats.norm.logpdf(a) + stats.norm.logpdf(b))

    z, _ = integrate.dblquad(density, -6, LARGEST, -6, 6)
    assert np.log(z) < _exact()[0] - 0.3  # it matters
    _agrees(tree, np.log(z))
    assert _draws(tree)[:, 0].max() <= LARGEST
    assert tree["sample_stats"]["log_likelihood"].min() > FAILED
    assert 0 < tree.attrs["simulator_failures"] < tree.attrs["simulator_calls"]


@each
def test_a_simulator_that_always_fails_stops_the_run(name, capsys):
    @fp.jax_batched
    def fails(parameters):
        return linear(parameters) * np.nan

    with pytest.raises(SimulatorError, match="simulations failed"):
        _retrieval(fails).nested(name, progress=False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "blackjax"])
def test_over_a_pool_as_in_batches(name):
    """One by one, or several in a call: the same numbers, and the pool is kept busy."""
    sizes = []
    evaluate = Problem.log_likelihood

    def noted(self, u):
        sizes.append(len(u))
        return evaluate(self, u)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Problem, "log_likelihood", noted)
        scalar, batched = (
            _retrieval(simulator, pool=Pool(executor=Here())).nested(
                name, progress=False, **SMALL[name]
            )
            for simulator in (one_by_one, on_host)
        )
    assert scalar.attrs["log_evidence"] == batched.attrs["log_evidence"]
    np.testing.assert_array_equal(_draws(scalar), _draws(batched))
    _agrees(scalar, _exact()[0])
    assert np.average(sizes, weights=sizes) > 9  # what an evaluation shares its batch with


@resumable
def test_an_interrupted_run_goes_on(name, tmp_path, monkeypatch):
    """Calls of both parts are counted, and those of the first are not made again."""
    whole = _run(name)
    made, stop_at = [0], 0.6 * whole.attrs["simulator_calls"]
    evaluate = Problem.log_likelihood

    def interrupted(self, u):
        if made[0] > stop_at:
            raise KeyboardInterrupt
        made[0] += len(u)
        return evaluate(self, u)

    monkeypatch.setattr(Problem, "log_likelihood", interrupted)
    run = {"directory": tmp_path / "run", "progress": False, **SIZES[name]}
    with pytest.raises(KeyboardInterrupt):
        _retrieval().nested(name, **run)
    before, stop_at = made[0], np.inf
    tree = _retrieval().nested(name, **run, resume=True)
    assert tree.attrs["simulator_calls"] == made[0]
    assert made[0] - before < 0.8 * whole.attrs["simulator_calls"]
    _agrees(tree, _exact()[0])
    again = _retrieval().nested(name, **run, resume=True)  # a finished one
    assert again.attrs["log_evidence"] == pytest.approx(tree.attrs["log_evidence"], abs=1e-9)
    assert again.attrs["simulator_calls"] < 1.1 * tree.attrs["simulator_calls"]


def test_nautilus_goes_on_as_if_nothing_had_been(tmp_path, monkeypatch):
    """Also where it is killed while it writes its file, which it replaces at once."""
    from nautilus import Sampler

    whole = _small_run("nautilus")
    writes, write = [], Sampler.write

    def killed(self, filepath, overwrite=False):
        write(self, filepath, overwrite=overwrite)
        writes.append(filepath)
        if len(writes) == 4:
            os.truncate(filepath, 1000)
            raise KeyboardInterrupt

    monkeypatch.setattr(Sampler, "write", killed)
    run = {"directory": tmp_path / "run", "progress": False, **SMALL["nautilus"]}
    with pytest.raises(KeyboardInterrupt):
        _retrieval().nested("nautilus", **run)
    tree = _retrieval().nested("nautilus", **run, resume=True)
    assert tree.attrs["log_evidence"] == whole.attrs["log_evidence"]
    np.testing.assert_array_equal(_draws(tree), _draws(whole))
    assert [p.name for p in pathlib.Path(run["directory"]).glob("*.hdf5")] == ["nautilus.hdf5"]


def _ask(together, count):
    def task(argument):
        return sum(together.log_likelihood(np.array([argument, i])) for i in range(count(argument)))

    return task


def test_tasks_together_are_evaluated_in_batches():
    batches, threads = [], set()

    def evaluate(u):
        batches.append(u.tolist())
        threads.add(threading.current_thread())
        return u.sum(axis=1)

    together = Together(evaluate, size=3)
    with together.threads:
        found = together.map(_ask(together, lambda argument: argument), [1, 2, 3, 0, 2])
    assert found == [1.0, 2 + 3, 3 + 4 + 5, 0, 2 + 3]
    assert batches == [
        [[1, 0], [2, 0], [3, 0]], [[2, 1], [3, 1]], [[3, 2]], [[2, 0]], [[2, 1]],
    ]  # fmt: skip
    assert threads == {threading.current_thread()}


def test_tasks_end_with_what_they_wait_for():
    def evaluate(u):
        if u[0, 1] == 1:
            raise KeyboardInterrupt
        return u.sum(axis=1)

    together = Together(evaluate, size=4)
    with together.threads:  # which waits for the threads
        with pytest.raises(KeyboardInterrupt):
            together.map(_ask(together, lambda _: 2), range(4))
        assert together.map(_ask(together, lambda _: 1), range(2)) == [0.0, 1.0]


def test_priors_on_the_device():
    """Tables and interpolation, against the laws themselves."""
    laws = {
        "uniform": (10.0, 11.0), "log": fp.LogUniform(1e-12, 0.1), "normal": fp.Normal(3.0, 0.1),
        "lognormal": fp.LogNormal(1.0, 5.0), "cut": fp.TruncatedNormal(0.0, 1.0, -1.0, 3.0),
        "cauchy": stats.cauchy(), "fixed": 7.0, "tied": "log", "tied to fixed": "fixed",
    }  # fmt: skip
    retrieval = fp.Retrieval(linear, laws, fp.Observation(VALUES, np.full(8, ERROR)))
    space = retrieval.space
    problem = Problem(linear, retrieval.measurement, retrieval.pool, NoDirectory())
    z = np.random.default_rng(2).normal(size=(500, 6)).astype(np.float32)
    exact, found = space.as_mapping(space.to_theta(z)), _parameters(problem)(z)
    assert list(found) == list(exact)
    for name, values in exact.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


def test_what_cannot_be_run_is_refused(tmp_path, monkeypatch):
    run = _retrieval().nested
    with pytest.raises(InvalidInput, match="must be one of"):
        run("multinest")
    with pytest.raises(InvalidInput, match="must be an option of ultranest"):
        run("ultranest", min_num_live_pionts=3)
    with pytest.raises(InvalidInput, match="Did you mean num_inner_steps"):
        run("blackjax", num_iner_steps=3)
    with pytest.raises(InvalidInput, match="must be an option of dynesty"):
        run("dynesty", pool=4)  # the retrieval has one
    with pytest.raises(InvalidInput, match="taken up again"):
        run("dynesty", directory=tmp_path / "run", resume=True)
    with pytest.raises(InvalidInput, match="where JAX cannot trace"):
        _retrieval(one_by_one).nested("blackjax", directory=tmp_path / "run")
    narrow = fp.Retrieval(linear, {"a": (0.0, 1.0), "b": 1.0}, _retrieval().observation)
    with pytest.raises(InvalidInput, match="one parameter is free"):
        narrow.nested("nautilus")
    with pytest.raises(NoLikelihoodError):
        _retrieval(errors=None).nested()
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.6")
    with pytest.raises(InvalidInput, match="1.7.1 or later; 1.6 is installed"):
        run("blackjax")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match="must be installed"):
        run("nautilus")
    assert not (tmp_path / "run").exists()
