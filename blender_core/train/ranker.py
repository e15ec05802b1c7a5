"""Training the embedded ranker from a configuration and a data folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from blender_core.rank.segments import SegmentLayout
from blender_core.train.config import RankerTrainingConfig, SourceConfig
from blender_core.train.corruption import REFUSALS
from blender_core.train.loop import Evaluate, LoopResult, run_loop, score_rows
from blender_core.train.model import SegmentPooledScorer, load_encoder
from blender_core.train.packing import PackedTexts, pack_texts
from blender_core.train.records import PreferenceRecord, read_records, split_development
from blender_core.train.sampling import GroupSampler, PackedSource, length_weights
from blender_core.train.targets import PairTarget, model_strengths, pair_targets
from blender_core.train.tokenizer import load_tokenizer, number_tokens, segment_layout

__all__ = ["data_folder", "source_records", "train_ranker"]


def data_folder(folder: str | Path | None = None) -> Path:
    """The data folder: the argument, else ``BLENDER_DATA``, else ``../shared/data``."""
    return Path(folder or os.environ.get("BLENDER_DATA") or "../shared/data")


def source_records(
    config: RankerTrainingConfig, source: SourceConfig, data: Path
) -> tuple[list[PreferenceRecord], list[PreferenceRecord]]:
    """Training and development records of one source."""
    records = read_records(data / source.file, sources=source.only or None)
    return split_development(records, config.development_share, config.seed)


def source_targets(source: SourceConfig, records: Sequence[PreferenceRecord]) -> list[list[PairTarget]]:
    """Pairs with a known order, by record."""
    strengths = model_strengths(records) if source.by_model else None
    return [pair_targets(record, strengths=strengths) for record in records]


def train_ranker(config: RankerTrainingConfig, *, data: str | Path | None = None) -> LoopResult:
    """Train a ranker, or go on with a run that was stopped.

    Args:
        config: Settings; ``config.output`` receives checkpoints, ``log.csv`` and ``evaluations.jsonl``.
        data: The data folder; ``None`` for ``BLENDER_DATA``, else ``../shared/data``.

    Returns:
        How the run ended.

    Raises:
        ConfigurationError: A data file is missing or unreadable.
        CheckpointError: The encoder, the tokenizer or the checkpoint cannot be used.
    """
    import torch

    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    folder = data_folder(data)
    tokenizer_file = Path(config.encoder) / "tokenizer.json"
    tokenizer = load_tokenizer(tokenizer_file)
    digest = hashlib.sha256(tokenizer_file.read_bytes()).hexdigest()
    layout = segment_layout(tokenizer)

    def encode_batch(texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]

    sources: list[PackedSource] = []
    held_out: dict[str, tuple[PackedTexts, list[list[PairTarget]]]] = {}
    for name, source in config.sources.items():
        train, development = source_records(config, source, folder)
        cache = Path(config.output) / "tokens"
        texts = pack_texts(train, encode_batch, tokenizer_digest=digest, cache=cache / f"{name}.npz")
        targets = source_targets(source, train)
        sources.append(
            PackedSource(
                name=name,
                share=source.share,
                group=source.group,
                texts=texts,
                targets=targets,
                weights=length_weights(texts, targets, config.length_balance),
                refusals=source.refusals,
            )
        )
        development = development[: config.development_records]
        held_out[name] = (pack_texts(development, encode_batch), source_targets(source, development))
    sampler = GroupSampler(
        sources,
        records_per_step=config.records_per_step,
        corruption=config.corruption,
        digits=number_tokens(tokenizer),
        refusals=encode_batch(list(REFUSALS)),
        seed=config.seed,
    )
    model = SegmentPooledScorer(load_encoder(config.encoder), head_size=config.head_size, dropout=config.dropout)
    return run_loop(config, model, sampler, layout, evaluate=_development(config, held_out, layout))


def _development(
    config: RankerTrainingConfig,
    held_out: dict[str, tuple[PackedTexts, list[list[PairTarget]]]],
    layout: SegmentLayout,
) -> Evaluate:
    """Pair accuracy on held-out records, by source."""

    def evaluate(model: SegmentPooledScorer, step: int) -> dict[str, float]:
        numbers: dict[str, float] = {}
        for name, (texts, targets) in held_out.items():
            right = total = 0.0
            for record, pairs in enumerate(targets):
                decided = [pair for pair in pairs if pair[2] != 0.5]
                used = sorted({index for pair in decided for index in pair[:2]})
                if not used:
                    continue
                place = {index: position for position, index in enumerate(used)}
                prompt = texts.prompt(record)
                window = config.stages[0].max_tokens
                rows = [layout.join(prompt, texts.candidate(record, index), window) for index in used]
                scores = score_rows(
                    model, rows, tokens_per_batch=config.tokens_per_batch, bfloat16=config.bfloat16
                ).tolist()
                right += sum((scores[place[i]] > scores[place[j]]) == (p > 0.5) for i, j, p in decided)
                total += len(decided)
            if total:
                numbers[name] = right / total
        return numbers

    return evaluate
