"""A blend goes to a dict and comes back, with members of every LlamaIndex integration."""

import json
import subprocess
import sys

import pytest
from llama_index.core.llms import CustomLLM, LLMMetadata, MockLLM
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike

from blender_core import FusePolicy, LLMFuser
from blender_core.errors import ConfigurationError
from blender_core.rank import LexicalConsensusRanker
from blender_core.testing import FakeFuser, FakeRanker
from llamaindex_blender import BlendedLLM
from llamaindex_blender.testing import ScriptedLLM


def like(model):
    return OpenAILike(model=model, api_base="http://127.0.0.1:1/v1", api_key="key", is_chat_model=True, temperature=0.3)


class Own(CustomLLM):
    """A user's class."""

    words: int = 1

    @property
    def metadata(self):
        return LLMMetadata(model_name="own")

    @classmethod
    def class_name(cls):
        return MockLLM.class_name()

    def complete(self, prompt, formatted=False, **kwargs):
        raise NotImplementedError

    stream_complete = complete


def again(llm, **changes):
    return BlendedLLM.from_dict(json.loads(llm.to_json()), **changes)


@pytest.mark.parametrize(
    "member",
    [
        like("a"),
        OpenAI(model="gpt-4.1", api_key="key", temperature=0.3),
        MockLLM(max_tokens=3),
        ScriptedLLM(script=["a"], model="s"),
        Own(words=7),
        BlendedLLM(llms=[like("a"), MockLLM(max_tokens=2)], ranker="longest", top_k=2),
    ],
    ids=lambda member: type(member).__name__,
)
def test_members_and_an_llm_that_fuses_come_back(member):
    for llm in (again(BlendedLLM(llms=[member, MockLLM()])), again(BlendedLLM(llms=[MockLLM()], fuser=member))):
        loaded = llm.llms[0] if len(llm.llms) == 2 else llm.fuser
        assert type(loaded) is type(member)
        assert loaded.to_dict() == member.to_dict()


def test_settings_come_back():
    policy = FusePolicy(clear_winner=0.7, fuse_forms=True)
    llm = BlendedLLM(
        llms=[like("a")],
        ranker=LexicalConsensusRanker(),
        fuser=LLMFuser(like("f"), name="editor", max_candidate_characters=500),
        fuse_when=policy,
        context_window=5000,
        timeout=7.0,
    )
    loaded = again(llm)
    assert (loaded.ranker, loaded.fuse_when, loaded.context_window, loaded.timeout) == ("consensus", policy, 5000, 7.0)
    assert (loaded.fuser.name, loaded.fuser.max_candidate_characters) == ("editor", 500)
    assert loaded.fuser.member.llm.model == "f"
    assert again(BlendedLLM(llms=[like("a")], fuser=LLMFuser())).fuser.member is None


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("ranker", FakeRanker()),
        ("ranker", LexicalConsensusRanker(final_answer_weight=1.0)),
        ("fuser", FakeFuser()),
        ("fuse_when", lambda context: True),
        ("llms", [str.upper]),
    ],
)
def test_what_cannot_come_back_says_what_to_do(setting, value):
    llm = BlendedLLM(**{"llms": [MockLLM()], setting: value})
    with pytest.raises(ValueError, match=rf"{setting}: .*from_dict\(data, {setting}=") as raised:
        again(llm)
    assert "cannot be made from its serialised form" in str(raised.value)
    assert getattr(again(llm, **{setting: value}), setting) == value


@pytest.mark.parametrize(
    "path", ["os.system", "llama_index.core.nothing.LLM", "llama_index.core.llms.mock.Nothing", "antigravity.LLM", ""]
)
def test_only_llm_classes_are_made(path):
    data = BlendedLLM(llms=[MockLLM()]).to_dict()
    data["llms"][0]["class_path"] = path
    with pytest.raises((ConfigurationError, ValueError), match="cannot be made from its serialised form"):
        BlendedLLM.from_dict(data)
    assert "antigravity" not in sys.modules


def test_a_new_process_imports_the_integration_itself():
    program = (
        "import sys\n"
        "from llamaindex_blender import BlendedLLM\n"
        "assert 'llama_index.llms.openai_like' not in sys.modules\n"
        "llm = BlendedLLM.from_json(sys.stdin.read())\n"
        "assert type(llm.llms[0]).__name__ == 'OpenAILike', llm.llms\n"
    )
    data = BlendedLLM(llms=[like("a")]).to_json()
    subprocess.run([sys.executable, "-c", program], input=data, text=True, check=True)
