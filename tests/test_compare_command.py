"""`floppity-jax compare` on run directories and nested-sampling runs made for the purpose."""

import json

import numpy as np
import pytest
import xarray

from floppity_jax import cli
from floppity_jax.nested.tree import NestedRun, nested_tree
from floppity_jax.store import RunDirectory

N = 6000


def draws(seed, shift=0.0):
    """Of temperature, whose prior is linear, and of an abundance, whose prior is logarithmic."""
    x = np.random.default_rng(seed).normal(size=(N, 2))
    return np.stack([1000 + 50 * (x[:, 0] + shift), 10 ** (-3 + 0.2 * x[:, 1])], axis=1)


@pytest.fixture
def run_directory(tmp_path):
    """What a finished retrieval leaves, as far as it is read here."""
    path = tmp_path / "run"
    RunDirectory(path, {}, resume=False)
    run = NestedRun(
        "floppity_jax", ("T", "X_H2O"), draws(0), log_evidence=-10.0, log_evidence_error=0.1,
        calls=9000, attributes={"T": {"unit": "K"}, "X_H2O": {"scale": "log"}},
    )  # fmt: skip
    nested_tree(run).to_netcdf(path / "posterior.nc")
    return path


def multinest(folder, theta, names, evidence=-10.05):
    """Write a MultiNest run of equal weights; return its root."""
    folder.mkdir()
    table = np.column_stack([theta, np.zeros(len(theta))])
    np.savetxt(folder / "1-post_equal_weights.dat", table)
    (folder / "1-stats.dat").write_text(
        f"Nested Sampling Global Log-Evidence           :   {evidence:.6E}  +/-  1.000000E-01\n"
    )
    (folder / "1-params.json").write_text(json.dumps(names))
    return str(folder / "1-")


def test_posteriors_are_laid_side_by_side(run_directory, tmp_path, capsys):
    theirs = multinest(tmp_path / "theirs", draws(1), ["T", "X_H2O"])
    wrong = multinest(tmp_path / "wrong", draws(2, shift=0.5), ["T", "X_H2O"])
    assert cli.main(["compare", str(run_directory), theirs, wrong]) == 0
    shown = capsys.readouterr().out
    assert "multinest 1 and floppity_jax agree." in shown
    assert "multinest 2 and floppity_jax differ: T by" in shown
    assert "ln Z differs by -0.35 combined sigma" in shown
    assert shown.rstrip().endswith(f"Kept in {run_directory}: comparison.nc, comparison.png")
    assert (run_directory / "comparison.png").read_bytes().startswith(b"\x89PNG")
    with xarray.open_datatree(run_directory / "comparison.nc") as tree:
        assert tree.attrs["reference"] == "floppity_jax"
        assert tree["joint"]["verdict"].to_numpy()[0] == "agree"
        shift = tree["marginals"]["shift"].sel(parameter="T").to_numpy()
    assert shift == pytest.approx([0, 0.5], abs=4 * 1.2533 * np.sqrt(2 / N))


def test_names_and_logarithms_of_others_are_translated(run_directory, tmp_path, capsys):
    theta = draws(1)
    theta[:, 1] = np.log10(theta[:, 1])
    theirs = multinest(tmp_path / "theirs", theta, ["temperature", "log_X_H2O"])
    output = tmp_path / "new" / "folder"
    arguments = ["compare", str(run_directory), theirs, "--output", str(output)]
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert "must have a name in common" in error
    assert "--rename theirs=ours" in error
    assert not output.exists()

    arguments += ["--rename", "temperature=T", "--rename", "log_X_H2O=X_H2O"]
    assert cli.main(arguments) == 2
    assert "--log10 X_H2O" in capsys.readouterr().err
    assert cli.main([*arguments, "--log10", "X_H2O"]) == 0
    assert "multinest and floppity_jax agree." in capsys.readouterr().out
    assert {path.name for path in output.iterdir()} == {"comparison.nc", "comparison.png"}


def test_a_run_directory_or_a_datatree_may_be_the_other(run_directory, tmp_path, capsys):
    file = tmp_path / "copy.nc"
    file.write_bytes((run_directory / "posterior.nc").read_bytes())
    output = str(tmp_path / "out")
    for other in (run_directory, file):
        assert cli.main(["compare", str(run_directory), str(other), "--output", output]) == 0
        assert "floppity_jax 2 and floppity_jax 1 agree." in capsys.readouterr().out


def test_what_cannot_be_compared_is_named(run_directory, tmp_path, capsys):
    good = multinest(tmp_path / "theirs", draws(1)[:100], ["T", "X_H2O"])
    (tmp_path / "text.nc").write_text("not netCDF")
    xarray.Dataset({"a": 1}).to_netcdf(tmp_path / "other.nc")
    RunDirectory(tmp_path / "unfinished", {}, resume=False)
    run = str(run_directory)
    for arguments, message in (
        ([str(tmp_path / "theirs"), good], "holds no run"),
        ([str(tmp_path / "unfinished"), good], "has not ended"),
        ([run, str(tmp_path / "nowhere")], "no file or folder there"),
        ([run, str(tmp_path / "nowhere.nc")], "nowhere.nc': path must be a file"),
        ([run, str(tmp_path / "text.nc")], "must be a DataTree in netCDF"),
        ([run, str(tmp_path / "other.nc")], "must have the group posterior"),
        ([run, good, "--rename", "t=T"], "rename = ['t']: rename must be parameters"),
        ([run, good, "--rename", "X_H2O=T"], "must leave 'T' to one parameter"),
        ([run, good, "--log10", "CO2"], "log10 = ['CO2']: log10 must be parameters"),
        ([run, *[good] * 5], "datatrees = 6: datatrees must be 1 to 5 posteriors"),
    ):
        assert cli.main(["compare", *arguments]) == 2
        shown = capsys.readouterr()
        assert message in shown.err
        assert shown.out == ""
    assert not (run_directory / "comparison.nc").exists()
    with pytest.raises(SystemExit):
        cli.main(["compare", run, good, "--rename", "T"])
    assert "'T' must be of the form THEIRS=OURS" in capsys.readouterr().err
