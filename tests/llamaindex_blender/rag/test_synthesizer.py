"""Several LLMs over the nodes of one retriever."""

import pytest
from llama_index.core import Document, PromptTemplate, SummaryIndex
from llama_index.core.base.response.schema import PydanticResponse
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import BaseModel

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


def test_options_of_a_synthesizer_are_taken_but_no_second_llm():
    heard = []

    def answer(call):
        heard.append(call.text)
        return "Port 8080."

    llms = {"a": ScriptedLLM(script=[answer]), "b": ScriptedLLM(script=["8080"])}
    prompt = PromptTemplate("By the book: {context_str} -- {query_str}")
    BlendedSynthesizer(llms, fuser=None, text_qa_template=prompt).synthesize("Which port?", NODES)
    assert heard[0].startswith("By the book: ")
    with pytest.raises(ConfigurationError, match="no argument 'llm'"):
        BlendedSynthesizer(llms, fuser=None, llm=llms["a"])


def test_no_nodes_is_an_empty_response():
    assert str(make().synthesize("Which port?", [])) == "Empty Response"


@pytest.mark.parametrize("way", ["synthesize", "asynthesize"])
async def test_citations_count_the_nodes_also_where_two_are_alike(way):
    server, console = "The server listens on port 8080.", "The console listens on port 9443."
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in (server, server, console)]
    synthesizer = BlendedSynthesizer([ScriptedLLM(script=["The console listens on port 9443 [3]."])], fuser=None)
    question = "Which port does the console use?"
    asked = synthesizer.synthesize(question, nodes) if way == "synthesize" else synthesizer.asynthesize(question, nodes)
    response = asked if way == "synthesize" else await asked
    assert str(response) == "The console listens on port 9443 [3]."
    assert response.source_nodes[3 - 1].text == console
    assert [source["text"] for source in response.metadata["blend"]["sources"]] == [server, server, console]


def test_citations_of_a_fusion_count_the_nodes_also_where_two_are_alike():
    server, console = "The server listens on port 8080.", "The console listens on port 9443."
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in (server, server, console)]
    writer = ScriptedLLM(script=["The console listens on port 9443 [3]."])
    llms = [ScriptedLLM(script=["The console listens on 9443 [3]."]), ScriptedLLM(script=["Port 9443 it is [3]."])]
    synthesizer = BlendedSynthesizer(llms, ranker="longest", fuser=writer, fuse_when="always")
    response = synthesizer.synthesize("Which port does the console use?", nodes)
    assert response.metadata["blend"]["fused"]
    assert str(response) == "The console listens on port 9443 [3]."
    read = [line for line in writer.calls[0].text.splitlines() if line.startswith("[")]
    assert read == [f"[1] {server}", f"[2] {server}", f"[3] {console}"]


class Port(BaseModel):
    """A port, and where that stands."""

    port: int
    pages: list[int]


def objects(*texts, **options):
    return BlendedSynthesizer([ScriptedLLM(script=[text], tools=False) for text in texts], output_cls=Port, **options)


@pytest.mark.parametrize("way", ["synthesize", "asynthesize"])
@pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize"])
async def test_with_an_output_class_the_best_object_comes_back(mode, way):
    good = '{"port": 8080, "pages": [3]}'
    synthesizer = objects("no idea", good, good, response_mode=mode)
    if way == "synthesize":
        response = synthesizer.synthesize("Which port?", NODES)
    else:
        response = await synthesizer.asynthesize("Which port?", NODES)
    assert isinstance(response, PydanticResponse)
    assert response.response == Port(port=8080, pages=[3])
    assert [one["status"] for one in response.metadata["blend"]["candidates"]] == ["error", "ok", "ok"]
    assert response.source_nodes[0].node.node_id == "manual"


def test_objects_are_picked_and_not_fused():
    texts = ('{"port": 8080, "pages": [3]}', '{"port": 9999, "pages": []}')
    response = objects(*texts, fuse_when="always").synthesize("Which port?", NODES)
    assert isinstance(response, PydanticResponse)
    assert response.metadata["blend"]["fused"] == []
    with pytest.raises(ConfigurationError, match="objects are picked"):
        objects(*texts, fuser=ScriptedLLM())


@pytest.mark.parametrize(
    "options", [{"response_mode": "accumulate"}, {"response_mode": "simple_summarize"}, {"streaming": True}]
)
def test_settings_that_give_no_objects_are_refused(options):
    with pytest.raises(ConfigurationError, match="output_cls"):
        objects("{}", **options)
