"""Observations: what is refused, and the readers."""

import importlib.resources

import numpy as np
import pytest

from floppity_jax.errors import InvalidInput, NoLikelihoodError
from floppity_jax.measurement import Measurement
from floppity_jax.observation import Observation
from floppity_jax.priors import ParameterSpace
from floppity_jax.spectra.read import read_observation

ONES = np.ones(4)
WAVELENGTH = np.array([1.0, 2.0, 4.0, 5.0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"values": [1, np.nan, 3, np.inf]}, r"values\[1\] = nan.*finite.*2 of 4 channels"),
        ({"values": np.ones((2, 2))}, r"values shape = \(2, 2\).*\(channels,\)"),
        ({"values": []}, r"values shape = \(0,\)"),
        ({"values": 1.0}, r"values shape = \(\)"),
        ({"values": ONES, "errors": [1, 1, 0, 1]}, r"errors\[2\] = 0\.0.*above 0"),
        ({"values": ONES, "errors": [1, -1, -1, 1]}, r"errors\[1\] = -1\.0.*2 of 4"),
        ({"values": ONES, "errors": [1, np.nan, 1, 1]}, r"errors\[1\] = nan.*finite"),
        ({"values": ONES, "errors": np.ones(3)}, r"errors shape = \(3,\).*\(4,\)"),
        ({"values": ONES, "wavelength": [1, 2, 2, 3]}, r"wavelength\[2\] = 2\.0.*increase"),
        ({"values": ONES, "wavelength": WAVELENGTH[::-1]}, r"wavelength\[1\] = 4\.0.*increase"),
        ({"values": ONES, "wavelength": np.ones(5)}, r"wavelength shape = \(5,\)"),
        ({"values": ONES, "bin_width": [1, 0, 1, 1]}, r"bin_width\[1\] = 0\.0.*above 0"),
    ],
)
def test_refusals_name_the_channel(given, message):
    with pytest.raises(InvalidInput, match=f"(?s){message}"):
        Observation(**given)


def test_arrays_are_copies_that_cannot_be_written_to():
    values = np.ones(4)
    observation = Observation(values, values)
    values[0] = 7
    assert observation.values[0] == 1
    assert observation.n_channels == 4
    with pytest.raises(ValueError, match="read-only"):
        observation.errors[0] = 2


def test_likelihood_is_that_of_independent_gaussians():
    from scipy import stats

    observation = Observation([1.0, 2.0, 3.0], [0.1, 0.2, 0.5])
    spectra = np.array([[1.1, 1.7, 3.0], [0.0, 2.0, 4.0]])
    expected = stats.norm(observation.values, observation.errors).logpdf(spectra)
    space, theta = ParameterSpace({"a": (0.0, 1.0)}), np.full((2, 1), 0.5)
    found = Measurement(observation, space).log_likelihood(spectra, theta)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    with pytest.raises(NoLikelihoodError, match="'spectrum' has errors=None"):
        Measurement(Observation([1.0, 2.0, 3.0]), space).log_likelihood(spectra, theta)


@pytest.fixture
def write(tmp_path):
    def write(text, **options):
        path = tmp_path / "spectrum.txt"
        path.write_text(text, encoding="utf-8")
        return read_observation(path, **options)

    return write


def test_three_columns(write):
    o = write("1.0 10 0.1\n2.0 20 0.2\n4.0 40 0.4\n", name="prism", unit="ppm")
    assert o.wavelength.tolist() == [1, 2, 4]
    assert o.values.tolist() == [10, 20, 40]
    assert o.errors.tolist() == [0.1, 0.2, 0.4]
    # Edges half way between centres, 1.5 and 3, and as far beyond the outer centres.
    assert o.bin_width.tolist() == [1.0, 1.5, 2.0]
    assert (o.name, o.unit) == ("prism", "ppm")


def test_four_columns(write):
    o = write("1.0 0.5 10 0.1\n2.0 0.6 20 0.2\n")
    assert o.bin_width.tolist() == [0.5, 0.6]
    assert o.values.tolist() == [10, 20]


@pytest.mark.parametrize(
    "text",
    [
        "1,10,0.1\n2,20,0.2\n",
        "wavelength, depth, error\n1, 10, 0.1\n2, 20, 0.2\n",
        "# a comment\n\nwavelength depth error\n1 10 0.1\n  # another\n2 20 0.2\n",
        "\ufeff1\t10\t0.1\r\n2\t20\t0.2\r\n",
    ],
    ids=["csv", "csv with titles", "comments and titles", "byte-order mark, tabs, CRLF"],
)
def test_dialects(write, text):
    o = write(text)
    np.testing.assert_array_equal(
        [o.wavelength, o.values, o.errors], [[1, 2], [10, 20], [0.1, 0.2]]
    )


def test_decreasing_wavelength_is_turned_round(write):
    o = write("4 40 0.4\n2 20 0.2\n1 10 0.1\n")
    assert o.wavelength.tolist() == [1, 2, 4]
    assert o.values.tolist() == [10, 20, 40]
    assert o.errors.tolist() == [0.1, 0.2, 0.4]
    assert o.bin_width.tolist() == [1.0, 1.5, 2.0]


def test_columns_may_be_named(write):
    o = write("9 0.1 10 1\n9 0.2 20 2\n", columns=("", "errors", "values", "wavelength"))
    assert o.values.tolist() == [10, 20]
    assert o.errors.tolist() == [0.1, 0.2]
    assert write("5\n6\n", columns=("values",)).errors is None


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("1 2\n2 3\n", {}, "number of columns of .* = 2.*must be 3"),
        ("1 2 3 4 5\n", {}, "number of columns of .* = 5.*must be 3"),
        ("1 2 3\n1 2\n", {}, "line 2 of .*has 2 columns where the first has 3"),
        ("# c\n1 2 3\n2 x 3\n", {}, "line 3 of .* = '2 x 3'.*numbers only"),
        ("a b c\nd e f\n", {}, "line 2 of .*numbers only"),
        ("# nothing\n", {}, "holds no numbers"),
        ("1 10 0.1\n3 10 0.1\n2 10 0.1\n", {}, "must increase|must be above 0"),
        ("1 10 0\n", {}, r"errors\[0\] = 0\.0.*above 0"),
        ("1 2 3\n", {"columns": ("wavelength", "values")}, "must name each of the 3 columns"),
        ("1 2\n", {"columns": ("wavelength", "errors")}, "among them values"),
        ("1 2\n", {"columns": ("wave", "values")}, "Choose from"),
    ],
)
def test_reader_refuses(write, text, options, message):
    with pytest.raises(InvalidInput, match=f"(?s){message}"):
        write(text, **options)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidInput, match="nowhere.txt.*must be a file"):
        read_observation(tmp_path / "nowhere.txt")


def test_packaged_spectrum():
    data = importlib.resources.files("floppity_jax") / "data" / "wasp39b_prism.csv"
    with importlib.resources.as_file(data) as path:
        o = read_observation(path)
    assert o.n_channels == 147
    assert 0.5 < o.wavelength[0] < o.wavelength[-1] < 5.6
    assert np.all((o.values > 0.02) & (o.values < 0.025))  # (Rp/Rs)^2 of WASP-39 b
