"""`blended-llm eval blend` as a user calls it."""

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


def run(*arguments):
    return CliRunner().invoke(app, ["eval", "blend", *map(str, arguments)])


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


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere.jsonl"], 2, "nowhere.jsonl"),
        (["ANSWERS", "--ranker", "longest", "--against", "nobody"], 2, "nobody"),
        (["ANSWERS", "--ranker", "longest", "--oracle", "beauty"], 2, "beauty"),
        (["ANSWERS", "--ranker", "longest", "--metric", "beauty"], 2, "beauty"),
    ],
)
def test_errors_are_one_line(answers, arguments, code, words):
    done = run(*[answers if one == "ANSWERS" else one for one in arguments])
    assert done.exit_code == code
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
