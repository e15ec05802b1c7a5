"""Nodes in the order of a ranker, alone and inside LlamaIndex's query engines."""

import copy
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core import QueryBundle
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.event_handlers.base import BaseEventHandler
from pydantic import ValidationError

from blender_core.errors import ConfigurationError
from blender_core.testing import FakeRanker
from blender_core.types.ranking import Ranking
from llamaindex_blender.rag.rerank import PairRankerRerank

TEXTS = ["one", "one two three", "one two"]
BEST_FIRST = ["one two three", "one two", "one"]


def nodes(texts=TEXTS):
    return [
        NodeWithScore(node=TextNode(text=text, id_=str(place), metadata={"file": f"{place}.md"}), score=1 - place / 10)
        for place, text in enumerate(texts)
    ]


def texts(found):
    return [node.node.get_content() for node in found]


class Fixed(BaseRetriever):
    def _retrieve(self, query_bundle):
        return nodes()


class CountingPairs:
    """Compares pairs, as far as anybody knows, and counts what it reads."""

    name = "pairs"

    def __init__(self):
        self.read = []

    def rank(self, prompt, candidates):
        self.read.append(list(candidates))
        return Ranking.from_scores([float(len(text)) for text in candidates], ranker=self.name)


@pytest.mark.parametrize("ranker", ["longest", FakeRanker()])
async def test_nodes_come_best_first_with_scores(ranker):
    rerank = PairRankerRerank(ranker=ranker)
    found = rerank.postprocess_nodes(nodes(), query_str="?")
    assert texts(found) == BEST_FIRST
    assert all(first.score > second.score for first, second in pairwise(found))
    again = await rerank.apostprocess_nodes(nodes(), QueryBundle("?"))
    assert [(node.node_id, node.score) for node in again] == [(node.node_id, node.score) for node in found]


def test_fifty_nodes_stay_within_the_budget():
    ranker = CountingPairs()
    given_nodes = nodes([f"{'x' * place} {place}" for place in range(50)])
    found = PairRankerRerank(ranker=ranker, budget=90).postprocess_nodes(given_nodes, query_str="?")
    # 10 * 9 ordered pairs
    assert [len(read) for read in ranker.read] == [10]
    assert [node.node_id for node in found] == [str(p) for p in (*reversed(range(10)), *range(10, 50))]
    assert all(first.score > second.score for first, second in pairwise(found))


def test_given_nodes_stay_as_they_are():
    given_nodes = nodes()
    before = copy.deepcopy(given_nodes)
    found = PairRankerRerank(ranker="longest").postprocess_nodes(given_nodes, query_str="?")
    assert given_nodes == before
    assert not any(node is original for node in found for original in given_nodes)
    # the nodes themselves are the retriever's
    assert found[0].node is given_nodes[1].node


@given(st.lists(st.sampled_from(["", " \n", "a", "bb", "ccc", "ccc "]), max_size=8), st.integers(2, 12))
def test_blanks_and_copies_come_through(given_texts, budget):
    given_nodes = nodes(given_texts)
    found = PairRankerRerank(ranker=FakeRanker(), budget=budget).postprocess_nodes(given_nodes, query_str="?")
    assert sorted(node.node_id for node in found) == sorted(node.node_id for node in given_nodes)
    assert all(first.score >= second.score for first, second in pairwise(found))
    blank = [not text.strip() for text in texts(found)]
    if budget == 12:
        # four texts differ at most, which 12 comparisons read: blanks come last
        assert blank == sorted(blank)


def test_metadata_is_read_where_that_is_asked_for():
    ranker = CountingPairs()
    given_nodes = nodes()
    PairRankerRerank(ranker=ranker).postprocess_nodes(given_nodes, query_str="?")
    PairRankerRerank(ranker=ranker, metadata_mode=MetadataMode.EMBED).postprocess_nodes(given_nodes, query_str="?")
    assert ranker.read[0] == TEXTS
    assert all(f"{place}.md" in text for place, text in enumerate(ranker.read[1]))


async def test_in_a_query_engine():
    engine = RetrieverQueryEngine.from_args(
        Fixed(),
        llm=MockLLM(),
        response_mode=ResponseMode.COMPACT,
        node_postprocessors=[PairRankerRerank(ranker="longest", top_n=2)],
    )
    assert texts(engine.query("?").source_nodes) == BEST_FIRST[:2]
    assert texts((await engine.aquery("?")).source_nodes) == BEST_FIRST[:2]


def test_the_embedded_ranker_puts_the_passage_first():
    given_nodes = nodes(["Bananas are yellow and sweet.", "The capital of France is Paris."])
    found = PairRankerRerank(top_n=1).postprocess_nodes(given_nodes, query_str="What is the capital of France?")
    assert texts(found) == ["The capital of France is Paris."]


class Recorder(BaseEventHandler):
    events: list = []  # noqa: RUF012  a pydantic field

    def handle(self, event, **_kwargs):
        self.events.append(event)


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_instrumentation_and_callbacks_hear_of_it(count):
    recorder, debug = Recorder(events=[]), LlamaDebugHandler(print_trace_on_end=False)
    rerank = PairRankerRerank(ranker=FakeRanker(), top_n=2, callback_manager=CallbackManager([debug]))
    dispatcher = get_dispatcher()
    dispatcher.add_event_handler(recorder)
    try:
        found = rerank.postprocess_nodes(nodes()[:count], query_str="?")
        await rerank.apostprocess_nodes(nodes()[:count], query_str="?")
    finally:
        dispatcher.event_handlers.remove(recorder)
    heard = [event for event in recorder.events if isinstance(event, ReRankStartEvent | ReRankEndEvent)]
    assert [type(event) for event in heard] == [ReRankStartEvent, ReRankEndEvent] * 2
    assert (heard[0].query.query_str, heard[0].top_n, heard[0].model_name) == ("?", 2, "fake")
    assert heard[0].nodes == nodes()[:count]
    assert heard[1].nodes == found
    assert len(debug.get_event_pairs(CBEventType.RERANKING)) == 2


def test_it_is_serialised():
    rerank = PairRankerRerank(ranker="longest", top_n=3, budget=20)
    assert PairRankerRerank.from_dict(rerank.to_dict()).to_dict() == rerank.to_dict()
    assert PairRankerRerank.from_json(rerank.to_json()).top_n == 3
    assert PairRankerRerank(ranker=FakeRanker()).to_dict()["ranker"] == "fake"


def test_a_query_is_needed():
    with pytest.raises(ConfigurationError, match="query_str"):
        PairRankerRerank(ranker="longest").postprocess_nodes(nodes())


@pytest.mark.parametrize("setting", [{"budget": 1}, {"top_n": 0}, {"ranker": "nonsense"}, {"unknown": 1}])
def test_settings_that_cannot_work_are_refused(setting):
    with pytest.raises(ValidationError):
        PairRankerRerank(**setting)
