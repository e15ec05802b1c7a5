"""What all loaders of pretrained models share."""

from __future__ import annotations

import inspect
import json
import os

import pytest
from tiny_models import save_t5

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

from blender_core import GenFuser, PairRanker  # noqa: E402
from blender_core.compat import Blender  # noqa: E402
from blender_core.errors import CheckpointError, ConfigurationError, DownloadError  # noqa: E402
from blender_core.models.devices import resolve_dtype  # noqa: E402
from blender_core.rag import NLIGroundedness  # noqa: E402
from blender_core.rank import CrossEncoderRanker, MLMScoringRanker, TextEncoder  # noqa: E402
from blender_core.rank.reward_head import FeatureExtractor, ReaderSettings  # noqa: E402
from blender_lab.evaluate.metrics.bart_score import BartScore  # noqa: E402
from blender_lab.evaluate.metrics.bert_score import BertScore  # noqa: E402
from blender_lab.evaluate.metrics.bleurt import Bleurt  # noqa: E402
from blender_lab.fuser.base_model import load_base_model  # noqa: E402
from blender_lab.fuser.config import FuserTrainingConfig  # noqa: E402
from blender_lab.ranker.one_pass import load_encoder  # noqa: E402

RANKING = [CrossEncoderRanker, MLMScoringRanker, TextEncoder, NLIGroundedness]
METRICS = [BartScore, BertScore, Bleurt]
OTHERS = [GenFuser, PairRanker]
PAIRS = [("sea hill", "sea"), ("moon", "sun moon star"), ("salt", "salt")]


@pytest.mark.parametrize("kind", RANKING + METRICS + OTHERS)
def test_all_take_the_same_options(kind, tmp_path):
    parameters = inspect.signature(kind.from_pretrained).parameters
    assert [parameters[name].default for name in ("revision", "device", "dtype", "cache_dir", "local_files_only")] == [
        None,
        "auto",
        "float32" if kind in METRICS else "auto",
        None,
        False,
    ]
    with pytest.raises(ConfigurationError, match="has no argument 'speed'"):
        kind.from_pretrained(tmp_path, speed=2)
    with pytest.raises(CheckpointError, match=r"config\.json" if kind is PairRanker else "cannot be loaded"):
        kind.from_pretrained(tmp_path, device="cpu")
    with pytest.raises(DownloadError, match="nobody/nothing"):
        kind.from_pretrained("nobody/nothing", cache_dir=tmp_path, local_files_only=True)


@pytest.mark.parametrize("kind", RANKING + METRICS + OTHERS)
def test_local_files_only_asks_no_host(kind, tmp_path, looked_up):
    with pytest.raises(DownloadError, match="some/model"):
        kind.from_pretrained("some/model", cache_dir=tmp_path, local_files_only=True)
    assert looked_up == []


@pytest.mark.parametrize(
    ("repository", "name"), [("some--encoder", "some/encoder"), ("sentence-transformers--tiny", "tiny")]
)
def test_a_cached_repository_loads_without_a_host(repository, name, tmp_path, word_tokenizer, save, looked_up):
    folder = tmp_path / f"models--{repository}"
    snapshot = folder / "snapshots" / ("a1" * 20)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("a1" * 20)
    word_tokenizer(snapshot)
    save(snapshot, "AutoModel")
    cached = TextEncoder.from_pretrained(name, device="cpu", cache_dir=tmp_path, local_files_only=True)
    assert cached(["sun moon"]) == pytest.approx(TextEncoder.from_pretrained(snapshot, device="cpu")(["sun moon"]))
    with pytest.raises(DownloadError, match=name):
        TextEncoder.from_pretrained(name, revision="v9", cache_dir=tmp_path, local_files_only=True)
    assert looked_up == []


@pytest.fixture
def opened(tmp_path, word_tokenizer, save):
    """A folder that the named loader opens, and a function that opens it."""
    training = {"model": str(tmp_path), "output": "out", "files": ("mix.jsonl",)}
    loaders = {
        "feature extractor": lambda: FeatureExtractor.load(ReaderSettings(str(tmp_path)), device="cpu"),
        "fuser": lambda: GenFuser.from_pretrained(tmp_path, device="cpu"),
        "old fuser": lambda: Blender().loadfuser(tmp_path, device="cpu"),
        "text encoder": lambda: TextEncoder.from_pretrained(tmp_path, device="cpu"),
        "metric fuser": lambda: BartScore.from_pretrained(tmp_path, device="cpu"),
        "trained fuser": lambda: load_base_model(FuserTrainingConfig(**training)),
        "trained encoder": lambda: load_encoder(tmp_path),
    }

    def make(kind):
        if "fuser" in kind:
            save_t5(tmp_path, width=16, heads=2, layers=2, d_kv=8)
        else:
            tokenizer = word_tokenizer(tmp_path)
            save(tmp_path, "AutoModel")
            transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]").save_pretrained(
                tmp_path
            )
        return tmp_path, loaders[kind]

    return make


LOADERS = ["feature extractor", "fuser", "old fuser", "text encoder"]


@pytest.mark.parametrize("kind", [*LOADERS, "metric fuser", "trained fuser", "trained encoder"])
def test_a_checkpoint_that_lacks_weights_is_refused(kind, opened):
    from safetensors.torch import load_file, save_file

    folder, load = opened(kind)
    load()
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in sorted(weights) if name.endswith(("layer.0.SelfAttention.q.weight", "query.weight")))
    del weights[lost]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"no weights for {lost} \(1 missing\)"):
        load()


@pytest.mark.parametrize(
    ("made_in", "capability", "expected"),
    [
        ("bfloat16", (9, 0), torch.bfloat16),
        ("bfloat16", (7, 5), torch.float32),
        ("float16", (9, 0), torch.float16),
        (None, (9, 0), torch.float16),
    ],
)
def test_a_model_made_in_bfloat16_never_runs_in_float16_unasked(made_in, capability, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert resolve_dtype("auto", torch.device("cuda"), made_in=made_in) == expected
    assert resolve_dtype("auto", torch.device("cpu"), made_in=made_in) == torch.float32
    assert resolve_dtype("float16", torch.device("cuda"), made_in=made_in) == torch.float16


def test_the_checkpoint_says_what_it_was_made_in(tmp_path, word_tokenizer, save, monkeypatch):
    word_tokenizer(tmp_path)
    save(tmp_path, "AutoModelForSequenceClassification", num_labels=1).to(torch.bfloat16).save_pretrained(tmp_path)
    asked = []

    def watched(name, device, *, made_in=None):
        asked.append((name, made_in))
        return torch.float32

    monkeypatch.setattr("blender_core.models.devices.resolve_dtype", watched)
    CrossEncoderRanker.from_pretrained(tmp_path, device="cpu")
    assert ("auto", "bfloat16") in asked


@pytest.mark.parametrize("kind", LOADERS)
def test_pickled_weights_are_read_only_if_they_hold_nothing_but_tensors(kind, opened, tmp_path_factory):
    from safetensors.torch import load_file

    folder, load = opened(kind)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    load()
    mark = tmp_path_factory.mktemp("mark") / "ran"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(mark),)

    torch.save({**weights, "evil": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load()
    assert not mark.exists()


@pytest.mark.parametrize("kind", [*LOADERS, "metric fuser", "trained encoder"])
def test_a_checkpoint_that_costs_too_much_is_refused_before_it_is_built(kind, opened):
    folder, load = opened(kind)
    path = folder / "config.json"
    config = path.read_text()
    layers = next(name for name in ("num_hidden_layers", "num_layers") if name in json.loads(config))
    path.write_text(json.dumps({**json.loads(config), layers: 10**9}))
    with pytest.raises(CheckpointError, match="1,000,000,000 layers"):
        load()
    if kind != "trained encoder":
        # that one reads no tokenizer
        path.write_text(config)
        path = folder / "tokenizer.json"
        growing = {"type": "Replace", "pattern": {"String": "s"}, "content": "s" * 2_000}
        path.write_text(json.dumps({**json.loads(path.read_text()), "normalizer": growing}))
        with pytest.raises(CheckpointError, match="times as long"):
            load()


@pytest.mark.parametrize("kind", [*RANKING, GenFuser, BartScore])
def test_a_device_that_is_unknown_is_refused_before_anything_is_fetched(kind):
    with pytest.raises(ConfigurationError, match="'toaster'"):
        kind.from_pretrained("nobody/nothing", device="toaster")


def test_the_old_fuser_tells_a_missing_repository_from_a_damaged_folder(tmp_path):
    with pytest.raises(DownloadError, match="nobody/nothing cannot be loaded as a fuser"):
        Blender().loadfuser("nobody/nothing", device="cpu", cache_dir=str(tmp_path))


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
