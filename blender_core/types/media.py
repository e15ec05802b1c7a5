"""Define content other than text, in a form that every adapter can read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from blender_core.errors import ConfigurationError

__all__ = ["Media", "MediaKind"]

MediaKind = Literal["audio", "file", "image", "video"]


@dataclass(frozen=True, slots=True)
class Media:
    """Holds an image, audio, a video or a file.

    Attributes:
        kind: ``"image"``, ``"audio"``, ``"video"`` or ``"file"``.
        data: The content in base64, if available.
        url: Its address, used if ``data`` is missing.
        mime_type: For example ``"image/png"``; ``None`` if unknown.
        name: A file's name or title.

    Raises:
        ConfigurationError: Neither data nor a URL is given.

    Examples:
        >>> str(Media("image", url="https://example.org/sky.png"))
        '[image]'
    """

    kind: MediaKind
    data: str | None = field(default=None, repr=False)
    url: str | None = None
    mime_type: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if not self.data and not self.url:
            raise ConfigurationError(f"a part of kind {self.kind!r} has neither data nor a url; give one of them")

    def __str__(self) -> str:
        return f"[{self.kind}]"
