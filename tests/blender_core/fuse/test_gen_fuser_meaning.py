"""What a trained causal fuser writes: the best candidate, whole, in pieces, in batches and in few bits."""

from __future__ import annotations

import random

import pytest
from tiny_models import chat_tokenizer, llama

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from blender_core import GenFuser  # noqa: E402
from blender_core.fuse import FusionInput  # noqa: E402
from blender_core.fuse.gen_fuser_prompt import ChatLayout  # noqa: E402
from blender_core.fuse.llm_fuser import fusion_prompt  # noqa: E402

pytestmark = pytest.mark.slow

WORDS = ["charge", "claim", "direct", "form", "including", "licenses", "page", "part", "version", "work", "terms"]


def draw_candidates(draw):
    return tuple(" ".join(draw.sample(WORDS, 2)) for _ in range(2))


def make_tokenizer():
    """Words of the fuser's own prompt are single tokens, so that the input stays short."""
    messages = fusion_prompt(FusionInput("which", ("a", "b")))[0].messages
    texts = [*(message.content for message in messages), " ".join(["which", *WORDS])] * 2
    return chat_tokenizer(texts, 1500)


def make_batch(layout, tokenizer, draw):
    rows = []
    for _ in range(16):
        candidates = draw_candidates(draw)
        answer = [*tokenizer.encode(candidates[0], add_special_tokens=False), tokenizer.eos_token_id]
        asked = layout.assemble("which", candidates)
        rows.append(([-100] * len(asked) + answer, asked + answer))
    width = max(len(ids) for _, ids in rows)
    # pads on the left: all answers stand at the end
    ids = torch.tensor([[0] * (width - len(ids)) + ids for _, ids in rows])
    labels = torch.tensor([[-100] * (width - len(labels)) + labels for labels, _ in rows])
    return ids, (ids != 0).long(), labels


def answer_loss(model, ids, mask, labels):
    """Only the last positions meet the vocabulary: a third less work."""
    hidden = model.model(input_ids=ids, attention_mask=mask).last_hidden_state[:, -8:-1]
    return torch.nn.functional.cross_entropy(model.lm_head(hidden).flatten(0, 1), labels[:, -7:].flatten())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Llama of two layers that has learned to repeat the first candidate: some 20 seconds of one core."""
    folder = tmp_path_factory.mktemp("copying-llama")
    tokenizer, draw = make_tokenizer(), random.Random(1)
    model = llama(tokenizer, tie_word_embeddings=True, initializer_range=0.1)
    layout = ChatLayout(tokenizer)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    model.train()
    for step in range(800):
        loss = answer_loss(model, *make_batch(layout, tokenizer, draw))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.param_groups[0]["lr"] = 5e-3 * min(1.0, (step + 1) / 30)
        optimiser.step()
        optimiser.zero_grad()
        if loss.item() < 0.02:
            break
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def requests():
    draw = random.Random(99)
    return [FusionInput("which", draw_candidates(draw)) for _ in range(10)]


def right(fuser):
    fused = fuser.fuse_batch(requests(), batch_size=5)
    return sum(text.text == request.candidates[0] for text, request in zip(fused, requests(), strict=True))


def test_the_best_candidate_comes_back(folder):
    fuser = GenFuser.from_pretrained(folder, device="cpu", generation={"max_new_tokens": 16})
    assert right(fuser) >= 9


def test_turned_candidates_give_the_other_text(folder):
    fuser = GenFuser.from_pretrained(folder, device="cpu", generation={"max_new_tokens": 16})
    turned = [FusionInput(request.prompt, request.candidates[::-1]) for request in requests()]
    assert sum(fuser.fuse(request).text == request.candidates[0] for request in turned) >= 9


def test_pieces_and_beams_say_the_same(folder):
    fuser = GenFuser.from_pretrained(folder, device="cpu", generation={"max_new_tokens": 16, "num_beams": 3})
    assert right(fuser) >= 9
    for request in requests()[:3]:
        *pieces, fused = fuser.stream(request)
        assert "".join(pieces) == fused.text == fuser.fuse(request).text


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(dtype, folder):
    assert right(GenFuser.from_pretrained(folder, device="cpu", dtype=dtype, generation={"max_new_tokens": 16})) >= 8


@pytest.mark.parametrize("device_map", ["auto", "cpu", {"": "cpu"}])
def test_device_maps(device_map, folder):
    pytest.importorskip("accelerate")
    fuser = GenFuser.from_pretrained(folder, device_map=device_map, dtype="float32", generation={"max_new_tokens": 16})
    assert right(fuser) >= 9


@pytest.mark.parametrize(("quantization", "layer"), [("8bit", "Linear8bitLt"), ("4bit", "Linear4bit")])
def test_quantized_weights(quantization, layer, folder, caplog):
    """bitsandbytes runs on a CPU too."""
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("accelerate")
    options = {"quantization": quantization, "generation": {"max_new_tokens": 16}}
    fuser = GenFuser.from_pretrained(folder, device="cpu", **options)
    assert layer in {type(module).__name__ for module in fuser._model.modules()}
    caplog.clear()
    assert right(fuser) >= 7
    assert not caplog.records
