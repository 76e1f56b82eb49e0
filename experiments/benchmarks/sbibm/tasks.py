"""Seven tasks of the sbibm benchmark (Lueckmann et al. 2021, arXiv:2101.04653), in JAX.

Definitions as in sbibm 1.1.0. A simulator is random, yet a function of its parameters: the key of
each simulation comes from the seed and from the bits of that simulation's parameters.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

import floppity_jax as fp
from floppity_jax.priors import Prior


@dataclasses.dataclass(frozen=True)
class Task:
    """A prior and a way to draw data.

    `draw` takes a random key and the parameters (d,) of one simulation, and returns (channels,).
    """

    name: str
    parameters: Mapping[str, Prior]
    channels: int
    draw: Callable[[jax.Array, jax.Array], jax.Array]

    def simulator(self, seed):
        """Return the simulator that `fp.Retrieval` takes, with random numbers of its own."""

        @fp.jax_batched
        def simulate(parameters):
            theta = jnp.stack([parameters[name] for name in self.parameters], axis=1)
            return jax.vmap(self.draw)(keys_of(seed, theta), theta)

        return simulate


def keys_of(seed, theta):
    """One random key for each row of `theta`, which must be float32."""

    def key_of(bits):
        key = jax.random.key(seed)
        for i in range(len(bits)):
            key = jax.random.fold_in(key, bits[i])
        return key

    return jax.vmap(key_of)(jax.lax.bitcast_convert_type(theta, jnp.uint32))


def numbered(prior, count):
    return {f"theta_{i + 1}": prior for i in range(count)}


def runge_kutta(rate, state, interval, steps, outputs):
    """Solve ds/dt = rate(s): the state at times 0, interval, ..., (outputs - 1) * interval.

    Fourth order, with `steps` equal steps an interval.
    """
    h = interval / steps

    def step(_, s):
        k1 = rate(s)
        k2 = rate(s + h / 2 * k1)
        k3 = rate(s + h / 2 * k2)
        k4 = rate(s + h * k3)
        return s + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    def advance(s, _):
        return jax.lax.fori_loop(0, steps, step, s), s

    return jax.lax.scan(advance, state, length=outputs)[1]


# --- Gaussian tasks: the "scale" of 0.1 in sbibm is a variance


def draw_gaussian(key, theta):
    return theta + math.sqrt(0.1) * jax.random.normal(key, theta.shape)


def draw_gaussian_mixture(key, theta):
    # Each simulation draws one of the two widths, which all its channels share. sbibm's task.py and
    # task_fix.py both do so, and so do the reference posteriors (the squared deviations of the two
    # parameters from the observation are correlated).
    key_width, key_noise = jax.random.split(key)
    width = jnp.where(jax.random.bernoulli(key_width), 1.0, 0.1)
    return theta + width * jax.random.normal(key_noise, theta.shape)


# --- tasks made to be awkward


def draw_two_moons(key, theta):
    key_angle, key_radius = jax.random.split(key)
    angle = jax.random.uniform(key_angle, minval=-math.pi / 2, maxval=math.pi / 2)
    radius = 0.1 + 0.01 * jax.random.normal(key_radius)
    crescent = radius * jnp.array([jnp.cos(angle), jnp.sin(angle)]) + jnp.array([0.25, 0.0])
    shift = jnp.array([-jnp.abs(theta[0] + theta[1]), theta[1] - theta[0]])
    return crescent + shift / math.sqrt(2)


def draw_slcp(key, theta):
    """Four points from a Gaussian in two dimensions."""
    a, b = theta[2] ** 4, theta[3] ** 4
    rho = jnp.tanh(theta[4])
    jitter = 1e-6  # sbibm adds it to both variances
    first, second = jax.random.normal(key, (2, 4))
    slope = rho * jnp.sqrt(a * b) / jnp.sqrt(a + jitter)
    # What is left of the second variance, without taking the difference of near equals.
    rest = b * (a * (1 - rho**2) + jitter) / (a + jitter) + jitter
    x = theta[0] + jnp.sqrt(a + jitter) * first
    y = theta[1] + slope * first + jnp.sqrt(rest) * second
    return jnp.stack([x, y], axis=1).ravel()


# --- differential equations, in log populations: positive whatever the parameters


def infected_share(theta):
    """Infected share of a million people, one of them at first, every 17 days (10,)."""
    contact, recovery = theta
    people = 1e6

    def rate(log_shares):
        susceptible, infected = jnp.exp(log_shares)
        return jnp.stack([-contact * infected, contact * susceptible - recovery])

    start = jnp.array([math.log1p(-1 / people), -math.log(people)])
    return jnp.exp(runge_kutta(rate, start, 17.0, 68, 10)[:, 1])


def draw_sir(key, theta):
    return jax.random.binomial(key, 1000.0, jnp.clip(infected_share(theta), 0.0, 1.0))


def log_populations(theta):
    """Log of prey and predators at times 0, 2.1, ..., 18.9 (10, 2)."""
    alpha, beta, gamma, delta = theta

    def rate(log_counts):
        prey, predators = jnp.exp(log_counts)
        return jnp.stack([alpha - beta * predators, delta * prey - gamma])

    return runge_kutta(rate, jnp.array([math.log(30.0), 0.0]), 2.1, 200, 10)


def draw_lotka_volterra(key, theta):
    log_counts = log_populations(theta).T.ravel()  # ten of prey, then ten of predators
    log_counts = jnp.clip(log_counts, math.log(1e-10), math.log(1e4))
    return jnp.exp(log_counts + 0.1 * jax.random.normal(key, log_counts.shape))


RATE = fp.LogNormal(math.exp(-0.125), 0.5)
ENCOUNTER = fp.LogNormal(math.exp(-3.0), 0.5)

TASKS = {
    task.name: task
    for task in (
        Task("two_moons", numbered(fp.Uniform(-1, 1), 2), 2, draw_two_moons),
        Task("gaussian_linear_uniform", numbered(fp.Uniform(-1, 1), 10), 10, draw_gaussian),
        Task("gaussian_linear", numbered(fp.Normal(0, math.sqrt(0.1)), 10), 10, draw_gaussian),
        Task("gaussian_mixture", numbered(fp.Uniform(-10, 10), 2), 2, draw_gaussian_mixture),
        Task("slcp", numbered(fp.Uniform(-3, 3), 5), 8, draw_slcp),
        Task("sir", {"contact": fp.LogNormal(0.4, 0.5), "recovery": fp.LogNormal(0.125, 0.2)}, 10,
             draw_sir),
        Task("lotka_volterra",
             {"alpha": RATE, "beta": ENCOUNTER, "gamma": RATE, "delta": ENCOUNTER}, 20,
             draw_lotka_volterra),
    )
}  # fmt: skip
