"""Gathering: every member is asked what it was not asked yet, and every end is written down."""

from __future__ import annotations

import pytest

from blender_core.errors import ConfigurationError, MemberError, RefusedError
from blender_core.gather.policy import GatherPolicy, RetryPolicy
from blender_core.testing.fakes import FakeMember
from blender_core.types.answer import Answer, Usage
from blender_lab.data.mixinstruct import MixRecord
from blender_lab.mix.gather import GatherSettings, gather_answers, gathered_records, missing_answers
from blender_lab.mix.journal import Journal

RECORDS = [MixRecord(str(number), f"question {number}", output="ref", task="t") for number in range(5)]
QUICK = GatherPolicy(retry=RetryPolicy(retries=0))


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "journal", {}) as opened:
        yield opened


def run(members, journal, settings=None, records=RECORDS, **more):
    settings = settings or GatherSettings(policy=QUICK)
    named = [(member.name, member) for member in members]
    gather_answers(records, named, journal, settings, **more)
    return list(gathered_records(records, [name for name, _ in named], journal, settings))


def test_every_member_answers_every_prompt_with_its_record(journal):
    a = FakeMember("a", Answer("yes", usage=Usage(7, 2), finish_reason="stop"))
    b = FakeMember("b", RefusedError("not this"))
    seen = []
    records = run([a, b], journal, on_answer=lambda record, candidate: seen.append((record.id, candidate.model)))
    assert [record.models for record in records] == [("a", "b")] * 5
    assert sorted(seen) == sorted((record.id, name) for record in RECORDS for name in "ab")
    good, refused = records[0].candidates
    assert (good.text, good.gathered.output_tokens, good.gathered.finish_reason) == ("yes", 2, "stop")
    assert (refused.text, refused.gathered.status, refused.failed) == ("", "refused", True)
    assert "not this" in refused.gathered.error
    assert (records[0].output, records[0].task) == ("ref", "t")


def test_what_is_there_is_not_asked_again_and_members_can_be_added(journal):
    a, b = FakeMember("a", "x"), FakeMember("b", "y")
    run([a], journal, records=RECORDS[:3])
    run([a, b], journal)
    assert (a.calls, b.calls) == (5, 5)
    assert run([a, b], journal)[4].texts == ("x", "y")
    assert (a.calls, b.calls) == (5, 5)


def test_failures_are_asked_again_only_on_demand(journal):
    member = FakeMember("a", MemberError("down"), "up")
    run([member], journal, records=RECORDS[:2])
    assert [record.texts for record in run([member], journal, records=RECORDS[:2])] == [("",), ("up",)]
    again = GatherSettings(policy=QUICK, retry_failed=True)
    assert [record.texts for record in run([member], journal, again, RECORDS[:2])] == [("up",), ("up",)]
    assert member.calls == 3


def test_a_changed_prompt_is_asked_again(journal):
    member = FakeMember("a", "x")
    run([member], journal)
    changed = [MixRecord("0", "another question"), *RECORDS[1:]]
    run([member], journal, records=changed)
    assert member.calls == 6
    assert missing_answers(changed, ["a"], journal, GatherSettings(system="Be brief.")) == [
        (record, ("a",)) for record in changed
    ]


def test_options_and_system_message_reach_the_members(journal):
    member = FakeMember("a", "x")
    settings = GatherSettings(system="Be brief.", options={"seed": 3}, decoding_method="greedy")
    (record,) = run([member], journal, settings, [MixRecord("1", "Translate.", "cat")])
    (prompt,) = member.prompts
    assert [(turn.role, turn.content) for turn in prompt.messages] == [
        ("system", "Be brief."),
        ("user", "Translate.\ncat"),
    ]
    assert prompt.options == {"seed": 3}
    assert record.candidates[0].decoding_method == "greedy"


def test_a_member_that_only_fails_ends_the_run_and_can_be_mended(journal):
    broken, fine = FakeMember("a", MemberError("wrong key")), FakeMember("b", "x")
    settings = GatherSettings(policy=QUICK, give_up_after=3)
    with pytest.raises(MemberError, match=r"a failed 3 times in a row.*wrong key"):
        run([broken, fine], journal, settings)
    assert (broken.calls, fine.calls) == (3, 3)
    mended = FakeMember("a", "y")
    records = run([mended, fine], journal, GatherSettings(policy=QUICK, retry_failed=True))
    assert {record.texts for record in records} == {("y", "x")}
    assert (mended.calls, fine.calls) == (5, 5)


def test_several_prompts_at_once(journal):
    member = FakeMember("a", "x", latency_s=0.05)
    records = run([member], journal, GatherSettings(policy=QUICK, concurrency=3))
    assert [record.texts for record in records] == [("x",)] * 5
    assert member.calls == 5


def test_names_and_ids_must_be_unique(journal):
    with pytest.raises(ConfigurationError, match="two members"):
        run([FakeMember("a", "x"), FakeMember("a", "x")], journal)
    with pytest.raises(ConfigurationError, match="two prompts"):
        run([FakeMember("a", "x")], journal, records=[RECORDS[0], RECORDS[0]])
    with pytest.raises(ConfigurationError, match="concurrency is 0"):
        GatherSettings(concurrency=0)
