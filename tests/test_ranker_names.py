"""A ranker by name, wherever a name goes: reward models, names that can never work, faults that pass."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from tiny_models import save_bert, save_reward_model, save_word_tokenizer
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
errors = pytest.importorskip("huggingface_hub.errors")
safetensors = pytest.importorskip("safetensors.torch")

from test_warm_up import FACES  # noqa: E402

from blender_core import Blender  # noqa: E402
from blender_core.cli.app import app  # noqa: E402
from blender_core.errors import CheckpointError, ConfigurationError, DownloadError, MissingExtraError  # noqa: E402
from blender_core.rag import GroundedRanker  # noqa: E402
from blender_core.rank import CombinedRanker, CrossEncoderRanker, resolve_ranker  # noqa: E402

ANSWERS = ["Apache", "No licence at all", "See the notice"]
MEMBERS = [lambda _question, text=text: text for text in ANSWERS]


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory):
    return str(save_reward_model(tmp_path_factory.mktemp("models") / "Tiny-Reward-Qwen3", "Qwen3", pad="tokenizer"))


@pytest.fixture(scope="module")
def best(reward_model):
    ranker = CrossEncoderRanker.from_pretrained(reward_model, device="cpu")
    return ANSWERS[ranker.rank("Which licence?", ANSWERS).best]


def answer_of(face, blend):
    if face == "LangChain":
        return blend.invoke("Which licence?").text
    return blend.complete("Which licence?").text if face == "LlamaIndex" else blend.blend("Which licence?").text


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("face", ["Blender", "LangChain", "LlamaIndex"])
def test_every_face_ranks_with_a_reward_model(face, kind, reward_model, best):
    assert answer_of(face, FACES[face](MEMBERS, ranker=kind(reward_model), fuser=None)) == best


def test_a_path_is_a_name_inside_other_rankers(reward_model):
    path = Path(reward_model)
    assert "Tiny-Reward-Qwen3" in repr(CombinedRanker(["longest", path]))
    assert GroundedRanker(path).name == "grounded-Tiny-Reward-Qwen3"
    assert "Tiny-Reward-Qwen3" in repr(Blender(MEMBERS, ranker=path))


def test_the_name_of_a_reward_model_is_shown(reward_model):
    result = Blender(MEMBERS, ranker=reward_model, fuser=None).blend("Which licence?")
    assert (result.ranking.ranker, result.degraded) == ("Tiny-Reward-Qwen3", ())


def test_the_command_line_ranks_with_a_reward_model(reward_model, best, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"instruction": "Which licence?", "candidates": ANSWERS}), encoding="utf-8")
    ran = CliRunner().invoke(app, ["rank", str(rows), "--ranker", reward_model, "--json"])
    assert json.loads(ran.stdout)["candidates"][0]["text"] == best


def test_the_config_says_which_kind_a_folder_holds(pairrm_folder, reward_model, tmp_path):
    save_word_tokenizer(tmp_path)
    save_bert(tmp_path, "AutoModelForSequenceClassification", num_labels=1)
    kinds = [type(resolve_ranker(str(folder))).__name__ for folder in (pairrm_folder, reward_model, tmp_path)]
    assert kinds == ["PairRanker", "CrossEncoderRanker", "CrossEncoderRanker"]


def empty(folder):
    """An empty folder."""


def a_reader_of_other_things(folder):
    save_bert(folder, "AutoModelForMaskedLM")


def a_model_with_code(folder):
    config = {"architectures": ["OwnRewardModel"], "auto_map": {"AutoModel": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))


def a_kind_with_code(folder):
    config = {"architectures": ["OwnForSequenceClassification"], "auto_map": {"AutoModel": "own.Model"}}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own", "num_labels": 1}))


def without_tokenizer(folder):
    save_bert(folder, "AutoModelForSequenceClassification", num_labels=1)


def without_its_tokenizer_file(folder):
    save_reward_model(folder, "Qwen3", pad="tokenizer")
    (folder / "tokenizer.json").unlink()


def without_head(folder):
    save_reward_model(folder, "Qwen3", pad="tokenizer")
    weights = safetensors.load_file(folder / "model.safetensors")
    weights.pop("score.weight")
    safetensors.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("fill", "problem"),
    [
        (a_kind_with_code, "a checkpoint's own code is never run"),
        (without_tokenizer, "there is no tokenizer.json in the folder"),
        (without_its_tokenizer_file, "there is no tokenizer.json that fits it"),
        (without_head, "no weights for score.weight"),
    ],
)
def test_a_folder_that_cannot_be_loaded_is_told_in_one_line(fill, problem, tmp_path, capfd, caplog):
    fill(tmp_path)
    capfd.readouterr()
    with pytest.raises(CheckpointError, match=problem) as caught:
        Blender(MEMBERS, ranker=tmp_path, fuser=None).blend("Which licence?")
    assert "\n" not in str(caught.value)
    assert "huggingface.co" not in str(caught.value)
    assert not [record for record in caplog.records if record.name.startswith("transformers")]
    assert capfd.readouterr().err == ""


def a_torn_file(folder):
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    ("fill", "problem"),
    [
        (empty, "no config.json"),
        (a_reader_of_other_things, "BertForMaskedLM, which has no head"),
        (a_model_with_code, "OwnRewardModel.*Code of its own is never run"),
        (a_torn_file, "is not JSON"),
    ],
)
def test_a_folder_that_no_ranker_reads_is_refused_when_the_blend_is_made(face, fill, problem, tmp_path):
    fill(tmp_path)
    with pytest.raises((CheckpointError, ValueError), match=problem):
        FACES[face](MEMBERS, ranker=str(tmp_path)).members  # noqa: B018


@pytest.mark.parametrize("name", ["embeded", "./no/such/folder", "/no/folder", "no/such/folder", "./folder"])
def test_a_name_that_is_none_is_refused_when_the_blend_is_made(name):
    with pytest.raises(ConfigurationError, match="no ranker is called"):
        Blender(MEMBERS, ranker=name)


@pytest.mark.parametrize("name", ["reward-head", "some/reward-model"])
def test_a_missing_extra_is_told_when_the_blend_is_made(name, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"blended-llm\[torch\]"):
        Blender(MEMBERS, ranker=name)


REQUEST = httpx.Request("GET", "https://hub.example/some/model")
LASTING = [
    errors.RepositoryNotFoundError("404", response=httpx.Response(404, request=REQUEST)),
    errors.GatedRepoError("403", response=httpx.Response(403, request=REQUEST)),
]
PASSING = [
    errors.LocalEntryNotFoundError("the hub does not answer"),
    httpx.ConnectError("no route"),
    TimeoutError("slow"),
]


@pytest.mark.parametrize("error", [*LASTING, *PASSING], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_name_that_the_hub_does_not_know_raises_and_a_lost_connection_does_not(error, streamed, monkeypatch):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    blender = Blender(MEMBERS, ranker="some/model", fuser=None)

    def call():
        return list(blender.stream("Which?"))[-1].result if streamed else blender.blend("Which?")

    if error in LASTING:
        with pytest.raises(DownloadError, match="some/model"):
            call()
    else:
        (problem,) = call().degraded
        assert "some/model" in problem
        assert "ranked by agreement in words" in problem


def test_a_model_that_is_not_in_the_cache_of_an_offline_machine_raises(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="nobody/typo"):
        Blender(MEMBERS, ranker="nobody/typo", fuser=None).blend("Which licence?")
