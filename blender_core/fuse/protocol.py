"""What a fuser is: it writes one text from the best candidates."""

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
    """What a fuser gets.

    Attributes:
        prompt: The prompt, flattened.
        candidates: The top-k answers, best first, as the members wrote them. They are untrusted data.
        members: The member behind each candidate; empty outside the engine.
        conversation: The prompt with its turns and call options; ``None`` outside the engine.
    """

    prompt: str
    candidates: tuple[str, ...]
    members: tuple[Member, ...] = field(default=(), repr=False)
    conversation: Prompt | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class FusedText:
    """What a fuser gives.

    Attributes:
        text: The fused answer.
        fuser: Name of the fuser.
        usage: Tokens used, ``None`` where unknown.
        cost: Cost where known.
        cut: Candidate position -> tokens that did not fit the fuser's window (-1 is the prompt).
        finish_reason: Why the text ended, in the provider's words; ``None`` where unknown.
    """

    text: str
    fuser: str
    usage: Usage | None = None
    cost: float | None = None
    cut: Mapping[int, int] = field(default_factory=dict)
    finish_reason: str | None = None


@runtime_checkable
class Fuser(Protocol):
    """Merges candidates into one text.

    ``fuse`` is enough. A fuser may also offer ``afuse(request)`` (awaited in asynchronous calls),
    ``stream(request)`` and ``astream(request)`` (pieces of text, then one ``FusedText`` as the last item);
    the engine uses them where they exist. May be called from several threads at once.

    One that computes in native code of this process sets ``computes_locally = True``. Its threads are then told when
    nobody waits for them any more: ``stop_if_given_up`` of ``blender_core.runtime.threads`` raises in them.
    Killing them at exit crashes the process, so the exit waits some seconds for them.
    """

    @property
    def name(self) -> str:
        """Short name, shown in results."""
        ...

    def fuse(self, request: FusionInput) -> FusedText:
        """Write one text from the candidates.

        Args:
            request: The prompt and the candidates, best first.

        Returns:
            The fused text.

        Raises:
            FusionError: No text could be written.
        """
        ...
