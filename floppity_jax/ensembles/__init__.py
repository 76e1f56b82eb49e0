"""Several retrievals that share their prior simulations, and what they say together."""
