"""IPAC tables, in which the NASA Exoplanet Archive hands out spectra (``.tbl``)."""

from floppity_jax.errors import InvalidInput
from floppity_jax.spectra import titles
from floppity_jax.spectra.table import Column, Table


def is_ipac(text: str) -> bool:
    r"""Tell whether this is an IPAC table: keywords after ``\``, then titles between bars."""
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("\\"))
    return next(lines, "").startswith("|")


def read_ipac(text: str, source: str) -> Table:
    """Read an IPAC table.

    Columns are as wide as the bars of the head are apart. The head has a line of titles, and may
    have one of types, one of units, and one of words for missing values.

    Raises
    ------
    InvalidInput
        Where there are no rows, or one does not keep to its columns.
    """
    lines = [
        (place, line.expandtabs())
        for place, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.startswith("\\")
    ]
    head = [line for _, line in lines if line.startswith("|")]
    rows = [(place, line) for place, line in lines if not line.startswith("|")]
    if not rows:
        raise InvalidInput("path", source, "holds no rows", "Is it the right file?")
    bars = [at for at, letter in enumerate(head[0]) if letter == "|"]
    for place, line in rows:
        if any(line[bar : bar + 1].strip() for bar in bars):
            raise InvalidInput(
                f"line {place} of {source}", line, "must keep to the columns of the head",
                "Was the table edited? Download it again.",
            )  # fmt: skip
    titled, told, missing = (_words(head[i]) if i < len(head) else [] for i in (0, 2, 3))
    if len(titled) != len(bars) - 1 or len(told or titled) != len(titled):
        raise InvalidInput(
            f"head of {source}", head, "must have a title, and a unit or none, between all bars",
            "Was the table edited? Download it again.",
        )  # fmt: skip
    cells = [["" if cell in missing else cell for cell in _cells(line, bars)] for _, line in rows]
    named = [titles.split_title(title) for title in titled]
    return Table(
        source,
        tuple(
            Column(title, unit or own, column)
            for (title, own), unit, column in zip(
                named, told or [""] * len(named), zip(*cells, strict=True), strict=True
            )
        ),
        [f"line {place}" for place, _ in rows],
    )


def _words(line: str) -> list[str]:
    return [word.strip() for word in line.strip().removeprefix("|").removesuffix("|").split("|")]


def _cells(line: str, bars: list[int]) -> list[str]:
    return [line[left + 1 : right].strip() for left, right in zip(bars, bars[1:], strict=False)]
