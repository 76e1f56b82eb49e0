"""Sample the WASP-39 b demo by nested sampling: the truth that compare.py holds it against.

It writes nested_seedN.npz: equally weighted draws, the evidence, and what they took. The sampler is
nautilus (Lange 2023, MNRAS 525, 3181): importance nested sampling with neural bounds. Points drawn
while the bounds were built are thrown away, which its author asks for where the evidence and the
posterior have to be unbiased.
"""

from __future__ import annotations

import argparse
import pathlib
import time

import nautilus
import numpy as np
from runs import Run, load_demo, log_likelihood
from scipy.special import ndtri

from floppity_jax.simulate import DEVICE_CHUNK, simulate


def main() -> None:
    """Sample, print the evidence and write the run."""
    here = pathlib.Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--live", type=int, default=2000, help="live points (%(default)s)")
    parser.add_argument("--effective", type=int, default=10_000,
                        help="effective sample size to end at (%(default)s)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--timeout", type=float, default=np.inf, metavar="S",
                        help="stop after so many seconds (never)")  # fmt: skip
    parser.add_argument("--output", type=pathlib.Path, default=here, help="folder (this one)")
    options = parser.parse_args()

    retrieval = load_demo().retrieval
    space = retrieval.space
    failed = 0

    def likelihood(theta: np.ndarray) -> np.ndarray:
        nonlocal failed
        log_l = log_likelihood(retrieval, theta)
        failed += int(np.isneginf(log_l).sum())
        return log_l

    sampler = nautilus.Sampler(
        prior=lambda u: space.to_theta(ndtri(u)),
        likelihood=likelihood,
        n_dim=len(space.names),
        n_live=options.live,
        n_batch=DEVICE_CHUNK,  # what one compiled call computes
        vectorized=True,
        pass_dict=False,
        seed=options.seed,
    )
    start = time.perf_counter()
    finished = sampler.run(
        n_eff=options.effective,
        discard_exploration=True,
        timeout=options.timeout,
        verbose=True,
    )
    seconds = time.perf_counter() - start
    # Twice as many draws as a rejection by weight leaves: some of them then occur twice.
    draws, _, log_l = sampler.posterior(equal_weight=True, equal_weight_boost=2.0)
    best = draws[[np.argmax(log_l)]]
    spectrum = simulate(
        retrieval.simulator, space.as_mapping(best), retrieval.observation, retrieval.pool
    ).spectra
    chi2 = float((retrieval.measurement.residuals(spectrum, best) ** 2).sum())
    run = Run(
        draws,
        {
            "method": f"nautilus {nautilus.__version__}",
            "seed": options.seed,
            "live": options.live,
            "finished": bool(finished),
            "simulator": retrieval.simulator.fingerprint(),
            "log_evidence": float(sampler.log_z),
            # Importance sampling in all but name: the relative error of Z is 1 / sqrt(n_eff)
            "log_evidence_error": float(sampler.n_eff**-0.5),
            "effective": float(sampler.n_eff),
            "simulator_calls": int(sampler.n_like),
            "failed_calls": failed,
            "seconds": seconds,
            "draws": len(draws),
            "reduced_chi2_best": chi2 / (retrieval.observation.n_channels - len(space.names)),
        },
    )
    path = options.output / f"nested_seed{options.seed}.npz"
    run.save(path)
    for name, value in run.info.items():
        print(f"{name:20} {value}")
    print(f"written: {path}")


if __name__ == "__main__":
    main()
