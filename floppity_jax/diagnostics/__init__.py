"""Is the posterior to be trusted: beside another one, over many observations, at the data."""

from floppity_jax.diagnostics.predictive import ResidualWindow, residual_scan

__all__ = ["ResidualWindow", "residual_scan"]
