"""What an answer holds, and what it used."""

import copy
import pickle

import pytest

from blender_core import Usage
from blender_core.types.answer import ended_by_length


def test_details_of_usage_are_summed_by_name():
    one = Usage(10, 20, (("cache_read", 4),), (("audio", 1), ("reasoning", 10)))
    other = Usage(1, 2, (), (("reasoning", 1),))
    total = sum([one, other], Usage())
    assert total == Usage(11, 22, (("cache_read", 4),), (("audio", 1), ("reasoning", 11)))
    assert total == sum([other, one], Usage())
    assert one.output_details == (("audio", 1), ("reasoning", 10))


def test_usage_with_details_stays_a_plain_value():
    usage = Usage(10, 20, (("cache_read", 4),), (("reasoning", 10),))
    assert pickle.loads(pickle.dumps(usage)) == copy.deepcopy(usage) == usage
    assert hash(usage) == hash(copy.deepcopy(usage))
    assert usage.total_tokens == 30
    assert usage.to_dict() == {"input_tokens": 10, "output_tokens": 20, "total_tokens": 30}


@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS", "FinishReason.MAX_TOKENS", "MAX_LENGTH"])
def test_words_for_a_limit_of_tokens(reason):
    assert ended_by_length(reason)


@pytest.mark.parametrize("reason", ["stop", "STOP", "end_turn", "tool_calls", "content_filter", "", None])
def test_words_for_another_end(reason):
    assert not ended_by_length(reason)
