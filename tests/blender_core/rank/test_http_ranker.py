"""Rankers behind HTTP, against a server on loopback that speaks each dialect, and against llama.cpp's own."""

import asyncio
import copy
import json
import pickle
import socket
import subprocess
import sys

import pytest
from ranking_server import RankingServer, save_rank_gguf
from typer.testing import CliRunner

import langchain_blender
import llamaindex_blender
from blender_core import Blender, Budget, GatherPolicy, RetryPolicy
from blender_core.cli.app import app
from blender_core.errors import CheckpointError, ConfigurationError, RankerError
from blender_core.rag import GroundedBlender
from blender_core.rank import CombinedRanker, HTTPRanker, resolve_ranker
from blender_core.testing import FakeFuser, FakeMember
from blender_lab.evaluate.benchmark_rankers import benchmark_rankers
from langchain_blender.testing import FakeChatModel
from llamaindex_blender.testing import ScriptedLLM

PROMPT = "Capital of France?"
ANSWERS = ["Rome", "The capital is Paris.", "Paris"]


class Sleeps(list):
    """A sleep that takes no time, and the seconds it was asked for."""

    async def __call__(self, seconds):
        self.append(seconds)


def ranker(server, path="/v1/rerank", **settings):
    sleeps = Sleeps()
    settings = {"retry": RetryPolicy(retries=2, jitter=0), "sleep": sleeps, **settings}
    return HTTPRanker(server.url + path, **settings), sleeps


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/rerank", {"query": PROMPT, "documents": ANSWERS}),
        ("/gateway/v2/rerank", {"query": PROMPT, "documents": ANSWERS}),
        ("/reranking", {"query": PROMPT, "documents": ANSWERS}),
        (
            "/rerank",
            {
                "query": PROMPT,
                "documents": ANSWERS,
                "texts": ANSWERS,
                "raw_scores": True,
                "use_activation": False,
            },
        ),
        ("/v1/score?version=1", {"text_1": PROMPT, "text_2": ANSWERS, "use_activation": False}),
        ("/predict", {"inputs": [[PROMPT, answer] for answer in ANSWERS], "raw_scores": True}),
    ],
)
def test_a_dialect_that_takes_all_answers_at_once(path, body):
    with RankingServer() as server:
        ranking = ranker(server, path, model="small", options={"user": "me"})[0].rank(PROMPT, ANSWERS)
    assert ranking.scores == (4.0, 21.0, 5.0)
    assert server.bodies == [{"model": "small", "user": "me", **body}]
    assert server.requests[0][0] == path


@pytest.mark.parametrize(("path", "more"), [("/classify", {}), ("/v1/pooling", {"task": "classify"})])
def test_a_reward_model_gets_each_answer_as_a_chat(path, more):
    with RankingServer() as server:
        ranking = ranker(server, path)[0].rank(PROMPT, ANSWERS)
    assert ranking.scores == (4.0, 21.0, 5.0)
    chats = [[{"role": "user", "content": PROMPT}, {"role": "assistant", "content": answer}] for answer in ANSWERS]
    sent = sorted(server.bodies, key=lambda body: ANSWERS.index(body["messages"][1]["content"]))
    assert sent == [{"messages": chat, "use_activation": False, **more} for chat in chats]


@pytest.mark.parametrize(
    ("turns", "sent"),
    [
        (
            [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello<|im_end|>"), ("user", "Bye")],
            [("user", "Be brief.\n\nHi"), ("assistant", "Hello< |im_end|>"), ("user", "Bye")],
        ),
        ([("user", "Hi"), ("assistant", "Well,")], [("user", "User: Hi\nAssistant: Well,")]),
    ],
)
def test_a_reward_model_gets_whole_conversations(turns, sent):
    with RankingServer() as server:
        ranker(server, "/classify")[0].rank(turns, ["Paris"])
        ranker(server, "/v1/rerank")[0].rank(turns[1:], ["Paris"])
    chat, text = server.bodies
    assert [(turn["role"], turn["content"]) for turn in chat["messages"]] == [*sent, ("assistant", "Paris")]
    assert text["query"].endswith(turns[-1][1])


def test_many_answers_go_in_batches_and_not_all_at_once():
    answers = ["x" * (1 + n) for n in range(70)]
    with RankingServer() as server:
        scores = ranker(server, "/rerank", concurrency=1)[0].rank(PROMPT, answers).scores
        assert scores == tuple(range(1, 71))
        assert [len(body["documents"]) for body in server.bodies] == [32, 32, 6]
        assert server.most_at_once == 1
        assert ranker(server, "/classify", concurrency=3)[0].rank(PROMPT, answers).scores == scores
        assert server.most_at_once <= 3


def test_blanks_copies_and_hostile_texts():
    with RankingServer() as server:
        ranking = ranker(server)[0].rank("a\ud800b", ["ok<|im_end|>", "  ", "broken \udfff", "ok<|im_end|>"])
        assert ranking.order == (0, 3, 2, 1)
        assert ranking.ties == ((0, 3),)
        # a marker that is broken up ends no turn, and half a character is sent as a question mark
        assert server.bodies == [{"query": "a?b", "documents": ["ok< |im_end|>", "broken ?"]}]
        assert ranker(server)[0].rank(PROMPT, ["", " "]).scores == (float("-inf"),) * 2
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("faults", "waits"),
    [
        ([(429, {"Retry-After": "7"}, {"message": "slow down"})], [7.0]),
        ([(503, {}, "<html>"), (500, {}, "")], [0.5, 1.0]),
        # as gateways do: an error with status 200
        ([{"error": {"code": 429, "message": "busy"}}], [0.5]),
    ],
)
def test_what_may_pass_is_asked_again(faults, waits):
    with RankingServer(*faults) as server:
        chosen, sleeps = ranker(server)
        assert chosen.rank(PROMPT, ANSWERS).best == 1
    assert sleeps == waits
    assert len(server.requests) == 1 + len(waits)


@pytest.mark.parametrize(
    ("fault", "tries", "kind", "said"),
    [
        ((429, {"Retry-After": "99"}, {"error": "Model is overloaded"}), 1, RankerError, r"rate_limited.*overloaded"),
        ((503, {}, {"detail": "loading"}), 3, RankerError, "error, 3 tries, HTTP 503.: loading"),
        ((504, {}, ""), 3, RankerError, "timeout, 3 tries"),
        ((401, {}, {"message": "no key"}), 1, ConfigurationError, "BLENDED_LLM_RANKER_API_KEY"),
        ((404, {}, {"error": {"message": "no such model"}}), 1, ConfigurationError, "no such model"),
        ((400, {}, {"error": {"message": "maximum context length is 512 tokens"}}), 1, RankerError, "too_long"),
        ((422, {}, {"detail": [{"msg": "Field required"}]}), 1, RankerError, "Field required"),
        ((307, {"Location": "https://elsewhere/x?token=1"}, ""), 1, RankerError, "elsewhere/x, which is not followed"),
        ((301, {"Location": "/v2/rerank"}, ""), 1, ConfigurationError, r"redirect to http://127[^/]+/v2/rerank, which"),
        ((501, {}, {"error": {"message": "no reranking"}}), 1, ConfigurationError, "no reranking.*--reranking"),
        (" " * 2**25 + "[1, 2, 3]", 1, RankerError, "more than 32 MiB"),
        ("not JSON", 1, RankerError, "no JSON: not JSON"),
        ("[" * 100_000, 1, RankerError, "no JSON"),
        ({"object": "list"}, 1, RankerError, "no list of scores"),
        ({"results": []}, 1, RankerError, "scored 0 of 3"),
        ([{"index": 0, "score": 1}, {"index": 0, "score": 2}, {"index": 1, "score": 2}], 1, RankerError, "candidate 0"),
        ([{"index": n, "score": 1} for n in (0, 1, 3)], 1, RankerError, "candidate 3 of 3"),
        ([{"index": n, "score": 1} for n in (0, 1, -1)], 1, RankerError, "candidate -1 of 3"),
        ([{"index": str(n), "score": 1} for n in range(3)], 1, RankerError, "candidate '0' of 3"),
        ("[1, 2, NaN]", 1, RankerError, "one finite number"),
        (f"[1, 2, 1{'0' * 400}]", 1, RankerError, "one finite number"),
        ([1, 2, True], 1, RankerError, "one finite number"),
        ([1, 2, "3"], 1, RankerError, "one finite number"),
        ([1, 2, {"other": 3}], 1, RankerError, "one finite number"),
        ([1, 2, [[[[[[3]]]]]]], 1, RankerError, "one finite number"),
        ([1, 2, [{"score": 0.7}, {"score": 0.3}]], 1, CheckpointError, "2 numbers for one answer"),
        ({"data": [{"probs": [0.1, 0.9]}, 1, 2]}, 1, CheckpointError, "2 numbers for one answer"),
    ],
)
def test_what_cannot_be_used_says_why(fault, tries, kind, said):
    with RankingServer(*[fault] * 3) as server:
        chosen, _ = ranker(server)
        with pytest.raises(kind, match=said) as caught:
            chosen.rank(PROMPT, ANSWERS)
    assert len(server.requests) == tries
    assert chosen.name in str(caught.value)


def test_a_server_that_hangs_ends_with_the_time_limit():
    with RankingServer(hang=True) as server, pytest.raises(RankerError, match=r"within 0.2 s; raise timeout"):
        ranker(server, timeout=0.2)[0].rank(PROMPT, ANSWERS)


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: CombinedRanker(["consensus", one])])
@pytest.mark.parametrize("face", [Blender, GroundedBlender])
@pytest.mark.parametrize(("fault", "said"), [((401, {}, "no"), "api_key"), ((404, {}, "no"), "mend the URL's path")])
async def test_warm_up_asks_the_server_once(face, wrap, fault, said):
    members = [lambda _: "Paris", lambda _: "Rome"]
    with RankingServer(*[fault] * 3) as server:
        blender = face(members, ranker=wrap(HTTPRanker(server.url + "/rerank")), fuser=None)
        with pytest.raises(ConfigurationError, match=said):
            blender.warm_up()
        with pytest.raises(ConfigurationError, match=said):
            await blender.awarm_up()
    with RankingServer() as server:
        blender = face(members, ranker=wrap(HTTPRanker(server.url + "/rerank")), fuser=None)
        blender.warm_up()
        assert len(server.requests) == 1


def test_a_server_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    chosen = HTTPRanker(f"http://127.0.0.1:{port}/classify", retry=RetryPolicy(retries=1), sleep=Sleeps())
    with pytest.raises(RankerError, match=r"2 tries.*ConnectError.*; is the server at http://127.*/classify running"):
        chosen.rank(PROMPT, ANSWERS)


@pytest.mark.parametrize("around", ["", " ", "\n"])
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_the_key_is_sent_and_never_shown(by, around, monkeypatch):
    key = "sk-very-secret"
    # a file's last line break comes with it
    given = f"{around}{key}{around}"
    monkeypatch.setenv("BLENDED_LLM_RANKER_API_KEY", given if by == "environment" else "other")
    refused = (401, {}, {"error": {"message": f"Incorrect API key provided: {key}"}})
    with RankingServer({"results": [{"index": 0, "relevance_score": 1}]}, refused) as server:
        chosen, _ = ranker(server, "/v1/rerank?code=hidden", api_key=given if by == "argument" else None)
        ranking = chosen.rank(PROMPT, ["Paris"])
        # a key that has worked was no mistake of the caller's
        with pytest.raises(RankerError, match="HTTP 401") as caught:
            chosen.rank(PROMPT, ["Paris"])
    assert server.requests[0][1]["Authorization"] == f"Bearer {key}"
    for shown in (repr(chosen), chosen.name, json.dumps(ranking.to_dict()), str(caught.value)):
        assert key not in shown
        assert "hidden" not in shown


@pytest.mark.parametrize(
    ("url", "settings", "said"),
    [
        ("ftp://host/rerank", {}, "no address"),
        ("http://", {}, "no address"),
        ("http://host:port/rerank", {}, "no address"),
        ("http://host/v1/embeddings", {}, "no endpoint that ranks; .*/rerank"),
        ("http://host", {}, "no endpoint that ranks"),
        ("http://host/classify:foo", {}, "pass the model's name as model="),
        ("http://host/rerank", {"timeout": "5"}, "timeout is '5'"),
        ("http://host/rerank", {"batch_size": None}, "batch_size is None"),
        ("http://user:secret@host/rerank", {}, "http://host/rerank holds a user or a password"),
        ("http://host/rerank", {"api_key": "secret\n1"}, "api_key holds a space"),
        ("http://host/rerank", {"timeout": 0}, "timeout is 0"),
        ("http://host/rerank", {"timeout": float("nan")}, "timeout is nan"),
        ("http://host/rerank", {"batch_size": 0}, "batch_size is 0"),
        ("http://host/rerank", {"concurrency": 0}, "concurrency is 0"),
        ("http://host/rerank", {"temperature": 0}, "temperature is 0"),
        ("http://host/rerank", {"options": {"a": {1}}}, "options are no JSON"),
    ],
)
def test_a_setting_that_cannot_work(url, settings, said):
    with pytest.raises(ConfigurationError, match=said) as caught:
        HTTPRanker(url, **settings)
    assert "secret" not in str(caught.value)


def test_several_loops_threads_and_copies_share_one_ranker():
    with RankingServer() as server:
        chosen = HTTPRanker(f"{server.url}/classify")

        async def twice():
            return await asyncio.gather(chosen.arank(PROMPT, ANSWERS), chosen.arank(PROMPT, ANSWERS[::-1]))

        for _ in range(2):
            first, second = asyncio.run(twice())
            assert (first.best, second.best) == (1, 1)
            assert asyncio.run(asyncio.to_thread(chosen.rank, PROMPT, ANSWERS)) == first
        for copied in (copy.deepcopy(chosen), pickle.loads(pickle.dumps(chosen))):
            assert copied.rank(PROMPT, ANSWERS) == first


@pytest.fixture
def row(tmp_path):
    """A file for `blended-llm rank`."""
    file = tmp_path / "row.jsonl"
    file.write_text(json.dumps({"instruction": PROMPT, "candidates": ANSWERS}))
    return file


@pytest.mark.parametrize("path", ["/classify:org/Reward:v2", "/v1/rerank", "/rerank:bge"])
def test_an_address_is_a_name_of_a_ranker_everywhere(path, row):
    members = [FakeMember(f"m{n}", text) for n, text in enumerate(ANSWERS)]
    chats = [FakeChatModel(script=[text], model_name=f"m{n}") for n, text in enumerate(ANSWERS)]
    llms = [ScriptedLLM(script=[text], model=f"m{n}") for n, text in enumerate(ANSWERS)]
    with RankingServer() as server:
        name = server.url + path
        assert resolve_ranker(name) is resolve_ranker(name)
        result = Blender(members, ranker=name, fuser=None).blend(PROMPT)
        assert (result.text, result.degraded) == ("The capital is Paris.", ())
        chat = langchain_blender.BlendedLLM(llms=chats, ranker=name, fuser=None)
        assert chat.invoke(PROMPT).content == "The capital is Paris."
        llm = llamaindex_blender.BlendedLLM(llms=llms, ranker=name, fuser=None)
        assert str(llm.complete(PROMPT)) == "The capital is Paris."
        done = CliRunner().invoke(app, ["rank", "--ranker", name, "--json", str(row)])
        assert json.loads(done.stdout)["order"] == [1, 2, 0]
        assert benchmark_rankers([name])[name].rank(PROMPT, ANSWERS).best == 1
    assert {body.get("model") for body in server.bodies} == {path.partition(":")[2] or None}


@pytest.mark.parametrize("user", ["user:secret", "user:80"])
def test_a_password_in_a_name_is_refused_and_not_shown(user):
    with pytest.raises(ConfigurationError, match="http://host/rerank:model holds a user or a password") as caught:
        HTTPRanker.parse(f"http://{user}@host/rerank:model")
    assert "secret" not in str(caught.value)


def test_an_address_that_cannot_rank_is_refused_at_construction():
    with pytest.raises(ConfigurationError, match="no endpoint that ranks"):
        Blender([FakeMember("a", "x")], ranker="https://api.example.org/v1/chat/completions:x")


def test_a_server_that_is_down_degrades_the_blend():
    members = [FakeMember(f"m{n}", text) for n, text in enumerate(ANSWERS)]
    with RankingServer(*[(400, {}, {"error": "bad luck"})] * 3) as server:
        result = Blender(members, ranker=f"{server.url}/classify", fuser=None).blend(PROMPT)
    assert result.text in ANSWERS
    assert "bad luck" in result.degraded[0]


@pytest.mark.parametrize(("most", "asked", "fused"), [(20, 0, False), (60, 2, False), (400, 2, True)])
def test_tokens_that_a_server_states_are_in_the_budget(most, asked, fused):
    members = [FakeMember("a", "Rome"), FakeMember("b", "It is Paris")]
    budget = GatherPolicy(budget=Budget(max_tokens=most))
    # 30 tokens an answer, more than was estimated
    reply = {"data": [{"index": 0, "probs": [1.0]}], "usage": {"prompt_tokens": 30}}
    with RankingServer(reply, reply) as server:
        chosen = ranker(server, "/classify")[0]
        blender = Blender(members, ranker=chosen, fuser=FakeFuser("Paris."), fuse_when="always", policy=budget)
        result = blender.blend("Which city is the capital of France, and since when?")
    assert len(server.requests) == asked
    assert bool(result.fused) == fused
    assert bool(result.degraded) == (not fused)
    if not asked:
        assert f"do not fit {most}" in result.degraded[0]


def test_tokens_that_a_server_states_are_in_the_usage():
    members = [FakeMember(f"m{n}", text) for n, text in enumerate(ANSWERS)]
    scores = [{"index": index, "relevance_score": index / 10} for index in range(3)]
    with RankingServer((200, {}, {"results": scores, "usage": {"prompt_tokens": 41}})) as server:
        result = Blender(members, ranker=f"{server.url}/v1/rerank", fuser=None).blend(PROMPT)
    assert (result.text, result.ranker_usage.input_tokens) == ("Paris", 41)


LLAMA_CPP = """
import os, sys, xllamacpp

params = xllamacpp.CommonParams()
params.model.path, params.api_keys = sys.argv[1], ["secret"]
params.embedding, params.pooling_type = True, xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
params.n_ctx = params.n_batch = params.n_ubatch = 128
params.n_parallel = params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.verbosity, params.offline, params.ui, params.fit_params, params.cache_ram_mib = 1, True, False, False, 0
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
os._exit(0)
"""


@pytest.fixture(scope="module")
def llama_cpp(tmp_path_factory):
    """llama.cpp's own server with a tiny reranker; it has a process of its own, which a failed assertion would end."""
    pytest.importorskip("gguf")
    pytest.importorskip("xllamacpp")
    file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    save_rank_gguf(file)
    with subprocess.Popen(
        [sys.executable, "-c", LLAMA_CPP, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/reranking"])
def test_llama_cpp_s_own_server(llama_cpp, path):
    answers = ["Paris", "Rome is a city", "", "Berlin", "Paris"]
    chosen = HTTPRanker(llama_cpp + path, api_key="secret", batch_size=2)
    ranking = chosen.rank(PROMPT, answers)
    assert len(set(ranking.scores)) == 4
    assert ranking.order[-1] == 2
    assert ranking.scores[0] == ranking.scores[4]
    # alone, an answer scores what it scores among others
    for place in (0, 1, 3):
        assert chosen.rank(PROMPT, [answers[place]]).scores == pytest.approx([ranking.scores[place]], abs=1e-4)
    with pytest.raises(ConfigurationError, match="401"):
        HTTPRanker(llama_cpp + path, api_key="wrong").rank(PROMPT, answers)
    with pytest.raises(RankerError, match="406 tokens do not fit its window of 128"):
        chosen.rank(PROMPT, ["Paris " * 400])


@pytest.mark.parametrize("fault", [(401, {}, "no key"), [[{"score": 0.2}, {"score": 0.8}]] * 3])
def test_a_server_that_can_never_rank_ends_the_first_blend(fault):
    members = [FakeMember(f"m{n}", text) for n, text in enumerate(ANSWERS)]
    with RankingServer(*[fault] * 3) as server:
        chosen, _ = ranker(server, "/predict")
        with pytest.raises((ConfigurationError, CheckpointError)):
            Blender(members, ranker=chosen, fuser=None).blend(PROMPT)
