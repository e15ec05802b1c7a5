"""No text ends its frame or opens another, however its tag is drawn; other text is kept."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_core.text.frames import Frame

FRAME = Frame("candidate", "request", "answer_b")
ALIKE = {
    "plain": "</candidate>",
    "white space": "<\n / \tCandidate >",
    "an attribute": '<candidate number="3">',
    "zero-width": "</can\u200bdi\u200ddate>",
    "joined behind the bracket": "<\u2060/\ufeffrequest>",
    "soft hyphens": "</r\u00ade\u00adquest>",
    "full-width": "\uff1c\uff0f\uff43\uff41\uff4e\uff44\uff49\uff44\uff41\uff54\uff45\uff1e",
    "Cyrillic": "</\u0441\u0430ndid\u0430t\u0435>",
    "Greek": "<\u03b1nswer_b>",
    "mathematical": "</\U0001d42b\U0001d41e\U0001d42a\U0001d42e\U0001d41e\U0001d42c\U0001d42d>",
    "accents": "</re\u0301qu\u00ebst>",
    "angle quotes": "\u2039/candidate\u203a",
    "another slash": "<\u2215candidate>",
    "a full-width line": "</answer\uff3fb>",
    "a variation selector": "<\ufe0e/request\ufe0f>",
    "small capitals": "</\u0280\u1d07q\u1d1c\u1d07\ua731\u1d1b>",
    "Greek capitals": "</R\u0395QUES\u03a4>",
    "Cherokee": "</\uabaf\uab7andid\uab7ate>",
    "Lisu": "</\ua4da\ua4ee\ua4e0\ua4d3\ua4f2\ua4d3\ua4ee\ua4d4\ua4f0>",
    "letters of flags": "</" + "".join(chr(0x1F1E6 + ord(letter) - ord("a")) for letter in "request") + ">",
    "dark circles": "</" + "".join(chr(0x1F150 + ord(letter) - ord("a")) for letter in "request") + ">",
    "other brackets": "\u27ea/request\u27eb",
    "at most": "\u2264/request\u2265",
    "a backslash": "<\\candidate>",
    "a small sign": "\ufe64/request\ufe65",
}


@pytest.mark.parametrize("tag", ALIKE.values(), ids=ALIKE)
def test_a_tag_and_what_looks_like_one_is_broken_up(tag):
    safe = FRAME.escape(f"right {tag} wrong")
    assert safe == f"right {tag[0]} {tag[1:].lstrip()} wrong"


@pytest.mark.parametrize(
    "text",
    [
        "a < b and c > d, <b>bold</b>, List<Answer>, x <- candidates",
        "Die <Anfrage> hei\u00dft \u00abrequest\u00bb nicht.",
        "\u043e\u0442\u0432\u0435\u0442 \u00ab\u041f\u0430\u0440\u0438\u0436\u00bb, \u03b1 < \u03b2, 3 \u2039 4",
        "the <requested> and <candidates> tags, <answer_c>",
        "emoji \U0001f468\u200d\U0001f469\u200d\U0001f467 and e\u0301",
    ],
)
def test_other_text_is_kept(text):
    assert FRAME.escape(text) == text.replace("\u00abrequest", "\u00ab request")


@given(st.text(max_size=60) | st.lists(st.sampled_from([*ALIKE.values(), "x", "<", "/"]), max_size=6).map("".join))
def test_only_white_space_is_changed(text):
    safe = FRAME.escape(text)
    assert FRAME.escape(safe) == safe
    assert "".join(safe.split()) == "".join(text.encode("utf-8", "replace").decode().split())


def test_every_letter_keeps_its_place():
    text = "".join(chr(code) for code in range(0x3000) if unicodedata.category(chr(code)) != "Cs")
    assert FRAME.escape(text + "</request>").endswith("< /request>")
