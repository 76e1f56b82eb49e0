"""Neural posterior estimation for exoplanet and brown-dwarf spectra, in JAX."""

__version__ = "0.1.0"
