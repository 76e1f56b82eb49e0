"""Readers of spectra: what titles, units and formats become."""

import pathlib
import sys
import warnings

import numpy as np
import pytest

import floppity_jax as fp
from floppity_jax.config.reader import Reader
from floppity_jax.config.schema import ObservationSection
from floppity_jax.errors import InvalidInput
from floppity_jax.spectra import titles, units

SHARED = pathlib.Path(__file__).parent.parent.parent / "shared" / "data"


def _ipac(units, *rows):
    """Return an IPAC table as the Exoplanet Archive writes it; ``units`` by title."""
    types = ["char" if title.endswith("AUTHORS") else "double" for title in units]
    head = [list(units), types, list(units.values()), ["null"] * len(units)]
    widths = [max(map(len, column)) for column in zip(*head, *rows, strict=True)]
    lines = [
        between + between.join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for between, row in [("|", row) for row in head] + [(" ", row) for row in rows]
    ]
    bars = "|\n".join(lines[:4]) + "|\n"
    return "\\PL_NAME = 'Made Up b'\n\\SPEC_TYPE = Transmission\n\\\n" + bars + "\n".join(lines[4:])


# Errors have no unit of their own, the lower one is negative, and names may hold blanks.
TRANSMISSION = {
    "CENTRALWAVELNG": "microns", "BANDWIDTH": "microns", "PL_TRANDEP": "%", "PL_TRANDEPERR1": "",
    "PL_TRANDEPERR2": "", "PL_TRANDEPLIM": "", "PL_TRANDEP_AUTHORS": "", "PL_RATROR": "",
    "PL_RATRORERR1": "", "PL_RATRORERR2": "",
}  # fmt: skip
BY = "Author et al. 2024"
ROWS = (
    ("0.6", "0.1", "2.1", "0.02", "-0.03", "0", BY, "0.14491", "0.0008", "-0.0008"),
    ("0.7", "0.1", "2.0", "0.01", "-0.01", "0", BY, "0.14142", "0.0004", "-0.0004"),
    ("0.8", "0.1", "2.2", "0.02", "-0.02", "1", BY, "null", "null", "null"),
    ("0.9", "0.1", "1.9", "null", "null", "0", BY, "null", "null", "null"),
    ("1.0", "0.1", "2.3", "0.01", "-0.02", "0", BY, "null", "null", "null"),
)
ARCHIVE = _ipac(TRANSMISSION, *ROWS)


@pytest.fixture
def read(tmp_path):
    def read(text, name="spectrum.txt", **options):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return fp.read_observation(path, **options)

    return read


def _holds(observation, **fields):
    for field, expected in fields.items():
        np.testing.assert_allclose(getattr(observation, field), expected, rtol=1e-12, err_msg=field)


# ------------------------------------------------------------------------------------- titles


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("wavelength", "wavelength Wave WL lambda λ wavelengths CENTRALWAVELNG wave_center"),
        ("wavenumber", "wavenumber Wavenumbers wn"),
        ("wavelength_low", "wave_low bin_lo wavelength_min wl_lower bin_left lower_edge"),
        ("wavelength_high", "wave_high bin_hi wavelength_max wl_upper bin_right upper_edge"),
        ("bin_width", "bin_width width BANDWIDTH dwave dlambda Δλ delta_wavelength binwidth"),
        ("half_width", "half_width half-width wave_err wavelength_error bin_half_width xerr"),
        ("values", "flux depth transit_depth Transit-Depth (Rp/Rs)^2 (rp/rs)**2 (Rp/R*)² dppm "
                   "Fp/Fs PL_TRANDEP ESPECLIPDEP FLAM rp^2_value value eclipse_depth"),
        ("radius_ratio", "Rp/Rs rp/r* rprs PL_RATROR radius_ratio"),
        ("", "rp order time dq pl_trandeplim st_rad pl_radj upper_limit note"),
    ],
)  # fmt: skip
def test_titles_are_known(role, names):
    assert {name: titles.role(name) for name in names.split()} == dict.fromkeys(names.split(), role)


@pytest.mark.parametrize(
    ("role", "value", "names"),
    [
        ("errors", "depth", "depth_err depth_error e_depth sigma_depth ddepth depth_uncertainty"),
        ("upper_errors", "depth", "depth_err_high depth_errpos depth_err1 upper_depth_err"),
        ("lower_errors", "rp^2_value", "rp^2_errorneg rp^2_err- rp2_err2"),
        ("", "depth", "flux_err err wave_err depth edepths depthlim"),
        ("errors", "", "err error errors sigma unc uncertainty std"),
        ("lower_errors", "", "err_low errorneg lower_err err2 sigma_minus"),
    ],
)
def test_titles_of_errors_belong_to_a_value(role, value, names):
    stem = titles.stem(value)
    assert {name: titles.error_role(name, stem) for name in names.split()} == dict.fromkeys(
        names.split(), role
    )


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("wavelength [um]", ("wavelength", "um")),
        ("depth (ppm)", ("depth", "ppm")),
        ("Flux (W/(m^2 um))", ("Flux", "W/(m^2 um)")),
        ("(Rp/Rs)^2", ("(Rp/Rs)^2", "")),
        ("(Rp/Rs)^2 [%]", ("(Rp/Rs)^2", "%")),
        ("depth_ppm", ("depth", "ppm")),
        ("depth %", ("depth", "%")),
        ("bin_width", ("bin_width", "")),
        ('"wave_nm"', ("wave", "nm")),
    ],
)
def test_units_are_split_off(text, split):
    assert titles.split_title(text) == split


@pytest.mark.parametrize("unit", ["um", "micron", "nm", "Angstrom", "AA", "mm", "cm", "m"])
def test_lengths_are_those_of_astropy(unit):
    from astropy import units as u

    assert units.axis_unit(unit, "unit").scale == pytest.approx(u.Unit(unit).to("um"), rel=1e-14)


# --------------------------------------------------------------------------------------- text


@pytest.mark.parametrize(
    "text",
    [
        "wavelength [nm], depth (ppm), depth_err (ppm)\n1000, 20000, 100\n2000, 21000, 90\n",
        "Depth [%]  Error [%]  Wave [µm]\n2.0 0.01 1\n2.1 0.009 2\n",
        "wave_nm,dppm,dppm_err\n1000,20000,100\n2000,21000,90\n",
        '"Wave length","Transit depth (ppm)","Sigma"\n1,20000,100\n2,21000,90\n',
        "# from somewhere\n# wave depth_ppm err\n1 20000 100\n2 21000 90\n",
        "Transit depth\tError\tWave\n0.02\t1e-4\t1\n0.021\t9e-5\t2\n",
        "instrument,e_depth,depth,wavelength\nNIRSpec PRISM,1e-4,.02,1\nG395H,9e-5,.021,2\n",
        ",wave,depth,err\n0,1,.02,1e-4\n1,2,.021,9e-5\n",
        "wavenumber,depth,err\n10000,.02,1e-4\n5000,.021,9e-5\n",
        "wl (1/cm) depth_percent sigma_percent\n5000 2.1 .009\n10000 2 .01\n",
    ],
)
def test_titles_and_units_make_the_same_spectrum(read, text):
    o = read(text)
    _holds(o, wavelength=[1, 2], values=[0.02, 0.021], errors=[1e-4, 9e-5], bin_width=[1, 1])
    assert o.unit == ""


def test_depths_come_in_the_unit_that_is_asked_for(read):
    text = "wave,depth (%),err (ppm)\n1,2,100\n2,2.1,90\n"
    o = read(text, unit="ppm")
    _holds(o, values=[20000, 21000], errors=[100, 90])
    assert o.unit == "ppm"
    _holds(read(text, unit="percent"), values=[2, 2.1], errors=[0.01, 0.009])
    _holds(read(text, unit="$(R_p/R_s)^2$"), values=[0.02, 0.021])  # a label
    # Where the file tells none, this is a label.
    _holds(read("wave,depth,err\n1,2,100\n", unit="ppm"), values=[2], errors=[100])


def test_fluxes_keep_their_unit(read):
    text = "wave [um] flux [W m-2 um-1] err [W m-2 um-1]\n1 3 .1\n2 4 .2\n"
    o = read(text)
    _holds(o, values=[3, 4], errors=[0.1, 0.2])
    assert o.unit == "W m-2 um-1"
    with pytest.raises(InvalidInput, match="unit = 'Jy'.*must be that of flux"):
        read(text, unit="Jy")


@pytest.mark.parametrize(
    "text",
    [
        "wave,bin_width,flux,err\n1.1,.2,3,.1\n1.3,.2,4,.1\n1.6,.4,5,.1\n",
        "wave,wave_err,flux,err\n1.1,.1,3,.1\n1.3,.1,4,.1\n1.6,.2,5,.1\n",
        "wave_low,wave_high,flux,err\n1,1.2,3,.1\n1.2,1.4,4,.1\n1.4,1.8,5,.1\n",
        "bin_lo [nm] bin_hi [nm] flux err\n1000 1200 3 .1\n1200 1400 4 .1\n1400 1800 5 .1\n",
        # Edges go before a centre: an effective wavelength is not the middle.
        "wave,wave_low,wave_high,flux,err\n1.15,1,1.2,3,.1\n1.3,1.2,1.4,4,.1\n1.5,1.4,1.8,5,.1\n",
        "wave [um] width [nm] flux err\n1.6 400 5 .1\n1.3 200 4 .1\n1.1 200 3 .1\n",
    ],
)
def test_widths_and_edges(read, text):
    _holds(read(text), wavelength=[1.1, 1.3, 1.6], bin_width=[0.2, 0.2, 0.4], values=[3, 4, 5])


def test_wavenumbers_become_wavelengths_with_widths_and_edges(read):
    from astropy import units as u

    centre, width = np.array([2000.0, 2500.0, 4000.0]), np.array([100.0, 200.0, 500.0])
    low, high = ((centre + sign * width / 2) / u.cm for sign in (1, -1))
    edges = [x.to_value("um", u.spectral()) for x in (low, high)]
    expected = {
        "wavelength": np.mean(edges, axis=0)[::-1],
        "bin_width": np.diff(edges, axis=0)[0, ::-1],
        "values": [7, 6, 5],
    }
    rows = zip(centre, width, [5, 6, 7], strict=True)
    _holds(
        read("wn,width,flux,err\n" + "".join(f"{c},{w},{v},1\n" for c, w, v in rows)), **expected
    )
    rows = zip(centre - width / 2, centre + width / 2, [5, 6, 7], strict=True)
    text = "".join(f"{a} {b} {v} 1\n" for a, b, v in rows)
    _holds(read("wavenumber_low wavenumber_high flux err\n" + text), **expected)
    roles = ("wavelength_low", "wavelength_high", "values", "errors")
    _holds(read(text, columns=roles, wavelength_unit="cm-1"), **expected)


def test_both_sides_of_an_error_are_averaged(read):
    text = "wave,depth,depth_errneg,depth_errpos\n1,3,.1,.3\n2,4,-.2,.2\n"
    with pytest.warns(UserWarning, match="1 of 2 channels have one error more than twice"):
        _holds(read(text), errors=[0.2, 0.2])


def test_ratio_of_radii_is_squared_and_told(read):
    text = "wave,Rp/Rs,Rp/Rs_err\n1,.1,.01\n2,.2,.01\n"
    with pytest.warns(UserWarning, match="its square, the transit depth, is taken"):
        o = read(text)
    _holds(o, values=[0.01, 0.04], errors=[2 * 0.1 * 0.01, 2 * 0.2 * 0.01])
    roles = ("wavelength", "radius_ratio", "errors")
    _holds(read(text, columns=roles), values=o.values)
    _holds(read(text, columns=roles, unit="ppm"), values=o.values * 1e6, errors=o.errors * 1e6)
    _holds(read(text, columns={"Rp/Rs": "values"}), values=[0.1, 0.2], errors=[0.01, 0.01])
    # A depth beside it goes first.
    _holds(read("wave,rprs,depth,depth_err,rprs_err\n1,.1,.01,.002,.01\n"), values=[0.01],
           errors=[0.002])  # fmt: skip


def test_rows_without_a_number_are_dropped_with_a_warning(read):
    text = "wave,depth,err\n1,3,.1\n2,,.1\n3,5,nan\n4,6,.1\n"
    with pytest.warns(UserWarning, match=r"2 of 4 rows dropped, 2 without.*\(line 3, line 4\)"):
        o = read(text)
    # The channels that were dropped still part the others.
    _holds(o, wavelength=[1, 4], values=[3, 6], bin_width=[1, 1])
    with pytest.warns(UserWarning, match="1 of 2 rows dropped"):  # and not missed in the width
        _holds(read("wave,width,depth,err\n1,.2,3,.1\n2,,,\n"), bin_width=[0.2])
    with pytest.raises(InvalidInput, match="no row with a wavelength, a value and its error"):
        read("wave,depth,err\n1,3,\n")


def test_widths_that_may_be_halves_are_told(read):
    rows = "".join(f"{1 + i / 10},.05,.02,1e-4,1e-4\n" for i in range(5))
    text = "wavelength,bin_width,rp^2_value,rp^2_errorneg,rp^2_errorpos\n" + rows
    with pytest.warns(UserWarning, match='half of the space.*\'?bin_width"?: "half_width"'):
        _holds(read(text), bin_width=np.full(5, 0.05))
    _holds(read(text, columns={"bin_width": "half_width"}), bin_width=np.full(5, 0.1))
    untitled = "".join(f"{1 + i / 10} .05 .02 1e-4\n" for i in range(5))
    with pytest.warns(UserWarning, match='columns=."wavelength", "half_width", "values", "errors"'):
        read(untitled)


def test_roles_by_title_go_before_what_titles_say(read):
    text = "wave,flux,depth,err,other\n1,3,4,.1,.2\n"
    _holds(read(text, columns={"Flux": ""}), values=[4], errors=[0.1])
    _holds(read(text, columns={"depth": "", "other": "errors"}), values=[3], errors=[0.2])
    o = read("wave,F [ppm],dF\n1000,3,4\n", columns={"F": "values", "dF": "errors"},
             wavelength_unit="nm")  # fmt: skip
    _holds(o, wavelength=[1], values=[3e-6], errors=[4e-6])


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("wave,x,y\n1,2,3\n", {}, r"\['wave', 'x', 'y'\].*no column that is known for values"),
        ("wave,depth\n1,2\n", {}, "no column that is known for errors"),
        ("wave,flux,depth,err\n1,2,3,4\n", {}, "must name one column for values.*'depth': ''"),
        ("wave,depth,err_up\n1,2,3\n", {}, "no column that is known for errors"),
        ("wave,wave_low,depth,err\n1,2,3,4\n", {"columns": {"wave": ""}}, "lower and upper"),
        ("bin width depth err\n1 2 3\n", {}, "must be as many as the columns, which are 3"),
        ("wave,depth,err\n1,x,3\n", {}, "line 2 of .*must hold a number under depth"),
        ("5000 1 .1\n", {}, 'must be below 300.*wavelength_unit="nm"'),
        ("wave [parsec] depth err\n1 2 3\n", {}, "unit of wave.*'parsec'.*must be a unit of"),
        ("wave [um] width [cm-1] depth err\n1 2 3 4\n", {}, "unit of width.*as that of the centr"),
        ("wave flux [Jy] err [mJy]\n1 2 3\n", {}, "unit of err.*must be that of the values, Jy"),
        ("wave depth err [ppm]\n1 2 3\n", {}, "unit of err.*for which the file tells none"),
        ("wn depth err\n0 2 3\n10 2 3\n", {}, "least wavenumber.*above 0"),
        ("wave width depth err\n1 - 2 3\n2 1 2 3\n", {}, "missing in some channels.*meet half way"),
        ("1 2 3\n", {"columns": {"a": "values"}}, "must give titles of the file a role each"),
        ("wave depth err\n1 2 3\n", {"columns": {"err": "error"}}, "the roles"),
        ("wave a b\n1 2 3\n", {"columns": {"a": "errors", "b": "errors"}}, "no role twice"),
        ("1 2 3\n", {"table": 1}, "is for FITS"),
        ("1 2 3\n", {"wavelength_unit": "ppm"}, "wavelength_unit = 'ppm'.*must be a unit of wave"),
        # TauREx has the width last; edges come first; neither is silently read as something else.
        ("1 .02 1e-4 .1\n1.1 .02 1e-4 .1\n1.2 .02 1e-4 .1\n", {}, "values', 'errors', 'bin_width'"),
        ("1 1.1 .02 1e-4\n1.1 1.2 .02 1e-4\n1.2 1.3 .02 1e-4\n", {}, "'wavelength_high'"),
    ],
)
def test_what_is_not_clear_is_refused_with_the_way_out(read, text, options, message):
    with pytest.raises(InvalidInput, match=f"(?s){message}"):
        read(text, **options)


def test_what_is_neither_text_nor_fits_is_refused(tmp_path):
    path = tmp_path / "spectrum.h5"
    for content in (b"\x89HDF\r\n\x1a\n\xff", b"\x1f\x8b\xff\xff"):
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match="must be text"):
            fp.read_observation(path)


# ------------------------------------------------------------------------ the archive's tables


def test_archive_table(read):
    with pytest.warns(UserWarning, match="2 of 5 rows dropped, 1 without .* and 1 limits"):
        o = read(ARCHIVE, "made_up_b.tbl")
    _holds(
        o,
        wavelength=[0.6, 0.7, 1.0],
        bin_width=[0.1, 0.1, 0.1],
        values=[0.021, 0.02, 0.023],
        errors=[2.5e-4, 1e-4, 1.5e-4],
    )


def test_archive_table_is_read_as_astropy_reads_it(read, tmp_path):
    from astropy.io import ascii

    with pytest.warns(UserWarning, match="dropped"):
        o = read(ARCHIVE, unit="ppm")
    theirs = ascii.read(str(tmp_path / "spectrum.txt"), format="ipac")
    kept = (theirs["PL_TRANDEPLIM"] == 0) & ~theirs["PL_TRANDEPERR1"].mask
    error = (theirs["PL_TRANDEPERR1"] - theirs["PL_TRANDEPERR2"]) / 2
    _holds(o, values=theirs["PL_TRANDEP"][kept] * 1e4, errors=error[kept] * 1e4)


@pytest.mark.filterwarnings("ignore:.*rows dropped")
def test_archive_table_with_ratios_only(read):
    rows = [(*row[:2], "null", "null", "null", *row[5:]) for row in ROWS]
    with pytest.warns(UserWarning, match="ratio of radii, PL_RATROR: its square"):
        o = read(_ipac(TRANSMISSION, *rows))
    _holds(o, values=[0.14491**2, 0.14142**2], errors=[2 * 0.14491 * 8e-4, 2 * 0.14142 * 4e-4])


def test_archive_eclipse_and_imaging_tables(read):
    eclipse = {
        "CENTRALWAVELNG": "microns", "BANDWIDTH": "microns", "ESPECLIPDEP": "%",
        "ESPECLIPDEPERR1": "", "ESPECLIPDEPERR2": "", "ESPECLIPDEPLIM": "", "ESPBRITEMP": "K",
    }  # fmt: skip
    rows = [
        ("3.6", "null", "0.088", "0.015", "-0.015", "0", "1200"),
        ("4.5", "null", "0.096", "0.018", "-0.018", "null", "null"),
    ]
    o = read(_ipac(eclipse, *rows))
    _holds(o, values=[8.8e-4, 9.6e-4], errors=[1.5e-4, 1.8e-4], bin_width=[0.9, 0.9])
    imaging = {
        "CENTRALWAVELNG": "microns", "FLAM": "W/m^2/micron", "FLAMERR1": "", "FLAMERR2": "",
        "FNU": "Jy", "FNUERR1": "", "FNUERR2": "",
    }  # fmt: skip
    table = _ipac(imaging, ("1.2", "3e-17", "1e-18", "-1e-18", "5", "1", "-1"))
    o = read(table)
    _holds(o, values=[3e-17], errors=[1e-18])
    assert o.unit == "W/m^2/micron"
    o = read(table, columns={"FNU": "values"})
    _holds(o, values=[5], errors=[1])
    assert o.unit == "Jy"


def test_archive_table_as_csv_is_in_percent(read):
    o = read("CENTRALWAVELNG,BANDWIDTH,PL_TRANDEP,PL_TRANDEPERR1,PL_TRANDEPERR2,PL_TRANDEPLIM\n"
             "0.6,0.1,2.1,0.02,-0.02,0\n0.7,0.1,2.0,0.01,-0.01,\n")  # fmt: skip
    _holds(o, values=[0.021, 0.02], errors=[2e-4, 1e-4], bin_width=[0.1, 0.1])


def test_the_word_for_missing_numbers_is_that_of_the_table(read):
    with pytest.warns(UserWarning, match="2 of 5 rows dropped"):
        o = read(ARCHIVE.replace("null", "-999"))
    _holds(o, values=[0.021, 0.02, 0.023])


def test_archive_table_with_shifted_columns_is_refused(read):
    shifted = ARCHIVE.replace(" 0.6 ", " 0.6      ")
    with pytest.raises(InvalidInput, match="line 8 of .*keep to the columns"):
        read(shifted)
    with pytest.raises(InvalidInput, match="holds no rows"):
        read(ARCHIVE[: ARCHIVE.rindex("|")])


# ------------------------------------------------------------------------------ ECSV and FITS


@pytest.fixture
def quantities():
    from astropy import units as u
    from astropy.table import QTable

    return QTable(
        {
            "wavelength": [2000.0, 1500.0, 1000.0] * u.nm,
            "width": [0.5, 0.5, 0.5] * u.um,
            "depth": [2.0, 2.1, 2.2] * u.percent,
            "depth_err": [0.01, 0.02, 0.03] * u.percent,
        }
    )


SPECTRUM = {
    "wavelength": [1, 1.5, 2],
    "bin_width": [0.5, 0.5, 0.5],
    "values": [0.022, 0.021, 0.02],
    "errors": [3e-4, 2e-4, 1e-4],
}


@pytest.mark.parametrize("name", ["spectrum.ecsv", "spectrum.fits", "spectrum.fits.gz"])
def test_tables_of_astropy(tmp_path, quantities, name):
    quantities.write(tmp_path / name)
    _holds(fp.read_observation(tmp_path / name), **SPECTRUM)


def test_wavenumbers_fluxes_and_masks_of_ecsv(tmp_path):
    from astropy.table import MaskedColumn, Table

    path = tmp_path / "spectrum.ecsv"
    Table(
        {
            "wavenumber": [5000.0, 8000.0, 10000.0],
            "flux": MaskedColumn([3.0, 4.0, 5.0], mask=[False, True, False]),
            "error": [0.1, 0.2, 0.3],
            "source": ["a b", "c", "d"],
        },
        units={"wavenumber": "1/cm", "flux": "Jy", "error": "Jy"},
    ).write(path)
    with pytest.warns(UserWarning, match=r"1 of 3 rows dropped.*\(row 2\)"):
        o = fp.read_observation(path)
    _holds(o, wavelength=[1, 2], values=[5, 3], errors=[0.3, 0.1])
    assert o.unit == "Jy"


def test_ppm_is_a_unit_of_tables_too(tmp_path):
    from astropy.table import Table

    table = Table({"wave": [1.0, 2.0], "depth": [20.0, 30.0], "err_ppm": [1.0, 2.0]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy does not know it
        table["depth"].unit = "ppm"
        for name in ("spectrum.ecsv", "spectrum.fits"):
            table.write(tmp_path / name)
    for name in ("spectrum.ecsv", "spectrum.fits"):
        _holds(fp.read_observation(tmp_path / name), values=[2e-5, 3e-5], errors=[1e-6, 2e-6])


@pytest.fixture
def extensions(tmp_path, quantities):
    """A file with two spectra and another table, as JWST's x1d files have."""
    from astropy.io import fits
    from astropy.table import Table

    def write(*names):
        other = fits.BinTableHDU(Table({"ASDF": np.zeros((1, 9), "u1")}), name="ASDF")
        spectra = [fits.BinTableHDU(Table(quantities), name=name) for name in names]
        fits.HDUList([fits.PrimaryHDU(), *spectra, other]).writeto(tmp_path / "x.fits")
        return tmp_path / "x.fits"

    return write


def test_the_table_of_a_fits_file_is_found_or_chosen(extensions):
    _holds(fp.read_observation(extensions("EXTRACT1D")), **SPECTRUM)


def test_one_of_several_tables_is_chosen(extensions):
    path = extensions("FIRST", "SECOND")
    for table in ("second", 2):
        _holds(fp.read_observation(path, table=table), **SPECTRUM)
    for table in (None, "third", 0):
        with pytest.raises(InvalidInput, match="tables of .*1: 'FIRST', 2: 'SECOND', 3: 'ASDF'"):
            fp.read_observation(path, table=table)


def test_one_row_of_vectors_is_a_spectrum(tmp_path):
    from astropy.table import Table

    row = {"WAVE": [[10000.0, 20000.0]], "FLUX": [[1.0, 2.0]], "ERR": [[0.1, 0.2]]}
    Table(row, units={"WAVE": "Angstrom"}).write(tmp_path / "x.fits")
    _holds(fp.read_observation(tmp_path / "x.fits"), wavelength=[1, 2], values=[1, 2])


def test_fits_without_a_table_and_damaged_files_are_refused(tmp_path):
    from astropy.io import fits

    fits.PrimaryHDU(np.zeros((3, 3))).writeto(tmp_path / "image.fits")
    with pytest.raises(InvalidInput, match="holds no table"):
        fp.read_observation(tmp_path / "image.fits")
    (tmp_path / "x.ecsv").write_text("# %ECSV 1.0\n# ---\n# datatype: [\na b\n1 2\n")
    with pytest.raises(InvalidInput, match="cannot be read as ECSV"):
        fp.read_observation(tmp_path / "x.ecsv")


@pytest.mark.parametrize("name", ["spectrum.ecsv", "spectrum.fits"])
def test_without_astropy_the_way_out_is_told(tmp_path, quantities, name, monkeypatch):
    quantities.write(tmp_path / name)
    monkeypatch.setitem(sys.modules, "astropy.table", None)
    monkeypatch.setitem(sys.modules, "astropy.io", None)
    with pytest.raises(InvalidInput, match=r"pip install 'floppity_jax\[fits\]'"):
        fp.read_observation(tmp_path / name)


# --------------------------------------------------------------------------- files as they are


@pytest.mark.parametrize(
    ("name", "options", "order"),
    [
        ("wasp39b_prism_firefly.txt", {}, {"wavelength": 0, "values": 1, "errors": 2}),
        (
            "wasp39b_prism_147.csv", {},
            {"wavelength": 0, "bin_width": 1, "values": 2, "errors": 3},
        ),
        (
            "multinest/two_parameter_run/observation.dat",
            {"columns": ("wavelength", "values", "errors", "bin_width")},
            {"wavelength": 0, "values": 1, "errors": 2, "bin_width": 3},
        ),
    ],
)  # fmt: skip
def test_real_files(name, options, order):
    if not (SHARED / name).is_file():
        pytest.skip(f"{name} is not on this machine")
    o = fp.read_observation(SHARED / name, **options)
    theirs = np.loadtxt(SHARED / name, delimiter="," if name.endswith("csv") else None)
    theirs = theirs[np.argsort(theirs[:, 0])]
    _holds(o, **{field: theirs[:, column] for field, column in order.items()})


def test_input_files_may_say_all_of_it(tmp_path):
    (tmp_path / "x.fits").touch()
    given = {"file": "x.fits", "columns": {"FNU": "values"}, "table": 2, "wavelength_unit": "nm"}
    reader = Reader(tmp_path)
    section = reader.section(ObservationSection, given, "observation")
    assert not reader.problems
    assert (section.columns, section.table) == ({"FNU": "values"}, 2)
    bad = given | {"columns": {"FNU": 1}}
    assert reader.section(ObservationSection, bad, "observation") is None
    (problem,) = reader.problems
    assert problem.argument == "observation.columns"
