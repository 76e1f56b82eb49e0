"""dynesty on a `Problem`."""

from __future__ import annotations

import contextlib
import io
import queue
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from floppity_jax.nested.objects import read_dynesty
from floppity_jax.nested.problem import Problem
from floppity_jax.nested.sampler import Outcome, Sampler, Settings, outcome_of
from floppity_jax.typing import Float

LIVE_POINTS = 500  # dynesty's own number
LOOK = 0.1  # seconds between looks at whether the threads have ended

_Asked = tuple[Float[np.ndarray, " d"], Future[float]]


def _run(problem: Problem, settings: Settings) -> Outcome:
    """Run dynesty's static nested sampler (Speagle 2020, MNRAS 493, 3132).

    A batch of proposals is made above one likelihood, and each is held against that of its turn:
    of a batch of half the live points a fifth is lost.
    """
    import dynesty

    live_points = settings.live_points or LIVE_POINTS
    size = min(problem.batch, max(1, live_points // 2))
    together = Together(problem.log_likelihood, size)
    with together.threads:
        sampler = dynesty.NestedSampler(
            together.log_likelihood,
            _unchanged,
            len(problem.space.names),
            nlive=live_points,
            pool=together,
            use_pool={"prior_transform": False, "update_bound": False},
            rstate=np.random.default_rng(settings.seed),
            **settings.setup,
        )
        sampler.run_nested(print_progress=settings.progress, **settings.run)
    return outcome_of(read_dynesty(sampler.results))


def _unchanged(u: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    return u


class Together:
    """A pool whose tasks run at once, so that the likelihoods they ask for come in batches.

    dynesty gives a pool whole proposals: draws until one is above the threshold, or a walk, each a
    loop that asks for one likelihood after the other. Here each has a thread, and waits until all
    that are under way have asked: then the batch is evaluated, by the thread that called `map`.

    Parameters
    ----------
    evaluate
        Log-likelihoods (n,) of points (n, d).
    size
        Tasks at once: dynesty reads how many proposals it is to make.
    """

    def __init__(
        self,
        evaluate: Callable[[Float[np.ndarray, "n d"]], Float[np.ndarray, " n"]],
        size: int,
    ) -> None:
        self.size = size
        self.threads = ThreadPoolExecutor(size, "dynesty")
        self._evaluate = evaluate
        self._events: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()  # None: one has ended

    def log_likelihood(self, u: Float[np.ndarray, " d"]) -> float:
        """Return the log-likelihood of a point, with those of others: for tasks of `map` only."""
        answer: Future[float] = Future()
        self._events.put((u, answer))
        return answer.result()

    def map(self, task: Callable[[Any], Any], arguments: Iterable[Any]) -> list[Any]:
        """Run the task on each of the arguments."""
        arguments = list(arguments)
        return [
            result
            for start in range(0, len(arguments), self.size)
            for result in self._map(task, arguments[start : start + self.size])
        ]

    def _map(self, task: Callable[[Any], Any], arguments: list[Any]) -> list[Any]:
        events = self._events = queue.SimpleQueue()  # without what a map that failed left behind
        tasks: list[Future[Any]] = []
        asked: list[_Asked] = []
        try:
            for argument in arguments:
                tasks.append(self.threads.submit(task, argument))
                tasks[-1].add_done_callback(lambda _: events.put(None))
            under_way = len(tasks)
            while under_way:
                event = events.get()
                if event is None:
                    under_way -= 1
                else:
                    asked.append(event)
                if asked and len(asked) == under_way:
                    self._answer(asked)
                    asked = []
        except BaseException:
            self._end(tasks, asked)
            raise
        return [task.result() for task in tasks]

    def _answer(self, asked: list[_Asked]) -> None:
        asked.sort(key=lambda one: one[0].tolist())  # the same batch, whichever thread came first
        log_l = self._evaluate(np.stack([u for u, _ in asked]))
        for (_, answer), value in zip(asked, log_l, strict=True):
            answer.set_result(float(value))

    def _end(self, tasks: list[Future[Any]], asked: list[_Asked]) -> None:
        """Let the threads end that wait for a likelihood: none is to come."""
        silence = io.StringIO()  # for dynesty prints every error of a likelihood
        with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
            for _, answer in asked:
                answer.cancel()
            while not all(task.done() for task in tasks):
                with contextlib.suppress(queue.Empty):
                    event = self._events.get(timeout=LOOK)
                    if event is not None:
                        event[1].cancel()


def _signatures() -> tuple[Callable[..., Any], ...]:
    from dynesty import NestedSampler
    from dynesty.sampler import Sampler as Running

    return NestedSampler.__new__, Running.run_nested


DYNESTY = Sampler(
    run=_run,
    library="dynesty",
    distribution="dynesty",
    resumes=False,  # its checkpoints are pickles, which would have to hold our threads too
    signatures=_signatures,
    ours=frozenset(
        "cls self loglikelihood prior_transform ndim nlive pool use_pool rstate live_points blob "
        "logl_args logl_kwargs ptform_args ptform_kwargs print_progress checkpoint_file "
        "checkpoint_every resume".split()
    ),
)
