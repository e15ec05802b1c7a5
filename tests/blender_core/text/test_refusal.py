"""A refusal is recognised, and an answer that apologises or says what it cannot find is not."""

import pytest

from blender_core.text.refusal import is_refusal, may_become_refusal

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I\u2019m sorry, but I cannot assist with this request.",
    "Sorry, I can't do that.",
    "I will not write content that harasses anyone. Perhaps we could talk about something else.",
    "I cannot fulfill this request. I'm just an AI, and it goes against my guidelines.",
    "I'm not able to provide instructions for making weapons.",
    "I must respectfully decline to participate in this.",
    "As an AI language model, I cannot provide instructions for that.",
    "As an AI, I have no opinions.",
    "I apologize, but I do not feel comfortable completing that sentence.",
    "I'm sorry.",
    "Es tut mir leid, aber dabei kann ich Ihnen nicht helfen.",
    "Tut mir leid, das kann ich nicht erklären.",
    "Ich kann Ihnen keine Anleitung dafür geben.",
    "Je suis désolé, mais je ne peux pas vous aider à faire cela.",
    "Je ne peux pas fournir ces informations, car elles sont dangereuses.",
    "Lo siento, pero no puedo ayudarte con eso.",
    "No puedo proporcionar instrucciones para eso.",
    "Mi dispiace, ma non posso aiutarti con questa richiesta.",
    "Desculpe, mas não posso ajudar com isso.",
    "抱歉, 我无法提供这方面的帮助。",
    "申し訳ありませんが、その依頼にはお応えできません。",
]
ANSWERS = [
    "Unfortunately, I can only find two reasons: it is late, and it is cold.",
    "I'm sorry for your loss. These are the steps that come next: call the registrar, then the bank.",
    "I apologize for the confusion. The right answer is 42.",
    "Sorry seems to be the hardest word, as the song goes.",
    "I cannot recommend this book enough: it is warm, clever and short.",
    "I can't believe how often this is asked! The capital of Australia is Canberra.",
    "I won't lie: the exam is hard. Begin with the old papers.",
    "As an AI language model, I don't have preferences, but here is a list of books that many readers like: Emma.",
    "As an AI, I can explain it like this: light is scattered by the air.",
    "I cannot find the port in the provided documents.",
    "I don't have enough information to answer that. Which country do you mean?",
    "The sources do not say.",
    "I do not know.",
    "No puedo dejar de pensar en el mar.",
    "Ich kann das nicht oft genug sagen: lies die Aufgabe.",
    "Leider gibt es nur zwei Gründe dafür.",
    "Je ne peux pas m'empêcher de rire quand je lis cette histoire.",
    "She said: \"I'm sorry, but I can't help you.\" Then she left the room and closed the door.",
    "I can't help with the whole form, but here is the first part. " + "Write your name into the first field. " * 20,
    "",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_seen(text):
    assert is_refusal(text)
    assert is_refusal(f"\n {text} \n")


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_is_none(text):
    assert not is_refusal(text)


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_suspected_by_its_first_words(text):
    assert may_become_refusal(text[:24])


@pytest.mark.parametrize(
    "text", ["The sky is blue.", "Isaac Newton found it.", "Astronomers know.", "Nordic lights are green."]
)
def test_an_answer_that_begins_in_another_way_is_not(text):
    assert not may_become_refusal(text)
