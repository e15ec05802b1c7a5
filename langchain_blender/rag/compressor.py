"""``PairRankerCompressor``: documents in the order of a ranker, within a budget of comparisons."""

# No `from __future__ import annotations`: pydantic resolves these annotations at run time.

from collections.abc import Sequence
from typing import Any, Self

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, model_validator

from blender_core.errors import ConfigurationError
from blender_core.rag import rank_passages
from blender_core.rank.registry import check_ranker, resolve_ranker
from blender_core.runtime.threads import call_in_thread
from langchain_blender.rag.documents import SCORE_KEY, with_metadata

__all__ = ["PairRankerCompressor"]


class PairRankerCompressor(BaseDocumentCompressor):
    """Orders documents by a ranker and keeps the best.

    Comparing all pairs of 50 documents costs 2,450 forward passes. The budget is spent on those that the retriever
    put first; the rest follow in their order. See ``blender_core.rag.rank_passages``.

    Args:
        ranker: ``"embedded"`` (default), another ranker or its name.
        budget: Most forward passes a call, at least 2 (200).
        top_n: Documents that are kept; ``None`` (default) keeps all.

    Raises:
        pydantic.ValidationError: A setting cannot work; the message is the ``ConfigurationError``'s.

    Examples:
        >>> compressor = PairRankerCompressor(ranker="longest", top_n=1)
        >>> kept = compressor.compress_documents([Document("short"), Document("a longer one")], "Which?")
        >>> [document.page_content for document in kept]
        ['a longer one']
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    ranker: Any = "embedded"
    budget: int = 200
    top_n: int | None = None

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        check_ranker(self.ranker)
        if self.budget < 2 or (self.top_n is not None and self.top_n < 1):
            raise ConfigurationError(
                f"budget is {self.budget} and top_n {self.top_n}; give at least 2 forward passes and 1 document"
            )
        return self

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Order documents.

        Args:
            documents: Retrieved documents, best first; they stay as they are.
            query: The query.
            callbacks: Not used: a ranker makes no runs.

        Returns:
            Copies, best first, with the score as ``metadata["relevance_score"]``: higher is better, comparable
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
