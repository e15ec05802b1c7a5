"""Two responses compared, through LlamaIndex's own runners."""

import pytest
from llama_index.core.base.response.schema import Response
from llama_index.core.evaluation import BatchEvalRunner
from llama_index.core.evaluation.pairwise import EvaluationSource, PairwiseComparisonEvaluator
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import NodeWithScore, TextNode

from blender_core.errors import ConfigurationError
from blender_core.rank.llm_judge import LLMJudge
from blender_core.testing import FakeMember
from blender_core.types.answer import Usage
from blender_core.types.ranking import Ranking
from llamaindex_blender.rag.evaluator import PairRankerEvaluator
from llamaindex_blender.testing import ScriptedLLM

# LlamaIndex's own runner calls what LlamaIndex deprecates
pytestmark = pytest.mark.filterwarnings("ignore:asyncio_module:DeprecationWarning")

QUERY = "What is the capital of France?"
GOOD, BAD = "The capital of France is Paris.", "Bananas are yellow."


class Biased:
    """Prefers what stands first, by a fixed logit, and remembers the prompts."""

    name = "biased"

    def __init__(self, *logits):
        self.logits = logits
        self.prompts = []

    def rank(self, prompt, candidates):
        self.prompts.append(prompt)
        return Ranking.from_scores([self.logits[len(self.prompts) - 1], 0.0], ranker=self.name)


def compared(evaluator, **more):
    return evaluator.evaluate(query="q", response="one", second_response="two", **more)


def test_the_embedded_ranker_finds_the_better_response():
    result = PairRankerEvaluator().evaluate(query=QUERY, response=GOOD, second_response=BAD)
    assert (result.score, result.passing, result.pairwise_source) == (1.0, True, "original")
    assert result.feedback.startswith("the response is better: logit +")
    assert result.feedback.endswith("the orders agree")
    swapped = PairRankerEvaluator().evaluate(query=QUERY, response=BAD, second_response=GOOD)
    assert (swapped.score, swapped.passing) == (0.0, False)


@pytest.mark.parametrize("first", ["[[A]]", "[[B]]", "[[C]]"])
@pytest.mark.parametrize("second", ["[[A]]", "[[B]]", "[[C]]"])
@pytest.mark.parametrize("consensus", [True, False])
async def test_it_decides_as_cores_evaluator_does(first, second, consensus):
    judge = ScriptedLLM(script=[first, second])
    theirs = PairwiseComparisonEvaluator(llm=judge, enforce_consensus=consensus)
    expected = await theirs.aevaluate(query="q", response="one", second_response="two")
    logits = {"[[A]]": 1.5, "[[B]]": -1.5, "[[C]]": 0.0}
    ours = PairRankerEvaluator(Biased(logits[first], logits[second]), enforce_consensus=consensus)
    result = await ours.aevaluate(query="q", response="one", second_response="two")
    source = EvaluationSource(expected.pairwise_source)
    # where the flipped order alone decides, core gives the score of what was shown first there
    score = 1 - expected.score if source is EvaluationSource.FLIPPED else expected.score
    assert (result.score, result.pairwise_source) == (score, source.value)
    assert result.passing == {1.0: True, 0.0: False, 0.5: None}[score]
    assert (result.query, result.invalid_result) == (expected.query, False)


def test_orders_that_disagree_are_a_tie_and_say_so():
    result = compared(PairRankerEvaluator(Biased(2.0, 1.0)))
    assert (result.score, result.passing, result.pairwise_source) == (0.5, None, "neither")
    assert result.feedback == "a tie: logit +2 shown first, -1 shown second; the orders disagree"


def test_a_margin_makes_ties():
    assert compared(PairRankerEvaluator(Biased(0.1, -0.1), tie_margin=0.2)).score == 0.5
    assert compared(PairRankerEvaluator(Biased(0.3, -0.3), tie_margin=0.2)).score == 1.0


def test_one_order_is_what_core_calls_no_consensus():
    result = compared(PairRankerEvaluator(Biased(2.0, 1.0), enforce_consensus=False))
    assert (result.score, result.pairwise_source) == (1.0, "original")
    assert "not looked at" in result.feedback


@pytest.mark.parametrize(
    ("response", "second", "score"), [("same", "same", 0.5), ("", "text", 0.0), ("text", " ", 1.0), ("", "", 0.5)]
)
def test_copies_and_blanks(response, second, score):
    result = PairRankerEvaluator().evaluate(query="q", response=response, second_response=second)
    assert result.score == score


def test_a_reference_stands_in_the_prompt():
    ranker = Biased(1.0, -1.0, 1.0, -1.0, 1.0, -1.0)
    evaluator = PairRankerEvaluator(ranker)
    compared(evaluator)
    compared(evaluator, reference="the gold answer")
    evaluator.update_prompts({"eval_template": PromptTemplate("{reference} | {query}")})
    assert evaluator.get_prompts()["eval_template"].get_template() == "{reference} | {query}"
    compared(evaluator, reference="gold")
    assert ranker.prompts[::2] == ["q", "q\n\nReference answer:\nthe gold answer", "gold | q"]


def test_a_judge_is_a_ranker_too():
    judge = LLMJudge(lambda text: "Better: A" if GOOD in text.split("<answer_b>")[0] else "Better: B")
    result = PairRankerEvaluator(judge).evaluate(query=QUERY, response=BAD, second_response=GOOD)
    assert result.score == 0.0
    assert "the orders agree" in result.feedback


def test_the_tokens_of_a_judge_are_told():
    judge = LLMJudge(FakeMember("j", "Better: tie", usage=Usage(50, 5)))
    result = PairRankerEvaluator(judge).evaluate(query=QUERY, response=BAD, second_response=GOOD)
    assert result.feedback.endswith("; the judge used 110 tokens")


async def test_a_batch_of_strings():
    runner = BatchEvalRunner({"pairs": PairRankerEvaluator(), "length": PairRankerEvaluator("longest")}, workers=2)
    kwargs = {"second_response": [BAD, GOOD], "reference": [GOOD, None]}
    results = await runner.aevaluate_response_strs(
        queries=[QUERY, QUERY],
        response_strs=[GOOD, BAD],
        contexts_list=[["a"], ["b"]],
        pairs=copied(kwargs),
        length=copied(kwargs),
    )
    assert [result.score for result in results["pairs"]] == [1.0, 0.0]
    assert [result.contexts for result in results["pairs"]] == [["a"], ["b"]]
    assert [result.score for result in results["length"]] == [1.0, 0.0]


async def test_a_batch_of_responses():
    source = NodeWithScore(node=TextNode(text="Paris is in France."))
    responses = [Response(response=GOOD, source_nodes=[source])]
    runner = BatchEvalRunner({"pairs": PairRankerEvaluator()})
    results = await runner.aevaluate_responses(queries=[QUERY], responses=responses, second_response=[BAD])
    assert results["pairs"][0].score == 1.0
    assert results["pairs"][0].contexts == ["Paris is in France."]


@pytest.mark.parametrize("missing", ["query", "response", "second_response"])
def test_what_is_missing_is_named(missing):
    given = {"query": "q", "response": "one", "second_response": "two"}
    with pytest.raises(ConfigurationError, match=f"^{missing} must be given"):
        PairRankerEvaluator("longest").evaluate(**{**given, missing: None})


@pytest.mark.parametrize("settings", [{"ranker": "nonsense"}, {"tie_margin": -1.0}, {"tie_margin": float("nan")}])
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ConfigurationError):
        PairRankerEvaluator(**settings)


def copied(kwargs):
    """The runner writes into what it is given."""
    return {name: list(values) for name, values in kwargs.items()}
