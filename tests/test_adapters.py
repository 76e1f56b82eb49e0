"""Adapters to other codes, by small stand-ins for them, and by the codes where they are there."""

import json
import pathlib
import pickle
import re
import subprocess
import sys
import types

import numpy as np
import pytest
from scipy import interpolate

import floppity_jax as fp
from floppity_jax.channels import average, average_lines, channel_weights
from floppity_jax.datasets import join
from floppity_jax.errors import InvalidInput, SimulatorError
from floppity_jax.simulators import PICASO, PetitRADTRANS, TauREx

ROOT = pathlib.Path(__file__).parents[1]
CHANNELS = types.SimpleNamespace(
    wavelength=np.array([1.0, 1.3, 1.8, 3.0]), bin_width=np.array([0.1, 0.2, 0.4, 1.0])
)
BUILT = []


@pytest.fixture(autouse=True)
def _nothing_built():
    BUILT.clear()


# -- binning -----------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, -1])
def test_average_is_the_exact_mean_over_each_channel(step):
    rng = np.random.default_rng(0)
    points = np.sort(rng.uniform(0.5, 4, 300))
    values = rng.normal(size=300)
    edges = np.concatenate([
        [2 * points[0] - points[:2].mean()], (points[1:] + points[:-1]) / 2,
        [2 * points[-1] - points[-2:].mean()],
    ])  # fmt: skip
    left, right = np.array([2.0, 0.6, 1.0, 1.0001]), np.array([2.5, 3.9, 1.4, 1.0002])
    got = average(points[::step], values[::step], left, right, "it")
    np.testing.assert_allclose(got, channel_weights(left, right, edges) @ values, rtol=1e-12)


def test_average_keeps_a_faint_channel_beside_bright_ones():
    points = np.linspace(1, 3, 201)
    values = np.where(points < 2, 1e20, 1e-20)
    got = average(points, values, np.array([2.5]), np.array([2.6]), "it")
    np.testing.assert_allclose(got, 1e-20, rtol=1e-12)


def test_average_refuses_what_it_cannot_average():
    left, right = np.array([1.0, 2.9]), np.array([1.5, 3.5])
    points = np.linspace(1, 3, 50)
    with pytest.raises(SimulatorError, match=r"it computes 0\.9\d+ to 3\.0\d+ um; channel 1"):
        average(points, points, left, right, "it")
    with pytest.raises(SimulatorError, match="both must be"):
        average(points, points[1:], left, right, "it")
    with pytest.raises(SimulatorError, match="repeat or are not finite"):
        average(np.append(points, np.nan), np.ones(51), left, right, "it")


def test_average_lines_is_the_exact_mean_of_straight_lines():
    """Against the integral of the interpolating spline of order 1; channels in any order."""
    rng = np.random.default_rng(1)
    points, values = np.sort(rng.uniform(0.5, 4, 60)), rng.normal(size=60)
    left, right = np.array([2.0, 0.6, 1.0, 1.0001]), np.array([2.5, 3.9, 1.4, 1.0002])
    spline = interpolate.make_interp_spline(points, values, k=1)
    expected = [spline.integrate(a, b) / (b - a) for a, b in zip(left, right, strict=True)]
    np.testing.assert_allclose(average_lines(points, values, left, right), expected, rtol=1e-9)


# -- TauREx ------------------------------------------------------------------------------------


class InvalidModelException(Exception):  # noqa: N818 (TauREx's name)
    pass


class FluxBinner:
    """As TauREx's: sorts its channels by wavenumber."""

    def __init__(self, wngrid, wngrid_width):
        order = np.argsort(wngrid)
        self.centre, self.width = wngrid[order], wngrid_width[order]

    def bindown(self, wngrid, spectrum):
        order = np.argsort(wngrid)
        low, high = self.centre - self.width / 2, self.centre + self.width / 2
        return self.centre, average(wngrid[order], spectrum[order], low, high, "FluxBinner"), None


class Forward:
    """As a TauREx forward model: its spectrum is ``offset + slope * wavelength``."""

    def __init__(self):
        BUILT.append(self)
        self.built = False
        self.values = {"T": 0.0, "planet_radius": 0.0}
        self.nativeWavenumberGrid = np.arange(2000.0, 14000.0)
        self.asked = None

    @property
    def fittingParameters(self):  # noqa: N802 (TauREx's name)
        return dict.fromkeys(self.values) if self.built else {}

    def build(self):
        self.built = True

    def __setitem__(self, name, value):
        self.values[name] = value

    def model(self, wngrid):
        if self.values["T"] < 0:
            raise InvalidModelException("Negative temperature input")
        self.asked = wngrid
        return wngrid, self.values["T"] + self.values["planet_radius"] * 1e4 / wngrid, None, None


class ParameterParser:
    def read(self, filename):
        self.text = pathlib.Path(filename).read_text()

    def setup_globals(self):
        self.ready = True

    def generate_model(self):
        assert self.ready
        return Forward()


@pytest.fixture
def _taurex(monkeypatch):
    names = {
        "taurex": {},
        "taurex.binning": {"FluxBinner": FluxBinner},
        "taurex.exceptions": {"InvalidModelException": InvalidModelException},
        "taurex.parameter": {"ParameterParser": ParameterParser},
    }
    for name, contents in names.items():
        module = types.ModuleType(name)
        module.__dict__.update(contents)
        monkeypatch.setitem(sys.modules, name, module)


def straight(channels, offset, slope):
    """Mean of the line over a channel, even in wavenumber: the mean of 1/x is a logarithm."""
    low = 1e4 / (channels.wavelength + channels.bin_width / 2)
    high = 1e4 / (channels.wavelength - channels.bin_width / 2)
    return offset + slope * 1e4 * np.log(high / low) / (high - low)


@pytest.mark.usefixtures("_taurex")
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_taurex_averages_in_wavenumber_and_keeps_the_order_of_the_channels(order):
    channels = types.SimpleNamespace(
        wavelength=CHANNELS.wavelength[order], bin_width=CHANNELS.bin_width[order]
    )
    simulator = TauREx(Forward, channels, parameters=["planet_radius", "T"])
    got = simulator({"T": 2.0, "planet_radius": 3.0})
    np.testing.assert_allclose(got, straight(channels, 2.0, 3.0), rtol=1e-5)


@pytest.mark.usefixtures("_taurex")
def test_taurex_is_built_once_and_never_pickled():
    simulator = TauREx(Forward, CHANNELS, parameters=["T", "planet_radius"])
    assert not BUILT
    first = simulator({"T": 1.0, "planet_radius": 2.0})
    simulator({"T": 5.0, "planet_radius": 1.0})
    np.testing.assert_array_equal(simulator({"T": 1.0, "planet_radius": 2.0}), first)
    assert len(BUILT) == 1
    text = pickle.dumps(simulator)
    assert len(text) < 2000  # the native grid alone takes 96,000
    np.testing.assert_array_equal(pickle.loads(text)({"T": 1.0, "planet_radius": 2.0}), first)
    assert len(BUILT) == 2


@pytest.mark.usefixtures("_taurex")
def test_taurex_computes_no_more_than_the_channels_need():
    narrow = types.SimpleNamespace(wavelength=np.array([2.0]), bin_width=np.array([0.02]))
    simulator = TauREx(Forward, narrow, parameters=["T", "planet_radius"])
    simulator({"T": 1.0, "planet_radius": 2.0})
    asked = BUILT[0].asked
    assert asked.min() < 1e4 / 2.01 < 1e4 / 1.99 < asked.max()
    assert asked.size < 60  # of 12,000 points, 50 lie in the channel


@pytest.mark.usefixtures("_taurex")
def test_taurex_reads_a_parameter_file(tmp_path):
    path = tmp_path / "planet.par"
    path.write_text("[Model]\n")
    simulator = TauREx(path, CHANNELS, parameters=["T", "planet_radius"])
    got = simulator({"T": 2.0, "planet_radius": 3.0})
    np.testing.assert_allclose(got, straight(CHANNELS, 2.0, 3.0), rtol=1e-5)
    before = simulator.fingerprint()
    path.write_text("[Model]\n# changed\n")
    again = TauREx(str(path), CHANNELS, parameters=["T", "planet_radius"])
    assert again.fingerprint() != before
    with pytest.raises(InvalidInput, match="must be a parameter file or a function"):
        TauREx(tmp_path / "none.par", CHANNELS, parameters=["T"])


@pytest.mark.usefixtures("_taurex")
def test_taurex_names_the_nearest_parameter():
    with pytest.raises(InvalidInput, match=r"nearest to 'radius' are \['planet_radius'"):
        TauREx(Forward, CHANNELS, parameters=["T", "radius"]).set_up()


@pytest.mark.usefixtures("_taurex")
def test_taurex_failures_are_plain():
    simulator = TauREx(Forward, CHANNELS, parameters=["T"])
    with pytest.raises(SimulatorError, match="invalid: Negative temperature input"):
        simulator({"T": -1.0})
    far = types.SimpleNamespace(wavelength=np.array([1.0, 9.0]), bin_width=np.array([0.1, 0.1]))
    with pytest.raises(SimulatorError, match="channel 1, 8.95 to 9.05 um"):
        TauREx(Forward, far, parameters=["T"]).set_up()
    with pytest.raises(SimulatorError, match="must make a TauREx forward model"):
        TauREx(dict, CHANNELS, parameters=["T"]).set_up()


# -- petitRADTRANS -----------------------------------------------------------------------------


def build_radtrans():
    BUILT.append("radtrans")
    return np.linspace(0.5e-4, 4e-4, 20001)  # [cm]


def line(radtrans, parameters):
    return radtrans, parameters["a"] + parameters["b"] * 1e4 * radtrans, {"more": None}


def line_in_um_reversed(radtrans, parameters):
    wavelength, values, _ = line(radtrans, parameters)
    return 1e4 * wavelength[::-1], values[::-1]


@pytest.fixture
def _petitradtrans(monkeypatch):
    monkeypatch.setitem(sys.modules, "petitRADTRANS", types.ModuleType("petitRADTRANS"))


@pytest.mark.usefixtures("_petitradtrans")
@pytest.mark.parametrize(("spectrum", "unit"), [(line, "cm"), (line_in_um_reversed, "um")])
def test_petitradtrans_in_either_unit_and_order(spectrum, unit):
    simulator = PetitRADTRANS(
        build_radtrans, spectrum, CHANNELS, parameters=["a", "b"], wavelength_unit=unit
    )
    for _ in range(2):
        got = simulator({"a": 2.0, "b": 3.0})
        np.testing.assert_allclose(got, 2 + 3 * CHANNELS.wavelength, rtol=1e-6)
    assert BUILT == ["radtrans"]
    again = pickle.loads(pickle.dumps(simulator))
    np.testing.assert_array_equal(again({"a": 2.0, "b": 3.0}), got)


@pytest.mark.usefixtures("_petitradtrans")
def test_petitradtrans_refuses():
    far = types.SimpleNamespace(wavelength=np.array([4.0]), bin_width=np.array([0.5]))
    with pytest.raises(SimulatorError, match="petitRADTRANS computes 0.5 to 4 um; channel 0"):
        PetitRADTRANS(build_radtrans, line, far, parameters=["a", "b"])({"a": 2.0, "b": 3.0})
    with pytest.raises(InvalidInput, match="wavelength_unit"):
        PetitRADTRANS(build_radtrans, line, far, parameters=["a"], wavelength_unit="nm")
    with pytest.raises(InvalidInput, match=r"spectrum\(radtrans, parameters\)"):
        PetitRADTRANS(build_radtrans, None, far, parameters=["a"])


# -- PICASO ------------------------------------------------------------------------------------


class Case:
    """As a PICASO case: wavenumbers ascend, and what the case lacks is said in a list."""

    def __init__(self):
        self.layers = []

    def spectrum(self, opacities, calculation, dimension):
        assert (calculation, dimension) in [("transmission", "1d"), ("thermal", "1d")]
        depth = sum(self.layers) * 1e4 / opacities
        return {
            "wavenumber": opacities,
            "transit_depth": depth,
            "fpfs_thermal": ["Stellar Radius not supplied."],
        }


def build_case():
    BUILT.append("case")
    return Case(), np.linspace(2000, 20000, 50001)


def add_layers(case, parameters):
    case.layers += [parameters["a"], parameters["b"]]


@pytest.fixture
def _picaso(monkeypatch):
    monkeypatch.setitem(sys.modules, "picaso", types.ModuleType("picaso"))


@pytest.mark.usefixtures("_picaso")
def test_picaso_starts_each_simulation_from_a_fresh_case():
    simulator = PICASO(build_case, add_layers, CHANNELS, parameters=["a", "b"])
    for _ in range(2):
        got = simulator({"a": 2.0, "b": 3.0})
        np.testing.assert_allclose(got, 5 * CHANNELS.wavelength, rtol=1e-5)
    assert BUILT == ["case"]
    again = pickle.loads(pickle.dumps(simulator))
    np.testing.assert_array_equal(again({"a": 2.0, "b": 3.0}), got)


@pytest.mark.usefixtures("_picaso")
def test_picaso_failures_are_plain():
    options = {"parameters": ["a", "b"]}
    values = {"a": 2.0, "b": 3.0}
    with pytest.raises(SimulatorError, match="no fpfs_thermal: Stellar Radius not supplied"):
        PICASO(build_case, add_layers, CHANNELS, calculation="thermal", **options)(values)
    with pytest.raises(SimulatorError, match="no 'albedo'. Choose one of these"):
        PICASO(build_case, add_layers, CHANNELS, output="albedo", **options)(values)
    with pytest.raises(InvalidInput, match="calculation"):
        PICASO(build_case, add_layers, CHANNELS, calculation="emission", **options)


# -- what they share ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "make"),
    [
        ("taurex", lambda: TauREx(Forward, CHANNELS, parameters=["T"])),
        ("petitRADTRANS", lambda: PetitRADTRANS(dict, line, CHANNELS, parameters=["a"])),
        ("picaso", lambda: PICASO(build_case, add_layers, CHANNELS, parameters=["a"])),
    ],
)
def test_a_missing_package_is_named_with_its_pip_line(monkeypatch, package, make):
    monkeypatch.setitem(sys.modules, package, None)
    simulator = make()  # a machine that only sends simulations out needs no atmospheric code
    with pytest.raises(SimulatorError, match=f"cannot be imported .*pip install {package}"):
        simulator.set_up()


def test_names_and_channels_are_checked_before_any_call():
    for bad in ("T", [], ["T", "T"]):
        with pytest.raises(InvalidInput, match="must list each parameter once"):
            TauREx(Forward, CHANNELS, parameters=bad)
    with pytest.raises(InvalidInput, match="observation.bin_width"):
        TauREx(Forward, fp.Observation(np.ones(3), wavelength=[1, 2, 3]), parameters=["T"])
    wide = types.SimpleNamespace(wavelength=np.array([1.0]), bin_width=np.array([2.5]))
    with pytest.raises(InvalidInput, match="must be above 0"):
        TauREx(Forward, wide, parameters=["T"])
    simulator = TauREx(Forward, CHANNELS, parameters=["T", "planet_radius"])
    observation = fp.Observation(np.ones(4), np.ones(4))
    with pytest.raises(InvalidInput, match=r"\['planet_radius'\] too"):
        fp.Retrieval(simulator, {"T": (300, 3000)}, observation)
    with pytest.raises(InvalidInput, match=r"Unknown: \['x'\]; missing: \['planet_radius'\]"):
        simulator({"T": 1.0, "x": 1.0})
    assert not BUILT


def test_fingerprints_change_with_all_that_decides_the_spectrum():
    wider = types.SimpleNamespace(wavelength=CHANNELS.wavelength, bin_width=CHANNELS.bin_width * 2)
    made = [
        PICASO(build_case, add_layers, CHANNELS, parameters=["a", "b"]),
        PICASO(build_case, add_layers, CHANNELS, parameters=["b", "a"]),
        PICASO(build_case, add_layers, wider, parameters=["a", "b"]),
        PICASO(build_case, line, CHANNELS, parameters=["a", "b"]),
        PICASO(build_radtrans, add_layers, CHANNELS, parameters=["a", "b"]),
        PICASO(build_case, add_layers, CHANNELS, parameters=["a", "b"], output="thermal"),
        PICASO(build_case, add_layers, CHANNELS, parameters=["a", "b"], calculation="thermal"),
    ]
    assert len({one.fingerprint() for one in made}) == len(made)
    assert pickle.loads(pickle.dumps(made[0])).fingerprint() == made[0].fingerprint()


def test_no_adapter_loads_jax():
    code = (
        "import sys; from floppity_jax.simulators import PICASO, PetitRADTRANS, TauREx, combine; "
        "assert not {'jax', 'taurex', 'picaso', 'petitRADTRANS'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def datasets():
    """Two that overlap, the second with wider channels: joined, they are not in order."""
    parts = {
        "one": ([1.0, 1.3, 1.8], [0.1, 0.2, 0.4]),
        "two": ([1.1, 1.7, 3.0], [0.4, 0.7, 1.0]),
    }
    return {
        name: fp.Observation(np.ones(3), np.ones(3), wavelength, width)
        for name, (wavelength, width) in parts.items()
    }


@pytest.mark.usefixtures("_taurex", "_petitradtrans", "_picaso")
@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda o: TauREx(Forward, o, parameters=["T", "planet_radius"]), ["T", "planet_radius"]),
        (lambda o: PetitRADTRANS(build_radtrans, line, o, parameters=["a", "b"]), ["a", "b"]),
        (lambda o: PICASO(build_case, add_layers, o, parameters=["a", "b"]), ["a", "b"]),
    ],
)
def test_joined_datasets_are_what_each_is_alone(make, names):
    theta = dict(zip(names, (2.0, 3.0), strict=True))
    parts = datasets()
    together = make(join(parts))(theta)
    np.testing.assert_array_equal(
        together, np.concatenate([make(part)(theta) for part in parts.values()])
    )


# -- the codes themselves ----------------------------------------------------------------------


def build_rayleigh():
    """Make a TauREx model that needs no opacities: Rayleigh scattering on a grid of its own."""
    from taurex.chemistry import TaurexChemistry
    from taurex.contributions import RayleighContribution
    from taurex.model import TransmissionModel
    from taurex.temperature import Isothermal

    model = TransmissionModel(
        chemistry=TaurexChemistry(fill_gases=["H2", "He"], ratio=0.17),
        temperature_profile=Isothermal(T=1000.0), nlayers=30,
    )  # fmt: skip
    model.add_contribution(RayleighContribution())
    model._native_grid = np.linspace(2000, 14000, 3001)
    return model


@pytest.mark.filterwarnings("ignore::DeprecationWarning:taurex")  # it warns of its own classes
def test_taurex_itself():
    pytest.importorskip("taurex")
    from taurex.binning import FluxBinner

    simulator = TauREx(build_rayleigh, CHANNELS, parameters=["T", "planet_radius"])
    got = simulator({"T": 1500.0, "planet_radius": 1.2})
    model = build_rayleigh()
    model.build()
    model["T"], model["planet_radius"] = 1500.0, 1.2
    wavenumber, depth = model.model()[:2]
    low = 1e4 / (CHANNELS.wavelength + CHANNELS.bin_width / 2)
    high = 1e4 / (CHANNELS.wavelength - CHANNELS.bin_width / 2)
    binned = FluxBinner((low + high) / 2, high - low).bindown(wavenumber, depth)[1]
    np.testing.assert_allclose(got, binned[::-1], rtol=1e-12)
    assert (np.diff(got) < 0).all()  # scattering falls with wavelength


@pytest.mark.slow
@pytest.mark.parametrize("code", ["taurex", "petitRADTRANS", "picaso"])
def test_agrees_with_the_code_itself(code, tmp_path):
    pytest.importorskip(code, reason="see experiments/adapters/README.md", exc_type=ImportError)
    name = f"{code.lower()}_check"
    command = [sys.executable, f"{ROOT}/experiments/adapters/{name}.py", "--output", str(tmp_path)]
    subprocess.run(command, check=True)
    record = json.loads((tmp_path / f"{name}.json").read_text())
    names = {"taurex": "TauREx", "petitRADTRANS": "petitRADTRANS", "picaso": "PICASO"}
    own = names[code]
    assert record[f"max |adapter - {own}| / {own}"] < 1e-12
    assert record["max |pool - here|"] == 0
    assert not record["failures in a pool of two"]


# -- the documentation -------------------------------------------------------------------------


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.M | re.S)


@pytest.mark.parametrize("page", ["taurex.md", "petitradtrans.md", "picaso.md"])
def test_blocks_of_pages_on_other_codes_compile(page):
    assert blocks(page)
    for block in blocks(page):
        compile(block, page, "exec")


@pytest.mark.parametrize("page", ["combine.md", "from_floppity.md"])
def test_blocks_of_pages_run(page):
    assert blocks(page)
    scope = {"__name__": "docs"}
    for block in blocks(page):
        code = compile(block, page, "exec")
        if ".run(" not in block:  # a retrieval takes a minute
            exec(code, scope)
