"""Is the posterior to be trusted: beside another one, over many observations, at the data."""
