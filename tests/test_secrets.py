"""Keys, headers and passwords of members stand in no report, message, key or trace, whatever an error quotes."""

from __future__ import annotations

import gc
import json
import logging
import pickle
import traceback

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from pydantic import SecretStr
from typer.testing import CliRunner

from blender_core import Blender, GatherPolicy, LLMFuser, RetryPolicy
from blender_core.cli.app import app
from blender_core.errors import BlendError, ConfigurationError, MemberError, QuorumError
from blender_core.members.member import Member
from blender_core.redaction import redacted, remember_secrets, without_secrets
from blender_core.testing import FakeMember, FakeRanker, Reply, ScriptedServer
from langchain_blender import BlendedLLM as LangChainBlend
from langchain_blender.rag import BlendedRetriever
from langchain_blender.testing import FakeChatModel
from llamaindex_blender import BlendedLLM as LlamaIndexBlend

# no form of a known provider, so only the member knows that they are secret
KEY, HEADER = "quartz-7-lantern-velvet", "otter-42-parsnip"
QUOTED = {
    "a key in a URL": "404 for https://api.example.org/v1/chat?model=m&api_key={}&n=1",
    "a password in a URL": "cannot reach https://team:{}@proxy.example.org:8080/",
    "a header": "headers were {{'Authorization': 'Bearer {}', 'Accept': '*/*'}}",
    "another header": "sent X-Api-Key: {}\nAccept: */*",
    "a setting": "bad options: model='m', client_secret=\"{}\"",
    "a sentence": "Incorrect API key provided: {}. You can find your API key in your account.",
}
FORMS = [
    "sk-proj-8sKx92mLqPz0",
    "gsk_a81Zq0Lm44TrewQa",
    "AIzaSyA1b2C3d4E5f6G7h8",
    "hf_Qx12abCD34efGH56",
    "AKIA1234567890ABCDEF",
]


@pytest.mark.parametrize("quoted", QUOTED.values(), ids=QUOTED)
def test_what_stands_in_a_secrets_place_is_hidden_and_nothing_else(quoted):
    before, after = quoted.format("{}").split("{}")
    shown = redacted(quoted.format("mx81-Zebra"))
    assert shown.replace("Bearer ", "") == f"{before}[hidden]{after}".replace("Bearer ", "")
    assert redacted(shown) == shown


@pytest.mark.parametrize("key", FORMS)
def test_keys_of_known_forms_are_hidden_anywhere(key):
    assert redacted(f"the server did not like {key}, sorry") == "the server did not like [hidden], sorry"


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens=4096 is above 2048 tokens; the key point: keys and values",
        "cannot import hf_hub_download_to_folder of sk-learn-extras; see basic understanding",
        "no api_key: give api_key=None or set OPENAI_API_KEY",
        "https://example.org/a?page=2&order=desc#token",
        "a password is required, and a bearer of news",
    ],
)
def test_ordinary_text_stays(text):
    assert redacted(text) == text


def test_long_texts_take_linear_time():
    for text in ("a-" * 500_000, "://" + "x" * 1_000_000, "eyJ" * 300_000, "password=" * 100_000):
        assert len(redacted(text)) > 0


class Holder(Member):
    """Holds a key in one of the usual places."""

    def __init__(self, **held):
        super().__init__("holder")
        self.__dict__.update(held)

    def generate(self, prompt):
        raise RuntimeError(f"refused {KEY} with {HEADER} " + "and more " * 300 + KEY)


HELD = [
    {"api_key": KEY, "default_headers": {"X-Own": f"Bearer {HEADER}"}},
    {"llm": FakeChatModel(script=["x"]).bind(extra_headers={"Authorization": HEADER}, api_key=KEY)},
    {"_client_options": {"api_key": SecretStr(KEY), "default_headers": {"cookie": HEADER}}},
    {"runnable": FakeChatModel(script=["x"]).with_config(configurable={"token": KEY, "password": HEADER})},
]


def leaks(*texts):
    return [text for text in texts if KEY in str(text) or HEADER in str(text) or KEY[:12] in str(text)]


@pytest.mark.parametrize("held", HELD, ids=["attributes", "a binding", "secrets", "a config"])
@pytest.mark.parametrize("way", ["blend", "ablend", "stream"])
async def test_what_a_member_holds_stands_in_no_result(held, way):
    blend = Blender(
        [Holder(**held), FakeMember("b", "B"), FakeMember("c", "C")],
        ranker="longest",
        fuser=None,
        policy=GatherPolicy(retry=RetryPolicy(retries=0)),
    )
    blend = pickle.loads(pickle.dumps(blend)) if way == "blend" and "api_key" in held else blend
    events = []
    if way == "stream":
        events = list(blend.stream("q"))
        result = events[-1].result
    else:
        result = blend.blend("q") if way == "blend" else await blend.ablend("q")
    assert result.candidates[0].status == "error"
    assert not leaks(json.dumps(result.to_dict()), repr(result), result._repr_html_(), *map(repr, events))
    assert KEY in str(result.candidates[0].outcome.error)


def test_a_secret_is_forgotten_with_its_member():
    member = Holder(api_key=KEY)
    remember_secrets(member)
    assert redacted(KEY) == "[hidden]"
    del member
    gc.collect()
    assert redacted(KEY) == KEY


class Failing:
    """A ranker, or a fuser, that quotes a key."""

    name = "failing"

    def rank(self, prompt, candidates):
        raise RuntimeError(f"401 for https://rank.example.org/?key={KEY}")

    def fuse(self, request):
        raise RuntimeError(f"401, Authorization: Bearer {KEY}")


def test_rankers_fusers_and_checks_that_quote_a_key_leak_nothing():
    def accept(answer):
        raise RuntimeError(f"the schema server said: api_key={KEY}")

    def when(context):
        raise RuntimeError(f"x-api-key: {KEY}")

    members = [FakeMember("a", "One answer."), FakeMember("b", "Another one, longer.")]
    results = [
        Blender(members, ranker=Failing(), fuser=None).blend("q"),
        Blender(members, ranker="longest", fuser=Failing(), fuse_when="always").blend("q"),
        Blender(members, ranker="longest", fuser=None).blend("q", accept=accept),
        Blender(members, ranker="longest", fuser=LLMFuser(lambda text: "x"), fuse_when=when).blend("q"),
    ]
    for result in results:
        assert "[hidden]" in json.dumps(result.to_dict())
        assert not leaks(json.dumps(result.to_dict()), repr(result), result._repr_html_())


def test_errors_of_the_library_hold_no_secret_even_if_a_member_writes_it():
    error = MemberError(f"the gateway said password={KEY}")
    assert str(error) == str(pickle.loads(pickle.dumps(error))) == "the gateway said password=[hidden]"
    with pytest.raises(QuorumError) as caught:
        Blender([FakeMember("a", RuntimeError(f"no, api-key: {KEY}"))], ranker="longest", fuser=None).blend("q")
    assert not leaks(str(caught.value), repr(caught.value))
    assert isinstance(ConfigurationError("x", 3), BlendError)
    assert ConfigurationError("x", 3).args == ("x", 3)


class Spy(BaseCallbackHandler):
    def __init__(self):
        self.seen = []

    def on_chat_model_start(self, serialized, messages, **kwargs):
        self.seen += [serialized, kwargs]

    def on_llm_end(self, response, **kwargs):
        self.seen.append(response)

    def on_llm_error(self, error, **kwargs):
        self.seen.append(repr(error))


class Served(FakeChatModel):
    """Is serialized with its headers, as ChatOpenAI is."""

    default_headers: dict[str, str] | None = None

    @classmethod
    def is_lc_serializable(cls):
        return True


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
async def test_headers_stand_in_no_cache_key_and_no_callback(way):
    def made(header):
        served = Served(script=["one"], default_headers={"X-Own": header})
        return LangChainBlend(
            llms=[served.bind(extra_headers={"Authorization": header}), FakeChatModel(script=["o"])],
            ranker=FakeRanker(),
            fuser=None,
            cache=cache,
        )

    cache, spy = InMemoryCache(), Spy()
    blend = made(HEADER)
    bound = blend.bind(extra_headers={"X-Call": HEADER})
    config = {"callbacks": [spy]}
    for model in (blend, bound):
        if way == "stream":
            list(model.stream("q", config))
        else:
            model.invoke("q", config) if way == "invoke" else await model.ainvoke("q", config)
    assert not leaks(list(cache._cache), spy.seen, blend._identifying_params, repr(blend))
    assert len(spy.seen) >= 6
    assert made(HEADER)._identifying_params["members"][0] == blend._identifying_params["members"][0]
    assert made("another-9-header")._identifying_params["members"][0] != blend._identifying_params["members"][0]
    assert blend._get_llm_string(extra_headers={"a": "1"}) != blend._get_llm_string(extra_headers={"a": "2"})


@pytest.mark.parametrize(
    "make",
    [
        lambda: LangChainBlend(llms=[FakeChatModel(script=["x"])], top_k=0, api_key=KEY),
        lambda: LangChainBlend(llms=[FakeChatModel(script=["x"])], openai_api_key=KEY),
        lambda: LangChainBlend(llms=[FakeChatModel(script=["x"])], timeout=KEY),
        lambda: LlamaIndexBlend(llms=[FakeMember("a", "b")], default_headers={"a": HEADER}, top_k=0),
        lambda: LlamaIndexBlend(llms=[FakeMember("a", "b")], quorum=KEY),
        lambda: BlendedRetriever(retrievers=[], api_key=KEY),
    ],
)
def test_a_mistyped_key_is_not_printed(make):
    with pytest.raises((ValueError, TypeError)) as caught:
        make()
    assert not leaks("".join(traceback.format_exception(caught.value)))


async def test_both_adapters_hide_what_a_provider_quotes(caplog):
    caplog.set_level(logging.DEBUG)
    failing = FakeMember("a", RuntimeError(f"401 for https://x.example/?key={KEY}"))
    settings = {"ranker": "longest", "fuser": None, "max_retries": 0}
    chat = LangChainBlend(llms=[FakeChatModel(script=["fine"]), failing], **settings)
    spoken = await chat.ainvoke("q")
    told = LlamaIndexBlend(llms=[FakeMember("b", "fine"), failing], **settings)
    complete = await told.acomplete("q")
    texts = [spoken.response_metadata, complete.additional_kwargs, str(complete.raw), caplog.text]
    assert not leaks(*texts)
    for blend in (LangChainBlend(llms=[failing], **settings), LlamaIndexBlend(llms=[failing], **settings)):
        with pytest.raises(QuorumError) as caught:
            list(blend.stream("q") if isinstance(blend, LangChainBlend) else blend.stream_complete("q"))
        assert not leaks(str(caught.value))


def test_the_command_line_hides_what_a_server_quotes(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    refusing = Reply(f"denied: {KEY} and https://u:{HEADER}@x.example", status=401)
    with ScriptedServer({"m": [refusing], "n": [refusing]}) as server:
        endpoints = ["--endpoint", f"{server.base_url}:m", "--endpoint", f"{server.base_url}:n"]
        done = CliRunner().invoke(app, ["ask", "q", *endpoints, "--ranker", "longest"])
    assert done.exit_code == 1
    assert "[hidden]" in done.output
    assert not leaks(done.output)


def test_plain_data_keeps_what_is_no_secret():
    data = {"model": "m", "stop": ["a"], "nested": [{"Headers": {"x": 1}, "token": "t", "max_tokens": 3}]}
    assert without_secrets(data) == {
        "model": "m",
        "stop": ["a"],
        "nested": [{"Headers": {"x": "[hidden]"}, "token": "[hidden]", "max_tokens": 3}],
    }
