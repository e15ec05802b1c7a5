"""Records of members, results and errors travel between processes, whatever the provider raised."""

import copy
import pickle

import pytest

from blender_core import Blender, GatherPolicy, RetryPolicy
from blender_core.errors import MemberError, QuorumError, RateLimitedError
from blender_core.members.openai_member import OpenAIMember
from blender_core.testing import FakeMember
from blender_core.testing.scripted_server import Reply, ScriptedServer
from blender_core.types.outcome import MemberOutcome, Status

ONCE = GatherPolicy(retry=RetryPolicy(retries=0))


class NeedsMore(Exception):
    def __init__(self, text, *, more):
        super().__init__(text)
        self.more = more


@pytest.fixture
def limited():
    with ScriptedServer({"m": [Reply("slow down", status=429)]}) as server:
        yield OpenAIMember("m", base_url=server.base_url)


def test_errors_of_a_provider_travel_as_their_words(limited):
    with pytest.raises(QuorumError) as caught:
        Blender([limited], policy=ONCE).blend("hi")
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.outcomes == caught.value.outcomes
    assert type(again.outcomes[0].error) is MemberError
    assert "slow down" in str(again.__cause__)


def test_results_travel(limited):
    result = Blender([limited, FakeMember("good", "ok")], fuser=None, policy=ONCE).blend("hi")
    again = pickle.loads(pickle.dumps(result))
    assert (again.text, again.candidates) == (result.text, result.candidates)


@pytest.mark.parametrize("way", [lambda outcome: pickle.loads(pickle.dumps(outcome)), copy.deepcopy])
@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (RateLimitedError("x", 2.0), True),
        (None, True),
        (NeedsMore("x", more=1), False),
        (ValueError(lambda: 0), False),
    ],
    ids=["own", "none", "cannot be made again", "cannot be written"],
)
def test_an_error_is_replaced_only_where_it_must_be(way, error, kept):
    outcome = MemberOutcome("a", 0, Status.ERROR, reason="said x", error=error, attempts=1)
    again = way(outcome)
    assert again == outcome
    if kept:
        assert (type(again.error), vars(again.error or Exception())) == (type(error), vars(error or Exception()))
    else:
        assert (type(again.error), str(again.error)) == (MemberError, "said x")
    assert outcome.error is error
