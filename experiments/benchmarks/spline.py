"""Time our rational-quadratic spline beside distrax's, forward and backward, in one run.

Prints JSON; `--output` writes it too. The two take turns, so that a busy machine slows both alike.
"""

import argparse
import json
import pathlib
import platform
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from floppity_jax.flows import spline

BOUND = 5.0


def ours(x, parameters):
    y, log_slope = spline.forward(x, parameters, BOUND)
    return jnp.sum(y**2 + log_slope)


def make_distrax(bins):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import distrax

    def theirs(x, parameters):
        # distrax wants the parameters last, and takes end slopes that it then ignores.
        ends = jnp.zeros((1, x.size))
        full = jnp.concatenate([parameters[: 2 * bins], ends, parameters[2 * bins :], ends]).T
        bijector = distrax.RationalQuadraticSpline(
            full,
            -BOUND,
            BOUND,
            boundary_slopes="identity",
            min_bin_size=2 * BOUND * spline.MIN_BIN,
            min_knot_slope=spline.MIN_SLOPE,
        )
        y, log_slope = bijector.forward_and_log_det(x)
        return jnp.sum(y**2 + log_slope)

    return theirs


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scalars", type=int, default=1500)
    parser.add_argument("--bins", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--output", type=pathlib.Path)
    options = parser.parse_args()
    key_x, key_p = jax.random.split(jax.random.key(0))
    x = 2 * jax.random.normal(key_x, (options.scalars,))
    parameters = jax.random.normal(key_p, (spline.n_parameters(options.bins), options.scalars))
    import distrax

    kernels = {"ours": ours, "distrax": make_distrax(options.bins)}
    compiled, seconds = {}, {name: [] for name in kernels}
    result = {}
    for name, kernel in kernels.items():
        start = time.perf_counter()
        function = jax.jit(jax.value_and_grad(kernel, argnums=(0, 1)))
        compiled[name] = function.lower(x, parameters).compile()
        result[f"{name}_compile_s"] = round(time.perf_counter() - start, 3)
    for _ in range(options.repeats):
        for name, function in compiled.items():
            start = time.perf_counter()
            jax.block_until_ready(function(x, parameters))
            seconds[name].append(time.perf_counter() - start)
    for name in kernels:
        result[f"{name}_ms"] = round(1e3 * float(np.median(seconds[name])), 4)
    result["ratio"] = round(result["distrax_ms"] / result["ours_ms"], 2)
    result |= {
        "scalars": options.scalars,
        "bins": options.bins,
        "device": jax.devices()[0].platform,
        "jax": jax.__version__,
        "distrax": distrax.__version__,
        "python": platform.python_version(),
    }
    print(json.dumps(result, indent=1))
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
