"""Blended RAG: several engines retrieve and answer, the answers are ranked with their sources in view.

An engine is a member whose answer carries what it retrieved. This package knows no framework; an adapter does two
things: turn its engine into a ``SourcedMember``, and hand ``GroundedResult`` back in its own words.

```
question ── gather ──> GroundedCandidate(answer, sources) per engine     SourcedMember
         ── rank ────> the ranker reads question, passages and answers;  GroundedRanker
                       an answer that its own sources do not support     Groundedness
                       goes behind all that are supported
         ── fuse ────> citations renumbered to the union of sources      unite_sources, rewrite_citations
         ── check ───> citations to nothing dropped; a fusion that the
                       union does not support is refused                 GroundedBlender
         ──> GroundedResult: BlendResult, plus sources linked to the candidates that used them
```

- ``GroundedBlender`` is a ``Blender``: timeouts, quorum, outcome records, ``degraded``, streaming and the guard are the
  engine's. It adds nothing to an answer that it does not pick or fuse.
- A citation is a number in brackets, ``[1]`` or ``[1, 3]``, counted from 1 in the order of the engine's own sources.
  The result's numbers count its ``sources``. Brackets in code are left alone. Where answers hold bracketed numbers
  that are no citations, pass ``citations=False``.
- Sources are the same where their ids are equal, or their texts and metadata are.
- ``Source.native`` carries the framework's own document through; nothing here reads or changes it.
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
    from blender_core.rag.member import SourcedMember
    from blender_core.rag.passage_ranking import PassageRanking, rank_passages
    from blender_core.rag.sources import GroundedCandidate, LinkedSource, Source

_HOMES = {
    "CitationReport": "blender_core.rag.citations",
    "EmbeddingGroundedness": "blender_core.rag.groundedness",
    "EvidenceGroundedness": "blender_core.rag.groundedness",
    "GroundedBlender": "blender_core.rag.blend",
    "GroundedCandidate": "blender_core.rag.sources",
    "GroundedRanker": "blender_core.rag.grounded_ranker",
    "GroundedRanking": "blender_core.rag.grounded_ranker",
    "GroundedResult": "blender_core.rag.blend",
    "GroundedSettings": "blender_core.rag.blend",
    "Groundedness": "blender_core.rag.groundedness",
    "LexicalGroundedness": "blender_core.rag.groundedness",
    "LinkedSource": "blender_core.rag.sources",
    "NLIGroundedness": "blender_core.rag.groundedness",
    "PassageRanking": "blender_core.rag.passage_ranking",
    "Source": "blender_core.rag.sources",
    "SourcedMember": "blender_core.rag.member",
    "is_abstention": "blender_core.rag.groundedness",
    "rank_passages": "blender_core.rag.passage_ranking",
    "rewrite_citations": "blender_core.rag.citations",
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
