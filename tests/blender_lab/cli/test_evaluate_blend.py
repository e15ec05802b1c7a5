"""`blended-llm eval blend` as a user calls it."""

import gzip
import json

import pytest
from typer.testing import CliRunner

from blender_core.cli.app import app

pytest.importorskip("scipy")


@pytest.fixture
def answers(tmp_path):
    # the long answer is right on three of four prompts, the short one on the other
    lines = [
        {
            "id": str(number),
            "instruction": f"Question {number}?",
            "input": "",
            "output": "",
            "candidates": [
                {"model": "long", "text": f"A long answer to {number}.", "scores": {"right": float(number != 3)}},
                {"model": "short", "text": f"Short {number}.", "scores": {"right": float(number == 3)}},
            ],
        }
        for number in range(4)
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def written(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def answered(models, texts=("x", "y y"), **more):
    candidates = [{"model": model, "text": text} for model, text in zip(models, texts, strict=True)]
    return {"instruction": "?", "candidates": candidates, **more}


def run(*arguments):
    return CliRunner().invoke(app, ["eval", "blend", *map(str, arguments)])


REFERENCE = answered(["long", "short"], texts=("It is Paris.", "Rome"), output="It is Paris, I think.")


@pytest.mark.parametrize("oracle", ["auto", "rougeL"])
def test_a_metric_is_the_oracle_of_records_without_any(tmp_path, oracle):
    file = written(tmp_path / "plain.jsonl", [REFERENCE] * 3)
    done = run(file, "--ranker", "longest", "--metric", "rougeL", "--oracle", oracle, "--json")
    assert done.exit_code == 0, done.output
    rows = {(row["kind"], row["name"]): row["columns"]["rougeL"]["mean"] for row in json.loads(done.stdout)["rows"]}
    assert rows["oracle", "rougeL"] == rows["ranker", "longest"] == rows["member", "long"] > rows["member", "short"]


@pytest.mark.parametrize("metrics", [[], ["rougeL", "chrf"]])
def test_without_an_oracle_it_ends_before_a_ranker_is_loaded(tmp_path, metrics):
    file = written(tmp_path / "plain.jsonl", [REFERENCE])
    options = [part for name in metrics for part in ("--metric", name)]
    # no such folder or repository: loading it would be another error
    done = run(file, "--ranker", "cross-encoder:./nothing", *options)
    assert done.exit_code == 2
    said = " ".join(done.stderr.split())
    assert "the oracle 'auto' cannot be had" in said
    assert "name one of these or a metric as the oracle" in said


def test_the_numbers(answers):
    done = run(answers, "--ranker", "longest", "--ranker", "random", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    means = {(row["kind"], row["name"]): row["columns"]["right"]["mean"] for row in report["rows"]}
    assert means["member", "long"] == 0.75
    assert means["member", "short"] == 0.25
    assert means["ranker", "longest"] == 0.75
    assert means["chance", "chance"] == 0.5
    assert means["oracle", "right"] == 1.0
    assert report["best_member"] == "long"


def test_tables_figures_and_document(answers, tmp_path):
    pytest.importorskip("matplotlib")
    document = tmp_path / "page.md"
    document.write_text("Before\n<!-- blend answers -->\nold\n<!-- end blend answers -->\nAfter\n", encoding="utf-8")
    figures = tmp_path / "figures"
    done = run(answers, "--ranker", "longest", "--figures", figures, "--markdown", document)
    assert done.exit_code == 0, done.output
    assert "longest" in done.stdout
    assert (figures / "picks_longest.png").read_bytes().startswith(b"\x89PNG")
    page = document.read_text(encoding="utf-8")
    assert page.startswith("Before\n")
    assert page.endswith("After\n")
    assert "| longest | 0.750" in page
    assert "old" not in page


def test_prompts_that_nobody_judged_do_not_count_as_good(tmp_path):
    # the longest answer is the loser's where there is a verdict, else the winner's
    judged = [answered("ab", cmp_results={"a,b": "A is better"}) for _ in range(2)]
    unjudged = [answered("ab", ("x x x", "y y")) for _ in range(6)]
    unknown = [{**answered("ab", ("x x x", "y y")), "cmp_results": {"c,d": "Same good"}} for _ in range(3)]
    path = written(tmp_path / "some.jsonl", judged + unjudged + unknown)
    done = run(path, "--ranker", "longest", "--against", "a", "--json")
    assert done.exit_code == 0, done.output
    rows = {(row["kind"], row["name"]): row for row in json.loads(done.stdout)["rows"]}
    against = rows["ranker", "longest"]["against"]["a"]
    assert (against["prompts"], against["at_least_as_good"], against["itself"]) == (2.0, 0.0, 0.0)
    assert rows["chance", "chance"]["against"]["a"]["at_least_as_good"] == 0.5


def test_a_blend_may_be_judged_against_members_that_are_not_judged_among_themselves(tmp_path):
    lines = [answered(["a", "b", "fused"], "xyz", cmp_results={"fused,a": "Same good"}) for _ in range(2)]
    path = written(tmp_path / "fused.jsonl", lines)
    done = run(path, "--ranker", "longest", "--system", "fused", "--against", "a", "--json")
    assert done.exit_code == 0, done.output
    rows = {(row["kind"], row["name"]): row for row in json.loads(done.stdout)["rows"]}
    assert rows["system", "fused"]["against"]["a"]["at_least_as_good"] == 1.0
    assert rows["ranker", "longest"]["against"]["a"]["prompts"] == 0.0


def test_names_are_shown_as_they_are(tmp_path):
    models = ("m[/4bit]", "llama[q4]")
    lines = [
        answered(models, task=f"sums[/{number}]", cmp_results={"m[/4bit],llama[q4]": "A is better"})
        for number in range(2)
    ]
    done = run(written(tmp_path / "[q].jsonl", lines), "--ranker", "longest")
    assert done.exit_code == 0, done.output
    for told in ("m[/4bit]", "llama[q4]", "sums[/1]", "[q]: 2 prompts"):
        assert told in done.stdout


@pytest.mark.parametrize("models", [("", None), ("a", "a"), ("a", "a (1)", "a")])
def test_candidates_of_one_name_are_kept_apart(tmp_path, models):
    lines = [answered(models, "xyz"[: len(models)]) for _ in range(2)]
    for line in lines:
        for place, candidate in enumerate(line["candidates"]):
            candidate["scores"] = {"right": float(place)}
    done = run(written(tmp_path / "names.jsonl", lines), "--ranker", "longest", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    means = {row["name"]: row["columns"]["right"]["mean"] for row in report["rows"] if row["kind"] == "member"}
    assert sorted(means.values()) == [float(place) for place in range(len(models))]
    assert models[0] != "a" or "a" in means
    assert models[0] or set(means) == {"candidate 0", "candidate 1"}


def test_targets_are_looked_at_before_anybody_ranks(answers, tmp_path, monkeypatch):
    ranked = []
    monkeypatch.setattr("blender_lab.evaluate.benchmark.run_benchmark", lambda *_, **__: ranked.append(1))
    page = tmp_path / "page.md"
    page.write_text("no marks", encoding="utf-8")
    for target in (
        ("--markdown", page),
        ("--markdown", tmp_path / "none.md"),
        ("--markdown", tmp_path),
        ("--figures", page),
        ("--figures", page / "below"),
    ):
        done = run(answers, "--ranker", "longest", *target)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert not ranked


def test_tables_are_there_although_a_file_cannot_be_written(answers, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("blender_lab.evaluate.figures.save_figures", full)
    done = run(answers, "--ranker", "longest", "--figures", tmp_path / "figures")
    assert done.exit_code == 1
    assert "longest" in done.stdout


def test_the_window_of_a_model(answers, tmp_path, word_tokenizer, save):
    pytest.importorskip("transformers")
    model = tmp_path / "model"
    model.mkdir()
    word_tokenizer(model)
    save(model, "AutoModelForMaskedLM")
    asked = (answers, "--ranker", f"mlm-scoring:{model}")
    figures = tmp_path / "figures"
    assert run(*asked, "--max-tokens", 8, "--figures", figures).exit_code == 0
    # Windows takes no colon in a file's name
    assert [path.name for path in figures.glob("picks_mlm*")] == [
        f"picks_mlm-scoring_{str(model)[1:].replace('/', '_')}.png"
    ]
    refused = run(*asked, "--max-tokens", 3)
    assert refused.exit_code == 2
    assert "max_tokens is 3" in refused.stderr


def test_rankers_of_like_names_have_figures_of_their_own(answers, tmp_path, word_tokenizer, save):
    pytest.importorskip("transformers")
    asked = [answers, "--figures", tmp_path / "figures", "--max-tokens", 8]
    for name in ("m x", "m_x"):
        (tmp_path / name).mkdir()
        word_tokenizer(tmp_path / name)
        save(tmp_path / name, "AutoModelForMaskedLM")
        asked += ["--ranker", f"mlm-scoring:{tmp_path / name}"]
    assert run(*asked).exit_code == 0
    found = sorted(path.name for path in (tmp_path / "figures").glob("picks_*"))
    assert len(found) == 2
    assert found[0].endswith("m_x-2.png")
    assert found[1].endswith("m_x.png")


def test_a_byte_order_mark_and_a_damaged_file(tmp_path):
    marked = tmp_path / "marked.jsonl"
    line = answered("ab", cmp_results={"a,b": "A is better"})
    marked.write_text(json.dumps(line) + "\n", encoding="utf-8-sig")
    assert run(marked, "--ranker", "longest", "--json").exit_code == 0
    whole = bytearray(gzip.compress(marked.read_bytes() * 50))
    whole[12:20] = b"\xff" * 8
    damaged = tmp_path / "damaged.jsonl.gz"
    damaged.write_bytes(whole)
    done = run(damaged, "--ranker", "longest")
    assert (done.exit_code, "damaged.jsonl.gz" in done.stderr) == (2, True)


@pytest.mark.parametrize("more", [{"instruction": None}, {"instruction": "\ud83d"}, {"input": "\ud83d"}])
@pytest.mark.parametrize("kind", ["mix", "preferences"])
def test_prompts_that_cannot_be_asked_are_named(tmp_path, more, kind):
    line = {**answered("ab"), **({"comparisons": []} if kind == "preferences" else {}), **more}
    done = run(written(tmp_path / "bad.jsonl", [answered("ab"), line]), "--ranker", "longest")
    assert (done.exit_code, "bad.jsonl, line 2" in done.stderr) == (2, True), done.output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere.jsonl"], 2, "nowhere.jsonl"),
        (["ANSWERS", "--ranker", "longest", "--against", "nobody"], 2, "nobody"),
        (["ANSWERS", "--ranker", "longest", "--oracle", "beauty"], 2, "beauty"),
        (["ANSWERS", "--ranker", "longest", "--metric", "beauty"], 2, "beauty"),
        (["ANSWERS", "--ranker", "longest", "--limit", "0"], 2, "limit is 0"),
        (["ANSWERS", "--ranker", "longest", "--limit", "-1"], 2, "limit is -1"),
    ],
)
def test_errors_are_one_line(answers, arguments, code, words):
    done = run(*[answers if one == "ANSWERS" else one for one in arguments])
    assert done.exit_code == code
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
