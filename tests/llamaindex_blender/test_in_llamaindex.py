"""LlamaIndex's own machinery driven by a blend: agents, sub-questions, routers, evaluators, chat engines."""

import asyncio
import json

import pytest
from llama_index.core import Document, MockEmbedding, SummaryIndex, VectorStoreIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.evaluation import (
    CorrectnessEvaluator,
    FaithfulnessEvaluator,
    PairwiseComparisonEvaluator,
    RelevancyEvaluator,
)
from llama_index.core.extractors import KeywordExtractor
from llama_index.core.indices.property_graph import SimpleLLMPathExtractor
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.program import LLMTextCompletionProgram
from llama_index.core.query_engine import RouterQueryEngine, SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.retrievers import BaseRetriever, QueryFusionRetriever
from llama_index.core.schema import TextNode
from llama_index.core.selectors import LLMMultiSelector, LLMSingleSelector, PydanticSingleSelector
from llama_index.core.tools import FunctionTool, QueryEngineTool
from pydantic import BaseModel

from blender_core.testing import FakeFuser, FakeRanker
from langchain_blender.testing import FakeChatModel
from llamaindex_blender import BlendedLLM
from llamaindex_blender.testing import ScriptedLLM, call_first_tool

# LlamaIndex's own code calls what pydantic deprecates
pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step:DeprecationWarning"),
]


def blend(*scripts, **settings):
    """LlamaIndex members and a LangChain one, each with a script; the longest answer wins, fusion is wanted."""
    members = [ScriptedLLM(script=[script], model=f"m{index}") for index, script in enumerate(scripts)]
    return BlendedLLM(llms=members, **{"ranker": FakeRanker(), "fuse_when": "always", **settings})


def index():
    return SummaryIndex.from_documents([Document(text="The Rhine flows through Cologne.")])


def multiply(a: int = 6, b: int = 7) -> int:
    """Multiply two numbers."""
    return a * b


def memory():
    return ChatMemoryBuffer.from_defaults(token_limit=4000)


# -- forms that LlamaIndex parses ----------------------------------------------------------------------


class Recorder(BaseRetriever):
    """Records the queries that it is asked."""

    def __init__(self):
        super().__init__()
        self.queries = []

    def _retrieve(self, query_bundle):
        self.queries.append(query_bundle.query_str)
        return []


def fused_queries(llm):
    recorder = Recorder()
    QueryFusionRetriever([recorder], llm=llm, num_queries=3, use_async=False).retrieve("Where is the Rhine?")
    return recorder.queries[1:]


def triplets(llm):
    node = SimpleLLMPathExtractor(llm=llm)([TextNode(text="The Rhine flows through Cologne.")])[0]
    return [f"{one.source_id} {one.label} {one.target_id}" for one in node.metadata["relations"]]


def keywords(llm):
    node = KeywordExtractor(llm=llm, show_progress=False)([TextNode(text="The Rhine flows through Cologne.")])[0]
    return node.metadata["excerpt_keywords"].split(", ")


@pytest.mark.parametrize(
    ("read", "best", "other", "items"),
    [
        (fused_queries, "Rhine on a map\nwhere does the Rhine flow", "Rhine\nriver", 2),
        (triplets, "(Rhine, flows through, Cologne)\n(Rhine, is, long)", "(Rhine, is, river)", 2),
        (keywords, "Rhine, Cologne, river, Germany", "Rhine, river, water", 4),
    ],
)
def test_a_list_that_a_parser_reads_is_picked(read, best, other, items):
    llm = blend(best, other, fuser=FakeFuser("The Rhine is a river. It flows through Cologne."))
    assert len(read(llm)) == items


# -- agents -------------------------------------------------------------------------------------------


def react(call):
    """A step as ReActAgent reads it."""
    if "Observation:" in call.text:
        return "Thought: I can answer without using any more tools.\nAnswer: The product is 42."
    return 'Thought: I need a tool.\nAction: multiply\nAction Input: {"a": 6, "b": 7}'


def chatty(call):
    """Longer, so it wins; a step all the same."""
    return react(call).replace("Thought: I", "Thought: well then, I")


@pytest.mark.parametrize("streaming", [True, False])
def test_react_agent(streaming):
    llm = blend(react, chatty)
    agent = ReActAgent(tools=[FunctionTool.from_defaults(multiply)], llm=llm, streaming=streaming)

    async def run():
        return await agent.run("What is 6 times 7?", memory=memory())

    output = asyncio.run(run())
    assert "42" in output.response.content
    assert [call.tool_output.raw_output for call in output.tool_calls] == [42]


def test_an_agents_output_holds_the_report():
    agent = FunctionAgent(tools=[FunctionTool.from_defaults(multiply)], llm=blend(call_first_tool, call_first_tool))

    async def run():
        handler = agent.run("What is 6 times 7?", memory=memory())
        raws = [event.raw async for event in handler.stream_events() if type(event).__name__ == "AgentStream"]
        return await handler, [raw["blend"] for raw in raws if raw]

    output, reports = asyncio.run(run())
    assert output.raw["blend"]["winner"] == "m0"
    assert "members called multiply" in reports[0]["decision"]


def test_agents_that_hand_over():
    def first(call):
        names = [tool.metadata.name for tool in call.options.get("tools", ())]
        if "handoff" in names and not any(message.role == "tool" for message in call.messages):
            kwargs = {"to_agent": "writer", "reason": "writing"}
            block = {"block_type": "tool_call", "tool_name": "handoff", "tool_kwargs": kwargs, "tool_call_id": "h"}
            return {"role": "assistant", "blocks": [block]}
        return "Written by the writer."

    def script(call):
        step = first(call)
        return step if isinstance(step, str) else type(call.messages[0])(**step)

    llm = blend(script, script)
    settings = {"tools": [FunctionTool.from_defaults(multiply)], "llm": llm}
    planner = FunctionAgent(name="planner", description="plans", can_handoff_to=["writer"], **settings)
    writer = FunctionAgent(name="writer", description="writes", can_handoff_to=[], **settings)
    workflow = AgentWorkflow(agents=[planner, writer], root_agent="planner")

    async def run():
        return await workflow.run("Write.", memory=memory())

    output = asyncio.run(run())
    assert (output.current_agent_name, output.response.content) == ("writer", "Written by the writer.")


# -- engines that ask for JSON ------------------------------------------------------------------------


def test_sub_questions():
    def script(call):
        if "sub_question" in call.text or "sub questions" in call.text.lower():
            items = [{"sub_question": f"Where is river {n}?", "tool_name": "rivers"} for n in (1, 2)]
            return "```json\n" + json.dumps({"items": items}) + "\n```"
        return f"An answer from {len(call.text)} characters."

    llm = blend(script, script)
    tool = QueryEngineTool.from_defaults(index().as_query_engine(llm=llm), name="rivers", description="about rivers")
    engine = SubQuestionQueryEngine.from_defaults(
        query_engine_tools=[tool],
        llm=llm,
        question_gen=LLMQuestionGenerator.from_defaults(llm=llm),
        use_async=False,
        verbose=False,
    )
    assert len(engine.query("Where are the rivers?").source_nodes) == 4


@pytest.mark.parametrize("selector", [LLMSingleSelector, LLMMultiSelector])
def test_router(selector):
    def script(call):
        return '[{"choice": 2, "reason": "it fits"}]' if "choice" in call.text else "From the second engine."

    llm = blend(script, script)
    tools = [QueryEngineTool.from_defaults(index().as_query_engine(llm=llm), description=text) for text in "ab"]
    router = RouterQueryEngine(
        selector=selector.from_defaults(llm=llm), query_engine_tools=tools, llm=llm, summarizer=None
    )
    response = router.query("Which river?")
    assert response.response == "From the second engine."
    chosen = response.metadata["selector_result"]
    assert [selection.index for selection in chosen.selections] == [1]


def test_router_by_tool_call():
    def script(call):
        block = {"block_type": "tool_call", "tool_name": "SingleSelection", "tool_call_id": "s"}
        if call.options.get("tools"):
            blocks = [{**block, "tool_kwargs": {"index": 2, "reason": "it fits"}}]
            return type(call.messages[0])(role="assistant", blocks=blocks)
        return "From the second engine."

    llm = blend(script, script)
    tools = [QueryEngineTool.from_defaults(index().as_query_engine(llm=llm), description=text) for text in "ab"]
    router = RouterQueryEngine(
        selector=PydanticSingleSelector.from_defaults(llm=llm), query_engine_tools=tools, llm=llm
    )
    assert router.query("Which river?").metadata["selector_result"].selections[0].index == 1


class River(BaseModel):
    """A river."""

    name: str


def test_structured_output_in_text():
    llm = blend('{"name": "Rhine"}', '{"name": "Danube"}')
    program = LLMTextCompletionProgram.from_defaults(
        output_cls=River, prompt_template_str="Name a river in {country}.", llm=llm
    )
    assert program(country="Germany") == River(name="Danube")


def test_an_answer_in_text_where_a_tool_call_was_wanted_is_quoted():
    llm = BlendedLLM(llms=[lambda question: "About 27 days."])
    with pytest.raises(ValueError, match=r"answered in text: 'About 27 days\.'; add a member"):
        llm.get_tool_calls_from_response(llm.chat([ChatMessage("How many?")]))


def test_structured_answers_of_a_query_engine():
    def script(call):
        tools = call.options.get("tools")
        block = {"block_type": "tool_call", "tool_name": "River", "tool_kwargs": {"name": "Rhine"}, "tool_call_id": "r"}
        return type(call.messages[0])(role="assistant", blocks=[block]) if tools else "Rhine"

    llm = blend(script, script)
    for mode in (ResponseMode.COMPACT, ResponseMode.TREE_SUMMARIZE, ResponseMode.REFINE):
        engine = index().as_query_engine(llm=llm.as_structured_llm(River), response_mode=mode)
        assert engine.query("Which river?").response == River(name="Rhine")


# -- evaluators ---------------------------------------------------------------------------------------


def test_evaluators():
    yes = blend("YES", "YES ")
    contexts = ["The Rhine flows through Cologne."]
    asked = {"query": "Which river?", "response": "The Rhine.", "contexts": contexts}
    assert FaithfulnessEvaluator(llm=yes).evaluate(**asked).passing
    assert RelevancyEvaluator(llm=yes).evaluate(**asked).passing
    assert not FaithfulnessEvaluator(llm=blend("NO", "NO")).evaluate(**asked).passing
    graded = CorrectnessEvaluator(llm=blend("4.0\nCorrect.", "4.5\nIt is correct.")).evaluate(
        query="Which river?", response="The Rhine.", reference="Rhine"
    )
    assert graded.score == 4.5


def test_pairwise_evaluator():
    def script(call):
        first = call.text.index("good answer") < call.text.index("bad answer")
        return f"The answers differ. [[{'A' if first else 'B'}]]"

    judged = PairwiseComparisonEvaluator(llm=blend(script, script)).evaluate(
        query="Which river?", response="good answer", second_response="bad answer"
    )
    assert (judged.score, judged.pairwise_source.value) == (1.0, "original")


# -- engines over an index ----------------------------------------------------------------------------


def test_fused_answers_from_an_index_with_members_of_both_kinds():
    members = [ScriptedLLM(script=["It is the Rhine."]), FakeChatModel(script=["The Rhine, in Cologne."])]
    llm = BlendedLLM(llms=members, ranker=FakeRanker(), fuser=ScriptedLLM(script=["The Rhine flows there."], model="f"))
    llm.fuse_when = "always"
    documents = [Document(text="The Rhine flows through Cologne."), Document(text="The Elbe flows through Dresden.")]
    vectors = VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(embed_dim=4))
    # the mock embedding finds all documents alike: take both
    response = vectors.as_query_engine(llm=llm, similarity_top_k=2).query("Which river flows through Cologne?")
    assert str(response) == "The Rhine flows there."
    assert "The Rhine flows through Cologne." in members[0].calls[0].text
    streamed = vectors.as_query_engine(llm=llm, similarity_top_k=1, streaming=True).query("Which river?")
    assert "".join(streamed.response_gen) == "The Rhine flows there."


def test_a_chat_engine_fuses_turn_by_turn():
    llm = blend("short", "a longer one", fuser=ScriptedLLM(script=["fused one", "fused two"], model="f"))
    engine = index().as_chat_engine(chat_mode="context", llm=llm, memory=memory())
    assert [engine.chat(text).response for text in ("One?", "Two?")] == ["fused one", "fused two"]
    assert "fused one" in [message.content for message in llm.llms[0].calls[-1].messages]
