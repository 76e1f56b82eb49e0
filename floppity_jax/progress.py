"""One line of progress: round, simulations done, loss, time left."""

from __future__ import annotations

from types import TracebackType

from tqdm.auto import tqdm


class Progress:
    """A progress bar over the simulations of a run.

    Parameters
    ----------
    counts
        Simulations of each round.
    enabled
        Show it.
    """

    def __init__(self, counts: list[int], *, enabled: bool) -> None:
        self._counts = counts
        self._done = 0  # rounds
        self._learned = ""
        # Simulating and training of a round count half each: either may take the longer.
        self._bar = tqdm(
            total=2 * sum(counts),
            disable=not enabled,
            bar_format="{desc} |{bar}| {elapsed} gone, {remaining} left",
            dynamic_ncols=True,
        )
        self._show(0)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def simulated(self, n: int) -> None:
        """Show that ``n`` simulations of this round are done."""
        self._show(n)

    def trained(self, epoch: int, loss: float) -> None:
        """Show the validation loss after an epoch."""
        self._learned = f", loss {loss:.2f} (epoch {epoch + 1})"
        self._show(self._counts[self._done])

    def round_done(self) -> None:
        """Go on to the next round."""
        self._learned = self._learned.partition(" (")[0]
        self._done += 1
        self._show(0)

    def _show(self, n: int) -> None:
        before = sum(self._counts[: self._done])
        number = min(self._done + 1, len(self._counts))
        self._bar.set_description_str(
            f"round {number}/{len(self._counts)}, {before + n} simulations{self._learned}",
            refresh=False,
        )
        self._bar.update(2 * before + n - self._bar.n)
