"""Numbers that no setting takes, and names that nobody has: told at once, by the same rule everywhere."""

from __future__ import annotations

import json
import math
import warnings

import pytest
from typer.testing import CliRunner

from blender_core import (
    Blender,
    Budget,
    FusePolicy,
    FusionGuard,
    GatherPolicy,
    MemberPrior,
    OpenAIMember,
    Price,
    Ranking,
    RetryPolicy,
    SharedSemaphore,
    Usage,
)
from blender_core.cli.app import app
from blender_core.errors import ConfigurationError
from blender_core.rag import GroundedBlender, GroundedRanker, SourcedMember, rank_passages
from blender_core.rank import CombinedRanker, HTTPRanker, LLMJudge
from blender_core.testing import FakeFuser, FakeMember, ScriptedServer
from langchain_blender import BlendedLLM as LangChainBlend
from llamaindex_blender import BlendedLLM as LlamaIndexBlend

NAN = math.nan
BLENDS = {"LangChain": LangChainBlend, "LlamaIndex": LlamaIndexBlend}


def members(*names):
    return [FakeMember(name, f"{name} says that it is Paris.") for name in names or ("small", "large")]


def asked(blend, question="Q?", **options):
    return (
        blend.invoke(question, **options).text if hasattr(blend, "invoke") else blend.complete(question, **options).text
    )


# -- numbers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (lambda value: GatherPolicy(timeout=value), (NAN, "20", True)),
        (lambda value: GatherPolicy(straggler_grace=value), (NAN, "1")),
        (lambda value: GatherPolicy(quorum=value), (1.5, NAN)),
        (lambda value: GatherPolicy(enough=value), (1.5, 0)),
        (lambda value: GatherPolicy(max_concurrency=value), (1.5, True)),
        (lambda value: RetryPolicy(retries=value), (0.5, NAN, math.inf)),
        (lambda value: RetryPolicy(first_wait_s=value), (NAN, math.inf)),
        (lambda value: RetryPolicy(jitter=value), (NAN, "0.5")),
        (lambda value: Budget(max_tokens=value), (NAN, 10.5, math.inf)),
        (lambda value: Budget(max_cost=value), (NAN, "1$", math.inf)),
        (lambda value: Price(value, 1.0), (NAN, -1.0, "1", math.inf)),
        (lambda value: SharedSemaphore(value), (1.5, NAN)),
        (lambda value: FusePolicy(clear_winner=value), (NAN, 0.4)),
        (lambda value: FusePolicy(majority=value), (NAN, None)),
        (lambda value: FusionGuard(max_length_ratio=value), (NAN, 0)),
        (lambda value: FusionGuard(short_answer=value), (1.5, -1)),
        (lambda value: LLMJudge(str.upper, reliability=value), (NAN, 1.0)),
        (lambda value: LLMJudge(str.upper, concurrency=value), (1.5, NAN)),
        (lambda value: CombinedRanker(["longest"], temperature=value), (NAN, 0)),
        (lambda value: HTTPRanker("http://127.0.0.1:9/rerank", timeout=value), (NAN, "3")),
        (lambda value: GroundedRanker("longest", context_characters=value), (1.5, NAN)),
        (lambda value: rank_passages(LLMJudge(str.upper), "Q?", ["a"], budget=value), (NAN, 2.5)),
        (lambda value: OpenAIMember("m", base_url="http://127.0.0.1:9/v1", max_tokens=value), (NAN, 0, 1.5)),
        (lambda value: OpenAIMember("m", base_url="http://127.0.0.1:9/v1", temperature=value), (NAN, "0")),
        (lambda value: MemberPrior(text_reliability=value), (NAN, "0.5")),
        (lambda value: Blender(members(), top_k=value), (2.5, NAN)),
        (lambda value: Blender(members(), deadline=value), (NAN, "20")),
        (lambda value: Blender(members(), gather_share=value), (NAN, 1.0)),
    ],
)
def test_a_number_that_cannot_work_is_refused_where_it_is_given(make, values):
    for value in values:
        with pytest.raises(ConfigurationError, match="must be"):
            make(value)


@pytest.mark.parametrize("face", BLENDS)
@pytest.mark.parametrize(
    ("name", "value"),
    [("timeout", "20"), ("deadline", NAN), ("top_k", 2.0), ("quorum", True), ("gather_share", "0.5"), ("guard", "no")],
)
def test_adapters_have_the_rule_of_the_core_when_made_and_when_assigned(face, name, value):
    for make in (Blender, lambda llms, **settings: BLENDS[face](llms=llms, **settings)):
        with pytest.raises(ValueError, match=f"{name} is {value!r}; it must be"):
            make(members(), **{name: value})
    blend = BLENDS[face](llms=members(), ranker="longest", fuser=None)
    with pytest.raises(ConfigurationError, match=f"{name} is {value!r}; it must be"):
        setattr(blend, name, value)
    assert asked(blend) == "small says that it is Paris."


@pytest.mark.parametrize("face", BLENDS)
@pytest.mark.parametrize(
    ("variable", "text"),
    [("TIMEOUT", "nan"), ("TIMEOUT", "soon"), ("DEADLINE", "-1"), ("TOP_K", "2.5"), ("TOP_K", "0")],
)
def test_a_number_in_the_environment_is_refused_by_its_name(face, variable, text, monkeypatch):
    monkeypatch.setenv(f"BLENDED_LLM_{variable}", text)
    with pytest.raises(ConfigurationError, match=f"BLENDED_LLM_{variable} is '{text}'"):
        BLENDS[face](llms=members(), ranker="longest", fuser=None)


@pytest.mark.parametrize(
    "options",
    [["--timeout", "nan"], ["--deadline", "nan"], ["--temperature", "nan"], ["--max-tokens", "0"], ["--top-k", "0"]],
    ids=" ".join,
)
def test_a_number_on_the_command_line_is_wrong_usage(options):
    with ScriptedServer({"m": ["Paris."]}) as server:
        ran = CliRunner().invoke(app, ["ask", "Q?", "--endpoint", f"{server.base_url}:m", *options])
    assert (ran.exit_code, server.requests) == (2, [])
    assert "must be" in ran.stderr


# -- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ranker", "told"),
    [
        ("embeded", "did you mean embedded?.*address of an endpoint"),
        ("judge:", "names no judge"),
        ("judge: ", "names no judge"),
        ("judge:smal", "could judge; did you mean small?: the members are small, large"),
    ],
)
def test_a_mistyped_ranker_is_told_with_the_nearest(ranker, told):
    with pytest.raises(ConfigurationError, match=told.replace("?", r"\?")):
        Blender(members(), ranker=ranker)


@pytest.mark.parametrize("face", BLENDS)
def test_an_assigned_ranker_is_checked_at_once(face):
    blend = BLENDS[face](llms=members(), ranker="longest", fuser=None)
    with pytest.raises(ConfigurationError, match=r"did you mean consensus\?"):
        blend.ranker = "concensus"
    blend.ranker = "consensus"
    assert asked(blend)


@pytest.mark.parametrize("face", ["core", *BLENDS])
def test_a_members_name_is_a_fuser(face):
    llms = members("small", "large")
    llms[0] = FakeMember("small", lambda prompt: "Fused by small." if prompt.purpose == "fuse" else "It is Paris.")
    settings = {"ranker": "longest", "fuser": "small", "fuse_when": "always"}
    if face == "core":
        assert Blender(llms, **settings).blend("Q?").fuser == "llm:small"
    else:
        assert asked(BLENDS[face](llms=llms, **settings)) == "Fused by small."
    with pytest.raises(ValueError, match=r"fuser is 'smal'; did you mean small\?; use"):
        Blender(llms, fuser="smal") if face == "core" else BLENDS[face](llms=llms, fuser="smal")


@pytest.mark.parametrize("name", [5, None])
def test_names_that_results_cannot_show(name):
    fuser, odd = FakeFuser(), FakeMember("odd", "Paris")
    fuser.name = odd.name = name
    with pytest.raises(ConfigurationError, match="fuser's name"):
        Blender(members(), fuser=fuser)
    with pytest.raises(ConfigurationError, match="member's name"):
        Blender([odd, *members()])


def test_a_member_that_follows_no_instructions_is_no_fuser():
    engine = SourcedMember("engine", lambda prompt: None)
    with pytest.raises(ConfigurationError, match="'engine', a member that follows no instructions"):
        GroundedBlender([engine, *members()], fuser="engine")


def test_names_of_a_prior_that_no_member_has_are_told():
    with pytest.warns(UserWarning, match=r"not in this blend: lage; did you mean large\?$"):
        Blender(members(), member_prior=MemberPrior.declared(["small", "lage"]))
    with pytest.raises(ConfigurationError, match="declares gpt, llama, and the members are small, large"):
        Blender(members(), member_prior=MemberPrior.declared(["gpt", "llama"]))
    rated = MemberPrior()
    rated.judge("gpt", "llama")
    with pytest.warns(UserWarning, match="knows gpt, llama, and none of the members small, large"):
        LangChainBlend(llms=members(), member_prior=rated)
    learned = MemberPrior()
    learned.observe(["small", "other"], Ranking.from_scores([1.0, 0.0], ranker="example"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Blender(members(), member_prior=learned)
        Blender(members(), member_prior=MemberPrior())
        Blender(members("small", "small"), member_prior=MemberPrior.declared(["small", "small#2"]))


@pytest.mark.parametrize("face", BLENDS)
def test_an_option_that_no_member_reads_is_refused_by_name(face):
    with ScriptedServer({"m": ["Paris."]}) as server:
        endpoint, function = OpenAIMember("m", base_url=server.base_url), lambda question: "Rome"
        blend = BLENDS[face](llms=[endpoint, function], ranker="longest", fuser=None)
        with pytest.raises(
            ConfigurationError, match=r"BlendedLLM has no argument 'temprature'; did you mean temperature\?"
        ):
            asked(blend, temprature=0.2)
        assert asked(blend, temperature=0.2, stop=["!"]) == "Paris."
        assert server.requests[-1]["temperature"] == 0.2
        # a model of the caller's own may read anything
        own = FakeMember("own", lambda prompt: f"{prompt.options.get('colour')}, and nothing else")
        assert asked(BLENDS[face](llms=[endpoint, own], ranker="longest", fuser=None), colour="blue")


# -- the command line ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranker", ["judge:a", "peers"])
def test_rankers_that_ask_members_are_wrong_usage_of_commands_without_members(ranker, tmp_path):
    rows = tmp_path / "rows.jsonl"
    candidates = [{"model": name, "text": name} for name in ("Paris", "Rome")]
    rows.write_text(json.dumps({"instruction": "Q?", "candidates": candidates}), encoding="utf-8")
    answer = tmp_path / "a.txt"
    answer.write_text("Paris", encoding="utf-8")
    for command in (
        ["rank", str(rows)],
        ["compare", "--prompt", "Q?", "--a", str(answer), "--b", str(answer)],
        ["rate", str(rows), "--out", str(tmp_path / "prior.json")],
    ):
        ran = CliRunner().invoke(app, [*command, "--ranker", ranker])
        assert ran.exit_code == 2
        assert f"--ranker {ranker} asks the members of a blend" in ran.stderr


def test_a_tie_is_told_as_a_tie():
    script = {"a": ["Paris it is."], "b": ["It is Paris."], "j": ["Lyon", "Better: tie"]}
    with ScriptedServer(script) as server:
        options = [part for name in script for part in ("--endpoint", f"{server.base_url}:{name}")]
        ran = CliRunner().invoke(
            app, ["ask", "Q?", *options, "--ranker", "judge:j", "--fuser", "none", "--timeout", "30"]
        )
    assert ran.exit_code == 0
    assert "ranked by judge:j: a, b, j tie, so a is taken" in ran.stderr
    assert "is first" not in ran.stderr


# -- passages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "reply", "read", "calls"),
    [
        ("pointwise", '{"reason": "near", "grade": 5}', 30, 30),
        ("pairwise", "Better: tie", 6, 30),
        ("listwise", None, 20, 1),
        ("auto", None, 20, 1),
    ],
)
def test_a_judge_of_passages_counts_its_calls_by_its_mode(mode, reply, read, calls):
    def list_all(prompt):
        labels = [chr(ord("A") + place) for place in range(26) if f"[{chr(ord('A') + place)}]" in prompt.text]
        return json.dumps({"reason": "near", "ranking": labels})

    judge = FakeMember("judge", reply or list_all, usage=Usage(10, 2))
    passages = [f"passage {number}" for number in range(40)]
    ranked = rank_passages(LLMJudge(judge, mode=mode), "Q?", passages, budget=30)
    assert (ranked.read, ranked.forwards, judge.calls) == (read, calls, calls)
    assert ranked.usage == Usage(10 * calls, 2 * calls)
