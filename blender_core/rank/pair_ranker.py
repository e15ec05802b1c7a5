"""Rank with PairRanker, the paper's cross-encoder of a prompt and two candidates."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Unpack

from blender_core.errors import CheckpointError, ConfigurationError
from blender_core.models.hub import checkpoint_folder
from blender_core.models.loading import LoadOptions, takes_load_options
from blender_core.rank.calibration import Calibration, ComparedAnswers, LabelledPair, fit_calibration
from blender_core.rank.comparisons import aggregate, bubble_matrix, ordered_matrix, spread_ordered, symmetrise
from blender_core.rank.pairrm.settings import PairRankerSettings
from blender_core.rank.pairrm.tokens import PairTokenizer
from blender_core.rank.protocol import Ranker
from blender_core.runtime.extras import require
from blender_core.runtime.numbers import check_number
from blender_core.text.distinct import DistinctCandidates, distinct_candidates
from blender_core.types.ranking import Ranking, direct_confidence

if TYPE_CHECKING:
    from blender_core.rank.pairrm.onnx_scorer import OnnxPairScorer
    from blender_core.rank.pairrm.scorer import PairScorer
    from blender_core.rank.pairrm.tokens import EncodedPair, EncodedText

__all__ = [
    "BACKENDS",
    "EncodedRequest",
    "PairRanker",
    "encode_pairs",
    "encode_request",
]


@dataclass(frozen=True, slots=True)
class EncodedRequest:
    """A prompt and its distinct candidates as token ids.

    Attributes:
        source: The prompt.
        texts: The distinct candidates, in an order that does not depend on how they were given.
        distinct: Maps all candidates to ``texts``.
        cut: Candidate index -> tokens that did not fit; -1 is the prompt.
    """

    source: EncodedText
    texts: tuple[EncodedText, ...]
    distinct: DistinctCandidates
    cut: dict[int, int]


def encode_request(
    tokenizer: PairTokenizer,
    prompt: str,
    candidates: Sequence[str],
    source_max_length: int,
    candidate_max_length: int,
) -> EncodedRequest:
    """Encode a prompt and its candidates once each.

    Room that a short prompt leaves goes to the two candidates of a pair, half each, as in the reference.

    Args:
        tokenizer: The checkpoint's.
        prompt: The prompt.
        candidates: At least one answer.
        source_max_length: Most tokens of the prompt.
        candidate_max_length: Most tokens of a candidate next to a full prompt.

    Returns:
        The request.

    Raises:
        ConfigurationError: ``candidates`` is empty or holds something that is not a string.
    """
    by_text = distinct_candidates(candidates)
    source = tokenizer.source(prompt, source_max_length)
    room = candidate_max_length + (source_max_length - len(source.ids)) // 2
    encoded = [tokenizer.candidate(text, room) for text in by_text.texts]
    # texts with equal ids are duplicates too; sorting makes results independent of the order of the candidates
    unique = sorted({text.ids for text in encoded}, key=lambda ids: (len(ids), ids))
    place = {ids: index for index, ids in enumerate(unique)}
    positions = tuple(None if p is None else place[encoded[p].ids] for p in by_text.positions)
    # reversed, so that the first text of each is kept
    first = {place[text.ids]: number for number, text in reversed(list(enumerate(encoded)))}
    cut = {index: encoded[p].cut for index, p in enumerate(by_text.positions) if p is not None and encoded[p].cut}
    return EncodedRequest(
        source=source,
        texts=tuple(encoded[first[index]] for index in range(len(unique))),
        distinct=DistinctCandidates(tuple(by_text.texts[first[index]] for index in range(len(unique))), positions),
        cut={-1: source.cut, **cut} if source.cut else cut,
    )


def encode_pairs(
    tokenizer: PairTokenizer,
    comparisons: Sequence[tuple[str, str, str]],
    source_max_length: int,
    candidate_max_length: int,
) -> list[EncodedPair]:
    """Encode comparisons unchanged, each text once.

    Args:
        tokenizer: The checkpoint's.
        comparisons: Prompt, left and right answer of each.
        source_max_length: Most tokens of a prompt.
        candidate_max_length: Most tokens of a candidate next to a full prompt.

    Returns:
        One pair for each comparison.
    """
    sources = {prompt: tokenizer.source(prompt, source_max_length) for prompt, _, _ in comparisons}
    known: dict[tuple[str, int], EncodedText] = {}
    pairs = []
    for prompt, left, right in comparisons:
        source = sources[prompt]
        room = candidate_max_length + (source_max_length - len(source.ids)) // 2
        for text in (left, right):
            if (text, room) not in known:
                known[text, room] = tokenizer.candidate(text, room)
        pairs.append(tokenizer.pair(source, known[left, room], known[right, room]))
    return pairs


BACKENDS = ("onnx", "torch")
"""Backends that run the network."""


class _LoadedParts(NamedTuple):
    scorer: PairScorer | OnnxPairScorer
    tokenizer: PairTokenizer
    settings: PairRankerSettings


def _load_parts(
    name_or_path: str | os.PathLike[str],
    load: LoadOptions,
    *,
    backend: str,
    token_budget: int | None,
    threads: int | None,
) -> _LoadedParts:
    """Load a checkpoint; ``PairRanker.from_pretrained`` documents the arguments."""
    if backend not in BACKENDS:
        raise ConfigurationError(f"backend {backend!r} is unknown; choose 'torch' or 'onnx'")
    check_number("threads", threads, least=1, whole=True, none="the default")
    if threads is not None and backend == "torch":
        raise ConfigurationError(f"threads={threads} is for backend='onnx'; torch has torch.set_num_threads")
    if backend == "torch":
        for module in ("torch", "safetensors"):
            require(module, feature="PairRanker.from_pretrained", extra="torch")
    folder = checkpoint_folder(
        name_or_path,
        revision=load["revision"],
        cache_dir=load["cache_dir"],
        local_files_only=load["local_files_only"],
        onnx=backend == "onnx",
    )
    settings = PairRankerSettings.from_folder(folder)
    if not (folder / "tokenizer.json").is_file():
        raise CheckpointError(
            f"{folder} has no tokenizer.json; load its tokenizer once with transformers 4 and "
            "save_pretrained() it there"
        )
    tokenizer = PairTokenizer.from_file(folder / "tokenizer.json")
    scorer: PairScorer | OnnxPairScorer
    device, dtype = load["device"], load["dtype"]
    if backend == "onnx":
        from blender_core.rank.pairrm.onnx_scorer import load_onnx_scorer

        scorer = load_onnx_scorer(
            folder, tokenizer, device=device, dtype=dtype, token_budget=token_budget, threads=threads
        )
    else:
        from blender_core.rank.pairrm.scorer import load_scorer

        scorer = load_scorer(folder, settings, tokenizer, device=device, dtype=dtype, token_budget=token_budget)
    return _LoadedParts(scorer, tokenizer, settings)


class PairRanker:
    """Ranks by comparing every ordered pair (LLM-Blender, Jiang et al. 2023, section 3).

    Create one with ``from_pretrained``. For a ranker that needs neither torch nor a download see ``embedded``.
    Loaded objects keep no state between calls and may be used from several threads.

    Examples:
        ```python
        ranker = PairRanker.from_pretrained("llm-blender/PairRM")
        ranking = ranker.rank("What is 2 + 2?", ["4", "I do not know."])
        ranking.best, ranking.scores, ranking.confidence
        ```
    """

    def __init__(
        self,
        scorer: PairScorer | OnnxPairScorer,
        tokenizer: PairTokenizer,
        *,
        source_max_length: int,
        candidate_max_length: int,
        name: str = "pair-ranker",
        aggregation: str = "max_logits",
        both_orders: bool = True,
        temperature: float = 1.0,
        position_bias: float = 0.0,
        calibration: Calibration | None = None,
    ) -> None:
        """Build a ranker from loaded parts; ``from_pretrained`` does this for you.

        Args:
            scorer: The network.
            tokenizer: Its tokenizer.
            source_max_length: Most tokens of the prompt, three special ones included.
            candidate_max_length: Most tokens of a candidate next to a full prompt.
            name: Shown in results.
            aggregation: How comparisons become scores: ``"max_logits"``, ``"max_wins"``,
                ``"bradley_terry"`` or ``"bubble"``.
            both_orders: Run each pair in both orders. With one, each candidate is on the left half of the time.
            temperature: Divides the logit between the first two before the sigmoid of the confidence.
            position_bias: Logit that favours the left candidate; subtracted if one order is run.
            calibration: Origin of temperature and bias.

        Raises:
            ConfigurationError: A value is invalid.
        """
        self._settings = PairRankerSettings(
            source_max_length,
            candidate_max_length,
            aggregation=aggregation,
            both_orders=both_orders,
            temperature=temperature,
            position_bias=position_bias,
            calibration=calibration,
        )
        self._settings.check(scorer.window)
        self._scorer = scorer
        self._tokenizer = tokenizer
        self._name = name

    @classmethod
    @takes_load_options()
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        backend: str = "torch",
        name: str | None = None,
        aggregation: str | None = None,
        both_orders: bool | None = None,
        temperature: float | None = None,
        source_max_length: int | None = None,
        candidate_max_length: int | None = None,
        token_budget: int | None = None,
        threads: int | None = None,
        **load: Unpack[LoadOptions],
    ) -> PairRanker:
        """Load ``llm-blender/PairRM``, ``PairRM-hf``, ``pair-ranker``, or a saved folder.

        Only the checkpoint is downloaded. Weights come from ``model.safetensors`` or its shards, else
        from ``pytorch_model.bin`` read with ``weights_only=True``; ids from ``tokenizer.json``.

        Args:
            name_or_path: A folder or a hub repository.
            backend: ``"torch"``, or ``"onnx"``, which needs no torch but a folder that ``export_onnx`` wrote.
            name: Shown in results; default the last part of ``name_or_path``.
            aggregation: How comparisons become scores: ``"max_logits"`` (the reference's), ``"max_wins"``,
                ``"bradley_terry"``, or ``"bubble"``, which finds a best one with 2 (n - 1) forward passes.
                Default: the checkpoint's, else ``"max_logits"``.
            both_orders: Run each pair in both orders; ``False`` halves the work. Default: the checkpoint's, else both,
                as in the reference.
            temperature: Divides the logit between the first two before it becomes the confidence. Default: the
                checkpoint's, else 1.
            source_max_length: Most tokens of the prompt; default the checkpoint's (PairRM 1,224).
            candidate_max_length: Most tokens of a candidate next to a full prompt; default the checkpoint's
                (PairRM 412). Room that a shorter prompt leaves goes to the candidates.
            token_budget: Most tokens in a batch, padding included; default 512 on a CPU, 16,384 elsewhere. If a GPU
                runs out of memory, the batch is halved.
            threads: CPU threads of the backend ``"onnx"``; default onnxruntime's choice.
            **load: Load options; see ``blender_core.models.loading.LoadOptions``. With ``"onnx"`` the dtype is
                ``"float32"`` or ``"int8"``; ``"auto"`` takes the first of the two that exists.

        Returns:
            The ranker.

        Raises:
            CheckpointError: Files are missing or are not a PairRanker's; unknown and missing tensors are listed.
            ConfigurationError: The device, the dtype or another value is invalid.
            DownloadError: The repository cannot be downloaded.
            MissingExtraError: torch, safetensors or huggingface_hub is not installed.
        """
        scorer, tokenizer, settings = _load_parts(
            name_or_path, load, backend=backend, token_budget=token_budget, threads=threads
        )
        return cls(
            scorer,
            tokenizer,
            source_max_length=source_max_length or settings.source_max_length,
            candidate_max_length=candidate_max_length or settings.candidate_max_length,
            name=name or Path(os.fspath(name_or_path)).resolve().name,
            aggregation=settings.aggregation if aggregation is None else aggregation,
            both_orders=settings.both_orders if both_orders is None else both_orders,
            temperature=settings.temperature if temperature is None else temperature,
            position_bias=settings.position_bias,
            calibration=settings.calibration if temperature in (None, settings.temperature) else None,
        )

    def save_pretrained(
        self, folder: str | os.PathLike[str], *, layout: Literal["blended", "pairrm-hf"] = "blended"
    ) -> None:
        """Write a folder that ``from_pretrained`` loads again, with equal logits.

        Args:
            folder: Created if it is missing; files of the same names are replaced.
            layout: ``"blended"`` is the project's own and keeps lengths, aggregation and calibration.
                ``"pairrm-hf"`` is the one of ``llm-blender/PairRM-hf``, for the reference's class
                ``DebertaV2PairRM``; it keeps none of these and holds DeBERTa only.

        Raises:
            ConfigurationError: The layout is unknown, or cannot hold this encoder.
            CheckpointError: The tokenizer was not read from a file.
        """
        from blender_core.rank.pairrm.onnx_scorer import OnnxPairScorer
        from blender_core.rank.pairrm.saving import save_checkpoint, save_onnx

        if not isinstance(self._scorer, OnnxPairScorer):
            save_checkpoint(Path(folder), layout, self._scorer.model, self._tokenizer, self._settings)
        elif layout == "blended":
            save_onnx(Path(folder), self._scorer, self._tokenizer, self._settings)
        else:
            raise ConfigurationError(f"layout {layout!r} needs torch's weights; load with backend='torch'")

    def export_onnx(self, folder: str | os.PathLike[str], *, quantize: bool = False) -> None:
        """Write a folder that ``from_pretrained(..., backend="onnx")`` loads, in float32.

        It may be the folder of ``save_pretrained``: then both backends load it.

        Args:
            folder: Created if it is missing; ``config.json``, ``tokenizer.json`` and ``model.onnx`` are written.
            quantize: Also write ``model.int8.onnx``, for ``dtype="int8"``. Its logits differ: measure them.

        Raises:
            CheckpointError: The tokenizer was not read from a file.
            MissingExtraError: onnx is not installed.
        """
        from blender_core.rank.pairrm.onnx_scorer import OnnxPairScorer
        from blender_core.rank.pairrm.saving import save_onnx

        network = self._scorer if isinstance(self._scorer, OnnxPairScorer) else self._scorer.model
        save_onnx(Path(folder), network, self._tokenizer, self._settings, quantize=quantize)

    @staticmethod
    def embedded() -> Ranker:
        """Load the small ranker in the package: no torch, no download.

        It is not the paper's model; ``blender_core.rank.embedded`` describes it.

        Returns:
            The ranker, loaded once for each call.
        """
        from blender_core.rank.embedded import EmbeddedRanker

        return EmbeddedRanker.load()

    @property
    def name(self) -> str:
        """Short name, shown in results."""
        return self._name

    @property
    def calibration(self) -> Calibration | None:
        """The result of ``calibrated``, kept by ``save_pretrained``; ``None`` if there is none."""
        return self._settings.calibration

    @property
    def position_bias(self) -> float:
        """Logit that favours the left candidate; subtracted if one order is run."""
        return self._settings.position_bias

    def calibrated(self, pairs: Iterable[LabelledPair | ComparedAnswers]) -> PairRanker:
        """Fit temperature and position bias on labelled pairs; return a new ranker.

        Every pair runs in both orders. The temperature is fitted for this ranker's setting, both orders or one. On
        similar pairs the confidence of ``rank`` then equals the share of right decisions.

        Args:
            pairs: ``(prompt, a, b, label)``, the label ``"A"``, ``"B"``, ``"tie"`` or the probability that a is
                better; or ``PreferenceRecord``. Give a few hundred that the network was not trained on. If it gets all
                right, the temperature is 0.05, the smallest; if all are ties, 20, the largest.

        Returns:
            The ranker, with its ``calibration``.

        Raises:
            ConfigurationError: No pair has two different answers, or a label cannot be read.
            RankerError: The network gave no finite number.
        """
        own = self._settings
        found = fit_calibration(
            pairs, self.logits, own.both_orders, temperature=own.temperature, position_bias=own.position_bias
        )
        fitted = copy(self)
        fitted._settings = replace(
            own, temperature=found.temperature, position_bias=found.position_bias, calibration=found
        )
        return fitted

    def __repr__(self) -> str:
        own = self._settings
        return (
            f"PairRanker(name={self._name!r}, aggregation={own.aggregation!r}, both_orders={own.both_orders}, "
            f"source_max_length={own.source_max_length}, candidate_max_length={own.candidate_max_length})"
        )

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank the candidates.

        Every ordered pair of distinct candidates goes through the network, n (n - 1) for n of them, in batches of
        similar length. The aggregation ``"bubble"`` runs 2 (n - 1) pairs, one comparison after the other. The
        numbers do not depend on the order of ``candidates``.

        Args:
            prompt: The prompt. The reference joins instruction and input without a separator.
            candidates: At least one answer. Blanks come last with score ``-inf``; duplicates share a score
                and count as often as they occur, as in the reference.

        Returns:
            The ranking. ``comparisons[i][j]`` is the logit that i is better than j, averaged over both orders;
            ``scores`` come from the aggregation, higher is better. By default they are the reference's mean of
            ``M[i][j] - M[j][i]``. ``confidence`` is ``sigmoid(comparisons[first][second] / temperature)``, or 0.5 if
            the first by score loses the direct comparison. ``cut`` counts tokens that did not fit.

        Raises:
            ConfigurationError: ``candidates`` is empty or holds something that is not a string.
            RankerError: The network gave no finite number, or ran out of memory on a single pair.
        """
        request = self._encode(prompt, candidates)
        distinct = request.distinct
        if not distinct.texts:
            return Ranking.from_scores(
                distinct.spread_scores([]),
                ranker=self._name,
                temperature=self._settings.temperature,
                cut=request.cut,
            )
        # both orders cancel the bias, so nothing is subtracted
        run = partial(self._run, request, bias=0.0 if self._settings.both_orders else self._settings.position_bias)
        if self._settings.aggregation == "bubble":
            scores, ordered = bubble_matrix(run, len(request.texts), both_orders=self._settings.both_orders)
        else:
            ordered = ordered_matrix(run, len(request.texts), both_orders=self._settings.both_orders)
            counts = [distinct.positions.count(index) for index in range(len(distinct.texts))]
            scores = aggregate(self._settings.aggregation, ordered, counts)
        ranking = Ranking.from_scores(
            distinct.spread_scores(scores),
            ranker=self._name,
            comparisons=distinct.spread_matrix(symmetrise(ordered)),
            temperature=self._settings.temperature,
            cut=request.cut,
        )
        return replace(ranking, confidence=direct_confidence(ranking, self._settings.temperature))

    def compare(self, prompt: str, a: str, b: str, *, order: Literal["both", "ab", "ba"] = "both") -> float:
        """Compare two answers.

        Args:
            prompt: The prompt.
            a: An answer.
            b: Another one.
            order: ``"both"`` averages the two orders and so removes the position bias. ``"ab"`` is the
                network's logit with ``a`` on the left (positive: ``a`` is better), ``"ba"`` with ``b`` on the
                left (positive: ``b`` is better).

        Returns:
            A logit. For ``"both"`` positive means ``a`` is better; the reference's ``compare`` returns twice
            this number. A blank answer loses by an infinite logit; two blanks draw.

        Raises:
            ConfigurationError: ``order`` is unknown.
            RankerError: The network gave no finite number.
        """
        if order not in ("both", "ab", "ba"):
            raise ConfigurationError(f"order {order!r} is unknown; choose 'both', 'ab' or 'ba'")
        (_, forward), (backward, _) = self.ordered_logits(prompt, [a, b])
        if order == "both":
            return forward if math.isinf(forward) else (forward - backward) / 2
        return forward if order == "ab" else backward

    def ordered_logits(self, prompt: str, candidates: Sequence[str]) -> tuple[tuple[float, ...], ...]:
        """Return the network's raw output for every ordered pair, always in both orders.

        Args:
            prompt: The prompt.
            candidates: At least one answer.

        Returns:
            Matrix ``M`` of shape [n, n]: ``M[i][j]`` is the logit that i is better than j with i on the left. The
            diagonal is 0. Between copies of one text it is the network's position bias for that text. A blank loses
            to any text by an infinite logit and draws with a blank.

        Raises:
            ConfigurationError: ``candidates`` is empty or holds something that is not a string.
            RankerError: The network gave no finite number.
        """
        request = self._encode(prompt, candidates)
        positions = request.distinct.positions
        copied = {p for p in positions if p is not None and positions.count(p) > 1}
        ordered = ordered_matrix(partial(self._run, request), len(request.texts), with_itself=copied)
        return spread_ordered(ordered, positions)

    def logits(
        self,
        comparisons: Sequence[tuple[str, str, str]],
        *,
        source_max_length: int | None = None,
        candidate_max_length: int | None = None,
    ) -> list[float]:
        """Run comparisons of any prompts, each text unchanged; blanks and copies run too.

        Args:
            comparisons: Prompt, left and right answer of each.
            source_max_length: Most tokens of a prompt; default the ranker's.
            candidate_max_length: Most tokens of a candidate next to a full prompt; default the ranker's.

        Returns:
            One finite logit for each comparison; positive means the left answer is better.
        """
        source = source_max_length or self._settings.source_max_length
        candidate = candidate_max_length or self._settings.candidate_max_length
        return self._scorer.logits(encode_pairs(self._tokenizer, comparisons, source, candidate))

    def _encode(self, prompt: str, candidates: Sequence[str]) -> EncodedRequest:
        own = self._settings
        return encode_request(self._tokenizer, prompt, candidates, own.source_max_length, own.candidate_max_length)

    def _run(self, request: EncodedRequest, wanted: Sequence[tuple[int, int]], *, bias: float = 0.0) -> list[float]:
        pairs = [self._tokenizer.pair(request.source, request.texts[i], request.texts[j]) for i, j in wanted]
        return [logit - bias for logit in self._scorer.logits(pairs)]
