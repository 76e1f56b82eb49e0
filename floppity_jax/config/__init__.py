"""Input files: TOML, checked whole before anything runs."""

from floppity_jax.config.load import CONFIG, Setup, load
from floppity_jax.config.schema import RunSection

__all__ = ["CONFIG", "RunSection", "Setup", "load"]
