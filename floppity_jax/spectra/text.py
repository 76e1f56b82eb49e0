"""Plain text: columns apart by blanks, tabs or commas, with or without titles."""

import csv
import math
import re

from floppity_jax.errors import InvalidInput
from floppity_jax.spectra import titles
from floppity_jax.spectra.choice import tells_spectrum
from floppity_jax.spectra.table import Column, Table, number


def read_text(text: str, source: str) -> Table:
    """Read whitespace-separated or CSV text.

    Lines that begin with ``#`` are comments. One line of titles may precede the numbers; a comment
    does as well, as `numpy.savetxt` writes it, if its titles tell wavelength and value.

    Raises
    ------
    InvalidInput
        Where there are no numbers, or lines differ in the number of columns.
    """
    comments, lines = _split_comments(text)
    heading = lines.pop(0)[1] if lines and _is_heading(_fields(lines[0][1])) else None
    if not lines:
        raise InvalidInput("path", source, "holds no numbers", "Is it the right file?")
    rows = [_fields(line) for _, line in lines]
    for (place, line), row in zip(lines, rows, strict=True):
        if len(row) != len(rows[0]):
            raise InvalidInput(
                f"line {place} of {source}", line,
                f"has {len(row)} columns where the first has {len(rows[0])}",
                "Every line needs the same number of columns.",
            )  # fmt: skip
    found = _titles(heading, comments, len(rows[0]))
    names = found or [("", "")] * len(rows[0])
    return Table(
        source,
        tuple(
            Column(title, unit, cells)
            for (title, unit), cells in zip(names, zip(*rows, strict=True), strict=True)
        ),
        [f"line {place}" for place, _ in lines],
        titled=any(titles.role(title) for title, _ in names),
        unsplit=heading if heading and not found else "",
    )


def _split_comments(text: str) -> tuple[list[str], list[tuple[int, str]]]:
    """Return the comments before the first other line, and the other lines with their number."""
    comments: list[str] = []
    lines: list[tuple[int, str]] = []
    for place, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("#"):
            if not lines:
                comments.append(line.lstrip("# \t"))
        elif line.strip():
            lines.append((place, line))
    return comments, lines


def _is_heading(fields: list[str]) -> bool:
    """Tell titles from numbers; pandas leaves the title of its index empty."""
    found = [number(field) for field in fields]
    return None in found and all(value is None or math.isnan(value) for value in found)


def _titles(heading: str | None, comments: list[str], count: int) -> list[tuple[str, str]]:
    """Return title and unit of each column; empty where no line has ``count`` titles."""
    if heading is not None:
        return _split_titles(heading, count)
    for comment in reversed(comments):
        found = _split_titles(comment, count)
        if tells_spectrum([title for title, _ in found]):
            return found
    return []


def _split_titles(line: str, count: int) -> list[tuple[str, str]]:
    """Split a line into ``count`` titles at commas, tabs or blanks, but not before brackets."""
    for parts in (
        _fields(line) if "," in line else [],
        line.strip().split("\t"),
        re.split(r"\s{2,}", line.strip()),
        re.findall(r"\S+?(?:\s*(?:\[[^\]]*\]|\([^)]*\)))?(?=\s|$)", line),
    ):
        if len(parts) == count:
            return [titles.split_title(part) for part in parts]
    return []


def _fields(line: str) -> list[str]:
    if "," in line:
        return [field.strip() for field in next(csv.reader([line], skipinitialspace=True))]
    return line.split()
