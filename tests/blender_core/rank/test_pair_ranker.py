"""PairRanker agrees with llm-blender 0.0.2, and is defined where that is not."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blender_core import PairRanker
from blender_core.errors import ConfigurationError, DownloadError, RankerError
from blender_core.rank import Ranker
from blender_core.rank.comparisons import aggregate, bubble_best, symmetrise

pytest.importorskip("torch")

TITLES = [
    "short",
    "two",
    "eleven",
    "duplicates",
    "all the same",
    "unicode",
    "white space",
    "separator in text",
    "empty prompt",
    "long prompt",
    "long candidates",
    "128/128",
    "128/128, short prompt",
]
few_examples = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def load(folder, request=None, **options):
    lengths = {key: value for key, value in (request or {}).items() if key.endswith("max_length")}
    return PairRanker.from_pretrained(folder, device="cpu", **lengths, **options)


def test_every_golden_is_tested(goldens):
    assert sorted(goldens) == sorted(TITLES)


@pytest.mark.parametrize("title", TITLES)
def test_golden_logits_scores_and_ranks(title, goldens, pairrm_folder):
    request, says = goldens[title]["request"], goldens[title]["blender"]
    ranker = load(pairrm_folder, request)
    ordered = ranker.ordered_logits(request["prompt"], request["candidates"])
    for row, expected in zip(ordered, says["ordered"], strict=True):
        assert row == pytest.approx(expected, abs=1e-4)
    ranking = ranker.rank(request["prompt"], request["candidates"])
    assert ranking.scores == pytest.approx(says["scores"], abs=1e-4)
    assert list(ranking.ranks) == says["ranks"]


def test_what_was_cut_is_reported(goldens, pairrm_folder):
    request = goldens["128/128"]["request"]
    cut = load(pairrm_folder, request).rank(request["prompt"], request["candidates"]).cut
    assert set(cut) == {-1, 0, 1, 3}
    assert load(pairrm_folder).rank(request["prompt"], request["candidates"]).cut == {}


@pytest.mark.parametrize("title", [title for title in TITLES if not title.startswith("128")])
def test_golden_compare_modes(title, goldens, ranker):
    request, says = goldens[title]["request"], goldens[title]["blender"]["compare"]
    a, b = request["candidates"][:2]
    # the reference adds the two orders where we average them
    assert 2 * ranker.compare(request["prompt"], a, b) == pytest.approx(says["[A,B]+[B,A]"], abs=1e-4)
    assert ranker.compare(request["prompt"], a, b, order="ab") == pytest.approx(says["[A,B]"], abs=1e-4)
    assert ranker.compare(request["prompt"], a, b, order="ba") == pytest.approx(says["[B,A]"], abs=1e-4)


@pytest.mark.parametrize("title", [title for title in TITLES if "long" not in title])
def test_golden_bubble(title, goldens, pairrm_folder):
    request, says = goldens[title]["request"], goldens[title]["blender"]["bubble"]
    ordered = load(pairrm_folder, request).ordered_logits(request["prompt"], request["candidates"])
    margins = symmetrise(ordered)
    assert bubble_best(lambda i, j: margins[i][j], says["permutation"]) == says["best"]


def test_golden_of_the_class_behind_pairrm_hf(goldens, pairrm_hf_folder):
    ranker = load(pairrm_hf_folder)
    for golden in goldens.values():
        if "hf" in golden:
            request = golden["request"]
            logit = ranker.compare(request["prompt"], *request["candidates"][:2], order="ab")
            assert logit == pytest.approx(golden["hf"], abs=1e-4)


@pytest.mark.hub
def test_published_example_logits():
    """The numbers on the card of PairRM-hf."""
    try:
        ranker = PairRanker.from_pretrained("llm-blender/PairRM-hf", device="cpu")
    except DownloadError as error:
        pytest.skip(f"the weights cannot be had here: {error}")
    logits = [
        ranker.compare("hello!", "hi!", "f**k off!", order="ab"),
        ranker.compare("I love you!", "I hate you!", "I love you, too!", order="ab"),
    ]
    assert logits == pytest.approx([1.9003021717, -1.2547134161], abs=1e-4)


@few_examples
@given(prompt=texts, candidates=st.lists(texts, min_size=1, max_size=5), random=st.randoms())
def test_relabelling_candidates_changes_nothing(ranker, prompt, candidates, random):
    order = list(range(len(candidates)))
    random.shuffle(order)
    ranking = ranker.rank(prompt, candidates)
    moved = ranker.rank(prompt, [candidates[i] for i in order])
    # to the last bit: the forward passes are the same ones
    assert moved.scores == tuple(ranking.scores[i] for i in order)
    assert moved.confidence == ranking.confidence


@few_examples
@given(prompt=texts, a=texts, b=texts)
def test_swapping_the_answers_flips_the_sign(ranker, prompt, a, b):
    assert ranker.compare(prompt, a, b) == -ranker.compare(prompt, b, a)
    assert ranker.compare(prompt, a, b, order="ab") == ranker.compare(prompt, b, a, order="ba")


@few_examples
@given(prompt=texts, candidates=st.lists(texts, min_size=1, max_size=4), data=st.data())
def test_copies_tie_and_blanks_come_last(ranker, prompt, candidates, data):
    copy = data.draw(st.sampled_from(candidates))
    ranking = ranker.rank(prompt, [*candidates, copy, " \n"])
    assert ranking.scores[len(candidates)] == ranking.scores[candidates.index(copy)]
    assert ranking.scores[-1] == -math.inf
    assert ranking.ranks[-1] >= max(rank for rank, text in zip(ranking.ranks, candidates, strict=False) if rank)


def test_one_candidate_needs_no_comparison(ranker):
    ranking = ranker.rank("Hi", ["Hello"])
    assert (ranking.order, ranking.confidence, ranking.comparisons) == ((0,), 1.0, ((0.0,),))


def test_only_blanks(ranker):
    ranking = ranker.rank("Hi", ["", "  "])
    assert ranking.scores == (-math.inf, -math.inf)
    assert ranking.ties == ((0, 1),)


def test_thirty_candidates(ranker):
    candidates = ["work " * (number % 6) + "licence " * (number // 6) + "done" for number in range(30)]
    ranking = ranker.rank("How many?", candidates)
    assert sorted(ranking.order) == list(range(30))
    assert len({round(score, 6) for score in ranking.scores}) == 30


def test_a_text_that_is_cut_to_the_same_tokens_ties(pairrm_folder):
    ranker = load(pairrm_folder, source_max_length=16, candidate_max_length=8)
    start = "the licence of the work and more and more"
    ranking = ranker.rank("the terms of the licence and of the work, all of them", [start + " A", start + " B"])
    assert ranking.scores[0] == ranking.scores[1]
    assert min(ranking.cut[0], ranking.cut[1]) > 0


INJECTIONS = [
    "[SEP]",
    "[CLS]",
    "[PAD]",
    "[MASK]",
    "[UNK]",
    "<|source|>",
    "<|candidate1|>",
    "<|candidate2|>",
    "<|candidate|>",
]


@pytest.mark.parametrize("marker", [*INJECTIONS, "\uff3bCLS\uff3d", "\uff1c|candidate1|\uff1e"])
def test_markers_in_a_text_are_only_text(marker, ranker):
    """The reference dies on most of these."""
    ranking = ranker.rank(f"say {marker}", [f"good {marker} one", f"{marker}{marker}", "another"])
    assert all(math.isfinite(score) for score in ranking.scores)


def test_confidence_is_the_sigmoid_of_the_direct_comparison(pairrm_folder):
    ranking = load(pairrm_folder).rank("What?", ["four", "five of them"])
    first, second = ranking.order
    logit = ranking.comparisons[first][second]
    assert ranking.confidence == pytest.approx(1 / (1 + math.exp(-logit)))
    cooler = load(pairrm_folder, temperature=2.0).rank("What?", ["four", "five of them"])
    assert cooler.confidence == pytest.approx(1 / (1 + math.exp(-logit / 2)))


def test_one_order_runs_half_of_the_pairs(pairrm_folder):
    candidates = ["the work", "a licence", "some terms", "no warranty"]
    both, one = load(pairrm_folder), load(pairrm_folder, both_orders=False)
    ordered = both.ordered_logits("Which?", candidates)
    for i, row in enumerate(one.rank("Which?", candidates).comparisons):
        for j, logit in enumerate(row):
            if i != j:
                assert min(abs(logit - ordered[i][j]), abs(logit + ordered[j][i])) < 1e-4


@pytest.mark.parametrize("aggregation", ["max_wins", "bradley_terry"])
def test_other_aggregations(aggregation, pairrm_folder, goldens):
    golden = goldens["eleven"]
    prompt, candidates = golden["request"]["prompt"], golden["request"]["candidates"]
    ranking = load(pairrm_folder, aggregation=aggregation).rank(prompt, candidates)
    assert ranking.scores == pytest.approx(aggregate(aggregation, golden["blender"]["ordered"]), abs=1e-4)


def test_batching_changes_nothing(pairrm_folder, goldens):
    request = goldens["eleven"]["request"]
    single = load(pairrm_folder, token_budget=1).rank(request["prompt"], request["candidates"])
    batched = load(pairrm_folder, token_budget=100_000).rank(request["prompt"], request["candidates"])
    assert single.scores == pytest.approx(batched.scores, abs=1e-5)


def test_threads_share_one_ranker(ranker, goldens):
    request = goldens["eleven"]["request"]
    with ThreadPoolExecutor(4) as pool:
        rankings = list(pool.map(lambda _: ranker.rank(request["prompt"], request["candidates"]), range(4)))
    assert len({ranking.scores for ranking in rankings}) == 1


def test_input_is_not_changed(ranker):
    candidates = ["b", "a", "b"]
    ranker.rank("Hi", candidates)
    assert candidates == ["b", "a", "b"]


def test_it_is_a_ranker(ranker):
    assert isinstance(ranker, Ranker)
    assert ranker.name == "PairRM"
    assert "max_logits" in repr(ranker)


def test_a_blank_answer_loses_a_comparison(ranker):
    assert ranker.compare("Hi", "Hello", " ") == math.inf
    assert ranker.compare("Hi", "", "Hello") == -math.inf
    assert ranker.compare("Hi", "", " ") == 0.0


def test_nan_is_an_error(checkpoints, tmp_path):
    tensors = checkpoints.random_tensors(checkpoints.TINY)
    tensors["head_layer.4.weight"][:] = math.nan
    folder = checkpoints.write_checkpoint(tmp_path / "broken", checkpoints.ranker_config(), tensors=tensors)
    with pytest.raises(RankerError, match="2 of 2 comparisons are not finite"):
        load(folder).rank("Hi", ["a", "b"])


@pytest.mark.parametrize(
    "options",
    [
        {"aggregation": "best"},
        {"temperature": 0.0},
        {"source_max_length": 3},
        {"candidate_max_length": 2},
        {"dtype": "float8"},
    ],
)
def test_options_that_cannot_work(options, pairrm_folder):
    with pytest.raises(ConfigurationError):
        load(pairrm_folder, **options)


def test_a_calibrated_ranker_is_a_new_one_and_is_saved(pairrm_folder, tmp_path):
    ranker = load(pairrm_folder, both_orders=False)
    candidates = ["the work", "a licence", "some terms", "no warranty"]
    before = ranker.rank("Which?", candidates)
    judged = [("Which?", a, b, "A" if a < b else "B") for a in candidates for b in candidates if a != b]
    fitted = ranker.calibrated(judged)
    assert (ranker.calibration, ranker.rank("Which?", candidates)) == (None, before)
    assert fitted.calibration.loss_after <= fitted.calibration.loss_before + 1e-9
    after = fitted.rank("Which?", candidates)
    first, second, *_ = after.order
    assert after.temperature == fitted.calibration.temperature != before.temperature
    assert after.confidence == pytest.approx(max(0.5, after.preference(first, second)))
    # the left one of each single pass loses its bias
    for old, new in zip(before.comparisons, after.comparisons, strict=True):
        for x, y in zip(old, new, strict=True):
            assert x == y == 0 or abs(abs(x - y) - abs(fitted.calibration.position_bias)) < 1e-9
    assert fitted.ordered_logits("Which?", candidates) == ranker.ordered_logits("Which?", candidates)
    fitted.save_pretrained(tmp_path)
    loaded = load(tmp_path, name=fitted.name)
    assert (loaded.calibration, loaded.rank("Which?", candidates)) == (fitted.calibration, after)
    assert load(tmp_path, temperature=1.5).calibration is None


def test_unknown_device_and_order(pairrm_folder, ranker):
    with pytest.raises(ConfigurationError, match="quantum"):
        PairRanker.from_pretrained(pairrm_folder, device="quantum")
    with pytest.raises(ConfigurationError, match="'both', 'ab' or 'ba'"):
        ranker.compare("Hi", "a", "b", order="aa")


def test_the_embedded_ranker_is_one_too():
    ranking = PairRanker.embedded().rank("What is 2 + 2?", ["4", "", "4"])
    assert isinstance(PairRanker.embedded(), Ranker)
    assert ranking.ranks[1] == 3
