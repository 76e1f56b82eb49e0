"""One line of progress: round, finished spectra, failures, rate, loss, time left."""

from __future__ import annotations

import time
from types import TracebackType

from tqdm.auto import tqdm


class Progress:
    """A progress bar over the simulations of a run.

    Parameters
    ----------
    counts
        Good spectra of each round.
    enabled
        Show it.
    """

    def __init__(self, counts: list[int], *, enabled: bool) -> None:
        self._counts = counts
        self._round = 0
        self._loss = ""
        self._since = time.monotonic()  # the last simulation or the last round ended
        # Spectra and seconds of this process; rounds and seconds of training.
        self._simulated, self._simulating = 0, 0.0
        self._trained, self._training = 0, 0.0
        self._last: int | None = None  # good spectra of the round, when last seen
        self._bar = tqdm(
            total=sum(counts),
            disable=not enabled,
            bar_format="{desc} |{bar}| {elapsed} gone{postfix}",
            dynamic_ncols=True,
        )
        self._show(0, "")

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def simulated(self, good: int, failed: int) -> None:
        """Show how many spectra of this round are finished, and how many failed."""
        if self._last is not None:  # the first number may hold those of an earlier run
            self._simulating += self._seconds()
            self._simulated += good - self._last
        self._last = good
        rate = self._simulated / self._simulating if self._simulated else 0.0
        text = f", {failed} failed" if failed else ""
        text += f", {rate:.3g} spectra/s" if rate else ""
        self._show(good, text + self._loss)

    def trained(self, epoch: int, loss: float) -> None:
        """Show the validation loss after an epoch."""
        self._loss = f", loss {loss:.2f} (epoch {epoch + 1})"
        self._training += self._seconds()
        self._show(self._counts[self._round], self._loss)

    def round_done(self) -> None:
        """Go on to the next round."""
        self._loss = self._loss.partition(" (")[0]
        self._training += self._seconds()
        self._trained += 1
        self._round += 1
        self._last = None
        self._show(0, self._loss)

    def _seconds(self) -> float:
        """Return the seconds since it was last asked."""
        before, self._since = self._since, time.monotonic()
        return self._since - before

    def _show(self, good: int, text: str) -> None:
        before = sum(self._counts[: self._round])
        number = min(self._round + 1, len(self._counts))
        self._bar.set_description_str(
            f"round {number}/{len(self._counts)}, {before + good} spectra{text}", refresh=False
        )
        self._bar.set_postfix_str(self._left(before + good), refresh=False)
        self._bar.update(before + good - self._bar.n)

    def _left(self, done: int) -> str:
        """Time left, once a spectrum and a round have been seen to end."""
        if not (self._simulated and self._trained):
            return ""
        seconds = (sum(self._counts) - done) * self._simulating / self._simulated
        seconds += (len(self._counts) - self._round) * self._training / self._trained
        return f"{self._bar.format_interval(seconds)} left"
