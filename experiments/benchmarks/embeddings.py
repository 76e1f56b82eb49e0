"""What the flow is given of thousands of channels: components, or what a network makes of them.

Two gases absorb in 40 narrow lines each, all shifted and broadened together, on a continuum: 3,000
channels, in which a shift moves signal from one channel to the next. For each embedding, the share
of draws that importance sampling keeps after so many rounds, and the time of training. JSON is
printed; ``--output`` writes it too.
"""

import argparse
import json
import pathlib

import jax.numpy as jnp
import numpy as np

import floppity_jax as fp

WAVELENGTH = np.linspace(0, 1, 3000)
GASES = ("gas_a", "gas_b")
PRIORS = {
    "gas_a": fp.LogUniform(0.1, 10),
    "gas_b": fp.LogUniform(0.1, 10),
    "shift": fp.Uniform(-0.01, 0.01),
    "width": fp.LogUniform(0.001, 0.01),
    "continuum": fp.Uniform(0.5, 1.5),
}
TRUTH = {"gas_a": 1.5, "gas_b": 0.6, "shift": 0.002, "width": 0.003, "continuum": 1.05}
NARROW = 0.003  # width at which lines are as deep as their strengths say
_rng = np.random.default_rng(7)
CENTRES = _rng.uniform(0.05, 0.95, (2, 40))
STRENGTHS = _rng.gamma(1.0, 0.3, (2, 40))


@fp.jax_batched
def simulator(parameters):
    width, shift = (parameters[name][:, None, None] for name in ("width", "shift"))
    depth = 0.0
    for gas, centres, strengths in zip(GASES, CENTRES, STRENGTHS, strict=True):
        offset = (WAVELENGTH - centres[None, :, None] - shift) / width
        lines = strengths[None, :, None] * NARROW / width * jnp.exp(-0.5 * offset**2)
        depth = depth + parameters[gas][:, None] * lines.sum(axis=1)
    return parameters["continuum"][:, None] * jnp.exp(-depth)


def observation(sigma):
    clean = np.asarray(simulator({name: np.array([x]) for name, x in TRUTH.items()}))[0]
    noise = np.random.default_rng(3).normal(size=clean.size)
    return fp.Observation(clean + sigma * noise, np.full(clean.size, sigma))


def run(embedding, sigma, seed, options):
    retrieval = fp.Retrieval(
        simulator, PRIORS, observation(sigma), flow=fp.FlowConfig(embedding=embedding), pool=1
    )
    posterior = retrieval.run(options.rounds, options.simulations, seed=seed, progress=False)
    corrected = posterior.importance_sample(options.draws, seed=seed)
    return {
        "embedding": embedding,
        "sigma": sigma,
        "seed": seed,
        "efficiency": round(corrected.efficiency, 3),
        "pareto_k": round(corrected.pareto_k, 2),
        "log_evidence": round(corrected.log_evidence, 3),
        "training_seconds": round(posterior.record.seconds["training"], 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    choices = ("projection", "mlp", "convolution")
    parser.add_argument("--embeddings", nargs="+", choices=choices, default=choices)
    parser.add_argument("--sigmas", nargs="+", type=float, default=[0.1, 0.5], help="noise")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--simulations", type=int, default=500, help="of a round")
    parser.add_argument("--draws", type=int, default=2000, help="of the correction")
    parser.add_argument("--output", type=pathlib.Path)
    options = parser.parse_args()
    results = []
    # Sides take turns, so that a busy machine slows all alike.
    for sigma in options.sigmas:
        for seed in options.seeds:
            for embedding in options.embeddings:
                results.append(run(embedding, sigma, seed, options))
                print(results[-1], flush=True)
    text = json.dumps({"settings": vars(options) | {"output": None}, "runs": results}, indent=1)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
