"""Runs of other programs, and small ones made here, against what is known of them."""

import pathlib
import shutil

import numpy as np
import pytest

import floppity_jax as fp
from floppity_jax.errors import InvalidInput

SHARED = pathlib.Path(__file__).parents[2] / "shared" / "data" / "multinest"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no {SHARED}: sample runs")
SD, BOUND = np.array([0.5, 1.0]), 10.0
LOG_EVIDENCE = np.log(2 * np.pi * SD.prod() / (2 * BOUND) ** 2)


def log_likelihood(x):
    return -0.5 * ((x / SD) ** 2).sum(axis=-1)


def to_theta(u):
    return BOUND * (2 * u - 1)


def _assert_right(tree):
    """Means, deviations and evidence within 4.5 standard errors; a run has 5 checks."""
    draws = np.stack([x.to_numpy().ravel() for x in tree["posterior"].values()], axis=1)
    ess = tree.attrs["ess"]
    assert (np.abs(draws.mean(axis=0)) < 4.5 * SD / np.sqrt(ess)).all()
    assert (np.abs(draws.std(axis=0) / SD - 1) < 4.5 / np.sqrt(2 * ess)).all()
    off = tree.attrs["log_evidence"] - LOG_EVIDENCE
    assert abs(off) < 4.5 * tree.attrs["log_evidence_error"]
    assert 0 < tree.attrs["log_evidence_error"] < 0.5


@pytest.mark.filterwarnings("ignore")  # of the library
def test_ultranest(tmp_path):
    import ultranest

    np.random.seed(1)  # noqa: NPY002 what ultranest draws from
    sampler = ultranest.ReactiveNestedSampler(
        ["a", "b"], log_likelihood, to_theta, log_dir=str(tmp_path), resume="overwrite",
        vectorized=True,
    )  # fmt: skip
    result = sampler.run(show_status=False, viz_callback=False)
    sampler.pointstore.close()
    tree = fp.read_nested(tmp_path)
    assert list(tree["posterior"]) == ["a", "b"]
    assert tree.attrs["log_evidence"] == pytest.approx(result["logz"])
    assert tree.attrs["simulator_calls"] == result["ncall"]
    _assert_right(tree)
    shutil.rmtree(tmp_path / "chains")
    with pytest.raises(InvalidInput, match="the folder holds"):
        fp.read_nested(tmp_path)


@pytest.mark.filterwarnings("ignore")  # of the library
def test_dynesty():
    import dynesty

    sampler = dynesty.NestedSampler(
        log_likelihood, to_theta, 2, nlive=300, rstate=np.random.default_rng(1)
    )
    sampler.run_nested(print_progress=False)
    tree = fp.read_nested(sampler.results, names=["a", "b"])
    assert tree.attrs["simulator_calls"] == np.sum(sampler.results.ncall)
    _assert_right(tree)
    with pytest.raises(InvalidInput, match="must name each of the 2 parameters once"):
        fp.read_nested(sampler.results, names=["a"])
    with pytest.raises(InvalidInput, match="it lacks"):
        fp.read_nested({"samples": []})


def test_floppity(tmp_path):
    for number in (2, 10):
        rows = np.arange(6.0).reshape(3, 2) + number
        np.savetxt(tmp_path / f"posterior_samples_round_{number}.txt", rows)
    tree = fp.read_nested(tmp_path, names=["T", "log_g"])
    assert sorted(tree["posterior"]["T"].to_numpy().ravel()) == [10, 12, 14]
    assert "log_evidence" not in tree.attrs
    first = fp.read_nested(tmp_path / "posterior_samples_round_2.txt")
    assert sorted(first["posterior"]["parameter_2"].to_numpy().ravel()) == [3, 5, 7]


def _write_multinest(folder, root="", n=4000):
    """Write the tables as MultiNest does: weight, -2 ln L, parameters; and parameters, ln L."""
    rng = np.random.default_rng(1)
    theta = rng.normal(size=(n, 2)) * SD * 1.5
    log_weights = log_likelihood(theta) + 0.5 * ((theta / SD / 1.5) ** 2).sum(axis=1)
    weights = np.exp(log_weights) / np.exp(log_weights).sum()
    table = np.column_stack([weights, -2 * log_likelihood(theta), theta])
    np.savetxt(folder / f"{root}.txt", table, fmt="%27.18E")
    rows = rng.choice(n, 1500, p=weights)
    equal = np.column_stack([theta, log_likelihood(theta)])[rows]
    np.savetxt(folder / f"{root}post_equal_weights.dat", equal, fmt="%27.18E")
    stats = "Nested Sampling Global Log-Evidence           :  {:.18E}  +/-  {:.18E}\n"
    (folder / f"{root}stats.dat").write_text(stats.format(LOG_EVIDENCE, 0.1))


@pytest.mark.parametrize("root", ["", "1-", "out_"])
@pytest.mark.parametrize("without", [None, ".txt", "post_equal_weights.dat"])
def test_multinest_whole_and_partial(tmp_path, root, without):
    """A root that is empty is how ARCiS has it."""
    _write_multinest(tmp_path, root)
    if without:
        (tmp_path / f"{root}{without}").unlink()
    tree = fp.read_nested(tmp_path, names=["a", "b"])
    _assert_right(tree)
    # ln L of the samples is that of their parameters, in whichever table it was found.
    theta = np.stack([x.to_numpy().ravel() for x in tree["posterior"].values()], axis=1)
    found = tree["sample_stats"]["log_likelihood"].to_numpy().ravel()
    assert found == pytest.approx(log_likelihood(theta), abs=1e-12)


def test_multinest_that_cannot_be_read(tmp_path):
    _write_multinest(tmp_path, "a-")
    table = tmp_path / "a-.txt"
    text = table.read_text()
    table.write_text(text[: len(text) // 2])
    with pytest.raises(InvalidInput, match="rows of one length|add up to 1"):
        fp.read_nested(tmp_path)
    _write_multinest(tmp_path, "b-")
    with pytest.raises(InvalidInput, match="must hold one run; found the roots 'a-', 'b-'"):
        fp.read_nested(tmp_path)
    with pytest.raises(InvalidInput, match="there is nothing"):
        fp.read_nested(tmp_path / "c-")
    with pytest.raises(InvalidInput, match="must be one of"):
        fp.read_nested(tmp_path, kind="multinset")


@needs_shared
def test_a_whole_multinest_run():
    """Means and deviations as MultiNest's own summary has them, in stats.dat."""
    folder = SHARED / "two_parameter_run"
    tree = fp.read_nested(folder)
    assert tree.attrs["log_evidence"] == pytest.approx(440.043195945138905)
    assert tree.attrs["log_evidence_error"] == pytest.approx(0.403273479645307631)
    lines = (folder / "1-stats.dat").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:2] == ["Dim", "No."])
    for i, x in enumerate(tree["posterior"].values(), start=1):
        number, mean, sd = map(float, lines[start + i].split()[:3])
        draws = x.to_numpy()
        assert number == i
        assert abs(draws.mean() - mean) < 4 * sd / np.sqrt(draws.size)
        assert draws.std() == pytest.approx(sd, rel=4 / np.sqrt(2 * draws.size))


@needs_shared
def test_the_multinest_run_of_petitradtrans():
    folder = SHARED / "petitradtrans_wasp39b"
    tree = fp.read_nested(folder)
    assert len(tree["posterior"]) == 18
    assert "H2O" in " ".join(map(str, tree["posterior"]))
    assert tree.attrs["log_evidence"] == pytest.approx(1932.29312779123711)
    table = np.loadtxt(next(folder.glob("*post_equal_weights.dat")))
    assert tree.attrs["ess"] == pytest.approx(len(table))
    found = [x.to_numpy().mean() for x in tree["posterior"].values()]
    assert found == pytest.approx(table[:, :-1].mean(axis=0), rel=1e-6)
