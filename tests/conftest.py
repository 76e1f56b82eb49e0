"""What all tests share."""

import gc
import sys

import pytest


@pytest.fixture(scope="module", autouse=True)
def _compiled_code_is_freed():
    """Free what a module compiled: each program takes memory maps, of which Linux allows 65,530.

    Beyond them the next program that JAX loads ends the process with a segmentation fault.
    """
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
        gc.collect()
