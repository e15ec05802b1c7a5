"""Measure the features of candidates that the embedded ranker combines, and combine them.

Two encoders know different things. The trained cross-encoder knows how a good answer looks. The sentence encoder, as
it was before any training on preferences, knows which answer belongs to which question. A small network weighs both,
with agreement, length and form. It also sees what kind of prompt and which other candidates there are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blender_core.errors import CheckpointError
from blender_core.rank.lexical_consensus import measure_agreement
from blender_core.text.arithmetic import calculation_score
from blender_core.text.distinct import DistinctCandidates
from blender_core.text.refusal import is_refusal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

__all__ = ["FEATURES", "SIMILARITIES", "FeatureNetwork", "TextMeasures", "answer_features"]

FEATURES: tuple[str, ...] = (
    # of a candidate
    "encoder",
    "similarity",
    "consensus",
    "overlap",
    "final_answer",
    "length",
    "refusal",
    "echo",
    "ended",
    "variety",
    "calculation",
    # of a candidate among the others
    "relative_encoder",
    "relative_similarity",
    "relative_length",
    # of the prompt and all candidates
    "prompt_length",
    "mean_length",
    "length_spread",
    "likeness",
    "candidates",
    "best_similarity",
    "final_answers",
    "asks_briefly",
    "asks_in_detail",
    "asks_question",
    "asks_code",
)
"""Names of the features, in the order of the columns."""

SIMILARITIES: frozenset[str] = frozenset(
    ("similarity", "consensus", "relative_similarity", "likeness", "best_similarity")
)
"""Features that need the sentence encoder."""

_BRIEFLY = re.compile(
    r"\b(?:one|single) (?:short )?(?:word|sentence|line|letter|number|digit)s?\b|\b(?:only|just) (?:the|a|one|with)\b"
    r"|\b(?:answer|reply|respond|letter|number|word|code|name) only\b|\bbrief(?:ly)?\b|\bshort(?:ly)?\b"
    r"|\bconcise(?:ly)?\b|\b(?:no|without) expla|\byes or no\b|\bin \d{1,3} words\b|\bas few words\b"
    r"|\bkurz\b|\beinem (?:wort|satz)\b|\bun (?:seul )?mot\b|\bbrièvement\b|\buna palabra\b|\bbrevemente\b",
    re.IGNORECASE,
)
_IN_DETAIL = re.compile(
    r"\bdetail(?:s|ed)?\b|\bthorough(?:ly)?\b|\bat length\b|\bessay\b|\bcomprehensive\b|\bin[ -]depth\b|\bexplain\b"
    r"|\bstep[- ]by[- ]step\b|\blong\b|\bausführlich|\bdétail|\bdetall",
    re.IGNORECASE,
)
_CODE = re.compile(r"```|\bdef |\bclass \w+[:(]|\bfunction\b", re.IGNORECASE)
_WORD = re.compile(r"\w+")
# with the full stops of Chinese and Japanese
_ENDS = frozenset(".!?\"'`)]}:*|\u3002\uff01\uff1f")
# more of a text tells nothing new, and a huge one must not take long
_READ_CHARACTERS, _READ_WORDS = 20_000, 400
# below these deviations a difference within the group is noise
_LEAST_SPREAD = {"encoder": 0.1, "similarity": 0.02, "length": 0.1}


@dataclass(frozen=True, slots=True)
class TextMeasures:
    """Holds what the encoders say of n texts; none of it depends on the other texts.

    Attributes:
        encoder: The cross-encoder's score of each, shape (n,).
        similarity: Cosine of each with the prompt, in [-1, 1], shape (n,).
        likeness: Cosines of the texts with each other, shape (n, n).
        lengths: Tokens of each, shape (n,).
        prompt_length: Tokens of the prompt.
        cut: Tokens cut by index; -1 is the prompt.
    """

    encoder: Array
    similarity: Array
    likeness: Array
    lengths: Array
    prompt_length: int
    cut: Mapping[int, int]

    def of(self, indices: Sequence[int]) -> TextMeasures:
        """Select the measures of some texts; ``cut`` is left out."""
        rows = list(indices)
        return TextMeasures(
            self.encoder[rows],
            self.similarity[rows],
            self.likeness[rows][:, rows],
            self.lengths[rows],
            self.prompt_length,
            {},
        )


def answer_features(prompt: str, distinct: DistinctCandidates, measures: TextMeasures) -> Array:
    """Measure the features of all candidates to one prompt.

    Args:
        prompt: The prompt.
        distinct: The candidates; at least one that is not blank.
        measures: What the encoders say of ``distinct.texts``.

    Returns:
        Shape (distinct candidates, ``len(FEATURES)``).
    """
    import numpy as np

    texts, count = distinct.texts, len(distinct.texts)
    agreement = measure_agreement(distinct)
    others = measures.likeness - np.diag(np.diag(measures.likeness))
    consensus = others.sum(axis=1) / max(1, count - 1)
    size = np.log(np.maximum(measures.lengths, 1.0))
    own = {"encoder": measures.encoder, "similarity": measures.similarity, "length": size}
    asked = set(_words(prompt))
    words = [_words(text) for text in texts]
    columns = {
        **own,
        "consensus": consensus,
        "overlap": np.asarray(agreement.overlap),
        "final_answer": np.asarray(agreement.final),
        "refusal": np.array([float(is_refusal(text)) for text in texts]),
        "echo": np.array([sum(word in asked for word in found) / max(1, len(found)) for found in words]),
        "ended": np.array([float(text.rstrip()[-1:] in _ENDS) for text in texts]),
        "calculation": np.array([calculation_score(prompt, text) for text in texts]),
        "variety": np.array([len(set(found)) / max(1, len(found)) for found in words]),
    }
    for name, values in own.items():
        columns[f"relative_{name}"] = (values - values.mean()) / (values.std() + _LEAST_SPREAD[name])
    beginning = prompt[:_READ_CHARACTERS]
    shared = {
        "prompt_length": math.log(max(measures.prompt_length, 1)),
        "mean_length": float(size.mean()),
        "length_spread": float(size.std()),
        "likeness": float(consensus.mean()) if count > 1 else 1.0,
        "candidates": math.log(max(count, 2)),
        "best_similarity": float(own["similarity"].max()),
        "final_answers": float(max(agreement.final) > 0.0),
        "asks_briefly": float(_BRIEFLY.search(beginning) is not None),
        "asks_in_detail": float(_IN_DETAIL.search(beginning) is not None),
        "asks_question": float("?" in prompt.rstrip()[-3:]),
        "asks_code": float(_CODE.search(beginning) is not None),
    }
    columns |= {name: np.full(count, value) for name, value in shared.items()}
    features: Array = np.stack([columns[name] for name in FEATURES], axis=1)
    return features


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text[:_READ_CHARACTERS])[:_READ_WORDS]]


@dataclass(frozen=True, slots=True)
class FeatureNetwork:
    """Combines features to one score for each candidate: a linear part and one hidden layer.

    ``score = linear . x + output . tanh(hidden x + bias)``, x being the features minus ``mean``, divided by ``scale``.
    The logit that one candidate is better than another is the difference of their scores.

    Attributes:
        mean: Shape (features,), in the order of ``FEATURES``.
        scale: Same shape, above 0.
        linear: Same shape.
        hidden: Shape (units, features); no unit at all makes the score linear.
        bias: Shape (units,).
        output: Shape (units,).
    """

    mean: Array
    scale: Array
    linear: Array
    hidden: Array
    bias: Array
    output: Array

    @property
    def needs_similarity(self) -> bool:
        """Whether it reads a feature that needs the sentence encoder."""
        columns = [index for index, name in enumerate(FEATURES) if name in SIMILARITIES]
        return bool(self.linear[columns].any() or self.hidden[:, columns].any())

    def scores(self, features: Array) -> Array:
        """Score candidates.

        Args:
            features: Shape (candidates, features).

        Returns:
            Shape (candidates,).
        """
        import numpy as np

        x = (features - self.mean) / self.scale
        # elementwise sums: a row's result does not depend on how many rows there are
        inner = np.tanh((x[:, None, :] * self.hidden[None, :, :]).sum(axis=2) + self.bias)
        scores: Array = (x * self.linear).sum(axis=1) + (inner * self.output).sum(axis=1)
        return scores

    @classmethod
    def weighted(cls, **weights: float) -> FeatureNetwork:
        """Make a plain weighted sum.

        Args:
            **weights: Name of a feature and its weight; the others have none.

        Examples:
            >>> FeatureNetwork.weighted(encoder=2.0).needs_similarity
            False
        """
        import numpy as np

        count = len(FEATURES)
        linear = np.array([float(weights.get(name, 0.0)) for name in FEATURES])
        empty = np.zeros(0)
        return cls(np.zeros(count), np.ones(count), linear, np.zeros((0, count)), empty, empty)

    def to_dict(self) -> dict[str, Any]:
        """Turn it into plain JSON types; :meth:`from_dict` reads it back."""
        arrays = {name: getattr(self, name).tolist() for name in self.__slots__}
        return {"features": list(FEATURES), **arrays}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FeatureNetwork:
        """Build from decoded JSON.

        Raises:
            CheckpointError: A field is missing or of another shape, or the features are not those of this version.
        """
        import numpy as np

        try:
            if tuple(data["features"]) != FEATURES:
                raise CheckpointError("ranker.json names other features than this version has; export the ranker again")
            arrays = {name: np.array(data[name], dtype=np.float64) for name in cls.__slots__}
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"ranker.json holds no feature network ({type(error).__name__}: {error}); export the ranker again"
            ) from error
        count, units = len(FEATURES), len(arrays["bias"])
        shapes = {"hidden": (units, count), "bias": (units,), "output": (units,)}
        arrays["hidden"] = arrays["hidden"].reshape(shapes["hidden"]) if not units else arrays["hidden"]
        wrong = [name for name, array in arrays.items() if array.shape != shapes.get(name, (count,))]
        sound = not wrong and all(np.isfinite(array).all() for array in arrays.values()) and (arrays["scale"] > 0).all()
        if not sound:
            raise CheckpointError(f"ranker.json holds a damaged feature network ({wrong}); export the ranker again")
        return cls(**arrays)
