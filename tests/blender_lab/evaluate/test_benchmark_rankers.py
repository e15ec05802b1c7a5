"""Rankers by name, for a benchmark."""

from __future__ import annotations

import json

import pytest

from blender_core.errors import BlendError, ConfigurationError
from blender_core.rank.registry import resolve_ranker
from blender_core.testing.scripted_server import ScriptedServer
from blender_lab.evaluate.benchmark_rankers import MODEL_RANKERS, benchmark_rankers

PROMPT = "sun moon star"
CANDIDATES = ["sea hill tree bird", "moon", "salt salt"]


def test_names_are_those_asked_for_once_and_in_order():
    found = benchmark_rankers(["longest", "consensus", "longest"])
    assert list(found) == ["longest", "consensus"]
    assert found["longest"] is resolve_ranker("longest")


@pytest.mark.parametrize("kind", MODEL_RANKERS)
@pytest.mark.parametrize("end", ["", ":"])
def test_a_ranker_without_its_model(kind, end):
    with pytest.raises(ConfigurationError, match=f"needs a model; write {kind}:"):
        benchmark_rankers([kind + end])


def test_a_folder_may_be_called_like_a_kind(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    (tmp_path / "judge").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BlendError, match=r"config\.json"):
        benchmark_rankers(["judge"])


def test_an_unknown_name():
    with pytest.raises(ConfigurationError, match="no ranker is called 'best'"):
        benchmark_rankers(["best"])


@pytest.mark.parametrize(
    ("kind", "network", "settings"),
    [
        ("cross-encoder", "AutoModelForSequenceClassification", {"num_labels": 1}),
        ("mlm-scoring", "AutoModelForMaskedLM", {}),
    ],
)
def test_a_model_behind_a_colon(kind, network, settings, tmp_path, word_tokenizer, save):
    pytest.importorskip("transformers")
    word_tokenizer(tmp_path)
    save(tmp_path, network, **settings)
    name = f"{kind}:{tmp_path}"
    ranking = benchmark_rankers([name])[name].rank(PROMPT, CANDIDATES)
    assert ranking.ranker == kind
    assert len(set(ranking.scores)) == 3
    assert not ranking.cut
    assert benchmark_rankers([name], max_tokens=8)[name].rank(PROMPT, CANDIDATES).cut


def test_a_judge_behind_an_endpoint(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with ScriptedServer({"small": ["Better: A", "Better: B"]}) as server:
        name = f"judge:{server.base_url}:small"
        ranking = benchmark_rankers([name])[name].rank(PROMPT, CANDIDATES[:2])
    assert len(server.requests) == 2
    assert all(request["max_tokens"] == 256 and request["temperature"] == 0.0 for request in server.requests)
    assert "sea hill tree bird" in json.dumps(server.requests)
    # the calls come in any order, so either answer may win both times; unread verdicts would leave 0
    assert ranking.scores[0] == -ranking.scores[1]
    assert abs(ranking.scores[0]) > 1.0
