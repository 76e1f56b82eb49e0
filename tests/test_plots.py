import subprocess
import sys

import numpy as np
import pytest
import xarray

from floppity_jax import plots
from floppity_jax.diagnostics import ResidualWindow
from floppity_jax.errors import InvalidInput

CHANNELS = 12


def posterior_tree(**draws):
    """Return a DataTree whose parameters are the given arrays (n,) or (array, attributes)."""
    variables = {}
    for name, given in draws.items():
        values, attrs = given if isinstance(given, tuple) else (given, {})
        variables[name] = (("chain", "draw"), np.asarray(values)[None], attrs)
    return xarray.DataTree.from_dict({"posterior": xarray.Dataset(variables)})


@pytest.fixture
def spectrum_tree():
    """Flat model spectra with evenly spaced levels 0.98 .. 1.02, so that quantiles are exact."""
    tree = posterior_tree(a=np.linspace(0, 1, 401))
    dim = "channel_prism"
    models = np.linspace(0.98, 1.02, 401)[None, :, None] * np.ones(CHANNELS)
    tree["model_spectra"] = xarray.Dataset({"prism": (("chain", "draw", dim), models)})
    data = 1 + 0.01 * np.arange(CHANNELS)
    tree["observed_data"] = xarray.Dataset({"prism": (dim, data, {"unit": "mJy"})})
    tree["constant_data"] = xarray.Dataset(
        {
            "wavelength_prism": (dim, np.linspace(1, 5, CHANNELS)),
            "error_prism": (dim, np.full(CHANNELS, 0.02)),
            "bin_width_prism": (dim, np.full(CHANNELS, 0.3)),
        }
    )
    return tree


def contour_paths(ax):
    """Paths of the two contour lines, the outer one first."""
    (lines,) = [
        c for c in ax.collections if getattr(c, "levels", None) is not None and not c.filled
    ]
    return lines.get_paths()


@pytest.mark.parametrize("correlation", [0.0, 0.9, -0.99])
def test_contours_hold_the_mass_they_name(correlation):
    n = 4000
    normal = np.random.default_rng(1).standard_normal((2, n))
    x = 5 + 1e-3 * normal[0]
    y = 1e3 * (correlation * normal[0] + np.sqrt(1 - correlation**2) * normal[1])
    ax = plots.corner(posterior_tree(x=x, y=y))[1, 0]
    for path, mass in zip(contour_paths(ax), (0.9545, 0.6827), strict=True):
        inside = path.contains_points(np.stack((x, y), axis=1)).mean()
        # Smoothing by Scott's width h widens the variance to 1 + h^2, and with it the region of
        # a normal law: the mass inside is 1 - (1 - mass)^(1 + h^2). Four binomial deviations.
        expected = 1 - (1 - mass) ** (1 + n ** (-1 / 3))
        assert inside == pytest.approx(expected, abs=4 * np.sqrt(mass * (1 - mass) / n))


def test_corner_titles_give_median_and_interval():
    # 0, 1, .. 1000: median 500, 68.27% interval from 158.7 to 841.3.
    axes = plots.corner(posterior_tree(T=(np.arange(1001.0), {"unit": "K", "label": "$T$"})))
    ((ax,),) = axes
    assert ax.get_title() == "$T$ [K]\n$500^{+341}_{-341}$"
    assert ax.get_xlabel() == "$T$ [K]"
    marks = [line.get_xdata()[0] for line in ax.lines]
    assert marks == pytest.approx([158.655, 500.0, 841.345], abs=1e-3)


def test_corner_shows_logarithmic_parameters_in_log10():
    draws = 10 ** np.linspace(-6, -2, 1001)
    axes = plots.corner(posterior_tree(X_H2O=(draws, {"scale": "log"})))
    ((ax,),) = axes
    assert ax.get_title().startswith("$\\log_{10}$ X_H2O\n$-4.0^{")
    assert ax.get_xlim() == pytest.approx((-6.4, -1.6), abs=0.01)


def test_corner_leaves_out_fixed_parameters():
    axes = plots.corner(posterior_tree(a=np.arange(100.0), fixed=np.full(100, 3.0)))
    assert axes.shape == (1, 1)
    with pytest.raises(InvalidInput, match=r"'fixed'.*must hold a parameter that varies"):
        plots.corner(posterior_tree(fixed=np.full(100, 3.0)))


@pytest.mark.parametrize("n", [2, 3, 30])
def test_corner_stands_a_handful_of_draws(n):
    draws = np.random.default_rng(0).standard_normal((3, n))
    axes = plots.corner(posterior_tree(a=draws[0], b=draws[1], c=draws[1]))
    axes[0, 0].figure.canvas.draw()
    assert axes.shape == (3, 3)


def test_spectrum_bands_hold_the_central_quantiles(spectrum_tree):
    top, bottom = plots.spectrum(spectrum_tree)[:, 0]
    bands = [c for c in top.collections if "%" in c.get_label()]
    for band, mass in zip(bands, (0.9973002, 0.9544997, 0.6826895), strict=True):
        levels = np.unique(np.round(band.get_paths()[0].vertices[:, 1], 7))
        assert levels == pytest.approx([1 - 0.02 * mass, 1 + 0.02 * mass], abs=1e-7)
    residuals = bottom.containers[0].lines[0].get_ydata()
    assert residuals == pytest.approx(np.arange(CHANNELS) / 2, abs=1e-9)
    assert top.get_ylabel() == "observed [mJy]"
    assert bottom.get_xlabel() == "wavelength [µm]"


def test_spectrum_without_wavelengths_counts_channels(spectrum_tree):
    constants = spectrum_tree["constant_data"].to_dataset()
    spectrum_tree["constant_data"] = constants[["error_prism"]]
    top, bottom = plots.spectrum(spectrum_tree)[:, 0]
    assert bottom.get_xlabel() == "channel"
    assert top.containers[0].lines[0].get_xdata().tolist() == list(range(CHANNELS))


def test_spectrum_draws_a_column_for_each_dataset(spectrum_tree):
    for group in ("model_spectra", "observed_data", "constant_data"):
        dataset = spectrum_tree[group].to_dataset()
        twin = dataset.rename({str(k): f"{k}".replace("prism", "miri") for k in dataset.variables})
        twin = twin.rename({"channel_prism": "channel_miri"})
        spectrum_tree[group] = dataset.merge(twin)
    axes = plots.spectrum(spectrum_tree)
    assert [ax.get_title(loc="left") for ax in axes.flat] == ["prism", "miri", "", ""]


def test_spectrum_shades_the_window_it_is_given(spectrum_tree):
    window = ResidualWindow("prism", 3, 5, 2.0, 3.0, "um", -1.0, 0.001)
    for ax in plots.spectrum(spectrum_tree, window=window).flat:
        (shade,) = ax.patches
        assert (shade.get_x(), shade.get_x() + shade.get_width()) == (2.0, 3.0)
    other = plots.spectrum(spectrum_tree, window=window._replace(dataset="miri"))
    assert not any(list(ax.patches) for ax in other.flat)


def test_spectrum_needs_model_spectra():
    with pytest.raises(InvalidInput, match="must have the group model_spectra"):
        plots.spectrum(posterior_tree(a=np.arange(10.0)))


def test_matplotlib_is_imported_only_to_draw():
    code = "import floppity_jax.report, sys; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
