"""Order nodes by a ranker, within a budget of forward passes."""

# No `from __future__ import annotations`: pydantic resolves these annotations at run time.

from typing import Any, Self

from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from llama_index_instrumentation import get_dispatcher
from pydantic import ConfigDict, field_serializer, model_validator

from blender_core.errors import ConfigurationError
from blender_core.rag import rank_passages
from blender_core.rag.passage_ranking import check_passage_settings
from blender_core.rank.protocol import Ranker
from blender_core.rank.registry import resolve_ranker
from blender_core.runtime.threads import call_in_thread

__all__ = ["PairRankerRerank"]

_dispatcher = get_dispatcher(__name__)


class PairRankerRerank(BaseNodePostprocessor):
    """Orders nodes by a ranker and keeps the best.

    Comparing all pairs of 50 nodes costs 2,450 forward passes. So the budget is spent on the nodes that the retriever
    put first, and the others follow in their order. See ``blender_core.rag.rank_passages``.

    Args:
        ranker: ``"embedded"`` (default), another ranker or its name.
        budget: Most forward passes of one call, at least 2 (default 200). With 200, a ranker that compares pairs reads
            the first 14 nodes, and one that scores one by one the first 200.
        top_n: Nodes that are kept; ``None`` (default) keeps all.
        metadata_mode: Which metadata the ranker reads with the text (default none).

    Raises:
        pydantic.ValidationError: A setting cannot work; the message is the ``ConfigurationError``'s.

    Examples:
        >>> from llama_index.core.schema import TextNode
        >>> nodes = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in ("short", "a longer one")]
        >>> kept = PairRankerRerank(ranker="longest", top_n=1).postprocess_nodes(nodes, query_str="Which?")
        >>> [node.text for node in kept]
        ['a longer one']
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", hide_input_in_errors=True)

    ranker: Any = "embedded"
    budget: int = 200
    top_n: int | None = None
    metadata_mode: MetadataMode = MetadataMode.NONE

    @model_validator(mode="before")
    @classmethod
    def _without_class_name(cls, values: Any) -> Any:
        # the serialised form contains the class name
        return {k: v for k, v in values.items() if k != "class_name"} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        check_passage_settings(self.ranker, self.budget, self.top_n)
        return self

    @field_serializer("ranker")
    def _serialise_ranker(self, ranker: Any) -> str:
        return ranker if isinstance(ranker, str) else str(ranker.name)

    @classmethod
    def class_name(cls) -> str:
        """Return the name in the serialised form."""
        return "PairRankerRerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        """Order nodes.

        Args:
            nodes: Retrieved nodes, best first; not changed.
            query_bundle: The query.

        Returns:
            Copies, best first, each with its ``score``. Higher is better; scores compare within one call only. Nodes
            beyond the budget have lower scores, in their order.

        Raises:
            ConfigurationError: There is no query. Pass ``query_str`` or ``query_bundle``.
            RankerError: The ranker failed.
        """
        if query_bundle is None:
            raise ConfigurationError("nodes are ranked for a query, and none was given; pass query_str or query_bundle")
        name = self.ranker if isinstance(self.ranker, str) else str(self.ranker.name)
        most = len(nodes) if self.top_n is None else self.top_n
        _dispatcher.event(ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=most, model_name=name))
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: query_bundle.query_str,
            EventPayload.TOP_K: most,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            kept = self._ordered(nodes, query_bundle.query_str)[:most]
            event.on_end(payload={EventPayload.NODES: kept})
        _dispatcher.event(ReRankEndEvent(nodes=kept))
        return kept

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        """Order nodes in a thread; see ``_postprocess_nodes``."""
        return await call_in_thread(self._postprocess_nodes, nodes, query_bundle)

    def _ordered(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        if not nodes:
            return []
        ranker: Ranker = resolve_ranker(self.ranker)
        texts = [node.node.get_content(metadata_mode=self.metadata_mode) for node in nodes]
        ranked = rank_passages(ranker, query, texts, budget=self.budget)
        return [nodes[index].model_copy(update={"score": ranked.scores[index]}) for index in ranked.order]
