"""Define the fuser: it writes one text from the best candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from blender_core.types.answer import Usage

if TYPE_CHECKING:
    from blender_core.members.member import Member
    from blender_core.types.prompt import Prompt

__all__ = ["FusedText", "Fuser", "FusionInput"]


@dataclass(frozen=True, slots=True)
class FusionInput:
    """Holds the input of a fuser.

    Attributes:
        prompt: The prompt as one text.
        candidates: The top-k answers, best first, as the members wrote them. They are untrusted data.
        writers: The members that may be asked to write, the strongest first; empty outside the engine. They are all
            that answered in this call, also those whose answer is no candidate.
        conversation: The prompt with its turns and call options; ``None`` outside the engine.
    """

    prompt: str
    candidates: tuple[str, ...]
    writers: tuple[Member, ...] = field(default=(), repr=False)
    conversation: Prompt | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class FusedText:
    """Holds the output of a fuser.

    Attributes:
        text: The fused answer.
        fuser: Name of the fuser.
        usage: Tokens used; ``None`` if unknown.
        cost: Cost, in the currency of the member's price; ``None`` if unknown.
        cut: Candidate position -> tokens that did not fit the fuser's window; -1 is the prompt.
        finish_reason: Why the text ended, as the provider calls it; ``None`` if unknown.
        thoughts: What the model thought before it wrote.
    """

    text: str
    fuser: str
    usage: Usage | None = None
    cost: float | None = None
    cut: Mapping[int, int] = field(default_factory=dict)
    finish_reason: str | None = None
    thoughts: str = field(default="", repr=False)


@runtime_checkable
class Fuser(Protocol):
    """Merges candidates into one text.

    ``fuse`` is required. These methods are used if they exist: ``afuse(request)`` is awaited in asynchronous calls;
    ``stream(request)`` and ``astream(request)`` yield pieces of text and ``Thought``, then one ``FusedText``. If
    ``why_not(request)`` returns a reason, nothing is fused. Several threads may call a fuser at once.

    A fuser that computes in this process sets ``computes_locally = True``. If nobody waits for its result,
    ``stop_if_given_up`` of ``blender_core.runtime.threads`` raises in its thread. Killing such threads at exit crashes
    the process, so they are told to stop and awaited for some seconds.
    """

    @property
    def name(self) -> str:
        """Short name, shown in results."""

    def fuse(self, request: FusionInput) -> FusedText:
        """Write one text from the candidates.

        Args:
            request: The prompt and the candidates, best first.

        Returns:
            The fused text.

        Raises:
            FusionError: No text could be written. The top-ranked answer is then returned.
        """
