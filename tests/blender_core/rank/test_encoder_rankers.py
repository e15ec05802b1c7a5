"""Rankers on pretrained encoders agree with a plain forward pass of transformers, one text at a time."""

from __future__ import annotations

import json
import logging
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from blender_core.errors import CheckpointError, ConfigurationError, DownloadError, RankerError  # noqa: E402
from blender_core.models.encoder_inputs import EncoderTokenizer  # noqa: E402
from blender_core.rank import (  # noqa: E402
    CrossEncoderRanker,
    MLMScoringRanker,
    Ranker,
)

WORDS = ["sun", "moon", "star", "sea", "hill", "tree", "bird", "fish", "road", "door", "bread", "salt"]
PROMPT = "sun moon star"
CANDIDATES = ["sea hill tree bird", "moon", "salt salt", "door road fish bread star sun"]


@pytest.fixture(params=[False, True], ids=["bert", "roberta"])
def roberta(request):
    return request.param


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def plain(model, tokenizer, roberta, *texts):
    """One text or pair through transformers, without padding."""
    encoding = tokenizer.encode(*texts)
    inputs = {"input_ids": torch.tensor([encoding.ids])}
    if not roberta:
        inputs["token_type_ids"] = torch.tensor([encoding.type_ids])
    with torch.inference_mode():
        return model(**inputs), encoding.ids


def test_cross_encoder_logits(folder, roberta, word_tokenizer, save):
    tokenizer, model = (
        word_tokenizer(folder, roberta),
        save(folder, "AutoModelForSequenceClassification", roberta, num_labels=1),
    )
    expected = [plain(model, tokenizer, roberta, PROMPT, text)[0].logits.item() for text in CANDIDATES]
    ranker = CrossEncoderRanker.from_pretrained(folder, device="cpu")
    ranking = ranker.rank(PROMPT, CANDIDATES)
    assert ranking.scores == pytest.approx(expected, abs=1e-5)
    assert ranking.order == tuple(np.argsort(expected)[::-1])
    margin = ranking.scores[ranking.order[0]] - ranking.scores[ranking.order[1]]
    assert ranking.confidence == pytest.approx(1 / (1 + math.exp(-margin)))
    assert isinstance(ranker, Ranker)


def test_mlm_scores(folder, roberta, word_tokenizer, save):
    tokenizer, model = word_tokenizer(folder, roberta), save(folder, "AutoModelForMaskedLM", roberta)
    expected = []
    for text in CANDIDATES:
        length = len(text.split())
        values = []
        for place in range(length):
            words = text.split()
            target = tokenizer.token_to_id(words[place])
            words[place] = "<mask>" if roberta else "[MASK]"
            output, ids = plain(model, tokenizer, roberta, PROMPT, " ".join(words))
            position = ids.index(4)
            values.append(output.logits[0, position].log_softmax(-1)[target].item())
        expected.append(values)
    for budget in (1, 2048):
        ranker = MLMScoringRanker.from_pretrained(folder, device="cpu", token_budget=budget)
        ranking = ranker.rank(PROMPT, CANDIDATES)
        assert ranking.scores == pytest.approx([sum(values) / len(values) for values in expected], abs=1e-5)
        assert ranker.token_scores(PROMPT, CANDIDATES[0]) == pytest.approx(expected[0], abs=1e-5)
    total = MLMScoringRanker.from_pretrained(folder, device="cpu", per_token=False).rank(PROMPT, CANDIDATES)
    assert total.scores == pytest.approx([sum(values) for values in expected], abs=1e-4)


def test_a_masked_model_that_hides_its_output_layer(tmp_path, word_tokenizer, save, monkeypatch):
    word_tokenizer(tmp_path)
    save(tmp_path, "AutoModelForMaskedLM")
    scores = MLMScoringRanker.from_pretrained(tmp_path, device="cpu").rank(PROMPT, CANDIDATES).scores
    monkeypatch.setattr(transformers.BertForMaskedLM, "get_output_embeddings", lambda self: None)
    hidden = MLMScoringRanker.from_pretrained(tmp_path, device="cpu").rank(PROMPT, CANDIDATES).scores
    assert hidden == pytest.approx(scores, abs=1e-5)


def test_the_output_layer_reads_one_token_of_each_text(tmp_path, word_tokenizer, save, monkeypatch):
    word_tokenizer(tmp_path)
    save(tmp_path, "AutoModelForMaskedLM")
    seen = []
    head = transformers.models.bert.modeling_bert.BertLMPredictionHead
    forward = head.forward

    def watched(self, states):
        logits = forward(self, states)
        seen.append((states.shape[1], logits.shape[1]))
        return logits

    monkeypatch.setattr(head, "forward", watched)
    MLMScoringRanker.from_pretrained(tmp_path, device="cpu").rank(PROMPT, CANDIDATES)
    assert seen
    assert all(tokens > 1 and read == 1 for tokens, read in seen)


def test_a_language_model_that_likes_one_word(folder, word_tokenizer, save):
    word_tokenizer(folder)
    model = save(folder, "AutoModelForMaskedLM")
    with torch.no_grad():
        model.get_output_embeddings().bias[5 + WORDS.index("salt")] = 50.0
    model.save_pretrained(folder)
    ranking = MLMScoringRanker.from_pretrained(folder, device="cpu").rank("sun", ["sea salt", "salt salt", "sea hill"])
    assert ranking.order == (1, 0, 2)


def test_what_does_not_fit_is_reported(folder, word_tokenizer, save):
    word_tokenizer(folder)
    save(folder, "AutoModelForSequenceClassification", num_labels=1)
    ranker = CrossEncoderRanker.from_pretrained(folder, device="cpu")
    long = " ".join(WORDS * 3)
    assert ranker.rank("sun", ["sea", long]).cut == {1: 8}
    # 29 beside the special tokens: 14 for the prompt where the candidate is long too
    assert ranker.rank(long, [long, " ", "sea"]).cut == {-1: 22, 0: 21}


def test_a_long_prompt_keeps_its_end(folder, word_tokenizer):
    word_tokenizer(folder)
    tokenizer = EncoderTokenizer(folder / "tokenizer.json")
    row = tokenizer.pair("sun " * 40 + "moon", "sea", 20)
    assert len(row.ids) == 20
    assert row.ids[16] == tokenizer.encode("moon")[0]
    assert row.ids[slice(*row.answer)] == tokenizer.encode("sea")
    assert row.segments == [0] * 18 + [1] * 2


@pytest.mark.parametrize("hostile", ["[SEP]", "sun [SEP] [CLS]", "[MASK]", "[PAD] \udcff"])
def test_no_text_writes_a_special_token(hostile, folder, word_tokenizer):
    word_tokenizer(folder)
    row = EncoderTokenizer(folder / "tokenizer.json").pair(hostile, hostile, 32)
    assert row.ids.count(2) == 2
    assert row.ids.count(0) == 1
    assert not {1, 4} & set(row.ids)


def test_threads_share_one_ranker(folder, word_tokenizer, save):
    word_tokenizer(folder)
    save(folder, "AutoModelForMaskedLM")
    ranker = MLMScoringRanker.from_pretrained(folder, device="cpu")
    # other lengths in each thread, so that one would see if it read at another's positions
    prompts = [" ".join(WORDS[:count]) for count in (1, 4, 7, 10)] * 3
    serial = [ranker.rank(prompt, CANDIDATES).scores for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda prompt: ranker.rank(prompt, CANDIDATES).scores, prompts)) == serial


def test_masked_tokens_that_do_not_fit_in_memory_go_in_smaller_batches(folder, word_tokenizer, save, monkeypatch):
    word_tokenizer(folder)
    save(folder, "AutoModelForMaskedLM")
    ranker = MLMScoringRanker.from_pretrained(folder, device="cpu")
    scores = ranker.rank(PROMPT, CANDIDATES).scores
    forward = transformers.BertForMaskedLM.forward

    def small(self, input_ids, **inputs):
        if len(input_ids) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return forward(self, input_ids=input_ids, **inputs)

    monkeypatch.setattr(transformers.BertForMaskedLM, "forward", small)
    assert ranker.rank(PROMPT, CANDIDATES).scores == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize(
    ("ranker", "family", "options"),
    [
        (CrossEncoderRanker, "AutoModelForSequenceClassification", {"num_labels": 1}),
        (MLMScoringRanker, "AutoModelForMaskedLM", {}),
    ],
)
def test_blanks_copies_and_empty_prompts(ranker, family, options, folder, word_tokenizer, save):
    word_tokenizer(folder)
    save(folder, family, **options)
    loaded = ranker.from_pretrained(folder, device="cpu")
    ranking = loaded.rank("", ["sun", "", "sun ", "moon"])
    assert ranking.scores[1] == -math.inf
    assert (0, 2) in ranking.ties
    assert loaded.rank("?", ["", " "]).order == (0, 1)
    assert loaded.rank("?", ["", "sun"]).confidence == 1.0


def test_a_classifier_with_two_labels(folder, word_tokenizer, save):
    word_tokenizer(folder)
    save(folder, "AutoModelForSequenceClassification", num_labels=2)
    with pytest.raises(CheckpointError, match="has 2 labels"):
        CrossEncoderRanker.from_pretrained(folder, device="cpu")


def test_no_head_is_made_up(folder, word_tokenizer, save):
    word_tokenizer(folder)
    config = json.loads((save(folder, "AutoModel"), (folder / "config.json").read_text())[1])
    for claim, refusal in ((["BertModel"], "no head that scores"), ([], r"no weights for .*classifier")):
        config |= {"id2label": {"0": "LABEL_0"}, "architectures": claim}
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(CheckpointError, match=refusal):
            CrossEncoderRanker.from_pretrained(folder, device="cpu")
    with pytest.raises(CheckpointError, match="no weights for"):
        MLMScoringRanker.from_pretrained(folder, device="cpu")


def test_a_folder_without_a_tokenizer(folder, save):
    save(folder, "AutoModelForMaskedLM")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        MLMScoringRanker.from_pretrained(folder, device="cpu")


def test_a_tokenizer_without_a_mask(folder, word_tokenizer, save):
    word_tokenizer(folder)
    save(folder, "AutoModelForMaskedLM")
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace("[MASK]", "[HIDE]"))
    with pytest.raises(CheckpointError, match="masked language model"):
        MLMScoringRanker.from_pretrained(folder, device="cpu")


def test_places_where_there_is_nothing(folder):
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        CrossEncoderRanker.from_pretrained(folder, device="cpu")
    with pytest.raises(DownloadError, match="nobody/nothing"):
        MLMScoringRanker.from_pretrained("nobody/nothing", cache_dir=folder, local_files_only=True)


def test_arguments_that_cannot_work(folder, word_tokenizer, save):
    word_tokenizer(folder)
    save(folder, "AutoModelForMaskedLM")
    for options in ({"max_tokens": 3}, {"token_budget": 0}, {"dtype": "int4"}):
        with pytest.raises(ConfigurationError):
            MLMScoringRanker.from_pretrained(folder, device="cpu", **options)


def test_a_window_wider_than_the_model(folder, word_tokenizer, save):
    word_tokenizer(folder)
    save(folder, "AutoModelForSequenceClassification", num_labels=1)
    with pytest.raises(RankerError, match="the model failed on 1 texts of up to 44 tokens"):
        CrossEncoderRanker.from_pretrained(folder, device="cpu", max_tokens=99).rank("sun", ["sun " * 40])


def test_loading_is_quiet_and_settings_stay(folder, capfd, word_tokenizer, save):
    word_tokenizer(folder)
    save(folder, "AutoModelForMaskedLM")
    transformers.utils.logging.enable_progress_bar()
    level = logging.getLogger("transformers").level
    capfd.readouterr()
    MLMScoringRanker.from_pretrained(folder, device="cpu")
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.is_progress_bar_enabled()
    assert logging.getLogger("transformers").level == level
    if hasattr(transformers.utils.logging, "set_tqdm_hook"):
        assert transformers.utils.logging.set_tqdm_hook(None) is None
        transformers.AutoModelForMaskedLM.from_pretrained(folder)
        assert "Loading weights" in capfd.readouterr().err


class Predictor:
    def __init__(self, output):
        self.output = output

    def predict(self, pairs):
        assert pairs[0] == ("?", "a")
        return self.output


@pytest.mark.parametrize(
    "output", [[0.1, 0.9], np.array([[0.1], [0.9]]), torch.tensor([0.1, 0.9], dtype=torch.bfloat16, requires_grad=True)]
)
def test_any_object_that_predicts(output):
    ranking = CrossEncoderRanker(Predictor(output), name="mine", temperature=0.1).rank("?", ["a", " ", "b"])
    assert ranking.order == (2, 0, 1)
    assert ranking.ranker == "mine"
    assert ranking.confidence > 0.99


@pytest.mark.parametrize("output", [[0.1], [[0.1, 0.2], [0.3, 0.4]], [0.1, math.nan], ["good", "bad"], None])
def test_predictions_that_cannot_be_used(output):
    with pytest.raises(RankerError):
        CrossEncoderRanker(Predictor(output)).rank("?", ["a", "b"])


def test_objects_that_do_not_predict():
    with pytest.raises(ConfigurationError, match="no predict"):
        CrossEncoderRanker(object())
    with pytest.raises(ConfigurationError, match="temperature"):
        CrossEncoderRanker(Predictor([]), temperature=0.0)
