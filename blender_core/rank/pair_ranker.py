"""PairRanker: the paper's cross-encoder that reads the prompt and two candidates at once."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from blender_core.errors import CheckpointError, ConfigurationError
from blender_core.extras import require
from blender_core.rank.aggregate import AGGREGATIONS, aggregate, symmetrise
from blender_core.rank.bubble import bubble_run
from blender_core.rank.pairrm.request import EncodedRequest, encode_pairs, encode_request
from blender_core.rank.protocol import Ranker
from blender_core.rank.ranking import Ranking, direct_confidence

if TYPE_CHECKING:
    from blender_core.rank.pairrm.scorer import PairScorer
    from blender_core.rank.pairrm.tokens import PairTokenizer

__all__ = ["PairRanker"]

# [CLS], the marker and [SEP] always stay; below that there is no text at all
_SHORTEST = 4


class PairRanker:
    """Ranks candidates by comparing every ordered pair (LLM-Blender, Jiang et al. 2023, section 3).

    Make one with ``from_pretrained``. For a ranker that needs neither torch nor a download see ``embedded``.
    Loaded objects keep no state between calls and may be used from several threads.

    Example:
        ```python
        ranker = PairRanker.from_pretrained("llm-blender/PairRM")
        ranking = ranker.rank("What is 2 + 2?", ["4", "I do not know."])
        ranking.best, ranking.scores, ranking.confidence
        ```
    """

    def __init__(
        self,
        scorer: PairScorer,
        tokenizer: PairTokenizer,
        *,
        source_max_length: int,
        candidate_max_length: int,
        name: str = "pair-ranker",
        aggregation: str = "max_logits",
        both_orders: bool = True,
        temperature: float = 1.0,
    ) -> None:
        """Put a ranker together from loaded parts; ``from_pretrained`` does this for you.

        Args:
            scorer: The network.
            tokenizer: Its tokenizer.
            source_max_length: Most tokens of the prompt, three special ones included.
            candidate_max_length: Most tokens of a candidate beside a prompt of full length.
            name: Shown in results.
            aggregation: How comparisons become scores: ``"max_logits"``, ``"max_wins"``,
                ``"bradley_terry"`` or ``"bubble"``.
            both_orders: Run each pair in both orders. With one order, half the work, each candidate stands on
                the left about half of the time.
            temperature: Divides the logit between the first and the second before the sigmoid that makes the
                confidence.

        Raises:
            ConfigurationError: A value cannot work.
        """
        if aggregation not in (*AGGREGATIONS, "bubble"):
            known = ", ".join(sorted([*AGGREGATIONS, "bubble"]))
            raise ConfigurationError(f"aggregation {aggregation!r} is unknown; choose one of {known}")
        for what, length in (("source", source_max_length), ("candidate", candidate_max_length)):
            if length < _SHORTEST:
                raise ConfigurationError(f"{what}_max_length is {length}; it must be at least {_SHORTEST} tokens")
        longest = source_max_length + 2 * candidate_max_length
        if scorer.window is not None and longest > scorer.window:
            raise ConfigurationError(f"a pair may have {longest} tokens, the network's window is {scorer.window}")
        if not temperature > 0:
            raise ConfigurationError(f"temperature is {temperature}; it must be above zero")
        self._scorer = scorer
        self._tokenizer = tokenizer
        self._source_max_length = source_max_length
        self._candidate_max_length = candidate_max_length
        self._name = name
        self._aggregation = aggregation
        self._both_orders = both_orders
        self._temperature = temperature

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        backend: str = "torch",
        name: str | None = None,
        aggregation: str | None = None,
        both_orders: bool | None = None,
        temperature: float | None = None,
        source_max_length: int | None = None,
        candidate_max_length: int | None = None,
        token_budget: int | None = None,
    ) -> PairRanker:
        """Load ``llm-blender/PairRM``, ``PairRM-hf``, ``pair-ranker``, or a folder that ``save_pretrained`` wrote.

        Nothing but the checkpoint itself is fetched. Weights come from ``model.safetensors`` or its shards, else
        from ``pytorch_model.bin`` read with ``weights_only=True``; ids from ``tokenizer.json``.

        Args:
            name_or_path: A folder or a hub repository.
            revision: Branch, tag or commit of the repository.
            device: ``"auto"`` (CUDA, else MPS, else CPU) or a torch device such as ``"cuda:1"``.
            dtype: ``"auto"`` (float32 on a CPU, else float16, as in the reference), ``"float32"``,
                ``"float16"`` or ``"bfloat16"``.
            cache_dir: Cache folder of the hub; default huggingface_hub's.
            local_files_only: Use the cache only, like ``HF_HUB_OFFLINE=1``.
            backend: What runs the network: ``"torch"``.
            name: Shown in results; default the last part of ``name_or_path``.
            aggregation: How comparisons become scores: ``"max_logits"`` (the reference's), ``"max_wins"``,
                ``"bradley_terry"``, or ``"bubble"``, which finds a best one with 2 (n - 1) forward passes.
                Default what the checkpoint was saved with, else ``"max_logits"``.
            both_orders: Run each pair in both orders; ``False`` halves the work. Default what the checkpoint was
                saved with, else both, as in the reference.
            temperature: Divides the logit between the first two before it becomes the confidence. Default what
                the checkpoint was saved with, else 1.
            source_max_length: Most tokens of the prompt; default the checkpoint's (PairRM 1,224).
            candidate_max_length: Most tokens of a candidate beside a full prompt; default the checkpoint's
                (PairRM 412). Room that a shorter prompt leaves goes to the candidates.
            token_budget: Most tokens in a batch, pads included; default 512 on a CPU, 16,384 elsewhere.
                When a GPU runs out of memory the batch is halved.

        Returns:
            The ranker.

        Raises:
            CheckpointError: Files are missing or are not a PairRanker's; unknown and missing tensors are
                listed.
            ConfigurationError: The device, the dtype or another value cannot work.
            DownloadError: The repository cannot be had.
            MissingExtraError: torch, safetensors or huggingface_hub is not installed.
        """
        if backend != "torch":
            raise ConfigurationError(f"backend {backend!r} is unknown; the one backend of PairRanker is 'torch'")
        for module in ("torch", "safetensors"):
            require(module, feature="PairRanker.from_pretrained", extra="torch")
        from blender_core.rank.pairrm.hub import checkpoint_folder
        from blender_core.rank.pairrm.scorer import load_scorer
        from blender_core.rank.pairrm.settings import PairRankerSettings
        from blender_core.rank.pairrm.tokens import PairTokenizer

        folder = checkpoint_folder(
            name_or_path, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only
        )
        settings = PairRankerSettings.from_folder(folder)
        if not (folder / "tokenizer.json").is_file():
            raise CheckpointError(
                f"{folder} has no tokenizer.json; load its tokenizer once with transformers 4 and "
                "save_pretrained() it there"
            )
        tokenizer = PairTokenizer.from_file(folder / "tokenizer.json")
        scorer = load_scorer(folder, settings, tokenizer, device=device, dtype=dtype, token_budget=token_budget)
        return cls(
            scorer,
            tokenizer,
            source_max_length=source_max_length or settings.source_max_length,
            candidate_max_length=candidate_max_length or settings.candidate_max_length,
            name=name or Path(os.fspath(name_or_path)).resolve().name,
            aggregation=settings.aggregation if aggregation is None else aggregation,
            both_orders=settings.both_orders if both_orders is None else both_orders,
            temperature=settings.temperature if temperature is None else temperature,
        )

    def save_pretrained(
        self, folder: str | os.PathLike[str], *, layout: Literal["blended", "pairrm-hf"] = "blended"
    ) -> None:
        """Write a folder that ``from_pretrained`` loads again, with equal logits.

        Args:
            folder: Made where it is missing; files of the same names are replaced.
            layout: ``"blended"`` is the project's own and keeps lengths, aggregation and temperature.
                ``"pairrm-hf"`` is the one of ``llm-blender/PairRM-hf``, for the reference's class
                ``DebertaV2PairRM``; it keeps none of these and holds DeBERTa only.

        Raises:
            ConfigurationError: The layout is unknown, or cannot hold this encoder.
            CheckpointError: The tokenizer was not read from a file.
        """
        from blender_core.rank.pairrm.saving import save_checkpoint
        from blender_core.rank.pairrm.settings import PairRankerSettings

        settings = PairRankerSettings(
            self._source_max_length,
            self._candidate_max_length,
            aggregation=self._aggregation,
            both_orders=self._both_orders,
            temperature=self._temperature,
        )
        save_checkpoint(Path(folder), layout, self._scorer.model, self._tokenizer, settings)

    @staticmethod
    def embedded() -> Ranker:
        """The small ranker that ships with the package: no torch, no download.

        It is another model than the paper's, see ``blender_core.rank.embedded`` for what it is and how good
        it is.

        Returns:
            The ranker, loaded once for each call.

        Raises:
            CheckpointError: The packaged model cannot be read.
        """
        from blender_core.rank.embedded import EmbeddedRanker

        return EmbeddedRanker.load()

    @property
    def name(self) -> str:
        """Short name, shown in results."""
        return self._name

    def __repr__(self) -> str:
        return (
            f"PairRanker(name={self._name!r}, aggregation={self._aggregation!r}, both_orders={self._both_orders}, "
            f"source_max_length={self._source_max_length}, candidate_max_length={self._candidate_max_length})"
        )

    def rank(self, prompt: str, candidates: Sequence[str]) -> Ranking:
        """Rank the candidates.

        Every ordered pair of distinct candidates goes through the network, n (n - 1) for n of them, in
        batches of similar length; each text is tokenised once. The aggregation ``"bubble"`` runs 2 (n - 1) pairs,
        one comparison after the other. The numbers do not depend on the order of ``candidates``.

        Args:
            prompt: The prompt. The reference joins instruction and input without a separator.
            candidates: At least one answer. Blanks come last with score ``-inf``; duplicates share a score
                and count as often as they occur, as in the reference.

        Returns:
            The ranking. ``comparisons[i][j]`` is the logit that i is better than j, averaged over both
            orders; ``scores`` come from the aggregation: by default the reference's mean of ``M[i][j] -
            M[j][i]`` over all candidates. ``confidence`` is ``sigmoid(comparisons[first][second] /
            temperature)``, and 0.5 where the scores put a candidate first that loses the direct comparison.
            ``cut`` counts tokens that did not fit.

        Raises:
            ConfigurationError: ``candidates`` is empty or holds something else than strings.
            RankerError: The network gave no finite number, or ran out of memory on a single pair.
        """
        request = self._encode(prompt, candidates)
        distinct = request.distinct
        if not distinct.texts:
            return Ranking.from_scores(distinct.spread_scores([]), ranker=self._name, cut=request.cut)
        scores: tuple[float, ...]
        if self._aggregation == "bubble":
            scores, ordered = self._bubble(request)
        else:
            ordered = self._ordered_logits(request, self._both_orders)
            counts = [distinct.positions.count(index) for index in range(len(distinct.texts))]
            scores = aggregate(self._aggregation, ordered, counts)
        comparisons = symmetrise(ordered)
        ranking = Ranking.from_scores(
            distinct.spread_scores(scores),
            ranker=self._name,
            comparisons=distinct.spread_matrix(comparisons),
            cut=request.cut,
        )
        return replace(ranking, confidence=direct_confidence(ranking, self._temperature))

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
        """The network's raw output for every ordered pair, both orders always.

        Args:
            prompt: The prompt.
            candidates: At least one answer.

        Returns:
            Matrix ``M`` of shape [n, n]: ``M[i][j]`` is the logit that i is better than j with i on the left.
            The diagonal is 0. Between copies of one text it is the network's position bias for that text. A
            blank loses to any text by an infinite logit and draws with a blank.

        Raises:
            ConfigurationError: ``candidates`` is empty or holds something that is not a string.
            RankerError: The network gave no finite number.
        """
        request = self._encode(prompt, candidates)
        positions = request.distinct.positions
        copied = {p for p in positions if p is not None and positions.count(p) > 1}
        ordered = self._ordered_logits(request, both_orders=True, with_itself=copied)

        def logit(i: int, j: int) -> float:
            left, right = positions[i], positions[j]
            if i == j:
                return 0.0
            if left is None or right is None:
                return 0.0 if left is right else -math.inf if left is None else math.inf
            return ordered[left][right]

        return tuple(tuple(logit(i, j) for j in range(len(positions))) for i in range(len(positions)))

    def logits(
        self,
        comparisons: Sequence[tuple[str, str, str]],
        *,
        source_max_length: int | None = None,
        candidate_max_length: int | None = None,
    ) -> list[float]:
        """The network's output for comparisons of any prompts, each text as it is: blanks and copies run too.

        Args:
            comparisons: Prompt, left and right answer of each.
            source_max_length: Most tokens of a prompt; default the ranker's.
            candidate_max_length: Most tokens of a candidate beside a full prompt; default the ranker's.

        Returns:
            One logit for each comparison; positive means the left answer is better.

        Raises:
            RankerError: The network gave no finite number.
        """
        source = source_max_length or self._source_max_length
        candidate = candidate_max_length or self._candidate_max_length
        return self._scorer.logits(encode_pairs(self._tokenizer, comparisons, source, candidate))

    def _encode(self, prompt: str, candidates: Sequence[str]) -> EncodedRequest:
        return encode_request(self._tokenizer, prompt, candidates, self._source_max_length, self._candidate_max_length)

    def _bubble(self, request: EncodedRequest) -> tuple[tuple[float, ...], list[list[float]]]:
        size = len(request.texts)
        matrix = _not_run(size)

        def compare(i: int, j: int) -> float:
            self._run(request, [(i, j), (j, i)] if self._both_orders else [(i, j)], matrix)
            return symmetrise([[0.0, matrix[i][j]], [matrix[j][i], 0.0]])[0][1]

        return bubble_run(compare, range(size)).strengths, matrix

    def _ordered_logits(
        self, request: EncodedRequest, both_orders: bool, with_itself: frozenset[int] | set[int] = frozenset()
    ) -> list[list[float]]:
        size = len(request.texts)
        matrix = _not_run(size)
        wanted = [
            (i, j)
            for i in range(size)
            for j in range(size)
            # in one order, odd and even sums take turns on the left
            if (i != j and (both_orders or (i < j) == ((i + j) % 2 == 1))) or (i == j and i in with_itself)
        ]
        self._run(request, wanted, matrix)
        return matrix

    def _run(self, request: EncodedRequest, wanted: Sequence[tuple[int, int]], matrix: list[list[float]]) -> None:
        pairs = [self._tokenizer.pair(request.source, request.texts[i], request.texts[j]) for i, j in wanted]
        for (i, j), logit in zip(wanted, self._scorer.logits(pairs), strict=True):
            matrix[i][j] = logit


def _not_run(size: int) -> list[list[float]]:
    return [[0.0 if i == j else math.nan for j in range(size)] for i in range(size)]
