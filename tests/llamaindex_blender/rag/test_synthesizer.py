"""Several LLMs over the nodes of one retriever."""

import pytest
from llama_index.core import Document, SummaryIndex
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, TextNode

from blender_core.errors import ConfigurationError, QuorumError
from llamaindex_blender.rag import BlendedSynthesizer
from llamaindex_blender.testing import ScriptedLLM

NODES = [NodeWithScore(node=TextNode(text="The server listens on port 8080.", id_="manual"), score=0.9)]


def make(**options):
    llms = {
        "wrong": ScriptedLLM(script=["It surely listens on port 9999, as everybody knows."]),
        "right": ScriptedLLM(script=["Port 8080 [1]."]),
    }
    return BlendedSynthesizer(llms, **{"ranker": "longest", "fuser": None, **options})


def test_an_answer_that_the_nodes_do_not_support_loses():
    response = make().synthesize("Which port?", NODES)
    assert str(response) == "Port 8080 [1]."
    assert response.metadata["blend"]["winner"] == "right"
    assert response.metadata["blend"]["unsupported"] == ["wrong"]
    assert [node.node.node_id for node in response.source_nodes] == ["manual"]


@pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize", "simple_summarize"])
def test_in_a_query_engine_in_several_response_modes(mode):
    index = SummaryIndex.from_documents([Document(text=NODES[0].node.text)])
    engine = RetrieverQueryEngine(index.as_retriever(), response_synthesizer=make(response_mode=mode))
    response = engine.query("Which port?")
    assert str(response) == "Port 8080 [1]."
    assert response.metadata["blend"]["winner"] == "right"


async def test_async():
    assert str(await make().asynthesize("Which port?", NODES)) == "Port 8080 [1]."


def test_streaming():
    response = make(streaming=True).synthesize("Which port?", NODES)
    assert "".join(response.response_gen) == "Port 8080 [1]."
    assert response.metadata["blend"]["winner"] == "right"


async def test_async_streaming():
    response = await make(streaming=True).asynthesize("Which port?", NODES)
    assert "".join([piece async for piece in response.async_response_gen()]) == "Port 8080 [1]."
    assert response.metadata["blend"]["winner"] == "right"


def test_calls_do_not_share_their_reports():
    synthesizer = make()
    first, second = synthesizer.synthesize("Which port?", NODES), synthesizer.synthesize("Which one?", NODES)
    assert first.metadata["blend"] is not second.metadata["blend"]


def test_fusion_by_the_llm_that_ranked_first():
    first = ScriptedLLM(script=["The server listens on port 8080.", "Port 8080, by the manual."])
    llms = {"a": first, "b": ScriptedLLM(script=["Port 8080."])}
    response = BlendedSynthesizer(llms, ranker="longest", fuse_when="always").synthesize("Which port?", NODES)
    assert str(response) == "Port 8080, by the manual."
    assert response.metadata["blend"]["fused"] == ["a", "b"]


def test_failures():
    def fail(*_):
        raise RuntimeError("no such model")

    llms = {"broken": ScriptedLLM(script=[fail]), "right": ScriptedLLM(script=["Port 8080."])}
    response = BlendedSynthesizer(llms, fuser=None).synthesize("Which port?", NODES)
    assert {one["model"]: one["status"] for one in response.metadata["blend"]["candidates"]} == {
        "broken": "error",
        "right": "ok",
    }
    with pytest.raises(QuorumError, match="no such model"):
        BlendedSynthesizer(llms, fuser=None, quorum=2).synthesize("Which port?", NODES)
    with pytest.raises(ConfigurationError, match="at least one LLM"):
        BlendedSynthesizer([])


def test_no_nodes_is_an_empty_response():
    assert str(make().synthesize("Which port?", [])) == "Empty Response"
