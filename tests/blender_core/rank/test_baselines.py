"""The baselines of the LLM-Blender paper and what goes beyond it: all behind one protocol, all in the docs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import blender_core  # noqa: E402
from blender_core import rank  # noqa: E402

DOCS = (Path(__file__).parents[3] / "docs" / "rankers.md").read_text()
PROMPT = "sun moon star"
CANDIDATES = ["sea hill tree bird", "moon", "door road fish"]
SHOWN = re.compile(r"<answer_a>\n(.*)\n</answer_a>\n<answer_b>\n(.*)\n</answer_b>", re.DOTALL)


def first_is_longer(text):
    first, second = SHOWN.search(text).groups()
    return f"Better: {'A' if len(first) > len(second) else 'B'}"


@pytest.fixture
def folder(tmp_path, word_tokenizer):
    word_tokenizer(tmp_path)
    return tmp_path


def loaded(kind, family, **options):
    def make(folder, save):
        save(folder, family, **options)
        return kind.from_pretrained(folder, device="cpu")

    return make


def embedding(kind):
    def make(folder, save):
        pytest.importorskip("sentence_transformers")
        save(folder, "AutoModel")
        return kind(folder)

    return make


class SharedLetters:
    """Has the face of ``sentence_transformers.CrossEncoder``."""

    def predict(self, pairs):
        return [len(set(prompt) & set(text)) for prompt, text in pairs]


def langchain_judge(_folder, _save):
    models = pytest.importorskip("langchain_core.language_models.fake_chat_models")

    class Judge(models.SimpleChatModel):
        @property
        def _llm_type(self):
            return "judge"

        def _call(self, messages, stop=None, run_manager=None, **kwargs):
            return first_is_longer(messages[-1].content)

    return rank.LLMJudge(Judge())


def llamaindex_judge(_folder, _save):
    llms = pytest.importorskip("llama_index.core.llms")
    custom = pytest.importorskip("llama_index.core.llms.custom")

    class Judge(custom.CustomLLM):
        @property
        def metadata(self):
            return llms.LLMMetadata(model_name="judge")

        def complete(self, prompt, formatted=False, **kwargs):
            return llms.CompletionResponse(text=first_is_longer(prompt))

        def stream_complete(self, prompt, formatted=False, **kwargs):
            raise NotImplementedError

    return rank.LLMJudge(Judge())


BASELINES = {
    "MLM-Scoring": ("MLMScoringRanker", loaded(rank.MLMScoringRanker, "AutoModelForMaskedLM")),
    "SimCLS": ("BiEncoderRanker", embedding(rank.BiEncoderRanker)),
    "SummaReranker": (
        "CrossEncoderRanker",
        loaded(rank.CrossEncoderRanker, "AutoModelForSequenceClassification", num_labels=1),
    ),
    "sentence_transformers.CrossEncoder": (
        "CrossEncoderRanker",
        lambda *_: rank.CrossEncoderRanker(SharedLetters()),
    ),
    "LangChain": ("LLMJudge", langchain_judge),
    "LlamaIndex": ("LLMJudge", llamaindex_judge),
    "longest": ("LongestRanker", lambda *_: rank.LongestRanker()),
    "random": ("RandomRanker", lambda *_: rank.RandomRanker()),
    "minimum Bayes risk": ("EmbeddingConsensusRanker", embedding(rank.EmbeddingConsensusRanker)),
    "weighted sum": (
        "CombinedRanker",
        lambda *_: rank.CombinedRanker([rank.LongestRanker(), rank.RandomRanker()], weights=[2.0, 1.0]),
    ),
    "mixture of experts": (
        "CombinedRanker",
        lambda *_: rank.CombinedRanker(
            [rank.LongestRanker(), rank.RandomRanker()], gate=lambda prompt, candidates: [1.0, 0.0]
        ),
    ),
}


@pytest.mark.parametrize("source", BASELINES)
def test_each_baseline_ranks(source, folder, save):
    torch.set_num_threads(1)
    name, make = BASELINES[source]
    ranker = make(folder, save)
    assert isinstance(ranker, blender_core.Ranker)
    assert type(ranker) is getattr(rank, name)
    assert name in rank.__all__
    assert ranker.name
    ranking = ranker.rank(PROMPT, CANDIDATES)
    assert sorted(ranking.order) == [0, 1, 2]
    assert ranking.scores[ranking.best] == max(ranking.scores)
    assert ranking == ranker.rank(PROMPT, CANDIDATES)
    if name in ("LLMJudge", "LongestRanker") or source == "mixture of experts":
        assert ranking.order == (0, 2, 1)


@pytest.mark.parametrize("source", BASELINES)
def test_each_baseline_is_documented_with_its_source(source):
    name, _ = BASELINES[source]
    (row,) = [line for line in DOCS.splitlines() if line.startswith(f"| `{name}`")]
    assert source in row
