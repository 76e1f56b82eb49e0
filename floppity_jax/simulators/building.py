"""Simulators that are built where they run."""

from collections.abc import Callable, Mapping
from typing import Any


def per_worker(build: Callable[..., Any], *args: Any, **kwargs: Any) -> "PerWorker":
    """Make a simulator that each worker builds for itself, once, before its first call.

    For what is too heavy to send (opacity tables) or cannot be sent (objects of a compiled
    extension): only ``build`` and its arguments travel.

    Parameters
    ----------
    build
        Returns the simulator, a callable of ``{name: float}``. What it loads stays in the worker.
    *args, **kwargs
        Passed on to ``build``.

    Returns
    -------
    PerWorker

    Examples
    --------
    ::

        def build(folder):
            tables = load_opacities(folder)  # 20 GB, a minute: once for each worker
            return lambda p: spectrum(tables, p["T"], p["log_g"])

        simulator = fp.simulators.per_worker(build, "/data/opacities")
    """
    return PerWorker(build, args, kwargs)


class PerWorker:
    """A simulator that is built by its first call; made by `per_worker`."""

    def __init__(
        self, build: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self.build = build
        self.args = args
        self.kwargs = dict(kwargs)
        self._simulator: Callable[..., Any] | None = None

    def set_up(self) -> None:
        """Build the simulator; a worker does so before its first call, outside any time limit."""
        if self._simulator is None:
            self._simulator = self.build(*self.args, **self.kwargs)

    def __call__(self, parameters: Mapping[str, Any]) -> Any:
        """Simulate.

        Parameters
        ----------
        parameters
            Handed to the simulator that was built.
        """
        self.set_up()
        assert self._simulator is not None
        return self._simulator(parameters)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_simulator": None}
