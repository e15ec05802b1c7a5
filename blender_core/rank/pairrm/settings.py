"""Read a checkpoint's ``config.json``, in three published formats and this project's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blender_core.errors import CheckpointError, ConfigurationError
from blender_core.models.hub import checkpoint_config
from blender_core.rank.calibration import Calibration
from blender_core.rank.comparisons import AGGREGATIONS

__all__ = [
    "BACKBONES",
    "BLENDED_FORMAT",
    "POOLINGS",
    "BackboneShape",
    "PairRankerSettings",
    "is_pair_ranker",
]

BACKBONES = ("bert", "modernbert", "roberta")
"""The ``model_type`` of the encoders that come from transformers."""

POOLINGS = ("markers", "segments")
"""Input of the head for each text: the state at its marker, as published, or the mean state of all its tokens."""


def is_pair_ranker(config: Mapping[str, Any]) -> bool:
    """Tell if a ``config.json`` is that of a PairRanker, in any of its formats."""
    return (
        config.get("format") == BLENDED_FORMAT
        or "ranker_type" in config
        or config.get("architectures") == ["DebertaV2PairRM"]
    )


@dataclass(frozen=True, slots=True)
class BackboneShape:
    """The config of a transformers encoder.

    Attributes:
        config: The encoder's transformers config; ``model_type`` is one of ``BACKBONES``. ``pooling``, one of
            ``POOLINGS``, is part of it.
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
        """Input of the head for each text, one of ``POOLINGS``."""
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
        """Most tokens in a sequence. RoBERTa's positions start after the pad id."""
        taken = int(self.config.get("pad_token_id", 1)) + 1 if self.config["model_type"] == "roberta" else 0
        return int(self.config["max_position_embeddings"]) - taken


BLENDED_FORMAT = "blended-llm/pair-ranker"
"""The ``format`` of the project's own layout."""

# [CLS], the marker, one token of text and [SEP]
_SHORTEST = 4

# defaults of the reference's `tokenize_pair`, which encodes texts for PairRM-hf
_PAIRRM_SOURCE, _PAIRRM_CANDIDATE = 1224, 412

# the architecture that ``deberta`` implements; other values describe a different network
_FIXED_ARCHITECTURE: Mapping[str, Any] = {
    "hidden_act": "gelu",
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "relative_attention": True,
    "share_att_key": True,
    "type_vocab_size": 0,
}


@dataclass(frozen=True, slots=True)
class PairRankerSettings:
    """The settings that the weights do not show.

    Attributes:
        source_max_length: Most tokens of the prompt, ``[CLS]``, marker and ``[SEP]`` included.
        candidate_max_length: Most tokens of a candidate next to a prompt of full length.
        heads: Attention heads; ``None`` if the config does not say.
        max_distance: Distance at which the logarithmic buckets end.
        layer_norm_eps: Epsilon of every LayerNorm.
        marker_ids: Id by marker; ``None`` if the config does not say.
        convolution_activation: Of the convolution that the larger DeBERTa-v2 models have: ``"gelu"`` or ``"tanh"``.
        encoder: Config of an encoder other than DeBERTa.
        aggregation: How comparisons become scores.
        both_orders: Whether each pair runs in both orders.
        temperature: Divides the logit between the first two before it becomes the confidence.
        position_bias: Logit that favours the left candidate.
        calibration: Origin of temperature and bias.
    """

    source_max_length: int
    candidate_max_length: int
    heads: int | None = None
    max_distance: int = 512
    layer_norm_eps: float = 1e-7
    marker_ids: Mapping[str, int] | None = None
    convolution_activation: str = "gelu"
    encoder: Mapping[str, Any] | None = None
    aggregation: str = "max_logits"
    both_orders: bool = True
    temperature: float = 1.0
    position_bias: float = 0.0
    calibration: Calibration | None = None

    def check(self, window: int | None) -> None:
        """Check the values.

        Args:
            window: Most tokens of a pair; ``None`` for no limit.

        Raises:
            ConfigurationError: A value is unknown or out of range.
        """
        if self.aggregation not in (*AGGREGATIONS, "bubble"):
            known = ", ".join(sorted([*AGGREGATIONS, "bubble"]))
            raise ConfigurationError(f"aggregation {self.aggregation!r} is unknown; choose one of {known}")
        for what, length in (("source", self.source_max_length), ("candidate", self.candidate_max_length)):
            if length < _SHORTEST:
                raise ConfigurationError(f"{what}_max_length is {length}; it must be at least {_SHORTEST} tokens")
        longest = self.source_max_length + 2 * self.candidate_max_length
        if window is not None and longest > window:
            raise ConfigurationError(f"a pair may have {longest} tokens, the network's window is {window}")
        if not self.temperature > 0:
            raise ConfigurationError(f"temperature is {self.temperature}; it must be above zero")
        if not math.isfinite(self.position_bias):
            raise ConfigurationError(f"position_bias is {self.position_bias}; it must be finite")

    @classmethod
    def from_folder(cls, folder: Path) -> PairRankerSettings:
        """Read ``config.json``, or ``ranker_config.json`` if that is missing.

        Args:
            folder: The checkpoint.

        Returns:
            The settings.

        Raises:
            CheckpointError: There is no config, or it is not a PairRanker's.
        """
        return cls.from_config(checkpoint_config(folder), str(folder / "config.json"))

    @classmethod
    def from_config(cls, config: Mapping[str, Any], source: str = "config.json") -> PairRankerSettings:
        """Interpret a parsed config.

        Args:
            config: The parsed file. PairRM and pair-ranker hold the training script's ranker config (with two
                spellings of the lengths); PairRM-hf holds a transformers config.
            source: Where it came from, for messages.

        Returns:
            The settings.

        Raises:
            CheckpointError: It describes another kind of model.

        Examples:
            >>> config = {"ranker_type": "pairranker", "model_type": "deberta", "source_max_length": 128,
            ...           "candidate_max_length": 128}
            >>> PairRankerSettings.from_config(config).source_max_length
            128
        """
        if not is_pair_ranker(config):
            raise CheckpointError(
                f"{source} is not a PairRanker's: it has neither a ranker_type nor the architecture DebertaV2PairRM "
                f"(architectures: {config.get('architectures')})"
            )
        if config.get("format") == BLENDED_FORMAT:
            return cls._from_blended_config(config, source)
        if "ranker_type" in config:
            return cls._from_ranker_config(config, source)
        return cls._from_transformers_config(config, source)

    @classmethod
    def _from_ranker_config(cls, config: Mapping[str, Any], source: str) -> PairRankerSettings:
        kind, model_type = config["ranker_type"], str(config.get("model_type"))
        if kind != "pairranker" or not model_type.startswith("deberta") or model_type == "deberta-rm":
            raise CheckpointError(
                f"{source} describes ranker_type {kind!r} on model_type {model_type!r}; "
                "this loader knows ranker_type 'pairranker' on model_type 'deberta'"
            )
        return cls(
            _first_of(config, ("source_maxlength", "source_max_length"), source),
            _first_of(config, ("candidate_maxlength", "candidate_max_length"), source),
        )

    @classmethod
    def _from_blended_config(cls, config: Mapping[str, Any], source: str) -> PairRankerSettings:
        if config.get("format_version") != 1:
            raise CheckpointError(
                f"{source} is version {config.get('format_version')} of {BLENDED_FORMAT}; this release reads version 1"
            )
        try:
            encoder = dict(config["encoder"])
            own: dict[str, Any] = {
                "source_max_length": int(config["source_max_length"]),
                "candidate_max_length": int(config["candidate_max_length"]),
                "aggregation": str(config["aggregation"]),
                "both_orders": bool(config["both_orders"]),
                "temperature": float(config["temperature"]),
                # these two came later; folders without them were never calibrated
                "position_bias": float(config.get("position_bias", 0.0)),
                "calibration": Calibration.from_dict(config["calibration"]) if config.get("calibration") else None,
            }
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{source} is incomplete: {error!r}") from error
        if encoder.get("model_type") == "deberta-v2":
            return replace(cls._from_transformers_config(encoder, source), **own)
        return cls(encoder=encoder, **own)

    @classmethod
    def _from_transformers_config(cls, config: Mapping[str, Any], source: str) -> PairRankerSettings:
        wrong = {
            key: config[key] for key, value in _FIXED_ARCHITECTURE.items() if key in config and config[key] != value
        }
        attention = config.get("pos_att_type", ["p2c", "c2p"])
        attention = attention.split("|") if isinstance(attention, str) else attention
        if sorted(attention) != ["c2p", "p2c"]:
            wrong["pos_att_type"] = attention
        # transformers' own default; the published configs say gelu
        activation = config.get("conv_act", "tanh")
        if config.get("conv_kernel_size", 0) and activation not in ("gelu", "tanh"):
            wrong["conv_act"] = activation
        if wrong:
            raise CheckpointError(f"{source} asks for {wrong}, which this DeBERTa-v3 encoder does not compute")
        ids = {
            "<|source|>": config.get("source_prefix_id"),
            "<|candidate1|>": config.get("cand1_prefix_id"),
            "<|candidate2|>": config.get("cand2_prefix_id"),
            "<|candidate|>": config.get("cand_prefix_id"),
        }
        largest = config.get("max_relative_positions", -1)
        return cls(
            _PAIRRM_SOURCE,
            _PAIRRM_CANDIDATE,
            heads=config.get("num_attention_heads"),
            max_distance=largest if largest and largest > 0 else config.get("max_position_embeddings", 512),
            layer_norm_eps=config.get("layer_norm_eps", 1e-7),
            marker_ids={marker: int(found) for marker, found in ids.items() if found is not None} or None,
            convolution_activation=activation,
        )


def _first_of(config: Mapping[str, Any], names: tuple[str, ...], source: str) -> int:
    for name in names:
        if config.get(name) is not None:
            return int(config[name])
    raise CheckpointError(f"{source} has none of {', '.join(names)}; add the length the checkpoint was trained with")
