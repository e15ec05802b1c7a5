"""Which answers a program reads, by what was asked and by what they look like."""

import pytest

from blender_core.text.program_form import program_form

PROSE = "Mercury is the planet next to the sun. Venus comes second, and the earth is third."
WORDS = "mercury\nvenus\nearth"

ASKS = [
    "Write three search terms for planets, one per line.",
    "Rewrite the question in three ways. Put each version on its own line.",
    "List the planets, separated by semicolons.",
    "Name planets as comma-separated values.",
    "Extract the facts in the form of (a, b, c).",
    "Fill in the fields. Use exactly this format:\nname: <name>\nplace: <place>",
    "Name the inner planets. Return only the names.",
    "Your response should be a markdown list, eg: `- foo`",
    "List the planets without numbering.",
    "Extract the facts. Output in the format: subject -> relation -> object",
]
LISTS = [
    (WORDS, "a list of equal lines"),
    ("Which planets are near?\n\nWhich planet is hot?", "a list of equal lines"),
    ("Here they are:\n1. mercury is the nearest\n2. venus", "a numbered list"),
    ("1) mercury\n2) venus\n<END>", "a numbered list"),
    ("- mercury: small\n- venus: hot", "a bulleted list"),
    ("(mercury, is, small)\n(venus, is, hot)", "a list of tuples"),
    ("name: mercury\nplace: first", "a list of Key: value"),
    ("mercury; venus; the earth", "a list of values"),
    ("mercury is a planet near the sun", "one bare line"),
    ("- mercury\n- venus\nLet me know if you need more planets.", "a bulleted list"),
]


@pytest.mark.parametrize("request_text", ASKS)
@pytest.mark.parametrize(("best", "form"), LISTS)
def test_a_list_that_was_asked_for(request_text, best, form):
    assert program_form(request_text, [best, PROSE]) == form
    assert program_form(request_text, [PROSE, best]) is None


@pytest.mark.parametrize(
    "best", [WORDS, "1. mercury\n2. venus", "name: mercury\nplace: first", "mercury, venus, earth"]
)
def test_a_list_that_only_one_model_wrote_is_for_people(best):
    question = "Which planets are near the sun?"
    framed = "Sure, these are near:\n1. venus\n2. mercury"
    assert program_form(question, [best, PROSE]) is None
    assert program_form(question, [best, PROSE, PROSE]) is None
    assert program_form(question, [PROSE, best, best]) is None
    assert program_form(question, [best, PROSE, framed]) == program_form(question, [best, framed]) is not None


@pytest.mark.parametrize(
    "text",
    [
        "1. **Mercury** - the nearest one\n2. **Venus** - the hottest one",
        "1. Mercury: the nearest, without air and with a short year\n2. Venus: hot under its clouds",
        "1. Walk to the window. Open it wide.\n2. Look up. The bright one is Venus.",
        "O Venus, bright and near,\nyou shine for all to see.",
        "Mercury, Venus, and the earth",
        "Dear Ada,\nI saw Venus last night.\nYours\nGrace",
        "Mars has two moons [[1]], and both are small [[2]].",
        "[1] says that Mars has two moons.",
        "{note} Mars has two moons.",
        "Sets use {} and lists use [] in Python.",
        PROSE,
    ],
)
def test_what_people_read(text):
    assert program_form("Tell me of the planets.", [text, text + " "]) is None


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ('The object is {"planet": "mars"} as you asked.', "JSON"),
        ("[" + "1, " * 20_000 + "2]", "JSON"),
        ("```json\n[1, 2]\n```", "JSON"),
        ("\n\n  [1, 2]\n", "JSON"),
        ("<planets><one>Mars</one></planets>", "XML"),
        ("Thought: I look it up.\nAction: search", "an agent's step"),
        ('{"planet": "mars"}\n{"planet": "venus"}', "JSON"),
        ("no", "a verdict"),
        ("It is the better one. Rating: [[7]]", "a verdict"),
        ("SELECT name, moons\nFROM planets\nWHERE moons > 1;", "a database query"),
        ("MATCH (p:Planet)-[:HAS]->(m)\nRETURN p.name, count(m)", "a database query"),
        ("SYNONYMS: mars, red planet", "a labelled value"),
    ],
)
def test_forms_that_show_themselves(text, form):
    assert program_form("Mars?", [text, PROSE]) == form


def test_a_label_that_was_asked_for():
    request = "Rate the text. Use the following format:\n\nReason: [why]\nGrade: [0 to 9]"
    text = f"{PROSE}\nGrade: 7"
    assert program_form(request, [text, PROSE]) == "an answer with the label 'Grade' that was asked for"
    assert program_form("Rate the text.\n\nGrade:", [text, PROSE]) is None
    assert program_form(request, [f"{PROSE}\nNote: bright", PROSE]) is None
