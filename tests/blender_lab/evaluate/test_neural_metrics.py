"""BERTScore, BLEURT and BARTScore on small checkpoints, against their definitions written out pair by pair."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from blender_core.errors import CheckpointError, ConfigurationError  # noqa: E402
from blender_lab.evaluate.metrics.bart_score import BartScore  # noqa: E402
from blender_lab.evaluate.metrics.bert_score import BertScore  # noqa: E402
from blender_lab.evaluate.metrics.bleurt import Bleurt  # noqa: E402
from blender_lab.evaluate.metrics.registry import resolve_metric  # noqa: E402

CANDIDATES = ["the cat sat on the mat", "a dog ran", "the dog sat", "cat"]
REFERENCES = ["the cat sat", "the dog ran on the mat", "a cat ran", "the mat sat on a dog"]


@pytest.fixture(scope="module")
def words():
    return sorted({word for text in CANDIDATES + REFERENCES for word in text.split()})


@pytest.fixture(scope="module")
def save_tokenizer(words):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    def write(folder, first, separator, pair):
        names = [first, "<pad>", separator, "<unk>"]
        vocabulary = {word: number for number, word in enumerate([*names, *words])}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {separator}", pair=pair, special_tokens=[(first, 0), (separator, 2)]
        )
        fast = transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", cls_token=first, sep_token=separator, eos_token=separator
        )
        fast.save_pretrained(folder)
        return fast

    return write


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory, save_tokenizer, words):
    def write(family, **options):
        folder = tmp_path_factory.mktemp("bert")
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=4 + len(words),
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=40,
            pad_token_id=1,
            initializer_range=0.5,
            **options,
        )
        model = getattr(transformers, family)(config).eval()
        model.save_pretrained(folder)
        tokenizer = save_tokenizer(folder, "[CLS]", "[SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")
        return folder, model, tokenizer

    return write


@pytest.fixture(scope="module")
def bart(tmp_path_factory, save_tokenizer, words):
    folder = tmp_path_factory.mktemp("bart")
    torch.manual_seed(0)
    config = transformers.BartConfig(
        vocab_size=4 + len(words),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=40,
        init_std=0.5,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=2,
    )
    model = transformers.BartForConditionalGeneration(config).eval()
    model.save_pretrained(folder)
    tokenizer = save_tokenizer(folder, "<s>", "</s>", "<s> $A </s> </s> $B </s>")
    return folder, model, tokenizer


def bart_score_of_the_authors(model, tokenizer, source, target):
    """``bart_score.py`` of the authors, one pair: NLL of every target token, summed, over the target's length."""
    read, written = tokenizer(source, return_tensors="pt"), tokenizer(target, return_tensors="pt")
    labels = written["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=read["input_ids"], attention_mask=read["attention_mask"], labels=labels).logits
    loss = torch.nn.NLLLoss(reduction="none")(logits.view(-1, logits.shape[-1]).log_softmax(1), labels.view(-1))
    return -float(loss.sum() / written["attention_mask"].sum())


def test_bart_score_is_the_authors_in_both_directions(bart):
    folder, model, tokenizer = bart
    ours = BartScore.from_pretrained(folder, batch_size=3, device="cpu")
    expected = [bart_score_of_the_authors(model, tokenizer, *pair) for pair in zip(CANDIDATES, REFERENCES, strict=True)]
    # padding in a batch of unlike lengths may not be seen
    assert ours.score(CANDIDATES, REFERENCES) == pytest.approx(expected, abs=1e-5)
    back = BartScore.from_pretrained(folder, direction="reference to candidate", device="cpu")
    expected = [bart_score_of_the_authors(model, tokenizer, *pair) for pair in zip(REFERENCES, CANDIDATES, strict=True)]
    assert back.score(CANDIDATES, REFERENCES) == pytest.approx(expected, abs=1e-5)
    assert max(expected) < 0


def test_bart_score_cuts_long_texts_and_refuses_what_it_cannot_be(bart, bert_folder):
    folder, _, _ = bart
    metric = resolve_metric(f"bartscore:{folder}")
    assert metric.name == "bartscore"
    long = " ".join(["the cat sat on a mat"] * 20)
    assert metric.score([long], [long]) == metric.score([f"{long} dog"], [f"{long} dog"])
    with pytest.raises(ConfigurationError, match="direction is 'both'"):
        BartScore.from_pretrained(folder, direction="both")
    with pytest.raises(CheckpointError):
        BartScore.from_pretrained(bert_folder("BertModel")[0])


def test_bleurt_is_the_logit_of_reference_then_answer(bert_folder):
    folder, model, tokenizer = bert_folder("BertForSequenceClassification", num_labels=1)
    with torch.no_grad():
        expected = [
            float(
                model(**tokenizer(reference, candidate, return_tensors="pt", return_token_type_ids=True)).logits[0, 0]
            )
            for candidate, reference in zip(CANDIDATES, REFERENCES, strict=True)
        ]
    metric = resolve_metric(f"bleurt:{folder}")
    assert metric.score(CANDIDATES, REFERENCES) == pytest.approx(expected, abs=1e-5)
    assert metric.score(REFERENCES, CANDIDATES) != pytest.approx(expected, abs=1e-3)
    with pytest.raises(CheckpointError, match="2 labels"):
        Bleurt.from_pretrained(bert_folder("BertForSequenceClassification", num_labels=2)[0])


def bert_score_by_definition(model, tokenizer, candidate, reference, layer):
    """Section 3 of the paper for one pair; special tokens match, but do not count, as in ``bert-score``."""

    def states(text):
        rows = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**rows, output_hidden_states=True).hidden_states[layer][0]
        return torch.nn.functional.normalize(hidden, dim=-1)

    similarity = states(candidate) @ states(reference).T
    precision = similarity.max(1).values[1:-1].mean()
    recall = similarity.max(0).values[1:-1].mean()
    return float(precision), float(recall), float(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_bert_score_by_layer(bert_folder, layer):
    folder, model, tokenizer = bert_folder("BertModel")
    expected = [
        bert_score_by_definition(model, tokenizer, candidate, reference, layer)
        for candidate, reference in zip(CANDIDATES, REFERENCES, strict=True)
    ]
    for place, value in enumerate(("precision", "recall", "f1")):
        metric = BertScore.from_pretrained(folder, layer=layer, value=value, device="cpu")
        assert metric.score(CANDIDATES, REFERENCES) == pytest.approx([row[place] for row in expected], abs=1e-5)
    assert metric.score(CANDIDATES, CANDIDATES) == pytest.approx([1.0] * len(CANDIDATES), abs=1e-5)
