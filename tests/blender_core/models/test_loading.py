"""What all loaders of pretrained models share."""

from __future__ import annotations

import inspect
import json

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from blender_core.errors import CheckpointError, DownloadError  # noqa: E402
from blender_core.fuse.gen_fuser import GenFuser  # noqa: E402
from blender_core.rag import NLIGroundedness  # noqa: E402
from blender_core.rank import CrossEncoderRanker, MLMScoringRanker, TextEncoder  # noqa: E402
from blender_lab.evaluate.metrics.bart_score import BartScore  # noqa: E402
from blender_lab.evaluate.metrics.bert_score import BertScore  # noqa: E402
from blender_lab.evaluate.metrics.bleurt import Bleurt  # noqa: E402

LOADERS = [BartScore, BertScore, Bleurt, CrossEncoderRanker, GenFuser, MLMScoringRanker, NLIGroundedness, TextEncoder]
RANKING = [CrossEncoderRanker, MLMScoringRanker, TextEncoder, NLIGroundedness]
METRICS = [BartScore, BertScore, Bleurt]
PAIRS = [("sea hill", "sea"), ("moon", "sun moon star"), ("salt", "salt")]


@pytest.mark.parametrize("kind", RANKING + METRICS)
def test_all_take_the_same_options(kind, tmp_path):
    parameters = inspect.signature(kind.from_pretrained).parameters
    assert [parameters[name].default for name in ("revision", "device", "dtype", "cache_dir", "local_files_only")] == [
        None,
        "auto",
        "float32" if kind in METRICS else "auto",
        None,
        False,
    ]
    with pytest.raises(TypeError, match="speed"):
        kind.from_pretrained(tmp_path, speed=2)
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        kind.from_pretrained(tmp_path, device="cpu")
    with pytest.raises(DownloadError, match="nobody/nothing"):
        kind.from_pretrained("nobody/nothing", cache_dir=tmp_path, local_files_only=True)


@pytest.mark.parametrize("kind", LOADERS)
def test_local_files_only_asks_no_host(kind, tmp_path, looked_up):
    with pytest.raises(DownloadError, match="some/model"):
        kind.from_pretrained("some/model", cache_dir=tmp_path, local_files_only=True)
    assert looked_up == []


def test_a_cached_repository_loads_without_a_host(tmp_path, word_tokenizer, save, looked_up):
    repository = tmp_path / "models--some--encoder"
    snapshot = repository / "snapshots" / ("a1" * 20)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a1" * 20)
    word_tokenizer(snapshot)
    save(snapshot, "AutoModel")
    cached = TextEncoder.from_pretrained("some/encoder", device="cpu", cache_dir=tmp_path, local_files_only=True)
    assert cached(["sun moon"]) == pytest.approx(TextEncoder.from_pretrained(snapshot, device="cpu")(["sun moon"]))
    with pytest.raises(DownloadError, match="some/encoder"):
        TextEncoder.from_pretrained("some/encoder", revision="v9", cache_dir=tmp_path, local_files_only=True)
    assert looked_up == []


def test_code_of_a_checkpoint_is_not_run(tmp_path, word_tokenizer, save):
    word_tokenizer(tmp_path)
    save(tmp_path, "AutoModel")
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(CheckpointError):
        TextEncoder.from_pretrained(tmp_path, device="cpu")
    assert not (tmp_path / "ran").exists()


def test_bleurt_is_the_logit_of_reference_and_answer(tmp_path, word_tokenizer, save):
    tokenizer = word_tokenizer(tmp_path)
    model = save(tmp_path, "AutoModelForSequenceClassification", num_labels=1)
    expected = []
    for answer, reference in PAIRS:
        row = tokenizer.encode(reference, answer)
        with torch.inference_mode():
            output = model(input_ids=torch.tensor([row.ids]), token_type_ids=torch.tensor([row.type_ids]))
        expected.append(output.logits.item())
    scores = Bleurt.from_pretrained(tmp_path, device="cpu").score(*zip(*PAIRS, strict=True))
    assert scores == pytest.approx(expected, abs=1e-5)


def test_groundedness_is_the_chance_of_entailment(tmp_path, word_tokenizer, save):
    tokenizer = word_tokenizer(tmp_path)
    model = save(
        tmp_path,
        "AutoModelForSequenceClassification",
        id2label={0: "contradiction", 1: "entailment", 2: "neutral"},
        label2id={"contradiction": 0, "entailment": 1, "neutral": 2},
    )
    from blender_core.rag import GroundedCandidate, Source

    row = tokenizer.encode("sea hill", "sea")
    with torch.inference_mode():
        output = model(input_ids=torch.tensor([row.ids]), token_type_ids=torch.tensor([row.type_ids]))
    measure = NLIGroundedness.from_pretrained(tmp_path, device="cpu")
    scores = measure.score("?", [GroundedCandidate("sea", (Source("sea hill"),))])
    assert scores == pytest.approx([output.logits.softmax(-1)[0, 1].item()], abs=1e-5)


def test_bert_score_of_equal_texts_is_one(tmp_path, word_tokenizer, save):
    word_tokenizer(tmp_path)
    save(tmp_path, "AutoModel")
    scores = BertScore.from_pretrained(tmp_path, device="cpu").score(*zip(*PAIRS, strict=True))
    assert scores[2] == pytest.approx(1.0)
    assert max(scores[:2]) < 1.0
