"""`blended-llm rate`, and the priors that `ask` and `rank` take."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from blender_core import Blender, MemberPrior, as_member
from blender_core.cli.app import app
from blender_core.local import MODELS
from blender_core.rank.rating_gain import measure_ratings
from blender_core.testing import FakeMember, FakeRanker
from blender_core.testing.scripted_server import Reply
from blender_core.types.ranking import Ranking

pytestmark = pytest.mark.usefixtures("no_key")

MEMBERS = ("long", "short")


def run(*arguments, stdin=None):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def row(number, **more):
    candidates = [{"model": "long", "text": f"a long answer {number}"}, {"model": "short", "text": f"brief {number}"}]
    return {"instruction": f"Question {number}?", "candidates": candidates, **more}


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row(number)) + "\n" for number in range(4)), encoding="utf-8")
    return path


@pytest.fixture
def rate(prompts, tmp_path):
    """Rates the prompts with keys; returns the run and the prior."""

    def rated(keys, *arguments):
        out = tmp_path / "prior.json"
        done = run(
            "rate", prompts, "--ranker", "longest", "--out", out, *arguments, stdin="".join(f"{k}\n" for k in keys)
        )
        return done, MemberPrior.load(out) if out.exists() else MemberPrior()

    return rated


def letters_of(shown, answer):
    """The letters under which an answer was shown, in the order of the prompts."""
    lines = shown.splitlines()
    return [
        lines[place - 1].split()[1] for place, line in enumerate(lines) if answer in line and "─" in lines[place - 1]
    ]


def test_answers_are_shown_blind_and_shuffled_and_the_best_one_is_kept(rate):
    shown, _ = rate("ssss")
    assert shown.exit_code == 0
    assert "short" not in shown.stderr
    letters = letters_of(shown.stderr, "brief")
    assert sorted(set(letters)) == ["A", "B"]
    done, prior = rate(letters)
    assert prior.strongest_first(MEMBERS) == ("short", "long")
    assert "would now pick: short 4 of 4 rated prompts; strongest: short, long" in done.stderr
    assert "4 prompts rated now, 4 in" in done.stdout
    assert all(prior.is_rated(f"Question {number}?", MEMBERS) for number in range(4))


def test_a_rated_prompt_is_not_shown_again_and_a_session_resumes(rate):
    first, _ = rate("tq")
    assert "Question 0?" in first.stderr
    second, prior = rate("n")
    assert "Question 0?" not in second.stderr
    assert "Question 1?" in second.stderr
    assert [prior.is_rated(f"Question {number}?", MEMBERS) for number in range(4)] == [True, True, False, False]
    assert prior.strengths() == {}


def test_undo_takes_the_last_rating_back(rate):
    done, prior = rate("uauuq")
    assert done.stderr.count("nothing to undo") == 2
    assert prior.to_dict()["rated"] == {}
    _, prior = rate("auttq")
    assert [prior.is_rated(f"Question {number}?", MEMBERS) for number in range(4)] == [True, True, False, False]


def test_a_key_that_is_none_is_asked_again_and_limit_ends(rate):
    done, prior = rate(["?", "", "Z", "t", "t"], "--limit", "1")
    assert "'z' is none of the keys" in done.stderr
    assert len(prior.to_dict()["rated"]) == 1


def _is_raw(terminal):
    import termios

    return not termios.tcgetattr(terminal)[3] & termios.ICANON


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_gives_single_keys(prompts, tmp_path):
    ours, theirs = os.openpty()
    out = tmp_path / "prior.json"
    command = [sys.executable, "-m", "blender_core.cli", "rate", str(prompts), "--ranker", "longest", "--out", str(out)]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        os.close(theirs)
        keys, told = iter("atq"), ""
        for line in process.stderr:
            told += line
            if line.startswith("best: "):
                # a terminal drops what is typed before a key is awaited
                key, waited = next(keys).encode(), 0
                while process.poll() is None and not _is_raw(ours) and waited < 1000:
                    time.sleep(0.01)
                    waited += 1
                os.write(ours, key)
    os.close(ours)
    assert process.returncode == 0, told
    assert len(MemberPrior.load(out).to_dict()["rated"]) == 2


def test_equal_answers_are_shown_once_and_rated_alike(tmp_path, rate, prompts):
    candidates = [{"model": name, "text": text} for name, text in zip("abc", ["same", "same ", "other"], strict=True)]
    all_same = [{"model": name, "text": "same"} for name in "ab"]
    rows = [{"prompt": "P?", "candidates": candidates}, {"prompt": "Q?", "candidates": all_same}]
    prompts.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    shown, _ = rate("q")
    done, prior = rate(letters_of(shown.stderr, "same"))
    (rated,) = prior.to_dict()["rated"].values()
    assert rated["ratings"] == [1.0, 1.0, 0.0]
    assert "1 prompts left out" in done.stderr


def test_answers_may_be_in_another_file(tmp_path, prompts):
    asked = tmp_path / "asked.txt"
    asked.write_text("Question 2?\n", encoding="utf-8")
    out = tmp_path / "prior.json"
    done = run("rate", asked, "--answers", prompts, "--out", out, "--ranker", "longest", stdin="a\n")
    assert done.exit_code == 0
    assert MemberPrior.load(out).is_rated("Question 2?", MEMBERS)


def test_members_answer_and_one_that_fails_is_left_out(serve, tmp_path):
    server = serve(
        a=["Paris is the capital.", "Four"],
        b=["Lyon", "Five"],
        c=[Reply("down", status=400), Reply("down", status=400)],
    )
    asked = tmp_path / "asked.txt"
    asked.write_text("Capital?\nTwo and two?\n", encoding="utf-8")
    out = tmp_path / "prior.json"
    endpoints = [part for name in "abc" for part in ("--endpoint", f"{server.base_url}:{name}")]
    done = run("rate", asked, *endpoints, "--out", out, "--ranker", "longest", stdin="a\nb\n")
    assert done.exit_code == 0, done.stderr
    prior = MemberPrior.load(out)
    assert prior.is_rated("Capital?", ["a", "b", "c"])
    assert prior.strengths().keys() == {"a", "b"}


def test_a_judge_rates_instead(monkeypatch, rate):
    def judge(text):
        return "Better: A" if "brief" in text.split("<answer_b>")[0] else "Better: B"

    opened = []

    def connect_judge(config, console):
        opened.append(config.names)
        return [as_member(judge)]

    monkeypatch.setattr("blender_core.cli.rate.connect", connect_judge)
    done, prior = rate("", "--judge", "smollm2-135m")
    assert done.exit_code == 0, done.stderr
    assert opened == [("smollm2-135m",)]
    assert len(prior.to_dict()["rated"]) == 4
    assert prior.strongest_first(MEMBERS) == ("short", "long")


def test_a_judge_without_verdicts_ends_the_command_after_three(serve, rate):
    server = serve(judge=["I cannot say."] * 20)
    done, prior = rate("", "--judge", f"{server.base_url}:judge")
    assert done.exit_code == 1
    assert done.stderr.count("skipped") == 2
    assert prior.to_dict()["rated"] == {}


@pytest.mark.parametrize(
    ("line", "arguments", "said"),
    [
        ('{"instruction": "Q", "candidates": ["a", "b"]}', [], 'has no "model"'),
        ('{"instruction": "Q"', [], "not JSON"),
        ('{"input": "Q"}', [], 'no text "instruction" or "prompt"'),
        ("", [], "holds no line"),
        ("Q", ["--endpoint", "http://127.0.0.1:9/v1:x"], "cannot be compared"),
        ("Q", ["--endpoint", "http://127.0.0.1:9/v1:x", "--answers", "x"], "exclude each other"),
        ("Q", ["--limit", "0"], "--limit is 0"),
        ("Q", ["--ranker", "no-such-ranker"], "no-such-ranker"),
    ],
)
def test_what_cannot_work_is_exit_2(rate, prompts, line, arguments, said):
    prompts.write_text(line, encoding="utf-8")
    done, _ = rate("q", *arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_prompts_from_stdin_and_answers_that_are_missing(tmp_path, prompts):
    assert "standard input gives the keys" in run("rate", "-").stderr
    asked = tmp_path / "asked.txt"
    asked.write_text("Another?\n", encoding="utf-8")
    assert "no answers to this prompt" in run("rate", asked, "--answers", prompts).stderr


# -- what ratings are worth --------------------------------------------------------------------------------


def rated(ratings, scores=(0.2, 0.0)):
    prior = MemberPrior()
    for number, rating in enumerate(ratings):
        ranking = Ranking.from_scores(scores, ranker="fake")
        prior.judge_answers(["a", "b"], ranking, rating, prompt=f"{number}?")
    return prior


def test_the_gain_is_measured_on_prompts_that_the_prior_does_not_know():
    # one rating alone turns the pick of its own prompt, not that of an unknown one
    single = measure_ratings(rated([[0, 1]]))
    assert (single.prompts, single.alone, single.blended) == (1, 0, 0)
    many = measure_ratings(rated([[0, 1]] * 10))
    assert (many.alone, many.blended, many.strongest, many.helped, many.hurt) == (0, 10, 10, 10, 0)
    assert many.p_value == pytest.approx(2 / 2**10)


def test_ties_do_not_count_and_no_change_is_no_evidence():
    gain = measure_ratings(rated([[1, 1], [0, 0], [1, 0], [1, 0], [1, 0]]))
    assert (gain.prompts, gain.helped, gain.hurt, gain.p_value) == (3, 0, 0, 1.0)


def test_useful_and_useless_ratings_are_told_apart(rate, prompts):
    prompts.write_text("".join(json.dumps(row(number)) + "\n" for number in range(10)), encoding="utf-8")
    shown, _ = rate("s" * 10)
    done, _ = rate(letters_of(shown.stderr, "brief"))
    assert "the ratings are useful" in done.stdout
    assert "helped on 10 and hurt on 0" in done.stdout


# -- ask and rank with a prior -----------------------------------------------------------------------------


@pytest.fixture
def prior_file(tmp_path):
    path = tmp_path / "strong.json"
    MemberPrior.declared(["short", "long"]).save(path)
    return path


def test_rank_takes_a_prior(prompts, prior_file):
    plain = json.loads(run("rank", prompts, "--ranker", "longest", "--json").stdout.splitlines()[0])
    blended = run("rank", prompts, "--ranker", "longest", "--json", "--prior", prior_file).stdout.splitlines()[0]
    assert (plain["order"], json.loads(blended)["order"]) == ([0, 1], [1, 0])


def test_ask_takes_a_prior_and_leaves_the_file_alone(serve, prior_file):
    before = prior_file.read_bytes()

    def winner(*arguments):
        server = serve(long=["a long answer"], short=["brief"])
        endpoints = [part for name in MEMBERS for part in ("--endpoint", f"{server.base_url}:{name}")]
        done = run("ask", "Why?", *endpoints, "--ranker", "longest", "--fuser", "none", "--json", *arguments)
        assert done.exit_code == 0, done.stderr
        assert "catalogue" not in done.stderr
        return json.loads(done.stdout)["winner"]

    assert (winner(), winner("--prior", "none"), winner("--prior", prior_file)) == ("long", "long", "short")
    assert prior_file.read_bytes() == before


def test_a_prior_that_is_not_there_is_exit_2(tmp_path):
    done = run("ask", "Why?", "--endpoint", "http://127.0.0.1:9/v1:x", "--prior", tmp_path / "gone.json")
    assert done.exit_code == 2
    assert "gone.json cannot be read" in done.stderr


def test_the_catalogue_knows_its_models():
    prior = MemberPrior.of_catalogue()
    assert prior.strengths().keys() <= MODELS.keys()
    assert prior.strongest_first(["smollm2-135m", "qwen2.5-coder-1.5b"])[0] == "qwen2.5-coder-1.5b"
    assert prior.preference("qwen2.5-coder-1.5b", "smollm2-135m") > 0.8
    assert prior.path is None
    # a further answer is by the same model
    assert prior.strongest_first(["smollm2-135m", "qwen2.5-coder-1.5b#2"])[0] == "qwen2.5-coder-1.5b#2"
    assert prior.preference("qwen2.5-coder-1.5b#2", "smollm2-135m") == prior.preference(
        "qwen2.5-coder-1.5b", "smollm2-135m"
    )


def test_the_catalogue_trusts_the_ranker_as_far_as_it_was_right_among_these_models():
    ranking = Ranking.from_scores([0.0, 1.5], ranker="embedded", temperature=1.0)

    def best(strong, weak, *others):
        prior = MemberPrior.of_catalogue([strong, weak, *others])
        return (strong, weak)[prior.blend([strong, weak], ranking).best]

    # the ranker is right less often among these three than among all four
    assert best("qwen2.5-coder-0.5b", "smollm2-135m", "gemma-3-270m") == "qwen2.5-coder-0.5b"
    assert best("qwen2.5-coder-0.5b", "smollm2-135m", "gemma-3-270m", "qwen2.5-coder-1.5b") == "smollm2-135m"
    for members in (["qwen2.5-coder-1.5b#2", "smollm2-135m"], ["smollm2-135m", "qwen2.5-coder-1.5b"]):
        assert MemberPrior.of_catalogue(members).strengths().keys() == {"qwen2.5-coder-1.5b", "smollm2-135m"}
    # nothing is known of these sets
    for members in ([], ["qwen2.5-coder-1.5b"], ["qwen2.5-coder-1.5b", "gpt"]):
        assert len(MemberPrior.of_catalogue(members).strengths()) == 4


def test_a_sampled_answer_of_a_local_model_has_to_be_clearly_better_than_its_greedy_one():
    prior, names = MemberPrior.of_catalogue(), ["qwen2.5-coder-1.5b", "qwen2.5-coder-1.5b#2"]
    for ahead, best in ((0.0, 0), (0.1, 0), (5.0, 1)):
        ranking = Ranking.from_scores([0.0, ahead], ranker="embedded", temperature=1.0)
        assert prior.blend(names, ranking).best == best
    # members of your own are not taken for samples
    own = MemberPrior.declared({"gpt": 0.8, "llama": 0.5})
    assert own.blend(["gpt", "gpt#2"], Ranking.from_scores([0.0, 0.1], ranker="embedded", temperature=1.0)).best == 1


def test_a_blend_of_local_models_knows_them_without_a_prior():
    def members(*names):
        return [FakeMember(name, f"the answer of {name}") for name in names]

    ranker = FakeRanker(lambda text: float("smollm2" in text))

    def winner(names, **settings):
        blender = Blender(members(*names), ranker=ranker, fuser=None, **settings)
        again = pickle.loads(pickle.dumps(MemberPrior.of_catalogue()))
        assert again.to_dict() == MemberPrior.of_catalogue().to_dict()
        return blender.blend("?").winner

    assert winner(["smollm2-135m", "qwen2.5-coder-1.5b"]) == "qwen2.5-coder-1.5b"
    assert winner(["smollm2-135m", "qwen2.5-coder-1.5b"], member_prior=MemberPrior()) == "smollm2-135m"
    # one that the catalogue does not know
    assert winner(["smollm2-135m", "gpt"]) == "smollm2-135m"


@pytest.mark.local_models
def test_local_models_alone_are_asked_with_the_prior_of_the_catalogue():
    models = ["--model", "smollm2-135m", "--model", "gemma-3-270m"]
    arguments = ("ask", "What is 2 + 2?", *models, "--fuser", "none", "--max-tokens", "8")
    assert "member prior: the catalogue's" in run(*arguments).stderr
    assert "member prior" not in run(*arguments, "--prior", "none").stderr
