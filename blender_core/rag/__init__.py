"""Blend retrieval engines: each retrieves and answers; their sources help to rank.

An engine is a member whose answer has the passages that it retrieved. This package knows no framework. An adapter
turns its engine into a ``SourcedMember``, and the ``GroundedResult`` into its own response.

```
question ── gather ──> GroundedCandidate(answer, sources) per engine     SourcedMember
         ── rank ────> the ranker reads question, passages and answers;  GroundedRanker
                       an answer that its own sources do not support     Groundedness
                       comes after all that are supported
         ── fuse ────> citations renumbered to the union of sources      unite_sources, rewrite_citations
         ── check ───> citations to nothing dropped; a fusion that the
                       union does not support is rejected                GroundedBlender
         ──> GroundedResult: BlendResult, plus sources linked to the candidates that used them
```

- ``GroundedBlender`` is a ``Blender`` with the same timeouts, quorum, outcome records, ``degraded``, streaming and
  guard.
- A citation is a number in brackets, ``[1]`` or ``[1, 3]``, counted from 1 in the order of the engine's own sources.
  The numbers of a result count its ``sources``. Brackets in code are not changed. If answers hold other numbers in
  brackets, pass ``citations=False``.
- Two sources are the same if their ids are equal, or if their texts and metadata are.
- ``Source.native`` holds the framework's own document; nothing here reads or changes it.
- ``rank_passages`` orders passages for a query within a budget of forward passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blender_core.runtime.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from blender_core.rag.blend import GroundedBlender, GroundedResult, GroundedSettings
    from blender_core.rag.citations import CitationReport, rewrite_citations
    from blender_core.rag.grounded_ranker import GroundedRanker, GroundedRanking
    from blender_core.rag.groundedness import (
        EmbeddingGroundedness,
        EvidenceGroundedness,
        Groundedness,
        LexicalGroundedness,
        NLIGroundedness,
        is_abstention,
    )
    from blender_core.rag.llm_groundedness import LLMGroundedness
    from blender_core.rag.member import SourcedMember
    from blender_core.rag.passage_ranking import PassageRanking, rank_passages
    from blender_core.rag.sources import GroundedCandidate, LinkedSource, Source

_HOMES = {
    "blender_core.rag.blend": "GroundedBlender GroundedResult GroundedSettings",
    "blender_core.rag.citations": "CitationReport rewrite_citations",
    "blender_core.rag.grounded_ranker": "GroundedRanker GroundedRanking",
    "blender_core.rag.groundedness": "EmbeddingGroundedness EvidenceGroundedness Groundedness "
    "LexicalGroundedness NLIGroundedness is_abstention",
    "blender_core.rag.llm_groundedness": "LLMGroundedness",
    "blender_core.rag.member": "SourcedMember",
    "blender_core.rag.passage_ranking": "PassageRanking rank_passages",
    "blender_core.rag.sources": "GroundedCandidate LinkedSource Source",
}

__all__ = [
    "CitationReport",
    "EmbeddingGroundedness",
    "EvidenceGroundedness",
    "GroundedBlender",
    "GroundedCandidate",
    "GroundedRanker",
    "GroundedRanking",
    "GroundedResult",
    "GroundedSettings",
    "Groundedness",
    "LLMGroundedness",
    "LexicalGroundedness",
    "LinkedSource",
    "NLIGroundedness",
    "PassageRanking",
    "Source",
    "SourcedMember",
    "is_abstention",
    "rank_passages",
    "rewrite_citations",
]

__getattr__, __dir__ = lazy_exports(__name__, _HOMES, __all__)
