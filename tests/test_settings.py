"""One set of blend settings: every face takes each, refuses others by name, pickles and deep-copies."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from llama_index.core import Document as LlamaDocument
from llama_index.core import SummaryIndex
from llama_index.core.llms import MockLLM
from llama_index.core.tools import QueryEngineTool

from blender_core import (
    Blender,
    BlendSettings,
    CircuitBreaker,
    FusionGuard,
    GatherPolicy,
    MemberPrior,
    OpenAIMember,
    Prompt,
    Ranking,
    SharedSemaphore,
)
from blender_core.errors import ConfigurationError
from blender_core.fuse import FuseContext
from blender_core.rag import GroundedBlender, GroundedCandidate, GroundedSettings, Source, SourcedMember
from blender_core.rag.blend import GROUNDED_DEFAULTS
from blender_core.settings import DEFAULTS, SharedSettings
from blender_core.testing import FakeMember
from langchain_blender import BlendedLLM as LangChainBlend
from langchain_blender.rag import BlendedRAG
from langchain_blender.testing import FakeChatModel
from llamaindex_blender import BlendedLLM as LlamaIndexBlend
from llamaindex_blender.rag import BlendedQueryEngine, BlendedSynthesizer

TEXT = "The server listens on port 8080."
CALL = {"name": "upper", "args": {"question": "hello"}, "id": "1", "type": "tool_call"}


def upper(question: str) -> str:
    """Write in capitals."""
    return question.upper()


def lower(question: str) -> str:
    return question.lower()


def grounded(_prompt: Any) -> GroundedCandidate:
    return GroundedCandidate("Port 8080 [1].", (Source(TEXT),))


def retrieve(_question: str) -> list[Document]:
    return [Document(TEXT)]


def engine(tokens: int) -> Any:
    index = SummaryIndex.from_documents([LlamaDocument(text=TEXT)])
    return index.as_query_engine(llm=MockLLM(max_tokens=tokens))


def pickled(face: Any) -> Any:
    return pickle.loads(pickle.dumps(face))


def models() -> list[Any]:
    return [FakeListChatModel(responses=["Port 8080 [1]."]), FakeListChatModel(responses=["It is 8080 [1], I think."])]


PLAIN = {
    "Blender": lambda **settings: Blender([upper, lower], **settings),
    "BlendedLLM of LangChain": lambda **settings: LangChainBlend(llms=models(), **settings),
    "BlendedLLM of LlamaIndex": lambda **settings: LlamaIndexBlend(
        llms=[MockLLM(max_tokens=1), MockLLM(max_tokens=2)], **settings
    ),
}
GROUNDED = {
    "GroundedBlender": lambda **settings: GroundedBlender(
        [SourcedMember("a", grounded), SourcedMember("b", grounded)], **{"fuser": None, **settings}
    ),
    "BlendedRAG": lambda **settings: BlendedRAG([(RunnableLambda(retrieve), model) for model in models()], **settings),
    "BlendedQueryEngine": lambda **settings: BlendedQueryEngine([engine(1), engine(2)], **settings),
    "BlendedSynthesizer": lambda **settings: BlendedSynthesizer([MockLLM(max_tokens=1), MockLLM()], **settings),
}
FACES = {**PLAIN, **GROUNDED}

OTHER_VALUES = {
    "ranker": "longest",
    "fuser": None,
    "top_k": 2,
    "fuse_when": "never",
    "guard": FusionGuard(short_answer=5),
    "timeout": 20.0,
    "deadline": 30.0,
    "quorum": 2,
    "max_retries": 0,
    "max_concurrency": 1,
    "policy": GatherPolicy(quorum=2),
    "semaphore": SharedSemaphore(2),
    "gather_share": 0.5,
    "member_prior": MemberPrior(),
    "reserves": [MockLLM(max_tokens=3)],
    "breaker": CircuitBreaker(),
    "citations": False,
    "source_characters": 100,
}


def engine_of(face: Any) -> Blender:
    if isinstance(face, Blender):
        return face
    return face._blender() if callable(face._blender) else face._blender


def ask(face: Any) -> str:
    question = "Which PORT?"
    if isinstance(face, Blender):
        return face.blend(question).text
    if isinstance(face, BlendedSynthesizer):
        return str(face.get_response(question, [TEXT]))
    if isinstance(face, BlendedQueryEngine):
        return str(face.query(question))
    if isinstance(face, LlamaIndexBlend):
        return str(face.complete(question).text)
    answer = face.invoke(question)
    return str(answer["answer"] if isinstance(answer, dict) else answer.text)


def test_every_setting_is_documented_and_has_a_default():
    assert set(BlendSettings.__annotations__) == set(DEFAULTS)
    assert set(GroundedSettings.__annotations__) == set(GROUNDED_DEFAULTS)
    assert set(OTHER_VALUES) == set(GROUNDED_DEFAULTS)
    documented = "".join(inspect.getdoc(kind) or "" for kind in (SharedSettings, BlendSettings))
    for name in DEFAULTS:
        assert f"{name}: " in documented


def seen_by_the_engine(face: Any) -> dict[str, Any]:
    """What a call would use, in values that compare; whatever a setting changes must show here."""
    engine = engine_of(face)
    plan = {field.name: getattr(engine._plan, field.name) for field in dataclasses.fields(engine._plan)}
    sourced = getattr(engine, "_grounding", None)
    ranking = Ranking.from_scores([1.0, 0.99], ranker="example")
    undecided = FuseContext(Prompt.of("Why?"), ("The sky scatters blue light.", "It is the air."), ranking)
    plan["members"] = [member for member, _ in plan["members"]]
    # the loaded ranker, which is the same one or none yet
    del plan["ready_ranker"]
    plan["ranker"] = plan["ranker"]().name if sourced is None else sourced.ranker.name
    plan["fuse_when"] = plan["fuse_when"](undecided)
    plan["fuser"] = plan["fuser"] is not None
    if sourced is not None:
        plan |= {"citations": sourced.citations, "source_characters": sourced.source_characters}
    # each engine makes its own
    del plan["fallback_ranker"]
    return plan


@pytest.mark.parametrize("setting", GROUNDED_DEFAULTS)
@pytest.mark.parametrize("name", FACES)
def test_every_setting_of_every_face_reaches_the_engine(name, setting):
    changed = {setting: OTHER_VALUES[setting]}
    if setting not in DEFAULTS and name in PLAIN:
        with pytest.raises(ValueError, match=f"has no argument '{setting}'"):
            FACES[name](**changed)
        return
    if (name, setting) == ("GroundedBlender", "fuser"):
        # its members here cannot fuse, so none is the default
        changed = {"fuser": upper}
    before, again, after = (seen_by_the_engine(FACES[name](**given)) for given in ({}, {}, changed))
    assert before == again
    assert before != after, f"{setting} is taken and dropped"


@pytest.mark.parametrize("name", [name for name in FACES if "BlendedLLM" not in name])
def test_signatures_show_the_same_defaults(name):
    face = FACES[name](ranker="longest")
    known = DEFAULTS if name in PLAIN else GROUNDED_DEFAULTS
    shown = {
        setting: parameter.default
        for setting, parameter in inspect.signature(type(face).__init__).parameters.items()
        if setting in known
    }
    assert shown == known


@pytest.mark.parametrize("face", [LangChainBlend, LlamaIndexBlend])
def test_fields_have_the_same_defaults(face, monkeypatch):
    for name in ("RANKER", "TOP_K", "TIMEOUT", "DEADLINE"):
        monkeypatch.delenv(f"BLENDED_LLM_{name}", raising=False)
    fields = face.model_fields
    assert {name: fields[name].get_default(call_default_factory=True) for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(("wrong", "meant"), [("timeut", "timeout"), ("qorum", "quorum"), ("fuse_wen", "fuse_when")])
@pytest.mark.parametrize("name", FACES)
def test_a_mistyped_setting_names_the_face_and_the_setting(name, wrong, meant):
    with pytest.raises(ValueError, match=f"{name.split()[0]} has no argument '{wrong}'; did you mean {meant}"):
        FACES[name](**{wrong: 1})


@pytest.mark.parametrize(
    ("setting", "value"),
    [("timeout", 5.0), ("timeout", None), ("quorum", 2), ("max_retries", 0), ("max_concurrency", 4)],
)
@pytest.mark.parametrize("name", FACES)
def test_a_policy_beside_what_it_overrides_is_refused(name, setting, value):
    with pytest.raises(ValueError, match=rf"{setting}={value} and policy= cannot both be given"):
        FACES[name](policy=GatherPolicy(), **{setting: value})


@pytest.mark.parametrize("name", FACES)
def test_two_limits_are_refused(name):
    with pytest.raises(ValueError, match="max_concurrency is 3 and the semaphore's limit 2"):
        FACES[name](semaphore=SharedSemaphore(2), max_concurrency=3)


def test_a_copy_by_configurable_fields_keeps_its_policy(monkeypatch):
    from langchain_core.runnables import ConfigurableField

    monkeypatch.setenv("BLENDED_LLM_TIMEOUT", "7")
    llm = LangChainBlend(llms=models(), ranker="longest", fuser=None, policy=GatherPolicy(timeout=3))
    configured = llm.configurable_fields(top_k=ConfigurableField(id="top_k"))
    assert configured.invoke("Which?", {"configurable": {"top_k": 1}}).text


@pytest.mark.parametrize(
    "copied", [lambda face: pickle.loads(pickle.dumps(face)), copy.deepcopy], ids=["pickle", "deepcopy"]
)
@pytest.mark.parametrize("name", FACES)
def test_faces_pickle_and_copy(name, copied, caplog):
    face = FACES[name](ranker="longest", fuser=None, fuse_when="never", max_concurrency=2, member_prior=MemberPrior())
    twin = copied(face)
    assert type(twin) is type(face)
    assert [member for member, _ in twin.members] == [member for member, _ in face.members]
    assert ask(twin) == ask(face) != ""
    plans = engine_of(twin)._plan, engine_of(face)._plan
    assert plans[0].top_k == plans[1].top_k
    assert plans[0].policy == plans[1].policy


def test_a_query_engine_tool_over_a_blend_can_be_deep_copied():
    blend = BlendedQueryEngine([engine(1), engine(2)], ranker="longest", fuser=None)
    tool = QueryEngineTool.from_defaults(blend, name="port", description="Knows the port.")
    twin = copy.deepcopy(tool)
    assert twin.query_engine is not blend
    assert str(twin("Which port?")) == str(tool("Which port?")) == "text text"


@pytest.mark.parametrize("copied", [pickled, copy.deepcopy], ids=["pickle", "deepcopy"])
def test_a_blend_with_bound_tools_is_copied_with_its_tools(copied):
    members = [FakeChatModel(script=[AIMessage("", tool_calls=[CALL])], model_name=name) for name in "ab"]
    bound = LangChainBlend(llms=members, ranker="longest", fuser=None).bind_tools([upper])
    twin = copied(bound)
    assert twin.kwargs == bound.kwargs
    assert twin.invoke("Shout hello").tool_calls == bound.invoke("Shout hello").tool_calls != []
    assert [len(member.calls) for member in members] == [1, 1]


def test_a_synthesizer_with_one_more_llm_names_the_right_argument():
    with pytest.raises(ConfigurationError, match=r"BlendedSynthesizer has no argument 'llm'; did you mean llms\?"):
        BlendedSynthesizer([MockLLM()], llm=MockLLM())


def test_members_with_connections_and_locks_are_copied_without_them():
    member = OpenAIMember("m", base_url="http://127.0.0.1:9/v1", api_key="key")
    member._sync()
    for twin in (pickle.loads(pickle.dumps(member)), copy.deepcopy(member)):
        assert twin.name == "m"
        assert twin._sync().base_url == member._sync().base_url
    fake = pickle.loads(pickle.dumps(Blender([FakeMember("a", "yes")], fuser=None, ranker="longest")))
    assert fake.blend("?").text == "yes"


def test_a_blend_that_holds_what_cannot_be_pickled_says_so():
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        pickle.dumps(Blender([lambda question: question]))


def test_a_shared_semaphore_stays_shared_and_needs_a_slot():
    semaphore = SharedSemaphore(2)
    first, second = Blender([upper], semaphore=semaphore), Blender([lower], semaphore=semaphore)
    assert copy.deepcopy(first)._plan.semaphore is second._plan.semaphore is copy.copy(semaphore)
    assert pickle.loads(pickle.dumps(semaphore)).limit == 2
    with pytest.raises(ConfigurationError, match="limit is 0"):
        SharedSemaphore(0)


WRONG = {
    "top_k": [0, 2.5, 2.0, float("nan"), True, "two", None],
    "timeout": [0, -1, float("nan"), "soon"],
    "deadline": [0, float("nan"), "soon"],
    "quorum": [0, 1.5, float("nan"), None],
    "max_retries": [-1, 1.5],
    "max_concurrency": [0, 1.5],
    "gather_share": [0, 1, float("nan"), None],
    "guard": [5, "strict", False],
    "policy": [{"timeout": 5}],
    "semaphore": [5],
    "member_prior": [5, "prior.json", {"a": 0.5}],
    "reserves": [5, "gpt-4", None],
    "breaker": [5, "on", True],
    "ranker": ["", "no-such-ranker", 5],
    "citations": ["no", 1],
    "source_characters": [-5, None, float("nan"), "5"],
}


@pytest.mark.parametrize("setting", WRONG)
@pytest.mark.parametrize("name", FACES)
def test_a_value_that_cannot_work_is_refused_by_the_name_of_its_setting(name, setting):
    if setting not in DEFAULTS and name in PLAIN:
        return
    for value in WRONG[setting]:
        if "BlendedLLM" in name and value in (2.0, True, "5", {"timeout": 5}):
            continue  # pydantic makes a number or a policy of it
        with pytest.raises(ValueError, match=setting):
            FACES[name](**{setting: value})


def test_whole_numbers_of_numpy_are_numbers():
    np = pytest.importorskip("numpy")
    assert Blender([upper, lower], top_k=np.int64(2), deadline=np.float32(3)).policy.quorum == 1


@pytest.mark.parametrize("name", ["BlendedLLM of LangChain", "BlendedLLM of LlamaIndex"])
def test_a_default_written_beside_a_policy_is_refused_too(name, monkeypatch):
    for given in ({"timeout": 60}, {"max_retries": None}, {"quorum": 1}):
        with pytest.raises(ValueError, match=f"{next(iter(given))}=.* and policy= cannot both be given"):
            FACES[name](policy=GatherPolicy(timeout=3), **given)
    monkeypatch.setenv("BLENDED_LLM_TIMEOUT", "7")
    assert engine_of(FACES[name](policy=GatherPolicy(timeout=3))).policy.timeout == 3
    assert engine_of(FACES[name]()).policy.timeout == 7


def test_the_environment_of_the_copy_does_not_matter(monkeypatch):
    from langchain_core.runnables import ConfigurableField

    monkeypatch.setenv("BLENDED_LLM_TIMEOUT", "7")
    llm = LangChainBlend(llms=models(), ranker="longest", fuser=None, policy=GatherPolicy(timeout=3))
    configured = llm.configurable_fields(top_k=ConfigurableField(id="top_k"))
    monkeypatch.delenv("BLENDED_LLM_TIMEOUT")
    assert configured.invoke("Which?", {"configurable": {"top_k": 1}}).text


def test_an_empty_variable_is_no_setting(monkeypatch):
    for name in ("RANKER", "TOP_K", "TIMEOUT", "DEADLINE"):
        monkeypatch.setenv(f"BLENDED_LLM_{name}", "")
    assert seen_by_the_engine(LangChainBlend(llms=models()))["ranker"] == "embedded"


def test_members_may_come_from_a_generator():
    assert len(Blender((part for part in (upper, lower)), ranker="longest").members) == 2


class Tagged(Blender):
    def __init__(self, tag: str) -> None:
        super().__init__([upper, lower], ranker="longest", fuser=None, max_concurrency=1)
        self.tag = tag


@pytest.mark.parametrize("copied", [pickled, copy.copy, copy.deepcopy])
def test_a_subclass_keeps_what_it_holds(copied):
    original = Tagged("mine")
    twin = copied(original)
    assert (type(twin), twin.tag, twin.blend("Hi").text) == (Tagged, "mine", original.blend("Hi").text)
    # within the process the copies share the limit
    assert (engine_of(twin)._plan.semaphore is original._plan.semaphore) is (copied is not pickled)


@pytest.mark.parametrize("face", [LangChainBlend, LlamaIndexBlend])
def test_members_without_their_keyword_or_list_are_refused_in_one_line(face):
    with pytest.raises(ConfigurationError, match=r"^BlendedLLM takes keywords only; write BlendedLLM\(llms=\[a, b"):
        face([str.upper, str.lower])
    with pytest.raises(ValueError, match=r"llms is one FakeListChatModel; give a list, such as llms=\[a, b\]"):
        face(llms=FakeListChatModel(responses=["Hi"]))
