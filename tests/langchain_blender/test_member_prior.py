"""The prior on members, held by the user and given to the blend."""

from langchain_core.language_models import FakeListChatModel

from blender_core import MemberPrior
from langchain_blender import BlendedLLM


def test_the_blend_fills_the_prior_it_was_given():
    prior = MemberPrior()
    models = [FakeListChatModel(responses=["short"]), FakeListChatModel(responses=["a longer answer"])]
    blend = BlendedLLM(llms=models, ranker="longest", fuser=None, member_prior=prior)
    for _ in range(3):
        assert blend.invoke("Hi").content == "a longer answer"
    assert prior.prompts == 3
    assert max(prior.strengths().items(), key=lambda item: item[1].mean)[0] == blend.members[1][0]
