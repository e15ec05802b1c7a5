"""What an encoder other than DeBERTa is built from; known without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blender_core.errors import CheckpointError

__all__ = ["BACKBONES", "POOLINGS", "BackboneShape"]

BACKBONES = ("bert", "modernbert", "roberta")
"""The ``model_type`` of the encoders that come from transformers."""

POOLINGS = ("markers", "segments")
"""What the head reads of each text: the state at its marker, as published, or the mean state of all its tokens."""


@dataclass(frozen=True, slots=True)
class BackboneShape:
    """What a transformers encoder is built from.

    Attributes:
        config: The encoder's transformers config; ``model_type`` is one of ``BACKBONES``. ``pooling``, one of
            ``POOLINGS``, stands in it too.
    """

    config: Mapping[str, Any]

    @classmethod
    def from_config(cls, config: Mapping[str, Any], source: str = "config.json") -> BackboneShape:
        """Check a config.

        Args:
            config: The encoder's transformers config.
            source: Where it came from, for messages.

        Returns:
            The shape.

        Raises:
            CheckpointError: The model type or the pooling is not supported, or a size is missing.
        """
        if config.get("model_type") not in BACKBONES:
            raise CheckpointError(
                f"{source} asks for an encoder of model_type {config.get('model_type')!r}; "
                f"known are deberta-v2, {', '.join(BACKBONES)}"
            )
        if config.get("pooling", POOLINGS[0]) not in POOLINGS:
            raise CheckpointError(
                f"{source} asks for the pooling {config['pooling']!r}; known are {', '.join(POOLINGS)}"
            )
        missing = [key for key in ("hidden_size", "vocab_size", "max_position_embeddings") if key not in config]
        if missing:
            raise CheckpointError(f"{source} has an encoder without {', '.join(missing)}")
        return cls(dict(config))

    @property
    def pooling(self) -> str:
        """What the head reads of each text, one of ``POOLINGS``."""
        return str(self.config.get("pooling", POOLINGS[0]))

    @property
    def hidden_size(self) -> int:
        """Width."""
        return int(self.config["hidden_size"])

    @property
    def vocab_size(self) -> int:
        """Rows of the word embeddings."""
        return int(self.config["vocab_size"])

    @property
    def layers(self) -> int:
        """Number of blocks."""
        return int(self.config.get("num_hidden_layers", 0))

    @property
    def window(self) -> int:
        """Most tokens in a sequence. RoBERTa's positions start behind the pad's id."""
        taken = int(self.config.get("pad_token_id", 1)) + 1 if self.config["model_type"] == "roberta" else 0
        return int(self.config["max_position_embeddings"]) - taken
