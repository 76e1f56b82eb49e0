"""The report of a run as one page of HTML, which needs no other file, no script and no network."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from floppity_jax.diagnostics.predictive import ResidualWindow
from floppity_jax.report.citations import citations
from floppity_jax.report.figures import Figure
from floppity_jax.report.readings import GOOD, NEUTRAL, Reading, readings
from floppity_jax.report.setup import prior_rows, settings
from floppity_jax.report.table import COLUMNS, parameter_rows, run_facts
from floppity_jax.summary import rounds as rounds_of

if TYPE_CHECKING:
    import xarray

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #111; background: #fff; max-width: 62rem;
       margin: 0 auto; padding: 1rem; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #bbb; }
table { border-collapse: collapse; margin: 1rem 0; }
caption { text-align: left; font-weight: bold; padding: .3rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0;
         border-bottom: 1px solid #ddd; }
table { font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
.good { color: #00664a; font-weight: bold; }
.poor { color: #8a4b00; font-weight: bold; }
.bad { color: #a01b00; font-weight: bold; }
.rule { color: #444; font-size: .9em; }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; font-size: .85em; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; height: auto; }
figcaption { color: #333; font-size: .95em; }
@media print {
  body { max-width: none; padding: 0; font-size: 9.5pt; }
  th, td { padding-right: .5rem; }
  .wide { overflow-x: visible; }
  pre { white-space: pre-wrap; }
  figure, tr { break-inside: avoid; }
}
"""
# Of the group `rounds`: variable, title, and how it is written.
ROUND_COLUMNS = (
    ("simulations", "simulations", "{:,.0f}"),
    ("failures", "failed", "{:,.0f}"),
    ("used", "learned from", "{:,.0f}"),
    ("sampler", "drawn from", "{}"),
    ("acceptance", "acceptance", "{:.2g}"),
    ("overlap", "overlap", "{:.2f}"),
    ("change", "change", "{:.2f}"),
    ("efficiency", "expected efficiency", "{:.2g}"),
    ("misfit", "factor on errors", "{:.2f}"),
    ("stop_reason", "training", "{}"),
)


def page(
    datatree: xarray.DataTree, manifest: Mapping[str, Any], figures: Iterable[Figure],
    window: ResidualWindow | None,
) -> str:  # fmt: skip
    """Return the page.

    Parameters
    ----------
    datatree
        As for `write_report`.
    manifest
        Of the run directory; empty where there is none.
    figures
        As `draw_figures` makes them.
    window
        Where the residuals stand out most, where that is known.
    """
    versions = manifest.get("versions", {})
    found = readings(datatree, window)
    title = f"Retrieval: {_subject(datatree)}"
    sections = [
        ("Set-up", _setup(datatree, manifest.get("configuration", {}))),
        ("Results", _results(datatree, window)),
        ("Figures", "\n".join(map(_figure, figures))),
        ("Diagnostics", _diagnostics(found)),
        ("Rounds", _rounds(datatree)),
        ("Versions", _versions(versions)),
        ("Citations", _citations(datatree, versions)),
    ]
    body = "\n".join(
        f'<section id="{name.lower()}">\n<h2>{name}</h2>\n{content}\n</section>'
        for name, content in sections
    )
    contents = " · ".join(f'<a href="#{name.lower()}">{name}</a>' for name, _ in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{_text(title)}</h1>\n{_in_short(found)}\n<nav>{contents}</nav>\n</header>\n"
        f"<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _text(value: object) -> str:
    """Escape for anywhere in the page, attributes included."""
    return html.escape(str(value), quote=True)


def _escaped(rows: Iterable[Sequence[object]]) -> list[list[str]]:
    return [[_text(cell) for cell in row] for row in rows]


def _table(caption: str, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are HTML already; the first names its row."""
    head = "".join(f'<th scope="col">{_text(title)}</th>' for title in titles)
    body = "\n".join(
        f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in rest) + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="wide"><table>\n<caption>{_text(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _subject(datatree: xarray.DataTree) -> str:
    if "observed_data" not in datatree.children:
        return "posterior"
    return ", ".join(map(str, datatree["observed_data"].data_vars))


def _in_short(found: Sequence[Reading]) -> str:
    """Say what is wrong, before anything else."""
    judged = [reading for reading in found if reading.verdict != NEUTRAL]
    wrong = [reading for reading in judged if reading.verdict != GOOD]
    if not judged:
        return "<p>No diagnostic is known.</p>"
    if not wrong:
        return f"<p>All {len(judged)} diagnostics are good.</p>"
    items = "".join(
        f"<li>{_text(r.name)}: {_verdict(r.verdict)}. {_text(r.meaning)}</li>" for r in wrong
    )
    return f"<p>{len(wrong)} of {len(judged)} diagnostics call for care:</p>\n<ul>{items}</ul>"


def _setup(datatree: xarray.DataTree, configuration: Mapping[str, Any]) -> str:
    parts = [
        _table(
            "Parameters",
            ("parameter", "unit", "prior"),
            _escaped(prior_rows(datatree, configuration)),
        ),
        _table("Settings", ("setting", "value"), _escaped(settings(datatree, configuration))),
    ]
    if text := datatree.attrs.get("configuration"):
        parts.append(f"<h3>Input file</h3>\n<pre><code>{_text(text)}</code></pre>")
    if not configuration:
        parts.append("<p>The folder of this report holds no run, so that this is all it knows.</p>")
    return "\n".join(parts)


def _results(datatree: xarray.DataTree, window: ResidualWindow | None) -> str:
    tables = [_table("Posterior", COLUMNS, _escaped(parameter_rows(datatree)))]
    if facts := run_facts(datatree, window):
        tables.append(_table("Run", ("figure", "value"), _escaped(facts)))
    return "\n".join(tables)


def _figure(figure: Figure) -> str:
    title = f"<h3>{_text(figure.title)}</h3>"
    if not figure.png:
        return f"{title}\n<p>{_text(figure.missing)}</p>"
    image = base64.b64encode(figure.png).decode("ascii")
    return (
        f'{title}\n<figure id="{_text(figure.name)}">\n'
        f'<img alt="{_text(figure.alternative)}" src="data:image/png;base64,{image}">\n'
        f"<figcaption>{_text(figure.caption)}</figcaption>\n</figure>"
    )


def _verdict(verdict: str) -> str:
    return f'<span class="{verdict}">{verdict}</span>' if verdict else "no verdict"


def _diagnostics(found: Sequence[Reading]) -> str:
    if not found:
        return "<p>None is known.</p>"
    rows = [
        (
            _text(r.name), _text(r.value), _verdict(r.verdict),
            f'{_text(r.meaning)}<br><span class="rule">{_text(r.rule)}</span>',
        )
        for r in found
    ]  # fmt: skip
    titles = ("diagnostic", "figure", "verdict", "what it says, and by which rule")
    return _table("Readings", titles, rows)


def _rounds(datatree: xarray.DataTree) -> str:
    rounds = rounds_of(datatree)
    if rounds is None:
        return "<p>The DataTree holds no rounds.</p>"
    columns = [column for column in ROUND_COLUMNS if column[0] in rounds]
    values = [rounds[name].to_numpy() for name, _, _ in columns]
    rows = [
        [
            str(i + 1),
            *(_cell(value[i], form) for value, (_, _, form) in zip(values, columns, strict=True)),
        ]
        for i in range(len(values[0]))
    ]
    return _table(
        "One round a line", ("round", *(title for _, title, _ in columns)), _escaped(rows)
    )


def _cell(value: Any, form: str) -> str:
    if isinstance(value, str | np.str_):
        return str(value).lower().replace("_", " ")
    return form.format(value) if np.isfinite(value) else "not known"


def _versions(versions: Mapping[str, str]) -> str:
    if not versions:
        return "<p>They are kept in run directories only.</p>"
    return _table("Packages", ("package", "version"), _escaped(versions.items()))


def _citations(datatree: xarray.DataTree, versions: Mapping[str, str]) -> str:
    entries = "\n\n".join(citation.bibtex for citation in citations(datatree, versions))
    return (
        "<p>What this run used, as BibTeX, each under what it was used for.</p>\n"
        f"<pre><code>{_text(entries)}</code></pre>"
    )
