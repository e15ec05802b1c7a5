"""End a text before the first stop sequence, whole or while it streams."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["StopFilter", "cut_at_stop"]


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """Cut a text at the first stop sequence.

    Args:
        text: Any text.
        stop: Stop sequences; empty ones are ignored.

    Returns:
        The text, without the stop sequence.

    Examples:
        >>> cut_at_stop("one two three", ["three", "two"])
        'one '
    """
    places = [place for place in (text.find(sequence) for sequence in stop if sequence) if place >= 0]
    return text[: min(places)] if places else text


class StopFilter:
    """Ends a stream before the first stop sequence; holds back a possible beginning of one.

    Args:
        stop: Stop sequences.

    Examples:
        >>> stream = StopFilter(["END"])
        >>> stream.take("text E") + stream.take("ND more") + stream.rest()
        'text '
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = [sequence for sequence in stop if sequence]
        self._hold = max((len(sequence) for sequence in self._stop), default=1) - 1
        self._pending = ""
        self._ended = False

    def take(self, text: str) -> str:
        """Take a piece of the stream.

        Args:
            text: The piece.

        Returns:
            Text that can be sent now.
        """
        if self._ended:
            return ""
        self._pending += text
        cut = cut_at_stop(self._pending, self._stop)
        if len(cut) < len(self._pending):
            self._ended, self._pending = True, ""
            return cut
        ready = max(0, len(self._pending) - self._hold)
        sent, self._pending = self._pending[:ready], self._pending[ready:]
        return sent

    def rest(self) -> str:
        """End the stream.

        Returns:
            Text that was held back.
        """
        rest, self._pending = self._pending, ""
        return rest
