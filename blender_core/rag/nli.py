"""Groundedness by textual entailment: does a passage entail what the answer says?"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Unpack

from blender_core.errors import CheckpointError, RankerError
from blender_core.models.loading import LoadOptions, load_encoder, takes_load_options
from blender_core.rag.groundedness import sentences, without_citations
from blender_core.rag.sources import GroundedCandidate

__all__ = ["NLIGroundedness"]

Entail = Callable[[list[tuple[str, str]]], Any]
"""Takes ``(premise, hypothesis)`` pairs, returns n probabilities of entailment."""


class NLIGroundedness:
    """Probability that the best passage entails a sentence of the answer, averaged over the sentences.

    Falke et al. 2019 and Laban et al. 2022 (SummaC, zero-shot) rate summaries this way. One forward for each
    sentence with each passage.

    Args:
        entail: Takes ``(premise, hypothesis)`` pairs, returns the probability of entailment of each. It must be safe
            to call from several threads. ``from_pretrained`` makes one.

    Examples:
        >>> from blender_core.rag import GroundedCandidate, Source
        >>> measure = NLIGroundedness(lambda pairs: [float(said in read) for read, said in pairs])
        >>> measure.score("?", [GroundedCandidate("B.", (Source("A."), Source("A. B.")))])
        [1.0]
    """

    name = "entailment"

    def __init__(self, entail: Entail) -> None:
        self._entail = entail

    @classmethod
    @takes_load_options()
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        max_tokens: int | None = None,
        token_budget: int = 4096,
        **load: Unpack[LoadOptions],
    ) -> NLIGroundedness:
        """Load a classifier with an entailment label, such as ``cross-encoder/nli-deberta-v3-base``.

        Args:
            name_or_path: A folder or a hub repository.
            max_tokens: Window in tokens for a pair; default is the model's. A long passage loses its middle.
            token_budget: Most tokens in a forward pass, pads included.
            **load: Where it comes from and how it is kept: ``blender_core.models.loading.LoadOptions``.

        Returns:
            The measure.

        Raises:
            CheckpointError: No label is called entailment.
            BlendError: It cannot be had or loaded; see ``blender_core.models.loading.load_encoder``.
        """
        model = load_encoder(
            "AutoModelForSequenceClassification",
            name_or_path,
            feature="NLIGroundedness.from_pretrained",
            max_tokens=max_tokens,
            token_budget=token_budget,
            **load,
        )
        labels = {int(index): str(label).lower() for index, label in (model.config.id2label or {}).items()}
        index = next((index for index, label in labels.items() if label.startswith("entail")), None)
        if index is None:
            raise CheckpointError(
                f"{os.fspath(name_or_path)} has the labels {sorted(labels.values())}; groundedness needs one that is "
                "called entailment"
            )

        def entail(pairs: list[tuple[str, str]]) -> list[float]:
            rows = [model.tokenizer.pair(premise, said, model.max_tokens) for premise, said in pairs]
            return model.values(rows, lambda logits: logits.softmax(-1)[:, index])

        return cls(entail)

    def score(self, question: str, candidates: Sequence[GroundedCandidate]) -> list[float]:
        """Measure; see ``Groundedness.score``.

        Raises:
            RankerError: The model gave something other than one number for each pair.
        """
        import numpy as np

        claims = [sentences(without_citations(candidate.answer)) for candidate in candidates]
        pairs = list(
            dict.fromkeys(
                (source.text, said)
                for candidate, group in zip(candidates, claims, strict=True)
                for said in group
                for source in candidate.sources
            )
        )
        chances = np.asarray(self._entail(pairs) if pairs else [], dtype=np.float64)
        if chances.shape != (len(pairs),) or not np.isfinite(chances).all():
            raise RankerError(
                f"the entailment model gave shape {chances.shape} for {len(pairs)} pairs; give one finite number each"
            )
        known = dict(zip(pairs, chances.tolist(), strict=True))
        scores = []
        for candidate, group in zip(candidates, claims, strict=True):
            best = [max((known[(source.text, said)] for source in candidate.sources), default=0.0) for said in group]
            scores.append(round(sum(best) / len(best), 6) if best else 0.0)
        return scores
