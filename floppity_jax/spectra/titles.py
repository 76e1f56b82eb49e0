"""What column titles mean: the words that astronomers' tables use.

A title is compared in lower case and without punctuation, so ``(Rp/Rs)^2`` is ``rprs2``.
"""

import re
import unicodedata

from floppity_jax.spectra import units

_WAVELENGTH = (
    "wavelengths?|waves?|wav|wvl|wlen|wl|lambda|lam|lbda|λ|(?:central|center|centre|mid|effective)"
    "?(?:wavelength|wave)|(?:wavelength|wave)(?:center|centre|mid|central)|centralwavelng"
)
_WAVENUMBER = "wavenumbers?|wavenum|waveno|wno|wn"
_AXIS = f"(?:{_WAVELENGTH}|{_WAVENUMBER})"
_ERROR = "(?:err(?:or)?s?(?:bars?)?|unc(?:ert)?|uncertaint(?:y|ies)|sig(?:ma)?|std|stdev|σ)"
_UPPER = "1|p|pos|positive|plus|hi|high|u|up|upper"
_LOWER = "2|m|n|neg|negative|minus|lo|low|l|lower"
# Titles of the Exoplanet Archive: PL_TRANDEP, ESPECLIPDEP, FLAM, PL_RATROR; plntransdep and
# plnratror in the tables that it retired. rp^2_value and rp_value are Eureka's, dppm exoTEDRF's.
VALUES = (
    "(?:transit|eclipse|tr|ecl|occultation)?depths?|flux(?:es|density)?|values?|spectrum|dppm|"
    "(?:rprs|rpr|rp)(?:2|squared)(?:value)?|fpfs|fpf|fpvalue|contrast|pltrandep|plntransdep|"
    "especlipdep|flam"
)
RADIUS_RATIO = "rprs|rpr|rprstar|rpvalue|radiusratio|plratror|plnratror"
_IMPLIED = {"dppm": "ppm", "pltrandep": "%", "plntransdep": "%", "especlipdep": "%"}


def _edge(side: str) -> str:
    """Return the pattern of titles of the edges of channels on one side."""
    of = f"(?:{_AXIS}|bin)"
    return f"(?:{of}(?:edge)?|edge)(?:{side})(?:edge)?|(?:{side})(?:{of}|{of}?edge)"


_ROLES = {
    "wavelength": _WAVELENGTH,
    "wavenumber": _WAVENUMBER,
    "wavelength_low": _edge("low|lo|lower|min|start|left"),
    "wavelength_high": _edge("high|hi|higher|upper|up|max|end|stop|right"),
    "bin_width": f"(?:bin|channel|full|{_AXIS})?(?:full)?width|bandwidth|binsize|"
                 f"(?:d|delta|Δ|δ)(?:{_AXIS})",
    "half_width": f"half(?:bin|channel)?width|(?:bin|channel|{_AXIS})half(?:bin)?width|xerr|"
                  f"{_AXIS}{_ERROR}|(?:e|{_ERROR}){_AXIS}",
    "values": VALUES,
    "radius_ratio": RADIUS_RATIO,
}  # fmt: skip


def split_title(text: str) -> tuple[str, str]:
    """Split ``depth (ppm)``, ``depth [ppm]`` or ``depth_ppm`` into title and unit."""
    text = text.strip().strip("\"'").strip()
    bracketed = re.fullmatch(r"(.+?)\s*(?:\[(.*)\]|\((.*)\))", text)
    if bracketed:
        return bracketed[1], (bracketed[2] or bracketed[3] or "").strip()
    if text.endswith("%"):
        return text[:-1].rstrip("_ "), "%"
    head, _, tail = text.rpartition("_")
    return (head, tail) if head and units.ends_titles(tail) else (text, "")


def normal(title: str) -> str:
    """Return a title in the form in which it is compared; ``err-`` keeps its sign as a word."""
    title = unicodedata.normalize("NFKC", title).lower().strip()
    signs = {"+": "plus", "-": "minus"}
    title = title[:-1] + signs[title[-1]] if title and title[-1] in signs else title
    return re.sub(r"[\W_]", "", title)


def role(title: str) -> str:
    """Return what a column of this title holds, of the keys of ``_ROLES``; empty if not known."""
    for known, pattern in _ROLES.items():
        if re.fullmatch(pattern, normal(title)):
            return known
    return ""


def implied_unit(title: str) -> str:
    """Return the unit that a title means, where the file tells none."""
    if re.match(_WAVENUMBER, normal(title)) or "wavenumber" in normal(title):
        return "cm-1"
    return _IMPLIED.get(normal(title), "")


def stem(title: str) -> str:
    """Return the pattern with which the titles of this column's errors begin, or end."""
    return re.escape(normal(title).removesuffix("value"))


def error_role(title: str, stem: str) -> str:
    """Return errors, lower_errors or upper_errors; empty for what are no errors of ``stem``."""
    side = f"(?:(?P<upper>{_UPPER})|(?P<lower>{_LOWER}))?"
    for pattern in (
        f"(?:{stem}){_ERROR}{side}",
        f"(?:{_ERROR}|e|d)(?:{stem}){side}" if stem else _ERROR,
        f"{side}{_ERROR}(?:{stem})",
        f"{side}(?:{stem}){_ERROR}",
        f"(?:{stem}){side}{_ERROR}",
    ):
        found = re.fullmatch(pattern, normal(title))
        if found:
            sides = found.groupdict()
            return "upper_errors" if sides.get("upper") else (
                "lower_errors" if sides.get("lower") else "errors"
            )  # fmt: skip
    return ""


def is_limit(title: str, stem: str) -> bool:
    """Tell whether this column flags the limits among the values of ``stem``."""
    return re.fullmatch(f"(?:{stem})lim(?:it)?(?:flag)?", normal(title)) is not None
