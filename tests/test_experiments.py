"""Each experiment of the paper ends in its small setting, and finds what it should."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
if not (ROOT / "experiments").exists():
    pytest.skip("needs the experiments, which only the repository has", allow_module_level=True)
sys.path.insert(0, str(ROOT))


def run(name: str, output: pathlib.Path, *arguments: str) -> dict:
    """Run the small setting of an experiment, and read its results."""
    command = [sys.executable, "-m", f"experiments.{name}.run", "--small", "--workers", "1"]
    command += ["--output", str(output), "--runs", str(output / "runs"), *arguments]
    subprocess.run(command, cwd=ROOT, check=True, timeout=900)
    return json.loads((output / "results.json").read_text())


@pytest.fixture(scope="module")
def bulk(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Three planets of the bulk: one too narrow for so few simulations, two that are not."""
    output = tmp_path_factory.mktemp("bulk_coverage")
    run("bulk_coverage", output)
    return output


def test_bulk_coverage(bulk: pathlib.Path) -> None:
    from experiments.bulk_coverage.planets import channels

    results = json.loads((bulk / "results.json").read_text())["truncated"]
    assert results["calls"]["least"] == results["calls"]["most"] == 2 * 300 + 600
    assert [r["n"] for r in results["flow"]] == [3, 3]
    unit = json.loads((bulk / "runs" / "units" / "truncated_001.json").read_text())
    value, error = unit["log_evidence"]
    # 5 rounds of 1,000 corrected by 2,000 draws or more: known to 0.011. By the number of channels.
    assert abs(value - {147: 1145.547, 207: 1581.012}[channels().n_channels]) < 5 * error
    assert error < 0.5
    assert (bulk / "coverage.png").exists()


def test_failure(bulk: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """No miss goes unnoticed; one that no draw comes near fails the check of the prediction.

    Chi square of the truth is the number of channels, give or take the root of twice that. The
    check fires from 2.33 such deviations above it on. So it must where the best draw is further
    than 2.33, and 3 for the data's luck, below the truth's likelihood: nearer, luck decides.
    """
    from experiments.bulk_coverage.planets import channels

    results = run("failure", tmp_path, "--bulk", str(bulk / "runs"))
    told = results["truncated"]
    assert "truncated_000" in told["missed after all"]
    assert told["missed, and not a word"] == []
    assert told["all rounds"]["caught"]["any after correction"] == 1
    assert told["all rounds"]["false alarms"]["chi2 of the prediction"] == 0
    assert told["policy"]["quiet, and missed"] == 0
    found = [json.loads(path.read_text()) for path in (bulk / "runs" / "units").glob("*.json")]
    near = (2.33 + 3) * (channels().n_channels / 2) ** 0.5  # a log-likelihood is half a chi square
    gross = [
        r["warnings"]["chi2_p_value"]
        for unit in found
        for r in unit["rounds"]
        if unit["log_likelihood_truth"] - r["log_likelihood_best"] > near
    ]
    assert len(gross) >= 2
    assert max(gross) < 0.01
    assert "truncated_000_narrow" in results["narrow priors"]
    assert (tmp_path / "miss.png").exists()


def test_misfit(tmp_path: pathlib.Path) -> None:
    """Noise 1.7 times the errors is noticed and found; where nothing is wrong nothing is said."""
    results = run("misfit", tmp_path)
    control, errors = results["control"], results["errors"]
    of_fit = {
        "Misfit",
        "Reduced chi square of the best draw",
        "Posterior predictive p-value of chi square",
        "Residuals of neighbouring channels",
    }
    assert of_fit.isdisjoint(control["warnings, plain"])
    assert of_fit <= set(errors["warnings, plain"])
    assert of_fit.isdisjoint(errors["warnings, errors inflated"])
    assert control["misfit, plain"] == [1]
    assert 1.2 < errors["misfit, plain"][0] < 2.5
    ((mean, deviation),) = errors["error_factor"]
    expected = 1.7 / (2 * (147 - 5)) ** 0.5  # of a deviation from that many residuals
    assert abs(mean - 1.7) < 3 * expected
    assert 0.7 * expected < deviation < 1.4 * expected  # from 400 effective draws: 4%
    assert (tmp_path / "biases.png").stat().st_size > 10_000


def test_cost(tmp_path):
    """Calls are counted, the pool's time is what it must be, and the evidence is right."""
    from experiments.cost import problem
    from experiments.cost.run import SMALL
    from floppity_jax.simulate import simulate

    found = run("cost", tmp_path)
    ((name, unit),) = found["runs"].items()
    assert unit["calls"] == 400 + 400
    alone = 800 * 1e-3 / 2  # a millisecond each, two at a time: it cannot take less
    assert found["measured"][name]["simulator_alone"] == pytest.approx(alone)
    assert unit["parts"]["simulating"] > alone
    assert sum(unit["parts"].values()) < 1.001 * unit["wall"]

    case = problem.retrieval(*SMALL, 0.0, 1)  # the same evidence by draws from the prior
    theta = case.space.to_theta(np.random.default_rng(1).normal(size=(4096, 5)))
    spectra = simulate(
        case.simulator, case.space.as_mapping(theta), case.observation, case.pool
    ).spectra
    log_l = case.measurement.log_likelihood(spectra, theta).sum(axis=1)
    likelihood = np.exp(log_l - log_l.max())
    error = likelihood.std() / likelihood.mean() / 4096**0.5
    log_z, log_z_error = unit["log_evidence"]
    difference = log_z - log_l.max() - np.log(likelihood.mean())
    assert abs(difference) < 4 * np.hypot(error, log_z_error) < 0.5


def test_where_two_methods_take_as_long():
    """At the break-even cost the projected times are the same; it is 0 where one always wins."""
    from experiments.cost.report import DISPATCH, break_even, projected

    few, many = {"own": 40.0, "calls": 10_000}, {"own": 13.0, "calls": 100_000}
    at = break_even(few, many)
    assert at == pytest.approx(3e-4)
    assert projected(few, 8 * (at - DISPATCH), 8) == pytest.approx(
        projected(many, 8 * (at - DISPATCH), 8)
    )
    assert break_even(few, many | {"own": 50.0}) == 0
    assert np.isnan(break_even(many, few))


def test_self_consistent(tmp_path: pathlib.Path) -> None:
    """A hundred models of 15 layers from the prior, which two noise realisations share."""
    results = run("self_consistent", tmp_path)
    assert results["calls"] == 100
    found = results["flows"]
    assert all(abs(each["error_sigma"]) < 3.5 for each in found.values())
    assert found["radius"]["minus"] + found["radius"]["plus"] < 0.6 * 0.68 * 1.5  # of the prior's
    assert results["seconds"]["simulating"] > 0


def test_the_temperature_gradient_of_misfit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a gradient it is the embedded model; with one, high and opaque bands shrink."""
    from experiments.misfit.cases import TRUTH
    from experiments.misfit.gradient import TemperatureGradient
    from floppity_jax.simulators import IsothermalTransmission

    channels = np.array([1.1, 2.7, 4.3]), np.full(3, 0.05)  # a window, H2O, CO2
    parameters = {name: np.array([value]) for name, value in TRUTH.items()}
    isothermal = IsothermalTransmission(*channels, star_radius=0.932)(parameters)[0]
    falling = TemperatureGradient(*channels, star_radius=0.932)(parameters)[0]
    assert np.ptp(falling - isothermal) > 100e-6
    assert falling[2] - isothermal[2] < falling[0] - isothermal[0]
    monkeypatch.setattr(TemperatureGradient, "per_decade", 0.0)
    none = TemperatureGradient(*channels, star_radius=0.932)(parameters)[0]
    np.testing.assert_allclose(none, isothermal, rtol=0, atol=0.1e-6)  # 0.1 ppm: float32
