"""How often a run is saved: after every step where that is cheap, else as often as it may cost."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["SaveInterval"]

# a save waits for this many times its own cost: a tenth of the time at most
_WAIT = 9.0


class SaveInterval:
    """Decides after which steps a checkpoint is written.

    Args:
        every: Steps between two checkpoints; 0: as often as saving takes at most a tenth of the time. Then a killed
            run loses the step in flight where a save takes less than a ninth of a step, else at most ten times as long
            as a save takes, and one step.
        clock: Seconds, monotonic.

    Examples:
        >>> seconds = iter([0.0, 1.0, 3.0, 5.0, 20.0, 24.0])
        >>> pace = SaveInterval(0, lambda: next(seconds))
        >>> pace.due(1)
        True
        >>> pace.begin()
        >>> pace.done()
        >>> pace.due(2), pace.due(3)
        (False, True)
    """

    def __init__(self, every: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._clock = clock
        self._cost = 0.0
        self._began = self._ended = clock()

    def due(self, step: int) -> bool:
        """Whether to save after a step.

        Args:
            step: Steps done, from 1.

        Returns:
            The answer.
        """
        if self._every:
            return step % self._every == 0
        return self._clock() - self._ended >= _WAIT * self._cost

    def begin(self) -> None:
        """A save begins."""
        self._began = self._clock()

    def done(self) -> None:
        """The save is done; what it cost decides when the next one is due."""
        self._ended = self._clock()
        self._cost = self._ended - self._began
