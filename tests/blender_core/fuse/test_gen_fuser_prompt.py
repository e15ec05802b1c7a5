"""GenFuser's input is the reference's where it fits, and loses no candidate where it does not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import GOLDENS, START, chat_tokenizer

from blender_core.errors import FusionError
from blender_core.fuse.gen_fuser_prompt import ChatLayout, PaperLayout, PublishedLayout, fit
from blender_core.models.tokenizers import SealedTokenizer

REQUESTS = json.loads((GOLDENS / "gen_fuser.json").read_text())
CLOSING = "Summarize candidates into a better one for the given instruction:"
WORDS = st.lists(st.sampled_from(["the", "work", "licence", "of", "</s>", "<extra_id_1>", "\n"]), max_size=150).map(
    " ".join
)


@pytest.fixture(scope="module")
def tokenizer():
    return SealedTokenizer.from_file(GOLDENS / "t5_tokenizer.json")


@pytest.fixture(scope="module")
def layout(tokenizer):
    return PublishedLayout(tokenizer)


@pytest.mark.parametrize("title", sorted(REQUESTS))
def test_golden_ids(title, layout):
    request = REQUESTS[title]
    fitted = fit(layout, request["prompt"], request["candidates"], window=1024, candidate_max_length=128)
    assert fitted.ids == request["ids"]
    assert bool(fitted.cut) == (title == "long candidates")


@pytest.mark.parametrize("title", sorted(title for title in REQUESTS if "paper_ids" in REQUESTS[title]))
def test_golden_ids_of_the_paper_s_script(title, tokenizer):
    request = REQUESTS[title]
    fitted = fit(
        PaperLayout(tokenizer), request["prompt"], request["candidates"], window=1024, candidate_max_length=128
    )
    assert fitted.ids == request["paper_ids"]
    assert fitted.cut == {}


def test_the_paper_s_layout_fits_a_window_too(tokenizer):
    text = "the work\n" * 80
    fitted = fit(PaperLayout(tokenizer), text, [text, "of"], window=200, candidate_max_length=64)
    end = tokenizer.control_id("</s>")
    assert len(fitted.ids) <= 200
    assert fitted.ids[-1] == end
    assert set(fitted.cut) == {-1, 0}
    assert fitted.ids.count(end) > 20
    assert tokenizer.decode(fitted.ids).endswith(CLOSING)


@given(prompt=WORDS, candidates=st.lists(WORDS, min_size=1, max_size=4), window=st.integers(180, 700))
def test_everything_stays_in_the_window(layout, tokenizer, prompt, candidates, window):
    fitted = fit(layout, prompt, candidates, window=window, candidate_max_length=128)
    assert len(fitted.ids) <= window
    for position, candidate in enumerate(candidates):
        mark = fitted.ids.index(tokenizer.control_id(f"<extra_id_{position}>"))
        kept = fitted.cut.get(position, 0) < len(layout.spans(candidate))
        end = fitted.ids.index(tokenizer.control_id("</s>"), mark)
        assert end > mark + 1 or not candidate
        assert kept or not candidate.strip()
    assert tokenizer.decode(fitted.ids).endswith(CLOSING)


@given(prompt=WORDS, candidates=st.lists(WORDS, min_size=1, max_size=4))
def test_no_text_adds_a_control_token(layout, tokenizer, prompt, candidates):
    ids = fit(layout, prompt, candidates, window=10_000, candidate_max_length=None).ids
    assert ids.count(tokenizer.control_id("</s>")) == len(candidates) + 2
    assert ids.count(tokenizer.control_id("<extra_id_0>")) == 1
    assert tokenizer.control_id("<pad>") not in ids


def test_the_longest_candidates_give_way_first(layout):
    fitted = fit(layout, "which", ["work " * 200, "licence", "of " * 100], window=250, candidate_max_length=None)
    assert set(fitted.cut) == {0, 2}
    kept = [200 * 2 - fitted.cut[0], 100 - fitted.cut[2]]
    assert kept[1] > 10


def test_the_prompt_keeps_both_ends(layout, tokenizer):
    fitted = fit(layout, "the " * 400 + "licence", ["work"], window=200, candidate_max_length=128)
    assert set(fitted.cut) == {-1}
    text = tokenizer.decode(fitted.ids)
    assert "licence" in text
    assert "Input: the the" in text


def test_a_window_that_is_too_small(layout):
    frame = len(layout.assemble("", [""] * 3))
    with pytest.raises(FusionError, match="lower top_k or raise max_length"):
        fit(layout, "which", ["work " * 50] * 3, window=frame + 8, candidate_max_length=128)


def test_more_candidates_than_marks(layout):
    with pytest.raises(FusionError, match="101 candidates are too many"):
        fit(layout, "which", ["work"] * 101, window=10_000, candidate_max_length=128)


def test_a_chat_template_writes_all_control_tokens_itself():
    from tokenizers.processors import TemplateProcessing

    chat = chat_tokenizer(["the work of the licence"], 300)
    start = chat.convert_tokens_to_ids(START)
    chat.backend_tokenizer.post_processor = TemplateProcessing(single=f"{START} $A", special_tokens=[(START, start)])
    assert chat.encode("the")[0] == start
    ids = ChatLayout(chat).assemble("the work", ["of", "licence"])
    # before each of the two messages, and before the answer
    assert ids.count(start) == 3
