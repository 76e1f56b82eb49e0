"""How the pages are built: ``sphinx-build -W -n docs docs/_build``."""

import floppity_jax

project = "floppity_jax"
author = "The floppity_jax developers"
copyright = author
release = version = floppity_jax.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"floppity_jax {release}"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

default_role = "autolink"  # `name` in a docstring is a link wherever there is such a name here
autodoc_default_options = {"members": True, "member-order": "bysource"}
numpydoc_show_class_members = False
# Names of other packages, which would take the network to look up, and of inner modules of ours.
nitpick_ignore_regex = [("py:.*", r"(?!floppity_jax\.((plots|report|simulators)\.)?\w+$).*")]


def _skip_field_numbers(app, what, name, obj, skip, options):
    """Leave out the fields of named tuples: the docstring of the class has them."""
    return skip or (getattr(obj, "__doc__", None) or "").startswith("Alias for field number")


def setup(app):
    """Connect the above."""
    app.connect("autodoc-skip-member", _skip_field_numbers)
