"""The report of a run, as files."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from floppity_jax.report.figures import draw_figures
from floppity_jax.report.page import page
from floppity_jax.report.table import residual_window
from floppity_jax.store import MANIFEST, read_manifest

if TYPE_CHECKING:
    import xarray

PAGE = "report.html"
KEPT = ("corner", "spectrum")  # figures that are kept as files too


def write_report(
    datatree: xarray.DataTree, directory: str | pathlib.Path
) -> tuple[pathlib.Path, ...]:
    """Write ``corner.png``, ``spectrum.png`` where there are model spectra, and ``report.html``.

    The page stands alone: set-up, results, diagnostics with their readings, all figures, rounds,
    versions, and citations of what the run used. What a run does not have, the page says.

    Parameters
    ----------
    datatree
        With the group ``posterior``, and what else is known.
    directory
        Where to; made if need be. Where it is a run directory, set-up and versions are read from
        its manifest.

    Returns
    -------
    tuple of pathlib.Path
        The files written.

    Raises
    ------
    RunDirectoryError
        Where the manifest is damaged.
    """
    directory = pathlib.Path(directory)
    manifest = read_manifest(directory) if (directory / MANIFEST).exists() else {}
    directory.mkdir(parents=True, exist_ok=True)
    window = residual_window(datatree)
    figures = draw_figures(datatree, window)
    written = []
    for figure in figures:
        if figure.name in KEPT and figure.png:
            written.append(directory / f"{figure.name}.png")
            written[-1].write_bytes(figure.png)
    written.append(directory / PAGE)
    written[-1].write_text(page(datatree, manifest, figures, window), encoding="utf-8")
    return tuple(written)
