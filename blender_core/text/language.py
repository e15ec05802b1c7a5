"""Recognise the language of a text, if it is beyond doubt."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

__all__ = ["foreign_language"]

_READ = 4_000
# words that hold sentences together; a list of names or a line of code has few of them
_FUNCTION_WORDS = {
    "English": (
        "a i do does did me he she him her us if so no why where give make the of and to is that it for was with as "
        "are be this have not by but from they which you or an been their has will would there what when who more can "
        "about into than its could how some these your my we"
    ),
    "German": (
        "warum was wo wer wann mein mir mich dir man der die das und ist nicht ein eine zu mit auf für von dem den "
        "des sich auch es werden wird sind oder als wie bei nach einer eines einem einen im zum zur durch dass sie "
        "wir ich aber kann haben wenn nur noch über"
    ),
    "French": (
        "parce tout tous toute cela donc ainsi celui celle ces mes tes nos vos deux avez peu "
        "je tu me te mon pourquoi comment quel quelle quelles faut le la les des et est un une du que qui dans pour "
        "pas sur au aux avec ce cette par plus ne se sont être il elle ils nous vous mais ou où son sa ses leur comme "
        "peut même très était ont d'une qu'il c'est"
    ),
    "Spanish": (
        "qué cómo cuál cuáles dónde yo mi me te el la los las de y en que un una por con para es se del al no su lo "
        "como más pero sus le ya o este sí porque esta son entre cuando muy sin sobre también hasta hay donde puede "
        "ser fue está"
    ),
    "Italian": (
        "perché cosa quale quali dove mi io il lo la i gli le di e è un una che in per con non si del della dei delle "
        "nel nella al alla da come sono anche più ma ha o questo questa essere può dal dalla sul suo sua loro"
    ),
    "Portuguese": (
        "qual quais onde porque eu me o a os as de e é um uma que em para com não se do da dos das no na nos nas por "
        "mais como mas ao à são ou também pode ser foi seu sua isso este esta você está muito pelo pela"
    ),
    "Dutch": (
        "de het een en van is dat niet op te in zijn met voor aan er om ook als maar bij door naar uit wordt worden "
        "kan deze dit heeft over hebben of nog je wij zij was geen meer"
    ),
    "Polish": (
        "i w na z do nie się jest to że jak o po od za przez co dla oraz ale czy tym był jego są może być które który "
        "która lub także tego jako przy ma już tylko"
    ),
    "Swedish": (
        "och att det är en ett som på av för med den till inte har om de i från kan var sig eller så men vi jag också "
        "när vid efter under mellan detta"
    ),
    "Turkish": (
        "ve bir bu için ile da de olarak çok daha olan gibi ne var en kadar sonra ancak veya değil her o olduğu ise "
        "mi ya"
    ),
    "Indonesian": (
        "yang dan di dari untuk dengan pada ini itu dalam adalah tidak ke akan oleh juga atau sebagai dapat karena "
        "bisa ada mereka kita saya anda lebih telah"
    ),
    "Vietnamese": ("và của là có được trong cho một các không những với này để người từ đã khi cũng như ra về"),
}
_WORDS = {language: frozenset(words.split()) for language, words in _FUNCTION_WORDS.items()}
_SCRIPTS = {
    "CJK": "Chinese",
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "HANGUL": "Korean",
    "CYRILLIC": "Cyrillic",
    "ARABIC": "Arabic",
    "HEBREW": "Hebrew",
    "DEVANAGARI": "Devanagari",
    "THAI": "Thai",
    "GREEK": "Greek",
    "BENGALI": "Bengali",
    "TAMIL": "Tamil",
    "LATIN": "Latin",
}
# each is enough that no list of names and no quotation passes for a text
_LEAST_LETTERS, _LEAST_WIDE_LETTERS, _LEAST_SCRIPT_SHARE = 30, 10, 0.8
_LEAST_WORDS, _LEAST_DIFFERENT, _LEAST_SHARE, _MOST_SHARE_OF_OTHERS = 10, 3, 0.25, 0.6
_LEAST_WORDS_ASKED = 4
_NOT_PROSE = re.compile(r"(?:```|~~~).*?(?:```|~~~|\Z)|`[^`\n]+`|\$[^$\n]+\$|https?://\S+|<[^<>\n]{1,80}>", re.DOTALL)
_TOKEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_PARAGRAPH = re.compile(r"\n+|(?<=[.!?:])\s+|[\"“”«»]")
# a request that speaks of languages, or for words of others, may want any
_ANY_LANGUAGE = re.compile(
    r"transl|\blanguage|lyric|\brecite|anthem|\bquot|prayer|\bverse\b|multiling|biling|native|accent|"
    r"übersetz|sprache|dolmetsch|traduc|tradui|tradu[zç]|langue|idioma|lingua|vertaal|taal\b|språk|język|dil\b|bahasa|"
    r"перев|язык|翻译|翻譯|翻訳|語|语|번역|언어|ترجم|अनुवाद|"
    r"english|german|french|spanish|italian|portug|dutch|polish|swedish|danish|norweg|finnish|turkish|russian|ukrain|"
    r"chinese|mandarin|cantonese|japanese|korean|arabic|hebrew|hindi|bengali|tamil|thai|vietnam|indones|malay|greek|"
    r"latin|czech|hungar|roman|persian|farsi|urdu|swahili|catalan|"
    r"deutsch|englisch|franz|spanisch|italienisch|chinesisch|russisch|japanisch|türkisch|polnisch|arabisch|"
    r"anglais|allemand|français|espagnol|italien|chinois|russe|japonais|arabe|"
    r"inglés|ingles|alemán|aleman|francés|español|chino|ruso|japonés|inglese|tedesco|francese|spagnolo|"
    r"中文|英文|日本|한국|영어|по-|англ|русск",
    re.IGNORECASE,
)


def foreign_language(
    answer: str, asked: str, *, earlier: Sequence[str] = (), instructions: Sequence[str] = ()
) -> str | None:
    """Find the language of an answer that is in another language than it was asked in.

    Nothing is found unless both languages are beyond doubt. So it says nothing of short answers, lists of names, code
    and mixed texts. Neither does it if the request speaks of languages, or holds a sentence in the answer's.

    Args:
        answer: An answer; its first 4,000 characters are read, as of the other texts.
        asked: The request: the last turn of the user.
        earlier: Turns whose languages are as welcome.
        instructions: Texts whose own language says nothing, such as a system message.

    Returns:
        The language's name; the script's, such as ``"Cyrillic"``, if several languages share it; or ``None``.

    Examples:
        >>> asked = "Warum ist der Himmel am Tag blau und nicht grün?"
        >>> foreign_language("The sky is blue because the air scatters more of the blue light than of the red.", asked)
        'English'
        >>> foreign_language("Der Himmel ist blau, weil die Luft das blaue Licht stärker streut.", asked) is None
        True
    """
    language = _language(answer[:_READ], least_words=_LEAST_WORDS)
    if language is None or _language(asked[:_READ], least_words=_LEAST_WORDS_ASKED) in (None, language):
        return None
    turns = [turn[:_READ] for turn in (asked, *earlier)]
    if any(_ANY_LANGUAGE.search(text) for text in (*turns, *(text[:_READ] for text in instructions))):
        return None
    return None if any(_holds(turn, language) for turn in turns) else language


def _holds(text: str, language: str) -> bool:
    """Tell whether a sentence of a text, or a word in a script of its own, is in a language."""
    if language in map(_SCRIPTS.get, _scripts(text)):
        return True
    parts = _PARAGRAPH.split(text)
    return any(_language(part, least_words=_LEAST_WORDS_ASKED) == language for part in parts)


def _language(text: str, *, least_words: int) -> str | None:
    prose = _NOT_PROSE.sub(" ", text)
    if prose.lstrip()[:1] in ("{", "["):
        return None
    scripts = _scripts(prose)
    letters = scripts.total()
    if not letters:
        return None
    script, count = scripts.most_common(1)[0]
    if script in ("CJK", "HIRAGANA", "KATAKANA", "HANGUL"):
        wide = sum(scripts[name] for name in ("CJK", "HIRAGANA", "KATAKANA", "HANGUL"))
        if wide < _LEAST_WIDE_LETTERS or wide < _LEAST_SCRIPT_SHARE * letters:
            return None
        if scripts["HIRAGANA"] + scripts["KATAKANA"] > 0.1 * wide:
            return "Japanese"
        return "Korean" if scripts["HANGUL"] > 0.3 * wide else "Chinese" if scripts["CJK"] > 0.95 * wide else None
    if count < _LEAST_SCRIPT_SHARE * letters:
        return None
    if script != "LATIN":
        return _SCRIPTS[script] if count >= _LEAST_LETTERS else None
    # keywords of code are often in capitals
    words = [
        word if word.isupper() and len(word) > 1 else word.lower()
        for word in _TOKEN.findall(prose.replace("\u2019", "'"))
    ]
    return _latin_language(words, least_words)


def _latin_language(words: list[str], least_words: int) -> str | None:
    if len(words) < least_words:
        return None
    shares = {language: sum(map(known.__contains__, words)) / len(words) for language, known in _WORDS.items()}
    (best, share), (_, second) = sorted(shares.items(), key=lambda item: -item[1])[:2]
    if len(_WORDS[best].intersection(words)) < _LEAST_DIFFERENT:
        return None
    return best if share >= _LEAST_SHARE and second <= _MOST_SHARE_OF_OTHERS * share else None


def _scripts(text: str) -> Counter[str]:
    """Count the letters of each script; those of scripts without a name here count as others."""
    found: Counter[str] = Counter()
    for letter, count in Counter(text).items():
        if letter.isalpha():
            script = unicodedata.name(letter, "").partition(" ")[0].split("-")[0]
            found[script if script in _SCRIPTS else "OTHER"] += count
    return found
