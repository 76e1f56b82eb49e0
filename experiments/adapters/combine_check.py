"""Retrieve two components, and hold the ordered draws against a chain in the ordered half.

    python combine_check.py [--output DIR]

It runs the example of docs/combine.md and writes combine_check.json.
"""

import argparse
import json
import pathlib
import re

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
WALKERS, STEPS, BURN, EVERY = 400, 6000, 1000, 20


def chain(retrieval, limbs, start, rng):
    """Metropolis' algorithm on the ordered half of the prior; many walkers at once."""
    observation, names = retrieval.observation, retrieval.space.names
    low, high = np.array([prior.support for prior in retrieval.space.priors.values()]).T
    cold, hot = names.index("T_morning"), names.index("T_evening")

    def log_likelihood(theta):
        spectra = limbs(dict(zip(names, theta.T, strict=True)))
        return -0.5 * (((spectra - observation.values) / observation.errors) ** 2).sum(axis=1)

    step = np.linalg.cholesky(np.cov(start.T)) * 0.7 * 2.38 / np.sqrt(len(names))
    theta = start[rng.integers(0, len(start), WALKERS)].copy()
    now, kept = log_likelihood(theta), []
    for i in range(STEPS):
        proposal = theta + rng.normal(size=theta.shape) @ step.T
        inside = ((proposal > low) & (proposal < high)).all(axis=1)
        inside &= proposal[:, cold] <= proposal[:, hot]
        new = np.where(inside, log_likelihood(proposal), -np.inf)
        accepted = np.log(rng.random(WALKERS)) < new - now
        theta[accepted], now[accepted] = proposal[accepted], new[accepted]
        if i >= BURN and i % EVERY == 0:
            kept.append(theta.copy())
    return np.concatenate(kept)


def beside(draws, reference):
    """Differences of the means, in standard deviations, and ratios of the widths."""
    return {
        "means": ((draws.mean(axis=0) - reference.mean(axis=0)) / reference.std(axis=0)).tolist(),
        "widths": (draws.std(axis=0) / reference.std(axis=0)).tolist(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, default=HERE)
    output = parser.parse_args().output
    page = (HERE.parents[1] / "docs/combine.md").read_text()
    scope = {"__name__": "docs"}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S):
        exec(block, scope)
    posterior, limbs, retrieval = scope["posterior"], scope["limbs"], scope["retrieval"]
    draws = posterior.sample(20_000)
    ordered = limbs.ordered(draws, posterior.space)
    corrected = posterior.importance_sample(4000)
    better = limbs.ordered(corrected.sample(20_000), posterior.space)
    reference = chain(retrieval, limbs, better, np.random.default_rng(0))
    record = {
        "parameters": posterior.names,
        "chain, mean": reference.mean(axis=0).tolist(),
        "chain, standard deviation": reference.std(axis=0).tolist(),
        "share of draws with T_morning < T_evening": float((draws[:, 0] < draws[:, 2]).mean()),
        "flow": beside(ordered, reference),
        "importance": beside(better, reference),
        "efficiency": float(corrected.efficiency),
        "log evidence": [float(corrected.log_evidence), float(corrected.log_evidence_error)],
    }
    print(json.dumps(record, indent=1))
    (output / "combine_check.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
