"""The nested samplers that can be chosen."""

from __future__ import annotations

from floppity_jax.nested.run_blackjax import BLACKJAX
from floppity_jax.nested.run_dynesty import DYNESTY
from floppity_jax.nested.run_nautilus import NAUTILUS
from floppity_jax.nested.run_ultranest import ULTRANEST

SAMPLERS = {
    "ultranest": ULTRANEST,
    "nautilus": NAUTILUS,
    "dynesty": DYNESTY,
    "blackjax": BLACKJAX,
}
