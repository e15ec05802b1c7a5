"""Recognise an answer that refuses: it declines the request and says little else."""

from __future__ import annotations

import re

__all__ = ["is_refusal", "may_become_refusal"]

# what begins with a refusal and goes on for long mostly answers after all, the more so after a "but"
_READ, _LONGEST, _LONGEST_WITH_BUT = 300, 1_200, 600

# for each language: an apology or what the model says of itself, and "I cannot" with what it declines
_SORRY = (
    r"i'?\s?a?m (?:\w+ )?sorry|(?:\w+ )?sorry|i (?:\w+ )?apologi[sz]e|(?:my )?apologies|"
    r"unfortunately|regrettably|as an? (?:\w+ ){0,2}(?:ai|artificial intelligence|language model)\b",
    r"(?:es )?tut mir (?:\w+ )?leid|entschuldigung|leider|ich bedaue?re|als (?:eine? )?(?:ki|sprachmodell)\b",
    r"(?:je suis )?(?:\w+ )?désolée?s?|malheureusement|je regrette|je m'excuse|en tant qu",
    r"lo siento|lamento|lamentablemente|desafortunadamente|disculpa|perdón|como (?:una? )?(?:ia|inteligencia|modelo)\b",
    r"mi dispiace|purtroppo|desculpe|sinto muito|infelizmente",
)
_DECLINES = (
    r"\bi(?: (?:\w+ )?(?:can(?:'?t|not| not)|won't|will not|should not|decline|refuse|must (?:\w+ )?(?:decline|refuse)"
    r"|do(?:n't| not)(?: feel comfortable)?)|"
    r"(?: am|'?m) (?:\w+ )?(?:unable|not (?:able|going|comfortable|allowed|willing|permitted|programmed)))"
    r"(?: (?:to|with|in good conscience|\w+ly|and will not)){0,2} "
    r"(?:help|assist|aid|provid(?!\w* (?:an? )?(?:definit|specific|exact|clear))|compl|fulfil|do (?:that|this|so)|creat"
    r"|writ|generat|support|engag|discuss|produc|give|offer|shar|participat|condon|promot|encourag|continu|merge|fuse"
    r"|tell|explain|teach|advis|assum|role-?play|be (?:part|involved)|your|this|that\b)",
    r"\b(?:kann|können|darf|werde|möchte)\b[^.!?\n]{0,120}\b(?:nicht|keine?n?)\b[^.!?\n]{0,80}"
    r"\b(?:\w*helfen|\w*unterstützen|bereitstellen|geben|erfüllen|schreiben|erstellen|nachkommen|anbieten|tun|erklären)\b",
    r"\bje ne (?:peux|suis|pourrai|vais|dois) (?:malheureusement |donc )?pas\b[^.!?\n]{0,40}"
    r"\b(?:aider|fournir|accéder|satisfaire|donner|écrire|créer|générer|faire|assister|proposer|participer|expliquer)",
    r"\bno (?:puedo|podré|me es posible|debo|voy a)\b[^.!?\n]{0,30}"
    r"\b(?:ayudar|proporcionar|cumplir|asistir|escribir|crear|generar|dar|ofrecer|hacer|apoyar|participar|explicar)",
    r"\bnon posso (?:aiutar|fornir|assister|scriver|crear|dar)|\bnão posso (?:ajud|fornec|cri|escrev|d)ar?",
)
# without an apology the refusal comes first; after one there may be a word about the reason
_REFUSES = re.compile(
    rf"\W*(?:(?:{'|'.join(_SORRY)})\b.{{0,120}}?|(?:but|ich|nous|yo|lo)?\s*)(?:{'|'.join(_DECLINES)})",
    re.IGNORECASE | re.DOTALL,
)
_NOTHING_ELSE = re.compile(
    rf"\W*(?:{'|'.join(_SORRY)})\W*(?:i (?:have|hold) no (?:\w+ )?(?:views?|opinions?|feelings))?\W*", re.IGNORECASE
)
_EASTERN = re.compile(
    r"\W*(?:(?:很|非常|十分)?(?:抱歉|对不起|對不起)[^。\n]{0,30}|我)(?:无法|無法|不能|不会|不會)"
    r"[^。\n]{0,12}(?:提供|帮助|幫助|协助|满足|回应|参与|支持)"
    r"|\W*(?:申し訳|すみません|ごめん)[^。\n]{0,80}(?:できません|いたしかねます|できかねます)"
)
# who says what is missing does not refuse: to a question about sources it is an answer
_MISSING = re.compile(
    r"\b(?:based on|provided|sources?|documents?|context|passages?|enough|(?:more|further) (?:details|information)"
    r"|real-?time|quellen|kontext|contexte|contexto|fuentes)\b",
    re.IGNORECASE,
)
_BUT = re.compile(r"\b(?:but|however|instead|aber|jedoch|stattdessen|mais|cependant|pero|sin embargo)\b", re.IGNORECASE)


# the first word of a refusal without an apology; of an Eastern one the first character
_BEGINS = re.compile(
    rf"\W*(?:(?:{'|'.join(_SORRY)}|i|i'?m|as|but|ich|je|nous|yo|lo|me|no|non|não)\b"
    r"|[我抱很非十对對]|申し|すみ|ごめ)",
    re.IGNORECASE,
)


def may_become_refusal(beginning: str) -> bool:
    """Tell whether a text may turn out to refuse, by its first words.

    Args:
        beginning: The beginning of an answer, at least its first two words.

    Returns:
        Whether it begins as refusals do.

    Examples:
        >>> may_become_refusal("I am afraid"), may_become_refusal("Blue light")
        (True, False)
    """
    return _BEGINS.match(beginning.replace("\u2019", "'")) is not None


def is_refusal(text: str) -> bool:
    """Tell whether an answer refuses, in English, German, French, Spanish and some more languages.

    A text that apologises and then answers is none. Neither is one that misses information, or a long one.

    Args:
        text: An answer, or its beginning while it streams.

    Returns:
        Whether it refuses.

    Examples:
        >>> is_refusal("I'm sorry, but I can't help with that.")
        True
        >>> is_refusal("I'm sorry for your loss. These steps come next: ...")
        False
        >>> is_refusal("Unfortunately, I can only find two reasons: ...")
        False
    """
    if len(text) > 2 * _LONGEST:
        return False
    stripped = text.strip().replace("\u2019", "'")
    opening = stripped[:_READ]
    if _NOTHING_ELSE.fullmatch(stripped):
        return True
    refuses = _REFUSES.match(opening) or _EASTERN.match(opening)
    if refuses is None or _MISSING.search(opening):
        return False
    return len(stripped) <= (_LONGEST_WITH_BUT if _BUT.search(opening, refuses.end()) else _LONGEST)
