"""Order documents by a ranker, within a budget of forward passes."""

# No `from __future__ import annotations`: pydantic resolves these annotations at run time.

from collections.abc import Sequence
from typing import Any, Self

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, model_validator

from blender_core.rag import rank_passages
from blender_core.rag.passage_ranking import check_passage_settings
from blender_core.rank.registry import resolve_ranker
from blender_core.runtime.threads import call_in_thread
from langchain_blender.rag.documents import SCORE_KEY, with_metadata

__all__ = ["PairRankerCompressor"]


class PairRankerCompressor(BaseDocumentCompressor):
    """Orders documents by a ranker and keeps the best.

    The budget is spent on the documents that the retriever put first, and the others follow in their order. See
    ``blender_core.rag.rank_passages``.

    Args:
        ranker: ``"embedded"`` (default), another ranker or its name.
        budget: Most forward passes of one call, at least 2 (default 200).
        top_n: Documents that are kept; ``None`` (default) keeps all.

    Raises:
        pydantic.ValidationError: A setting cannot work; the message is the ``ConfigurationError``'s.

    Examples:
        >>> compressor = PairRankerCompressor(ranker="longest", top_n=1)
        >>> kept = compressor.compress_documents([Document("short"), Document("a longer one")], "Which?")
        >>> [document.page_content for document in kept]
        ['a longer one']
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", hide_input_in_errors=True)

    ranker: Any = "embedded"
    budget: int = 200
    top_n: int | None = None

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        check_passage_settings(self.ranker, self.budget, self.top_n)
        return self

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Order documents.

        Args:
            documents: Retrieved documents, best first; not changed.
            query: The query.
            callbacks: Not used, because a ranker makes no runs.

        Returns:
            Copies, best first, with the score as ``metadata["relevance_score"]``. Higher is better; scores compare
            within one call only.

        Raises:
            RankerError: The ranker failed.
        """
        ranked = rank_passages(
            resolve_ranker(self.ranker), query, [document.page_content for document in documents], budget=self.budget
        )
        return [with_metadata(documents[index], {SCORE_KEY: ranked.scores[index]}) for index in ranked.order][
            : self.top_n
        ]

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Order documents in a thread; see ``compress_documents``."""
        return await call_in_thread(lambda: self.compress_documents(documents, query, callbacks))
