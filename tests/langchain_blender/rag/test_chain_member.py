"""What a retrieval chain may return and take."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel

from blender_core.errors import ConfigurationError, MemberError
from blender_core.rag import GroundedCandidate, Source
from blender_core.types.prompt import Prompt
from langchain_blender.rag import BlendedRAG, RetrievalChainMember, retrieval_chain
from langchain_blender.testing import FakeChatModel

PORT = Document("The port is 8080.", id="port")
SAID = "8080 [1]."

OUTPUTS = {
    "create_retrieval_chain": {"input": "?", "context": [PORT], "answer": SAID},
    "RetrievalQA": {"query": "?", "result": SAID, "source_documents": [PORT]},
    "output and documents": {"output": SAID, "documents": (PORT,)},
    "message": {"answer": AIMessage(SAID), "context": [PORT]},
    "tuple": (SAID, [PORT]),
    "tuple with one document": (AIMessage(SAID), PORT),
    "candidate": GroundedCandidate(SAID, (Source(PORT.page_content, id="port"),)),
}


async def ask(member: RetrievalChainMember, world: str) -> GroundedCandidate:
    prompt = Prompt.of("Which port?")
    return member.answer(prompt) if world == "sync" else await member.aanswer(prompt)


@pytest.mark.parametrize("world", ["sync", "async"])
@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
async def test_outputs_that_hold_documents(output, world):
    found = await ask(RetrievalChainMember(RunnableLambda(lambda _: output)), world)
    assert found.answer == SAID
    assert [(source.id, source.text) for source in found.sources] == [("port", "The port is 8080.")]


@pytest.mark.parametrize("world", ["sync", "async"])
@pytest.mark.parametrize("output", [SAID, AIMessage(SAID), {"answer": SAID, "context": "as text"}])
async def test_outputs_without_documents(output, world):
    found = await ask(RetrievalChainMember(RunnableLambda(lambda _: output)), world)
    assert (found.answer, found.sources) == (SAID, ())


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"text": SAID}, "dict with text"),
        ({}, "dict with nothing"),
        ((SAID, ["a text"]), "str among its documents"),
        ({"answer": SAID, "context": [3]}, "int among its documents"),
    ],
)
def test_outputs_that_cannot_be_read(output, message):
    with pytest.raises(MemberError, match=message):
        RetrievalChainMember(RunnableLambda(lambda _: output)).answer(Prompt.of("?"))


@pytest.mark.parametrize("world", ["sync", "async"])
async def test_an_asynchronous_chain_works_in_both_worlds(world):
    async def answer(question):
        return SAID, [PORT]

    found = await ask(RetrievalChainMember(RunnableLambda(answer)), world)
    assert (found.answer, len(found.sources)) == (SAID, 1)


@pytest.mark.parametrize("key", ["input", "question", "query", "topic"])
def test_a_chain_is_asked_under_the_key_that_it_wants(key):
    model = FakeChatModel(script=[SAID])
    RetrievalChainMember(ChatPromptTemplate.from_template("Q: {" + key + "}") | model).answer(Prompt.of("Which port?"))
    assert model.calls[0].text == "Q: Which port?"


@pytest.mark.parametrize("world", ["sync", "async"])
@pytest.mark.parametrize("earlier", [[], [("user", "Hello"), ("ai", "Hi.")]], ids=["first", "later"])
async def test_an_agent_gets_the_question_after_the_turns_before_it(earlier, world):
    model = FakeChatModel(script=[SAID])
    blend = BlendedRAG([create_agent(model, []), FakeChatModel(script=["8080"])], fuser=None)
    given = {"question": "Which port?", "chat_history": earlier}
    found = blend.invoke(given) if world == "sync" else await blend.ainvoke(given)
    assert {each["status"] for each in found["blend"]["candidates"]} == {"ok"}
    heard = [message.text for message in model.calls[0].messages]
    assert heard == [*(text for _, text in earlier), "Which port?"]


def test_an_agent_alone_gets_the_text_of_the_prompt():
    model = FakeChatModel(script=[SAID])
    assert RetrievalChainMember(create_agent(model, [])).answer(Prompt.of("Which port?")).answer == SAID
    assert [message.text for message in model.calls[0].messages] == ["Which port?"]


def test_a_chain_of_several_keys_needs_a_function():
    chain = ChatPromptTemplate.from_template("{topic} {tone}") | FakeChatModel(script=[SAID])
    with pytest.raises(ConfigurationError, match="asks for"):
        RetrievalChainMember(chain)
    member = RetrievalChainMember(chain, input=lambda prompt: {"topic": prompt.text, "tone": "calm"})
    assert member.answer(Prompt.of("Ports")).answer == SAID


def test_the_model_that_answers_gives_the_name_and_fuses():
    chain = retrieval_chain(RunnableLambda(lambda _: [PORT]), FakeChatModel(script=[SAID], model_name="writer"))
    member = RetrievalChainMember(chain)
    assert member.name == "writer"
    assert member.follows_instructions
    assert not RetrievalChainMember(RunnableLambda(lambda _: SAID)).follows_instructions


def test_usage_of_the_models_inside_is_counted():
    chain = retrieval_chain(RunnableLambda(lambda _: [PORT]), FakeChatModel(script=[SAID]))
    answer = RetrievalChainMember(chain).generate(Prompt.of("Which port?"))
    assert answer.usage is not None
    assert answer.usage.output_tokens == 2


@pytest.mark.parametrize("wrong", [lambda question: question, "chain"])
def test_what_is_no_runnable_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="not a LangChain runnable"):
        RetrievalChainMember(wrong)


def test_a_retrieval_chain_takes_an_answering_chain():
    chain = retrieval_chain(
        RunnableLambda(lambda _: [PORT, Document("More.")]),
        RunnableLambda(lambda shown: f"{shown['query']}|{shown['context']}"),
    )
    output = chain.invoke("Q")
    assert output["answer"] == "Q|[1] The port is 8080.\n\n[2] More."
    assert [document.page_content for document in output["context"]] == ["The port is 8080.", "More."]


def test_a_retrieval_chain_shows_the_question_to_a_model():
    model = FakeChatModel(script=[SAID])
    retrieval_chain(RunnableLambda(lambda _: [PORT]), model).invoke("Which port?")
    assert isinstance(model.calls[0].messages[-1], HumanMessage)
    assert "Question: Which port?" in model.calls[0].text


def test_a_chain_that_wants_a_list_of_messages_gets_it():
    class Input(BaseModel):
        messages: list[Any]

    heard = []

    def answer(given):
        heard.append(given["messages"])
        return SAID

    RetrievalChainMember(RunnableLambda(answer).with_types(input_type=Input)).answer(Prompt.of("Which port?"))
    assert heard == [[HumanMessage("Which port?")]]
