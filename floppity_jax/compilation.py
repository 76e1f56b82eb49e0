"""How JAX is told to compile: in full precision, and once for all processes of a user."""

from __future__ import annotations

import os
import pathlib

import jax

# Decorates what is traced. GPUs round float32 products of matrices to three digits by default:
# spectra are many errors high, and so would their rounding be; and a flow's ways to the base and
# back would not be each other's inverse, so that draws would not have the density they came from.
full_precision = jax.default_matmul_precision("highest")


def use_cache() -> None:
    """Keep compiled functions for the next process, unless the user has set JAX up otherwise.

    What took under a tenth of a second to compile is not worth a file.
    ``JAX_COMPILATION_CACHE_DIR`` chooses another folder, ``JAX_ENABLE_COMPILATION_CACHE=false``
    none.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(home) / "floppity_jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
