"""Several retrieval chains as one: each way to call it, what a failure costs, citations and documents."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from langchain_classic.chains.combine_documents import create_stuff_documents_chain
from langchain_classic.chains.retrieval import create_retrieval_chain
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage, convert_to_messages
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda

from blender_core.errors import ConfigurationError, QuorumError
from blender_core.rag import GroundedCandidate, Source, SourcedMember
from blender_core.testing import FakeFuser
from langchain_blender.rag import BlendedRAG, RetrievalChainMember, retrieval_chain
from langchain_blender.testing import FakeChatModel

PORT = Document("The server listens on port 8080.", id="port", metadata={"page": 3})
HOST = Document("The host of the server is called alpha.", id="host", metadata={"page": 4})
QUESTION = "Which port does the server listen on?"


def chain(answer: str, *documents: Document) -> RunnableLambda:
    return RunnableLambda(lambda question: {"answer": answer, "context": list(documents)})


def failing(question: str) -> dict[str, Any]:
    raise ValueError("index is gone")


def chains(**more: Any) -> dict[str, Any]:
    return {
        "port": chain("The server listens on port 8080 [1].", PORT),
        "host": chain("The server listens on port 8080 [2] and the host is called alpha [1].", HOST, PORT),
        **more,
    }


def rag(members: Any = None, **settings: Any) -> BlendedRAG:
    return BlendedRAG(chains() if members is None else members, **{"ranker": "consensus", "fuser": None, **settings})


def added(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    total = pieces[0]
    for piece in pieces[1:]:
        total = total + piece
    return total


async def call(blend: BlendedRAG, way: str, given: Any = QUESTION) -> dict[str, Any]:
    if way == "invoke":
        return blend.invoke(given)
    if way == "ainvoke":
        return await blend.ainvoke(given)
    if way == "stream":
        return added([*blend.stream(given)])
    if way == "astream":
        return added([piece async for piece in blend.astream(given)])
    if way == "batch":
        return blend.batch([given])[0]
    return (await blend.abatch([given]))[0]


every_way = pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream", "batch", "abatch"])


@every_way
async def test_a_picked_answer_comes_with_its_own_documents(way):
    output = await call(rag({"wrong": chain("Port 9999 [1].", HOST), **chains()}), way)
    winner = output["blend"]["winner"]
    assert output["input"] == QUESTION
    assert winner in ("port", "host")
    assert output["blend"]["unsupported"] == ["wrong"]
    own = {"port": ["port"], "host": ["host", "port"]}[winner]
    assert [document.id for document in output["context"]] == own
    assert all(document.metadata["blend"]["used_by"] == [winner] for document in output["context"])


@every_way
async def test_a_failing_chain_costs_only_its_answer(way):
    output = await call(rag(chains(broken=failing)), way)
    records = {record["model"]: (record["status"], record["reason"]) for record in output["blend"]["candidates"]}
    assert "8080" in output["answer"]
    assert records == {"port": ("ok", None), "host": ("ok", None), "broken": ("error", "ValueError: index is gone")}


@every_way
async def test_without_an_answer_the_error_names_every_chain(way):
    with pytest.raises(QuorumError, match="index is gone"):
        await call(rag({"broken": failing}), way)


@every_way
async def test_citations_of_a_fusion_count_the_union(way):
    def fuse(request):
        # the fuser sees the candidates already in the numbers of the union
        return " ".join(request.candidates)

    output = await call(rag(fuser=FakeFuser(fuse), fuse_when="always"), way)
    numbers = {document.id: document.metadata["blend"]["number"] for document in output["context"]}
    assert sorted(numbers.values()) == [1, 2]
    assert [document.metadata["blend"]["number"] for document in output["context"]] == [1, 2]
    assert output["answer"].count(f"port 8080 [{numbers['port']}]") == 2
    assert f"called alpha [{numbers['host']}]" in output["answer"]
    links = {document.id: document.metadata["blend"] for document in output["context"]}
    assert set(links["port"]["used_by"]) == set(links["port"]["cited_by"]) == {"port", "host"}
    assert links["host"]["used_by"] == links["host"]["cited_by"] == ["host"]


@every_way
async def test_citations_to_nothing_are_dropped(way):
    output = await call(rag({"only": chain("The server listens on port 8080 [1][7].", PORT)}), way)
    assert output["answer"] == "The server listens on port 8080 [1]."
    assert output["blend"]["dropped_citations"] == {"only": [7]}


def test_brackets_stay_where_they_are_no_citations():
    said = "The server listens on port 8080 [7]."
    assert rag({"only": chain(said, PORT)}, citations=False).invoke(QUESTION)["answer"] == said


@every_way
@pytest.mark.parametrize("fuser", [None, FakeFuser("The server listens on port 8080 [1].")])
async def test_documents_and_input_of_the_caller_stay_as_they_are(way, fuser):
    given = {"input": QUESTION, "chat_history": [HumanMessage("Hello")], "user": {"name": "Ada"}}
    before = copy.deepcopy((given, PORT, HOST))
    output = await call(rag(fuser=fuser, fuse_when="always"), way, given)
    assert (given, PORT, HOST) == before
    assert output["user"] == {"name": "Ada"}
    output["context"][0].metadata["mine"] = True
    assert before[1:] == (PORT, HOST)


@every_way
async def test_an_unsupported_fusion_gives_way_to_the_best_answer(way):
    output = await call(rag(fuser=FakeFuser("Bananas ripen quickly in warm kitchens."), fuse_when="always"), way)
    assert output["answer"].endswith(("port 8080 [1].", "alpha [1]."))
    assert output["blend"]["fused"] == []
    sent = output["blend"].get("rejected_characters", 0)
    assert len(output["answer"][sent:].split("8080")) == 2


async def test_a_stream_sends_the_input_then_text_then_documents_then_the_rest():
    fused = " ".join(["The server listens on port 8080 [1]."] * 20)
    blend = rag(fuser=FakeFuser(fused), fuse_when="always")
    keys = [key async for piece in blend.astream(QUESTION) for key in piece]
    assert keys[0] == "input"
    assert keys[-2:] == ["context", "blend"]
    assert keys[1:-2] == ["answer"] * (len(keys) - 3)
    assert len(keys) > 4


def test_a_batch_keeps_its_order_and_its_errors():
    echo = RunnableLambda(lambda question: {"answer": f"{question}!", "context": [Document(f"{question}!")]})
    outputs = rag([echo]).batch(["one", {"nothing": 1}, "two"], return_exceptions=True)
    assert [outputs[0]["answer"], outputs[2]["answer"]] == ["one!", "two!"]
    assert isinstance(outputs[1], ConfigurationError)


def stuffed(answer: str, *documents: Document) -> Any:
    prompt = ChatPromptTemplate.from_template("{context}\n\n{input}")
    answers = create_stuff_documents_chain(FakeChatModel(script=[answer], model_name=answer), prompt)
    return create_retrieval_chain(RunnableLambda(lambda _: list(documents)), answers)


@every_way
async def test_retrieval_chains_of_langchain_are_members_as_they_are(way):
    members = {"left": stuffed("Port 8080 [1].", PORT), "right": stuffed("Port 8080, host alpha [2].", PORT, HOST)}
    output = await call(rag(members, fuser=FakeFuser("Port 8080 [1]."), fuse_when="always"), way, {"input": QUESTION})
    assert output["answer"] == "Port 8080 [1]."
    assert {document.id for document in output["context"]} == {"port", "host"}
    assert output["input"] == QUESTION


@every_way
async def test_pairs_of_retriever_and_model_are_members(way):
    model = FakeChatModel(script=["The server listens on port 8080 [2]."], model_name="writer")
    output = await call(rag([(RunnableLambda(lambda _: [HOST, PORT]), model)]), way)
    assert output["answer"].endswith("[2].")
    assert output["context"][1].id == "port"
    assert output["blend"]["winner"] == "writer"
    assert f"[2] {PORT.page_content}" in model.calls[0].text
    assert QUESTION in model.calls[0].text


def test_the_model_of_the_best_chain_fuses():
    fused = "The server listens on port 8080 [1]."

    def writes(answer):
        return lambda fake: answer if fake.text.startswith("Sources:") else fused

    scripts = {"a": "Port 8080 [1].", "b": "It is port 8080 of the server [1]."}
    models = {name: FakeChatModel(script=[writes(answer)], model_name=name) for name, answer in scripts.items()}
    members = [(RunnableLambda(lambda _: [PORT]), model) for model in models.values()]
    output = rag(members, fuser="llm", fuse_when="always").invoke(QUESTION)
    assert output["answer"] == fused
    assert set(output["blend"]["fused"]) == {"a", "b"}
    best = output["blend"]["fused"][0]
    assert {name: len(model.calls) for name, model in models.items()} == {"a": 1, "b": 1, best: 2}


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_the_model_of_the_best_chain_fuses_in_pieces(way):
    fused = (
        "The server listens on port 8080 [1]. Port 8080 is what the server listens on: 8080. On port 8080 the server "
        "listens [1]. Of the server, 8080 is the port."
    )

    def writes(answer):
        return lambda fake: answer if fake.text.startswith("Sources:") else fused

    answers = ("Port 8080 [1].", "It is port 8080 of the server [1].")
    members = [(RunnableLambda(lambda _: [PORT]), FakeChatModel(script=[writes(answer)])) for answer in answers]
    blend = rag(members, fuser="llm", fuse_when="always")
    pieces = [*blend.stream(QUESTION)] if way == "stream" else [piece async for piece in blend.astream(QUESTION)]
    texts = [piece["answer"] for piece in pieces if "answer" in piece]
    assert "".join(texts) == fused
    assert len(texts) > 5


def test_documents_of_a_chain_that_returns_text_are_those_it_retrieved():
    class Fixed(BaseRetriever):
        def _get_relevant_documents(self, query, *, run_manager):
            return [PORT, HOST]

    text = retrieval_chain(Fixed(), FakeChatModel(script=["Port 8080 [1]."])).pick("answer") | StrOutputParser()
    output = rag({"text": text}).invoke(QUESTION)
    assert output["answer"] == "Port 8080 [1]."
    assert [document.id for document in output["context"]] == ["port", "host"]


def test_chains_are_child_runs_of_the_call():
    class Listener(BaseCallbackHandler):
        def __init__(self):
            self.parents = {}
            self.names = {}

        def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, name=None, **_kwargs):
            self.parents[run_id] = parent_run_id
            self.names[run_id] = name

    heard = Listener()
    rag(name="my rag").invoke(QUESTION, {"callbacks": [heard]})
    roots = [run for run, parent in heard.parents.items() if parent is None]
    assert [heard.names[run] for run in roots] == ["my rag"]
    assert list(heard.parents.values()).count(roots[0]) == 2


def test_it_composes_as_any_runnable():
    assert rag().pick("answer").invoke(QUESTION).startswith("The server listens")
    assert rag().with_retry().invoke(QUESTION)["answer"].startswith("The server listens")


@pytest.mark.parametrize("given", [{"nothing": 1}, 3, {}])
def test_an_input_without_a_question_is_refused(given):
    with pytest.raises(ConfigurationError, match="no question"):
        rag().invoke(given)


def test_no_visible_model_to_fuse_is_refused_at_once():
    with pytest.raises(ConfigurationError, match="no LLM that could fuse"):
        rag(fuser="llm")


def test_names_of_a_dict_are_kept():
    members = {"first": RetrievalChainMember(chain("8080", PORT), name="other"), "second": chain("8080", PORT)}
    assert [name for name, _ in rag(members).members] == ["first", "second"]


# -- pairs of a retriever and an LLM ---------------------------------------------------------------------------

HISTORY = [("user", "Is it up?"), ("assistant", "Yes.")]


@pytest.mark.parametrize(
    "given",
    [
        {"question": QUESTION, "chat_history": HISTORY},
        {"input": QUESTION, "chat_history": HISTORY},
        {"query": QUESTION, "chat_history": HISTORY},
        {"messages": [*HISTORY, ("user", QUESTION)]},
    ],
)
@every_way
async def test_a_pair_takes_a_dict_and_its_llm_reads_the_earlier_turns(way, given):
    queries: list[Any] = []
    model = FakeChatModel(script=["Port 8080 [1]."])

    class Recorder(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
            queries.append(query)
            return [PORT]

    given = {**given, "messages": convert_to_messages(given["messages"])} if "messages" in given else given
    result = await call(rag([(Recorder(), model)]), way, given)
    assert result["answer"] == "Port 8080 [1]."
    assert queries == [QUESTION]
    asked = model.calls[0].messages
    assert [message.text for message in asked[:-1]] == ["Is it up?", "Yes."]
    assert QUESTION in asked[-1].text


def test_a_retriever_that_reads_the_history_gets_it():
    def condense(given: dict[str, Any]) -> list[Document]:
        return [PORT] if len(given["chat_history"]) == 2 and given["input"] == QUESTION else []

    result = rag([(RunnableLambda(condense), FakeChatModel(script=["Port 8080 [1]."]))]).invoke(
        {"input": QUESTION, "chat_history": HISTORY}
    )
    assert [document.id for document in result["context"]] == ["port"]


def test_an_answering_chain_of_a_pair_gets_the_other_keys_of_the_caller():
    prompt = ChatPromptTemplate.from_template("Answer in {language}: {question}\n{context}")
    model = FakeChatModel(script=["Port 8080 [1]."])
    rag([(RunnableLambda(lambda _: [PORT]), prompt | model)]).invoke({"question": QUESTION, "language": "Latin"})
    assert model.calls[0].text.startswith("Answer in Latin")


@pytest.mark.parametrize("given", ["manual-7", ""])
def test_a_source_of_another_framework_becomes_a_document(given):
    source = Source("The server listens on port 8080.", id=given, metadata={"page": 3})
    candidate = GroundedCandidate("It listens on port 8080 [1].", (source,))
    output = rag({"own": SourcedMember("own", lambda prompt: candidate)}).invoke(QUESTION)
    (document,) = output["context"]
    assert (document.page_content, document.id, document.metadata["page"]) == (source.text, given or None, 3)
    assert document.metadata["blend"] == {"number": 1, "used_by": ["own"], "cited_by": ["own"]}
