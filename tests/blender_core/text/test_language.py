"""An answer in another language than the question is recognised, if there is no doubt."""

import pytest

from blender_core.text.language import foreign_language

ENGLISH = "The sky is blue because the air scatters the blue part of the light more than it scatters the red part."
GERMAN = (
    "Der Himmel ist blau, weil die Luft den blauen Teil des Lichts stärker streut als den roten und das auch sieht."
)
FRENCH = (
    "Le ciel est bleu parce que l'air diffuse la partie bleue de la lumière plus que la partie rouge, et c'est tout."
)
SPANISH = "El cielo es azul porque el aire dispersa la parte azul de la luz más que la parte roja, y eso es todo."
CHINESE = "天空是蓝色的因为空气散射短波长的光比长波长的光更多。"
JAPANESE = "空が青いのは、空気が青い光を赤い光よりも強く散乱させるからです。"
RUSSIAN = "Небо голубое, потому что воздух рассеивает синий свет сильнее, чем красный."  # noqa: RUF001
KOREAN = "하늘이 파란 이유는 공기가 파란 빛을 더 많이 산란시키기 때문입니다."
ASKED = "Why is the sky blue, and not green?"
GEFRAGT = "Warum ist der Himmel blau und nicht grün?"
CODE = "```python\ndef is_the_sky_blue(of, the, light):\n    return of in the and light\n```"


@pytest.mark.parametrize(
    ("asked", "answer", "language"),
    [
        (ASKED, GERMAN, "German"),
        (ASKED, FRENCH, "French"),
        (ASKED, SPANISH, "Spanish"),
        (ASKED, CHINESE, "Chinese"),
        (ASKED, JAPANESE, "Japanese"),
        (ASKED, KOREAN, "Korean"),
        (ASKED, RUSSIAN, "Cyrillic"),
        (GEFRAGT, ENGLISH, "English"),
        ("Pourquoi est-ce que le ciel est bleu et pas vert ?", ENGLISH, "English"),
        ("¿Por qué es azul el cielo y no verde, y qué se ve de la luz?", ENGLISH, "English"),
        ("为什么天空是蓝色的而不是绿色的", ENGLISH, "English"),
        (ASKED, f"{CHINESE}\n{CODE}", "Chinese"),
    ],
)
def test_another_language_is_seen(asked, answer, language):
    assert foreign_language(answer, asked) == language


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (ASKED, ENGLISH),
        (GEFRAGT, GERMAN),
        ("Translate into German: why is the sky blue, and not green?", GERMAN),
        ("Why is the sky blue? Answer in German, please.", GERMAN),
        ("Warum ist der Himmel blau? Antworte bitte auf Englisch.", ENGLISH),
        ("Write a poem about the sky for a Spanish class.", SPANISH),
        ("Please recite the first lines of the anthem of France.", FRENCH),
        (f"What does this mean, and is it right? {GERMAN}", GERMAN),
        (f'Summarise the text that follows.\n"{CHINESE}"', CHINESE),
        ("What does 你好 stand for, and when is it said?", CHINESE),
        (ASKED, "Paris."),
        (ASKED, "Nein."),
        (ASKED, "Johann Sebastian Bach, Georg Friedrich Händel, Georg Philipp Telemann, Heinrich Schütz, Carl Orff"),
        (ASKED, "Crème brûlée, pot-au-feu, boeuf bourguignon, coq au vin, quiche lorraine, tarte tatin, cassoulet"),
        (GEFRAGT, CODE),
        (GEFRAGT, "SELECT name FROM users WHERE id IN (SELECT id FROM orders) AND age > 30 OR name IS NOT NULL;"),
        (GEFRAGT, '{"the": "sky", "is": "blue", "because": "of the air", "that": "it is in", "and": "the light"}'),
        (ASKED, f"As Goethe put it, the sky is a riddle for all of us, and that is what it is. „{GERMAN[:60]}“"),
        (ASKED, f"{ENGLISH} {CHINESE}"),
        ("sky blue", GERMAN),
        ("Is it", GERMAN),
        ("", GERMAN),
        (ASKED, ""),
        ("14 + 34 = ?", GERMAN),
    ],
)
def test_where_there_is_doubt_nothing_is_said(asked, answer):
    assert foreign_language(answer, asked) is None


def test_turns_and_instructions_count_in_their_own_ways():
    assert foreign_language(ENGLISH, GEFRAGT, instructions=["You are a helpful assistant, and you know the sky."])
    assert foreign_language(ENGLISH, GEFRAGT, earlier=[ENGLISH]) is None
    assert foreign_language(ENGLISH, GEFRAGT, instructions=["Always answer in English."]) is None
