"""Half a character in a text, as a cut-off JSON escape leaves it, ends no ranking and no fusion."""

from __future__ import annotations

import json

import pytest
from tiny_models import save_bert, save_llama, save_reward_model, save_t5, save_word_tokenizer

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from blender_core import Blender, GenFuser, PairRanker  # noqa: E402
from blender_core.fuse import FusionInput, LLMFuser  # noqa: E402
from blender_core.rank import CrossEncoderRanker, LLMJudge, MLMScoringRanker, PeerRanker, RewardHeadRanker  # noqa: E402
from blender_core.rank.reward_head import FeatureExtractor, ReaderSettings, RewardHead  # noqa: E402

# the halves of a smile in the wrong order, and one alone
TEXTS = ["sun moon", "half \ud83d", "sea \ude00\ud83d hill"]
PROMPT = "bird \udfff fish"


def as_json(prompt):
    """Read a prompt as a server does; a lone surrogate cannot be sent."""
    json.dumps(prompt, ensure_ascii=False).encode()
    return "A"


def ranks(prompt):
    as_json(prompt)
    return '{"ranking": ["A", "B", "C"]}'


def reward_head(folder, frozen_folder):
    import numpy as np

    reader = FeatureExtractor.load(ReaderSettings(str(frozen_folder("decoder"))), device="cpu")
    return RewardHeadRanker(reader, RewardHead(np.zeros(64), np.ones(64), np.ones(64)))


def pair_of_texts(folder, family, kind):
    save_word_tokenizer(folder)
    save_bert(folder, family, num_labels=1)
    return kind.from_pretrained(folder, device="cpu")


RANKERS = {
    "consensus": lambda folder, _: "consensus",
    "embedded": lambda folder, _: "embedded",
    "judge": lambda folder, _: LLMJudge(as_json, read=lambda _reply: 0),
    "judge of all": lambda folder, _: LLMJudge(ranks, mode="listwise"),
    "jury": lambda folder, _: PeerRanker([ranks]),
    "reward head": reward_head,
    "pair of texts": lambda folder, _: pair_of_texts(folder, "AutoModelForSequenceClassification", CrossEncoderRanker),
    "masked": lambda folder, _: pair_of_texts(folder, "AutoModelForMaskedLM", MLMScoringRanker),
    "reward model": lambda folder, _: str(save_reward_model(folder, "Llama")),
}


@pytest.mark.parametrize("kind", [*RANKERS, "PairRM"])
def test_it_ends_no_ranking(kind, tmp_path, frozen_folder, pairrm_folder):
    if kind == "PairRM":
        ranker = PairRanker.from_pretrained(pairrm_folder, device="cpu")
    else:
        ranker = RANKERS[kind](tmp_path, frozen_folder)
    members = [lambda _question, text=text: text for text in TEXTS]
    result = Blender(members, ranker=ranker, fuser=None).blend(PROMPT)
    assert result.degraded == ()
    assert result.ranking is not None


@pytest.mark.parametrize("kind", ["T5", "Llama", "LLM"])
def test_it_ends_no_fusion(kind, tmp_path):
    request = FusionInput(PROMPT, tuple(TEXTS))
    if kind == "LLM":
        assert LLMFuser(as_json).fuse(request).text == "A"
        return
    (save_t5 if kind == "T5" else save_llama)(tmp_path)
    options = {"min_new_tokens": 4, "max_new_tokens": 8, "suppress_tokens": [0, 1, 2]}
    fuser = GenFuser.from_pretrained(tmp_path, device="cpu", generation=options)
    assert fuser.fuse(request).usage.input_tokens > 0
