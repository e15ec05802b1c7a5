"""A blend that contains itself gives one clear error, whatever it is wrapped in, with both adapters."""

import pytest
from langchain_core.runnables import RunnableLambda
from llama_index.core.llms.structured_llm import StructuredLLM
from pydantic import BaseModel

from blender_core import LLMFuser
from blender_core.errors import ConfigurationError, QuorumError
from blender_core.testing import FakeMember
from langchain_blender import BlendedLLM as LangChainBlend
from langchain_blender import LangChainMember
from llamaindex_blender import BlendedLLM as LlamaIndexBlend
from llamaindex_blender import LlamaIndexMember


class Answer(BaseModel):
    text: str


def blend(kind, *llms):
    return kind(llms=[*llms, FakeMember("a", "Paris.")], ranker="longest", fuser=None, timeout=5.0)


def ask(llm):
    return llm.invoke("Q?").content if isinstance(llm, LangChainBlend) else llm.complete("Q?").text


KINDS = pytest.mark.parametrize("kind", [LangChainBlend, LlamaIndexBlend])


@KINDS
@pytest.mark.parametrize("how", ["assigned", "appended", "as the fuser", "through another"])
def test_a_blend_inside_itself(kind, how):
    llm = blend(kind)
    if how == "assigned":
        llm.llms = [*llm.llms, llm]
    elif how == "appended":
        llm.llms.append(llm)
    elif how == "as the fuser":
        llm.fuser = LLMFuser(blend(kind, llm))
    else:
        llm.llms.append(blend(LangChainBlend, blend(LlamaIndexBlend, llm)))
    with pytest.raises(ConfigurationError, match="contains itself"):
        ask(llm)
    assert "contains itself" in repr(llm)


@pytest.mark.parametrize(
    ("kind", "wrap"),
    [
        (LangChainBlend, lambda llm: RunnableLambda(str) | llm),
        (LangChainBlend, lambda llm: llm.with_retry()),
        (LangChainBlend, lambda llm: LangChainMember(llm.bind(stop=["x"]))),
        (LlamaIndexBlend, LlamaIndexMember),
        (LlamaIndexBlend, lambda llm: StructuredLLM(llm=llm, output_cls=Answer)),
    ],
)
def test_a_blend_inside_itself_behind_a_wrapper(kind, wrap):
    llm = blend(kind)
    llm.llms.append(wrap(llm))
    with pytest.raises(ConfigurationError, match="contains itself"):
        ask(llm)


@KINDS
def test_a_circle_that_is_closed_later_is_found(kind):
    inner = blend(kind)
    outer = kind(llms=[inner], ranker="longest", fuser=None)
    inner.llms.append(outer)
    with pytest.raises((ConfigurationError, QuorumError), match="contains itself"):
        ask(outer)


@KINDS
def test_the_same_blend_twice_is_no_circle(kind):
    inner = blend(kind)
    assert ask(blend(kind, inner, blend(kind, inner))) == "Paris."
