"""Measuring rankers, on made sets whose numbers can be worked out by hand."""

from __future__ import annotations

import gzip
import json
import math
import subprocess
import sys

import pytest
from rich.console import Console
from typer.testing import CliRunner

from blender_core import Ranking
from blender_core.cli.app import app
from blender_core.errors import ConfigurationError
from blender_core.rank.baselines import LongestRanker
from blender_core.rank.embedding_rankers import EmbeddingConsensusRanker
from blender_lab.data.fact_swaps import fact_swap_records
from blender_lab.evaluate.ranker import evaluate_ranker
from blender_lab.evaluate.statistics import wilson_interval


class Shortest:
    name = "shortest"

    def rank(self, prompt, candidates):
        return Ranking.from_scores([-len(text) for text in candidates], ranker=self.name)


class First:
    """Prefers what stands on the left, whatever it says."""

    name = "first"

    def rank(self, prompt, candidates):
        scores = [float(-place) for place in range(len(candidates))]
        return Ranking.from_scores(scores, ranker=self.name, confidence=0.8)


class LeftLeaning:
    """Reads pairs: the logit of length, and 2.5 for whatever is on the left."""

    name = "left-leaning"

    def __init__(self, position_bias=0.0):
        self.position_bias = position_bias

    def ordered_logits(self, prompt, candidates):
        return [[0.0 if a is b else len(a) - len(b) + 2.5 for b in candidates] for a in candidates]

    def rank(self, prompt, candidates):
        scores = [float(len(text)) for text in candidates]
        return Ranking.from_scores(scores, ranker=self.name, confidence=0.9)


def pair(first, second, label):
    return {
        "id": "1",
        "source": "s",
        "instruction": "p",
        "candidates": [{"text": first}, {"text": second}],
        "comparisons": [[0, 1, label]],
    }


def blend(*scored, source="s"):
    return {
        "id": "1",
        "source": source,
        "instruction": "p",
        "candidates": [{"model": model, "text": text, "score": score} for model, text, score in scored],
        "comparisons": [],
    }


def write(folder, name, records):
    (folder / "eval").mkdir(exist_ok=True)
    with gzip.open(folder / "eval" / f"{name}.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


@pytest.fixture
def data(tmp_path):
    write(
        tmp_path,
        "hhh",
        [pair("aaaa", "b", "A"), pair("a", "bbbb", "B"), pair("a", "bbb", "A"), pair("aa", "b", "tie")],
    )
    write(
        tmp_path,
        "blend_open11",
        [
            blend(("x", "long text", 0.2), ("y", "short", 0.8), ("z", "mid text", 0.5)),
            blend(("x", "long text again", 0.6), ("y", "short", 0.4)),
            blend(("y", "no score", None)),
        ],
    )
    return tmp_path


def test_pair_numbers(data):
    longest = evaluate_ranker(LongestRanker(), data, sets=["hhh"]).pairs[0]
    assert (longest.pairs, longest.ties, longest.shorter_pairs) == (3, 1, 1)
    assert longest.accuracy == longest.longer == pytest.approx(2 / 3)
    assert longest.shorter_accuracy == 0.0
    shortest = evaluate_ranker(Shortest(), data, sets=["hhh"]).pairs[0]
    assert shortest.accuracy == pytest.approx(1 / 3)
    assert shortest.shorter_accuracy == 1.0
    assert shortest.low < shortest.accuracy < shortest.high


def test_equal_scores_count_half(tmp_path):
    write(tmp_path, "hhh", [pair("aa", "bb", "A"), pair("aa", "bb", "B")])
    row = evaluate_ranker(LongestRanker(), tmp_path).pairs[0]
    assert row.accuracy == row.longer == 0.5
    assert math.isnan(row.shorter_accuracy)


def test_verdicts_in_both_orders(data):
    # one that looks at the text alone says the same in both orders, one that looks at the place never does
    assert evaluate_ranker(LongestRanker(), data, sets=["hhh"]).pairs[0].consistency == 1.0
    assert evaluate_ranker(First(), data, sets=["hhh"]).pairs[0].consistency == 0.0


def test_a_single_pass_beside_both_orders(tmp_path):
    # the longer one is right, by 4, 2, 1 and 4 characters; a bias of 2.5 overrides the 2 and the 1, on the right
    sets = [pair("aaaaa", "b", "A"), pair("a", "bbb", "B"), pair("a", "bb", "B"), pair("a", "bbbbb", "B")]
    write(tmp_path, "hhh", sets)
    raw = evaluate_ranker(LeftLeaning(), tmp_path).pairs[0]
    assert raw.accuracy == 1.0
    assert raw.one_order_accuracy == 0.5
    assert raw.consistency == 0.5
    unbiased = evaluate_ranker(LeftLeaning(position_bias=2.5), tmp_path).pairs[0]
    assert unbiased.one_order_accuracy == 1.0
    assert unbiased.consistency == 0.5  # what the network says, not what is made of it
    assert math.isnan(evaluate_ranker(LongestRanker(), tmp_path).pairs[0].one_order_accuracy)


def test_calibration_error_of_the_confidence(data):
    # always 0.9, right on two of three
    row = evaluate_ranker(LeftLeaning(), data, sets=["hhh"]).pairs[0]
    assert row.calibration_error == pytest.approx(0.9 - 2 / 3)
    assert math.isnan(evaluate_ranker(LongestRanker(), data, sets=["hhh"]).pairs[0].calibration_error)


def test_embedding_consensus_beside_the_pick(data):
    def letters(texts):
        return [[text.count(letter) + 0.01 for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]

    agreement = EmbeddingConsensusRanker(letters)
    row = evaluate_ranker(Shortest(), data, sets=["blend_open11"], embedding_consensus=lambda: agreement).blends[0]
    assert row.embedding_consensus == pytest.approx((0.2 + 0.6) / 2)  # "long text" shares most with the others
    assert row.picked == pytest.approx((0.8 + 0.4) / 2)
    own = evaluate_ranker(agreement, data, sets=["blend_open11"], embedding_consensus=lambda: agreement).blends[0]
    assert own.picked == own.embedding_consensus == row.embedding_consensus


@pytest.mark.parametrize("agreement", [None, lambda: None])
def test_without_embedding_consensus(data, agreement):
    row = evaluate_ranker(Shortest(), data, sets=["blend_open11"], embedding_consensus=agreement).blends[0]
    assert math.isnan(row.embedding_consensus)


def test_embedding_consensus_is_made_for_blend_sets_alone(data):
    def never():
        raise AssertionError("a pair set has no agreement")

    assert evaluate_ranker(Shortest(), data, sets=["hhh"], embedding_consensus=never).pairs
    with pytest.raises(ConfigurationError, match="unknown"):
        evaluate_ranker(Shortest(), data, sets=["blend_open11", "nonsense"], embedding_consensus=never)


def test_blend_numbers(data):
    row = evaluate_ranker(Shortest(), data, sets=["blend_open11"]).blends[0]
    assert row.prompts == 2
    assert row.candidates == 2.5
    assert row.picked == pytest.approx((0.8 + 0.4) / 2)
    assert row.longest == pytest.approx((0.2 + 0.6) / 2)
    assert row.random == pytest.approx((0.5 + 0.5) / 2)
    assert row.oracle == pytest.approx((0.8 + 0.6) / 2)
    assert (row.best_member, row.best_single) == ("y", pytest.approx(0.6))


def test_only_the_named_source_of_a_set_counts(tmp_path):
    records = [blend(("m", "a", 1.0), source="alpacaeval_bon_tulu2dpo13b"), blend(("m", "a", 0.0), source="other")]
    write(tmp_path, "blend_alpacaeval", records)
    assert evaluate_ranker(Shortest(), tmp_path).blends[0].picked == 1.0


def test_limit_and_progress(data):
    seen = []
    numbers = evaluate_ranker(LongestRanker(), data, limit=1, progress=seen.append)
    assert seen == ["hhh", "fact_swap", "fact_swap_sums", "blend_open11"]
    assert numbers.pairs[0].pairs == numbers.blends[0].prompts == 1
    assert json.loads(json.dumps(numbers.to_dict()))["ranker"] == "longest"


def test_fact_swaps_need_no_data(tmp_path):
    """A ranker that knows the facts is right, whatever the sentence; the longer answer is right half of the time."""
    facts = {(one.prompt, one.candidates[0]) for one in fact_swap_records(held_out=True, per_relation=100, seed=1)}

    class Knowing:
        name = "knowing"

        def rank(self, prompt, candidates):
            return Ranking.from_scores([float((prompt, text) in facts) for text in candidates], ranker=self.name)

    first, sums = evaluate_ranker(Knowing(), tmp_path, sets=["fact_swap", "fact_swap_sums"]).pairs
    assert (first.pairs, sums.pairs) == (300, 100)
    assert first.accuracy == 1.0
    longest = evaluate_ranker(LongestRanker(), tmp_path, sets=["fact_swap"]).pairs[0]
    assert longest.low < 0.5 < longest.high


def test_missing_sets(tmp_path, data):
    with pytest.raises(ConfigurationError, match="no evaluation sets"):
        evaluate_ranker(LongestRanker(), data / "eval")
    with pytest.raises(ConfigurationError, match="unknown"):
        evaluate_ranker(LongestRanker(), data, sets=["nonsense"])
    with pytest.raises(ConfigurationError, match="none of"):
        evaluate_ranker(LongestRanker(), data, sets=["llmbar"])
    (tmp_path / "empty" / "eval").mkdir(parents=True)
    # sets that code makes are measured if they are named
    with pytest.raises(ConfigurationError, match="ask for fact_swap or fact_swap_sums, which need none"):
        evaluate_ranker(LongestRanker(), tmp_path / "empty")
    with pytest.raises(ConfigurationError, match="limit is 0"):
        evaluate_ranker(LongestRanker(), data, limit=0)


def test_tables_show_the_numbers(data):
    numbers = evaluate_ranker(LongestRanker(), data)
    console = Console(width=160, record=True, quiet=True)
    with console.capture() as capture:
        console.quiet = False
        console.print(numbers.pair_table(), numbers.blend_table())
    text = capture.get()
    assert "66.7" in text
    assert "0.600 y" in text
    page = numbers._repr_html_()
    assert page.count("<table>") == 2
    assert "66.7" in page


def test_tables_show_names_as_they_are(tmp_path):
    write(tmp_path, "blend_open11", [blend(("m[/4bit]", "a", 1.0), ("n", "bb", 0.0))])
    ranker = Shortest()
    ranker.name = "mine[q4]"
    console = Console(width=160)
    with console.capture() as capture:
        console.print(evaluate_ranker(ranker, tmp_path).blend_table())
    assert "m[/4bit]" in capture.get()
    assert "mine[q4]" in capture.get()


def test_tables_hold_no_nan(tmp_path):
    write(tmp_path, "blend_open11", [blend(("m", "a", 1.0), ("n", "bb", 0.0))])
    write(tmp_path, "blend_zeroeval", [blend(("m", "a", None))])
    console = Console(width=160)
    with console.capture() as capture:
        console.print(evaluate_ranker(Shortest(), tmp_path).blend_table())
    assert "nan" not in capture.get()
    assert "1.000" in capture.get()


def test_wilson_interval():
    low, high = wilson_interval(1.0, 20)
    assert high == 1.0
    assert 0.8 < low < 0.9
    assert wilson_interval(0.0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("right", "count"), [(0, 1), (1, 2), (13, 20), (20, 20), (999, 2000)])
def test_wilson_interval_is_that_of_scipy(right, count):
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.binomtest(right, count).proportion_ci(method="wilson")
    assert wilson_interval(right / count, count) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_the_data_folder_has_to_be_named(monkeypatch):
    monkeypatch.delenv("BLENDER_DATA", raising=False)
    done = CliRunner().invoke(app, ["eval", "ranker", "--ranker", "longest"])
    assert done.exit_code == 2
    assert "--data" in done.stderr
    assert "BLENDER_DATA" in done.stderr


@pytest.mark.slow
def test_command_line(data):
    command = [sys.executable, "-m", "blender_core.cli", "eval", "ranker", "--data", str(data), "--ranker", "longest"]
    command.append("--no-embedding-consensus")
    table, numbers = (
        subprocess.run([*command, *how], check=True, capture_output=True, text=True).stdout for how in ([], ["--json"])
    )
    assert "hhh" in table
    assert json.loads(numbers)["pairs"][0]["name"] == "hhh"
    assert json.loads(numbers)["blends"][0]["embedding_consensus"] is None


def evaluated(data, *more):
    command = ["eval", "ranker", "--data", str(data), "--ranker", "longest", "--json", *more]
    return CliRunner().invoke(app, command)


def test_the_command_measures_embedding_consensus(tmp_path):
    texts = ["The capital of France is Paris.", "Paris is France's capital city.", "I like to eat bread with butter."]
    answers = [(str(place), text, 0.5 if place < 2 else 0.0) for place, text in enumerate(texts)]
    write(tmp_path, "blend_open11", [blend(*answers)])
    done = evaluated(tmp_path)
    assert done.exit_code == 0, done.output
    row = json.loads(done.stdout)["blends"][0]
    assert (row["picked"], row["embedding_consensus"]) == (0.0, 0.5)
