"""Results of other programs, read into DataTrees."""

import pathlib
import re
import shutil

import numpy as np
import pytest

import floppity_jax as fp

SHARED = pathlib.Path(__file__).parents[2] / "shared/data/multinest"
TAUREX_RUN, PRT_RUN = SHARED / "two_parameter_run", SHARED / "petitradtrans_wasp39b"
shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no sample runs at {SHARED}")

CENTRE, WIDTH = np.array([0.3, 0.6]), np.array([0.05, 0.1])
LOG_Z = float(np.log(2 * np.pi * WIDTH.prod()))  # of the Gaussian below, on the unit square


def log_likelihood(theta):
    return float(-0.5 * np.sum(((np.asarray(theta) - CENTRE) / WIDTH) ** 2))


def _moments(tree):
    posterior = tree["posterior"]
    draws = np.stack([v.values[0] for v in posterior.data_vars.values()], 1)
    return draws, draws.mean(0), draws.std(0)


def _stats_table(path):
    """Mean and sigma of each parameter, from the first table of stats.dat."""
    block = re.split(r"Dim No\.\s+Mean\s+Sigma\n", path.read_text())[1].split("\n\n")[0]
    return np.array([[float(x) for x in line.split()[1:3]] for line in block.splitlines()]).T


@shared
def test_a_weighted_multinest_run_is_what_its_own_summary_says():
    run = fp.read_nested(TAUREX_RUN, names=["radius", "T"])
    assert list(run["posterior"].data_vars) == ["radius", "T"]
    assert run.attrs["inference_library"] == "multinest"
    assert run.attrs["log_evidence"] == pytest.approx(440.043195945138905, rel=1e-15)
    assert run.attrs["log_evidence_error"] == pytest.approx(0.403273479645307631, rel=1e-15)
    assert run.attrs["simulator_calls"] == 901  # second number of the second line of resume.dat
    assert run.attrs["ess"] == pytest.approx(run["posterior"].sizes["draw"], abs=0.5)
    # Systematic resampling reproduces weighted means better than n independent draws, whose
    # mean has the error sd / sqrt(n): 4 of these are not passed by chance.
    many = fp.read_nested(TAUREX_RUN, names=["radius", "T"], n=20_000)
    _, mean, sd = _moments(many)
    said_mean, said_sd = _stats_table(TAUREX_RUN / "1-stats.dat")
    np.testing.assert_array_less(abs(mean - said_mean), 4 * said_sd / np.sqrt(20_000))
    np.testing.assert_allclose(sd, said_sd, rtol=4 / np.sqrt(2 * 20_000))


@shared
def test_log_likelihoods_of_both_multinest_tables_are_the_same(tmp_path):
    weighted = fp.read_nested(TAUREX_RUN, n=5000)["sample_stats"]["log_likelihood"].values
    for end in ("post_equal_weights.dat", "stats.dat"):
        shutil.copy(TAUREX_RUN / f"1-{end}", tmp_path / f"1-{end}")
    equal = fp.read_nested(tmp_path)["sample_stats"]["log_likelihood"].values
    live = np.loadtxt(TAUREX_RUN / "1-live.points")[:, -1]
    for values in (weighted, equal):
        assert values.max() == pytest.approx(449.210633595495437, rel=1e-9)  # summary.txt
        assert live.max() == pytest.approx(values.max(), rel=1e-12)
    assert set(np.round(equal.ravel(), 6)) <= set(
        np.round(-np.loadtxt(TAUREX_RUN / "1-.txt")[:, 1] / 2, 6)
    )


@shared
def test_equal_weights_alone_are_each_taken_once():
    run = fp.read_nested(PRT_RUN)
    names = list(run["posterior"].data_vars)
    assert len(names) == 18
    assert names[:4] == ["log_g", "planet_radius", "T_int", "T_equ"]
    assert run["posterior"]["JWST_NIRSPEC_PRISM_offset"].attrs["label"] == (
        "JWST/NIRSPEC/PRISM_offset"
    )
    assert run["posterior"].sizes["draw"] == 4082
    assert run.attrs["simulator_calls"] == 2393066
    # Plain nested sampling, not the importance-nested 1925.72 +- 0.05 of the line below it.
    assert run.attrs["log_evidence"] == pytest.approx(1932.29312779123711, rel=1e-12)
    assert run.attrs["log_evidence_error"] == pytest.approx(0.321937921881742029, rel=1e-12)
    # The 4,082 rows are a random choice among the weighted samples behind stats.dat: the mean is
    # off by about sd / sqrt(4082); 5 of these for 18 parameters.
    _, mean, sd = _moments(run)
    said_mean, said_sd = _stats_table(next(PRT_RUN.glob("*_stats.dat")))
    np.testing.assert_array_less(abs(mean - said_mean), 5 * said_sd / np.sqrt(4082))
    np.testing.assert_array_less(abs(np.log(sd / said_sd)), 0.25)


@shared
@pytest.mark.parametrize("end", ["1-", "1-.txt", "1-post_equal_weights.dat"])
def test_a_root_and_its_tables_stand_for_the_run(end):
    run = fp.read_nested(f"{TAUREX_RUN}/{end}", n=10)
    assert run.attrs["simulator_calls"] == 901
    assert list(run["posterior"].data_vars) == ["parameter_1", "parameter_2"]
