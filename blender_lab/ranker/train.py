"""Training a ranker from a configuration and a data folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from blender_core.errors import ConfigurationError
from blender_core.models.devices import resolve_device
from blender_core.rank.registry import resolve_ranker
from blender_lab.data.preferences import PreferenceRecord, split_development
from blender_lab.ranker.architecture import Architecture
from blender_lab.ranker.config import RankerTrainingConfig
from blender_lab.ranker.corruption import REFUSALS, KnownTokens
from blender_lab.ranker.development import HeldOut, development_evaluation
from blender_lab.ranker.export import HEAD_FILE, encoder_folder, load_scorer
from blender_lab.ranker.loop import LoopResult, StepReport, run_loop
from blender_lab.ranker.one_pass import OnePassForm, known_tokens, load_tokenizer, segment_layout
from blender_lab.ranker.pair import PairForm, load_pair_model
from blender_lab.ranker.sampling import GroupSampler, PackedSource, length_weights, pack_texts
from blender_lab.ranker.targets import PairTarget, label_with_teacher, model_strengths, pair_targets, with_teacher_pairs
from blender_lab.training.settings import check_resumable, keep_settings
from blender_lab.training.sources import SourceConfig, read_source

__all__ = [
    "Texts",
    "build_form",
    "check_resumable_ranker",
    "source_records",
    "source_targets",
    "train_ranker",
]


# where, how fast and how long it trains, what is watched meanwhile, and what the export alone reads
_FREE = (
    *("output", "device", "threads", "tokens_per_batch", "accumulation", "steps", "minutes"),
    *("development_records", "evaluate_every", "save_every", "tensorboard", "keep", "start_share", "combination"),
)


@dataclass(frozen=True, slots=True)
class Texts:
    """How a run turns texts into ids.

    Attributes:
        encode_batch: Token ids of texts, without special tokens.
        digest: Changes with the tokenizer.
        known: The tokens that corruptions work with.
    """

    encode_batch: Callable[[list[str]], list[list[int]]]
    digest: str
    known: KnownTokens


def check_resumable_ranker(config: RankerTrainingConfig) -> None:
    """Refuse settings other than those that a ranker's checkpoint was trained with.

    Args:
        config: Settings. Those that do not change what is trained may differ, ``steps`` and ``minutes`` among them.

    Raises:
        ConfigurationError: Another setting differs; the message names it.
    """
    if (Path(config.output) / "checkpoint.pt").is_file():
        check_resumable(config, _FREE)


def source_records(
    config: RankerTrainingConfig, source: SourceConfig, data: str | Path | None
) -> tuple[list[PreferenceRecord], list[PreferenceRecord]]:
    """Training and development records of one source."""
    name = next((name for name, one in config.sources.items() if one is source), "data")
    records = read_source(source, data, name=name)
    return split_development(records, config.development_share, config.seed)


def source_targets(source: SourceConfig, records: Sequence[PreferenceRecord]) -> list[list[PairTarget]]:
    """Pairs with a known order, by record."""
    strengths = model_strengths(records) if source.by_model else None
    return [pair_targets(record, strengths=strengths, slope=source.slope) for record in records]


def build_form(config: RankerTrainingConfig) -> tuple[Architecture, Texts]:
    """Load the encoder of a run under the head of its form, on the run's device.

    Args:
        config: Settings.

    Returns:
        What the loop trains, and how it reads texts.

    Raises:
        CheckpointError: The encoder or its tokenizer cannot be used.
        ConfigurationError: The device is not there, a window does not fit, or ``start_share`` is set for an encoder
            without a head.
    """
    import torch

    # a head of random weights: the same for every run with this seed
    torch.manual_seed(config.seed)
    device = resolve_device(config.device)
    folder = encoder_folder(config)
    tokenizer_file = folder / "tokenizer.json"
    tokenizer = load_tokenizer(tokenizer_file)
    digest = hashlib.sha256(tokenizer_file.read_bytes()).hexdigest()
    known = known_tokens(tokenizer)
    if config.form == "pair":
        pair_model, pair_tokenizer = load_pair_model(
            folder, dropout=config.dropout, seed=config.seed, pooling=config.pooling
        )
        pair_form = PairForm(pair_model.to(device), pair_tokenizer, config)
        return pair_form, Texts(pair_form.encode_batch, f"pair {digest}", known)
    if config.start_share and not config.initial and not (folder / HEAD_FILE).is_file():
        raise ConfigurationError(
            f"start_share is {config.start_share}, but the run begins with {config.encoder!r}, which has no head; set "
            "start_share = 0, or start from a ranker"
        )
    model = load_scorer(folder, config)

    def encode_batch(texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]

    return OnePassForm(model.to(device), segment_layout(tokenizer), config), Texts(encode_batch, digest, known)


def train_ranker(
    config: RankerTrainingConfig,
    *,
    data: str | Path | None = None,
    report: Callable[[StepReport], None] | None = None,
    stop_after: int | None = None,
) -> LoopResult:
    """Train a ranker, or resume a run that was stopped.

    Args:
        config: Settings; ``config.output`` receives checkpoints, ``log.csv`` and ``evaluations.jsonl``.
        data: The data folder; ``None`` for ``BLENDER_DATA``.
        report: Called after every step.
        stop_after: Stop after this step with a checkpoint; for trials.

    Returns:
        How the run ended.

    Raises:
        ConfigurationError: A data file is missing or unreadable, the output holds a run with other settings, or as
            from :func:`build_form`.
        CheckpointError: The encoder, the tokenizer or the checkpoint cannot be used.
        DownloadError: A data set or an encoder of the hub cannot be had.
    """
    import torch

    check_resumable_ranker(config)
    keep_settings(config)
    torch.set_num_threads(config.threads)
    form, texts = build_form(config)
    sources: list[PackedSource] = []
    held_out: dict[str, HeldOut] = {}
    for name, source in config.sources.items():
        train, development = source_records(config, source, data)
        sources.append(_packed(config, name, source, train, texts))
        development = development[: config.development_records]
        held_out[name] = HeldOut(pack_texts(development, texts.encode_batch), source_targets(source, development))
    sampler = GroupSampler(
        sources,
        records_per_step=config.records_per_step,
        corruption=config.corruption,
        corruptions=config.corruptions,
        known=texts.known,
        refusals=texts.encode_batch(list(REFUSALS)),
        seed=config.seed,
        pairs_per_record=config.pairs_per_record,
        off_topic_draws=config.off_topic_draws,
    )
    evaluate = development_evaluation(config, held_out, pairs=form.reads_order)
    return run_loop(config, form, sampler, evaluate=evaluate, report=report, stop_after=stop_after)


def _packed(
    config: RankerTrainingConfig, name: str, source: SourceConfig, records: list[PreferenceRecord], texts: Texts
) -> PackedSource:
    output = Path(config.output)
    packed = pack_texts(
        records, texts.encode_batch, tokenizer_digest=texts.digest, cache=output / "tokens" / f"{name}.npz"
    )
    targets = source_targets(source, records)
    teacher = None
    if config.teacher is not None and (not config.teacher.sources or name in config.teacher.sources):
        ranker = resolve_ranker(config.teacher.ranker) if config.teacher.ranker else None
        teacher = label_with_teacher(records, ranker, cache=output / "teacher" / f"{name}.jsonl")
        targets = [with_teacher_pairs(pairs, logits) for pairs, logits in zip(targets, teacher, strict=True)]
    return PackedSource(
        name=name,
        share=source.share,
        group=source.group,
        texts=packed,
        targets=targets,
        weights=length_weights(packed, targets, config.length_balance),
        refusals=source.refusals,
        teacher=teacher,
    )
