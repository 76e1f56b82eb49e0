"""Results of other programs, read into DataTrees."""

import json
import pathlib
import re
import shutil
import warnings

import numpy as np
import pytest

import floppity_jax as fp
from floppity_jax.errors import InvalidInput

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
    # off by sd / sqrt(n), the sd by the share sqrt((kurtosis - 1) / 4n); 5 of these, for there are
    # 18 parameters.
    draws, mean, sd = _moments(run)
    kurtosis = np.mean(((draws - mean) / sd) ** 4, axis=0)
    said_mean, said_sd = _stats_table(next(PRT_RUN.glob("*_stats.dat")))
    np.testing.assert_array_less(abs(mean - said_mean), 5 * said_sd / np.sqrt(4082))
    np.testing.assert_array_less(
        abs(np.log(sd / said_sd)), 5 * np.sqrt((kurtosis - 1) / (4 * 4082))
    )


@shared
@pytest.mark.parametrize("end", ["1-", "1-.txt", "1-post_equal_weights.dat"])
def test_a_root_and_its_tables_stand_for_the_run(end):
    run = fp.read_nested(f"{TAUREX_RUN}/{end}", n=10)
    assert run.attrs["simulator_calls"] == 901
    assert list(run["posterior"].data_vars) == ["parameter_1", "parameter_2"]


def _ultranest(folder):
    from ultranest import ReactiveNestedSampler

    np.random.seed(1)  # noqa: NPY002 (UltraNest draws from it)
    sampler = ReactiveNestedSampler(
        ["a", "b"], log_likelihood, lambda u: u, log_dir=str(folder), resume="subfolder"
    )
    results = sampler.run(
        min_num_live_points=200, min_ess=400, dlogz=0.5, show_status=False, viz_callback=None
    )
    for handler in sampler.logger.handlers[:]:  # it leaves its debug.log open
        handler.close()
        sampler.logger.removeHandler(handler)
    posterior = results["posterior"]
    reported = results["logz"], results["logzerr"], results["ncall"]
    return folder, reported, (posterior["mean"], posterior["stdev"])


def _dynesty(folder):
    from dynesty import NestedSampler, utils

    sampler = NestedSampler(
        log_likelihood, lambda u: u, 2, nlive=200, rstate=np.random.default_rng(2)
    )
    sampler.run_nested(print_progress=False)
    results = sampler.results
    mean, covariance = utils.mean_and_cov(results["samples"], results.importance_weights())
    reported = results["logz"][-1], results["logzerr"][-1], int(np.sum(results["ncall"]))
    return results, reported, (mean, np.sqrt(np.diag(covariance)))


def _nautilus(folder):
    import nautilus

    prior = nautilus.Prior()
    prior.add_parameter("a", dist=(0.0, 1.0))
    prior.add_parameter("fixed", dist=3.0)
    prior.add_parameter("b", dist=(0.0, 1.0))
    sampler = nautilus.Sampler(
        prior,
        lambda p: log_likelihood([p["a"], p["b"]]),
        n_live=300,
        n_networks=1,
        seed=3,
        filepath=folder / "checkpoint.h5",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, of networks that trained briefly
        sampler.run(n_eff=1000, verbose=False)
    points, log_w, _ = sampler.posterior()
    mean = np.average(points, weights=np.exp(log_w), axis=0)
    sd = np.sqrt(np.average((points - mean) ** 2, weights=np.exp(log_w), axis=0))
    return sampler, (sampler.log_z, sampler.n_eff**-0.5, sampler.n_like), (mean, sd)


@pytest.mark.parametrize("run", [_ultranest, _dynesty, _nautilus], ids=lambda run: run.__name__[1:])
def test_a_gaussian_sampled_by_others_has_its_moments_and_evidence(run, tmp_path):
    result, (log_z, error, calls), (mean, sd) = run(tmp_path)
    tree = fp.read_nested(result, names=["a", "b"] if run is _dynesty else None)
    assert list(tree["posterior"].data_vars) == ["a", "b"]
    assert tree.attrs["inference_library"] == run.__name__[1:]
    assert tree.attrs["simulator_calls"] == calls
    assert tree.attrs["log_evidence"] == pytest.approx(log_z, rel=1e-9)
    assert tree.attrs["log_evidence_error"] == pytest.approx(error, rel=1e-9)
    assert abs(tree.attrs["log_evidence"] - LOG_Z) < 4 * error
    # The weighted sample is worth ess draws, and resampling as many of them at most doubles the
    # variance: a mean is off by sd sqrt(2 / ess), an sd by the share sqrt(1 / ess); 4 of each.
    draws, drawn_mean, drawn_sd = _moments(tree)
    ess = tree.attrs["ess"]
    assert ess > 300
    np.testing.assert_array_less(abs(drawn_mean - CENTRE), 4 * WIDTH * np.sqrt(2 / ess))
    np.testing.assert_allclose(drawn_sd, WIDTH, rtol=4 * np.sqrt(1 / ess))
    # The library's own moments are of the same sample: only the resampling stands between.
    many, many_mean, many_sd = _moments(
        fp.read_nested(result, names=["a", "b"] if run is _dynesty else None, n=40_000)
    )
    np.testing.assert_array_less(abs(many_mean - mean), 4 * WIDTH / np.sqrt(40_000))
    np.testing.assert_allclose(many_sd, sd, rtol=4 / np.sqrt(80_000))
    values = tree["sample_stats"]["log_likelihood"].values[0]
    np.testing.assert_allclose(values, [log_likelihood(row) for row in draws], atol=1e-6)
    if run is _nautilus:
        with pytest.raises(InvalidInput, match="unit cube.*nautilus.Sampler"):
            fp.read_nested(tmp_path / "checkpoint.h5")
        again = type(result)(  # as the error says; a call of this likelihood would fail
            result.prior, lambda p: 1 / 0, n_live=300, filepath=tmp_path / "checkpoint.h5"
        )
        loaded = fp.read_nested(again)
        np.testing.assert_allclose(loaded["posterior"]["b"], tree["posterior"]["b"])
        assert loaded.attrs == tree.attrs
    if run is _ultranest:
        next(tmp_path.glob("**/results.json")).unlink()
        with pytest.raises(InvalidInput, match="finished run.*Let the run end"):
            fp.read_nested(tmp_path)


def test_samplers_that_have_not_finished_are_refused():
    import nautilus
    from dynesty import NestedSampler

    sampler = NestedSampler(
        log_likelihood, lambda u: u, 2, nlive=50, rstate=np.random.default_rng(2)
    )
    with pytest.warns(UserWarning, match="stopped short"):
        sampler.run_nested(print_progress=False, maxiter=20, add_live=False)
    with pytest.raises(InvalidInput, match=r"(\d+) samples of \1 iterations.*50 live"):
        fp.read_nested(sampler.results)
    prior = nautilus.Prior()
    prior.add_parameter("a")
    prior.add_parameter("b")
    with pytest.raises(InvalidInput, match="still explored after 0 calls"):
        fp.read_nested(nautilus.Sampler(prior, lambda p: 0.0, n_live=100))


def test_floppity_samples_of_the_last_round(tmp_path):
    rng = np.random.default_rng(0)
    rounds = {number: rng.normal(number, 1, (50, 2)) for number in (1, 2, 10)}
    for number, theta in rounds.items():
        np.savetxt(tmp_path / f"posterior_samples_round_{number}.txt", theta, header="T log_g")
    tree = fp.read_nested(tmp_path)
    assert list(tree["posterior"].data_vars) == ["T", "log_g"]
    np.testing.assert_allclose(np.sort(tree["posterior"]["T"][0]), np.sort(rounds[10][:, 0]))
    assert "log_evidence" not in tree.attrs
    one = fp.read_nested(tmp_path / "posterior_samples_round_2.txt")
    np.testing.assert_allclose(np.sort(one["posterior"]["log_g"][0]), np.sort(rounds[2][:, 1]))


def _bilby_result(**changes):
    """A result as bilby 2 writes it, but for what nobody reads here."""
    table = {"b": [0.1, 0.2, 0.3], "a": [10.0, 20.0, 30.0], "log_likelihood": [-1.0, -2.0, -3.0],
             "log_prior": [0.0, 0.0, 0.0]}  # fmt: skip
    law = {"__prior__": True, "__module__": "bilby.core.prior.analytical"}
    return {
        "label": "run", "sampler": "dynesty", "log_evidence": -7.5, "log_evidence_err": 0.125,
        "posterior": {"__dataframe__": True, "content": table},
        "priors": {
            "a": law | {"__name__": "LogUniform", "kwargs": {"minimum": 1, "unit": "K"}},
            "b": law | {"__name__": "Uniform", "kwargs": {"minimum": 0, "unit": None}},
        },
        "search_parameter_keys": ["a", "b"], "parameter_labels": ["$A$", "$B$"],
        "num_likelihood_evaluations": 1234, "version": "bilby=2.3.0",
        "sampling_time": {"__timedelta__": True, "__total_seconds__": 2.5},
    } | changes  # fmt: skip


def test_a_bilby_result_with_its_labels_units_and_scales(tmp_path):
    path = tmp_path / "run_result.json"
    path.write_text(json.dumps(_bilby_result()))
    tree = fp.read_nested(path)
    assert list(tree["posterior"].data_vars) == ["a", "b"]
    order = np.argsort(tree["posterior"]["a"].values[0])
    np.testing.assert_allclose(tree["posterior"]["b"].values[0][order], [0.1, 0.2, 0.3])
    np.testing.assert_allclose(
        tree["sample_stats"]["log_likelihood"].values[0][order], [-1, -2, -3]
    )
    assert tree["posterior"]["a"].attrs == {"label": "$A$", "unit": "K", "scale": "log"}
    assert tree["posterior"]["b"].attrs == {"label": "$B$", "unit": "", "scale": "linear"}
    wanted = {"inference_library": "bilby (dynesty)", "inference_library_version": "2.3.0",
              "log_evidence": -7.5, "log_evidence_error": 0.125, "simulator_calls": 1234,
              "seconds": 2.5}  # fmt: skip
    assert {key: tree.attrs[key] for key in wanted} == wanted
    path.write_text(json.dumps(_bilby_result(log_evidence=float("nan"), log_evidence_err=None)))
    assert "log_evidence" not in fp.read_nested(path).attrs
    path.write_text(json.dumps(_bilby_result(posterior=None)))
    with pytest.raises(InvalidInput, match="posterior of a, b.*not finished"):
        fp.read_nested(path)
    path.write_text(json.dumps(_bilby_result())[:300])
    with pytest.raises(InvalidInput, match="whole JSON"):
        fp.read_nested(path)


def _taurex_solution(path, statistics, solutions=1):
    """A file as TauREx 3 writes it, but for spectra and profiles."""
    import h5py

    rng = np.random.default_rng(5)
    theta, weights = rng.normal([1.0, -4.0], [0.1, 0.5], (400, 2)), rng.uniform(size=400)
    with h5py.File(path, "w") as file:
        file.attrs["program_name"], file.attrs["program_version"] = "TauREx", "3.3.2"
        for i in range(solutions):
            group = file.create_group(f"Output/Solutions/solution{i}")
            group["tracedata"], group["weights"] = theta, weights / weights.sum()
            for key, value in statistics.items():
                group[f"Statistics/{key}"] = value
        file["Optimizer/optimizer"] = "MultiNestOptimizer"
        for what, texts in {"names": ["planet_radius", "log_H2O"],
                            "latex": ["$R_p$", "log(H2O)"]}.items():  # fmt: skip
            ascii_texts = [text.encode("ascii") for text in texts]
            file["Optimizer"].create_dataset(
                f"fit_parameter_{what}", (len(texts), 1), "S64", ascii_texts
            )
    return theta, weights / weights.sum()


@pytest.mark.parametrize(
    "keys", [("local log-evidence", "local log-evidence error"),
             ("Log-Evidence", "Log-Evidence-Error")], ids=["multinest", "nestle"]
)  # fmt: skip
def test_a_taurex_solution(keys, tmp_path):
    path = tmp_path / "retrieval.h5"
    theta, weights = _taurex_solution(path, dict(zip(keys, (440.0, 0.4), strict=True)))
    tree = fp.read_nested(path, n=20_000)
    assert list(tree["posterior"].data_vars) == ["planet_radius", "log_H2O"]
    assert tree["posterior"]["planet_radius"].attrs["label"] == "$R_p$"
    assert tree.attrs["log_evidence"] == 440
    assert tree.attrs["log_evidence_error"] == 0.4
    assert tree.attrs["inference_library_version"] == "3.3.2"
    assert tree.attrs["ess"] == pytest.approx(1 / np.sum(weights**2))
    # 20,000 draws of the table: 4 of their standard errors
    _, mean, sd = _moments(tree)
    np.testing.assert_array_less(abs(mean - weights @ theta), 4 * theta.std(0) / np.sqrt(20_000))
    _taurex_solution(path, {}, solutions=2)
    with pytest.raises(InvalidInput, match="one solution; found solution0, solution1"):
        fp.read_nested(path)


def _fortran(x):
    """A number in the format E28.18: no digit before the point, no E before three digits."""
    digits, exponent = f"{abs(x):.17E}".replace(".", "").split("E")
    power = int(exponent) + 1 if x else 0
    end = f"E{power:+03d}" if abs(power) < 100 else f"{power:+04d}"
    return f"{'-' if x < 0 else ''}0.{digits}{end}".rjust(28)


def _table(rows):
    return "".join("".join(map(_fortran, row)) + "\n" for row in rows)


def _multinest(folder, root="", finished=True):
    """The files of a MultiNest run of 200 samples of three parameters."""
    rng = np.random.default_rng(7)
    theta = rng.normal([1, 2, 3], [0.1, 0.2, 0.3], (200, 3))
    log_l, weights = 50 - rng.exponential(2, 200), rng.dirichlet(np.ones(200))
    weights[:2] = 0
    weights /= weights.sum()
    weights[0] = 2.5e-121
    weighted = _table(np.column_stack([weights, -2 * log_l, theta]))
    assert re.match(r" {4}0\.\d{18}-120 ", weighted)
    (folder / f"{root}.txt").write_text(weighted)
    (folder / f"{root}post_equal_weights.dat").write_text(
        _table(np.column_stack([theta, log_l])[:50])
    )
    stats = "Nested Sampling Global Log-Evidence           :    0.40E+02  +/-    0.25E+00\n"
    stats += "Nested Importance Sampling Global Log-Evidence:    0.38E+02  +/-    0.50E-01\n"
    (folder / f"{root}stats.dat").write_text(stats)
    done = "T" if finished else "F"
    (folder / f"{root}resume.dat").write_text(
        f" F\n         150        5000           1          50\n    0.39E+02    0.41E+02\n T\n"
        f"   0\n {done} F     0          50\n    0.1E-03    0.39E+02    0.41E+02\n"
    )
    return theta, log_l, weights


def test_arcis_keeps_its_multinest_files_without_a_root(tmp_path):
    theta, log_l, weights = _multinest(tmp_path)
    assert (tmp_path / ".txt").exists()
    for path in (tmp_path, f"{tmp_path}/"):
        tree = fp.read_nested(path, names=["T", "C/O", "Rp"], n=20_000)
        assert list(tree["posterior"].data_vars) == ["T", "C_O", "Rp"]
        assert tree["posterior"]["C_O"].attrs["label"] == "C/O"
        assert tree.attrs["log_evidence"] == 40
        assert tree.attrs["log_evidence_error"] == 0.25
        assert tree.attrs["simulator_calls"] == 5000
        _, mean, _ = _moments(tree)  # 4 standard errors of 20,000 draws
        np.testing.assert_array_less(
            abs(mean - weights @ theta), 4 * theta.std(0) / np.sqrt(20_000)
        )
        drawn = tree["sample_stats"]["log_likelihood"].values
        assert drawn.max() == pytest.approx(log_l[1:].max(), rel=1e-12)


def test_each_table_of_multinest_alone(tmp_path):
    theta, log_l, _ = _multinest(tmp_path, "1-")
    for end in ("stats.dat", "resume.dat", "post_equal_weights.dat"):
        (tmp_path / f"1-{end}").unlink()
    alone = fp.read_nested(tmp_path)
    assert not {"log_evidence", "simulator_calls"} & set(alone.attrs)
    assert alone.attrs["ess"] < 200
    (tmp_path / "1-.txt").unlink()
    _multinest(tmp_path, "1-")
    for end in (".txt", "stats.dat", "resume.dat"):
        (tmp_path / f"1-{end}").unlink()
    equal = fp.read_nested(tmp_path)
    assert equal["posterior"].sizes["draw"] == 50
    np.testing.assert_allclose(np.sort(equal["sample_stats"]["log_likelihood"][0]),
                               np.sort(log_l[:50]))  # fmt: skip


def test_names_are_one_a_parameter_and_in_the_order_of_the_run(tmp_path):
    _multinest(tmp_path, "1-")
    with pytest.raises(InvalidInput, match="each of the 3 parameters once; found 2 names"):
        fp.read_nested(tmp_path, names=["T", "g"])
    with pytest.raises(InvalidInput, match="once"):
        fp.read_nested(tmp_path, names=["T", "g", "T"])
    (tmp_path / "1-params.json").write_text('["T", "g", "R"]')
    assert list(fp.read_nested(tmp_path)["posterior"].data_vars) == ["T", "g", "R"]
    given = fp.read_nested(tmp_path, names=["temperature", "log_g", "radius"])
    assert list(given["posterior"].data_vars) == ["temperature", "log_g", "radius"]
    with pytest.raises(InvalidInput, match="order of the run's own names: T, g, R"):
        fp.read_nested(tmp_path, names=["g", "T", "R"])
    (tmp_path / "1-params.json").write_text('["T", "g"]')
    with pytest.raises(InvalidInput, match="1-params.json.*each of the 3 parameters"):
        fp.read_nested(tmp_path)


def test_several_runs_in_a_folder_are_listed(tmp_path):
    _multinest(tmp_path, "clear_")
    _multinest(tmp_path, "cloudy_")
    with pytest.raises(InvalidInput, match="found the roots 'clear_', 'cloudy_'"):
        fp.read_nested(tmp_path)
    assert fp.read_nested(tmp_path / "cloudy_").attrs["log_evidence"] == 40


def test_a_multinest_run_that_has_not_finished(tmp_path):
    _multinest(tmp_path, "1-", finished=False)
    with pytest.raises(InvalidInput, match="finished run.*1 of 1 modes after 5,000 calls"):
        fp.read_nested(tmp_path)


@pytest.mark.parametrize(
    ("end", "keep", "said"),
    [
        (".txt", 0, "must have rows of numbers"),
        (".txt", 0.5, "add up to 1"),
        (".txt", 0.4990, "rows of one length"),
        ("stats.dat", 0, "global log-evidence"),
        ("resume.dat", 0.3, "counts and modes"),
        ("params.json", 0, "whole JSON"),
    ],
)
def test_files_that_are_empty_or_cut_short(end, keep, said, tmp_path):
    _multinest(tmp_path, "1-")
    (tmp_path / "1-params.json").write_text('["T", "g", "R"]')
    path = tmp_path / f"1-{end}"
    text = path.read_text()
    path.write_text(text[: int(keep * len(text))])
    with pytest.raises(InvalidInput, match=said):
        fp.read_nested(tmp_path)


def test_what_is_no_known_result_says_what_was_found_and_what_is_needed(tmp_path):
    with pytest.raises(InvalidInput, match="found an empty folder.*multinest: .*ultranest: "):
        fp.read_nested(tmp_path)
    (tmp_path / "notes.txt").write_text("1 2 3\n")
    with pytest.raises(InvalidInput, match="found notes.txt"):
        fp.read_nested(tmp_path)
    with pytest.raises(InvalidInput, match="no file or folder there"):
        fp.read_nested(tmp_path / "absent")
    with pytest.raises(InvalidInput, match="an object of the type builtins.dict.*sampler.results"):
        fp.read_nested({})
    with pytest.raises(InvalidInput, match="kind must be one of multinest, ultranest"):
        fp.read_nested(tmp_path, kind="polychord")
    with pytest.raises(InvalidInput, match="must be results of dynesty; found notes.txt"):
        fp.read_nested(tmp_path, kind="dynesty")
    _multinest(tmp_path, "1-")
    np.savetxt(tmp_path / "posterior_samples_round_1.txt", np.eye(3), header="a b c")
    with pytest.raises(InvalidInput, match="found multinest and floppity"):
        fp.read_nested(tmp_path)
    assert fp.read_nested(tmp_path, kind="floppity")["posterior"].sizes["draw"] == 3
