"""Provide ``Blender`` with the methods of ``llm-blender`` 0.0.2."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from blender_core.compat.comparing import PairComparer, check_candidates, joined_prompts
from blender_core.compat.configs import BlenderConfig, GenFuserConfig, RankerConfig, with_options
from blender_core.compat.sampling import sample_candidates
from blender_core.errors import ConfigurationError
from blender_core.rank.comparisons import bubble_run
from blender_core.rank.pair_ranker import PairRanker

if TYPE_CHECKING:
    from blender_core.compat.fusing import CompatFuser

__all__ = ["Blender", "get_topk_candidates_from_ranks"]

# llm-blender 0.0.2 recognises these by the end of a path
_REWARD_MODELS = (
    "OpenAssistant/reward-model-deberta-v3-large-v2",
    "berkeley-nest/Starling-RM-7B-alpha",
    "openbmb/UltraRM-13b",
)


class Blender(PairComparer):
    """Ranks and fuses lists of inputs, as the old package does.

    ``batch_size`` and ``disable_tqdm`` are accepted everywhere. They change nothing but the batches of generation and
    fusion.

    Args:
        blender_config: The default device.
        ranker_config: Loads the ranker from its ``load_checkpoint``.
        fuser_config: Loads the fuser from its ``model_name``.
        rng: Draws the permutations of bubble runs.

    Raises:
        BlendError: As from ``loadranker`` and ``loadfuser``.
    """

    def __init__(
        self,
        blender_config: BlenderConfig | None = None,
        ranker_config: RankerConfig | None = None,
        fuser_config: GenFuserConfig | None = None,
        *,
        rng: random.Random | None = None,
    ) -> None:
        self.blender_config = blender_config or BlenderConfig()
        self.ranker_config = ranker_config
        self.fuser_config = fuser_config
        self.ranker: PairRanker | None = None
        self.fuser: CompatFuser | None = None
        self._rng = rng or random.Random()
        if ranker_config is not None:
            if not ranker_config.load_checkpoint:
                raise ConfigurationError("ranker_config has no load_checkpoint; set it, or call loadranker(path)")
            self.loadranker(ranker_config.load_checkpoint, **vars(ranker_config))
        if fuser_config is not None:
            self.loadfuser(fuser_config.model_name, **vars(fuser_config))

    def loadranker(self, ranker_path: str | os.PathLike[str], device: Any = None, **kwargs: Any) -> None:
        """Load a PairRanker checkpoint.

        Args:
            ranker_path: Folder or hub repository: PairRM, PairRM-hf, pair-ranker, or a ``save_pretrained`` folder.
            device: A torch device; default ``BlenderConfig.device``.
            **kwargs: Fields of ``RankerConfig``.

        Raises:
            BlendError: As from ``PairRanker.from_pretrained``; a ConfigurationError for the reward models that the old
                package knew by name.
        """
        name = os.fspath(ranker_path).rstrip("/").replace(os.sep, "/")
        if name.endswith(_REWARD_MODELS):
            raise ConfigurationError(
                f"{name} is a reward model, and this loads PairRanker checkpoints; use ranker={name!r} of "
                "blender_core.Blender, or CrossEncoderRanker.from_pretrained of blender_core.rank"
            )
        config = RankerConfig()
        with_options(config, kwargs)
        config.device = str(device or config.device or self.blender_config.device)
        config.load_checkpoint = os.fspath(ranker_path)
        self.ranker = PairRanker.from_pretrained(
            ranker_path,
            device=config.device,
            dtype="auto" if config.fp16 else "float32",
            cache_dir=config.cache_dir,
            source_max_length=config.source_maxlength,
            candidate_max_length=config.candidate_maxlength,
        )
        self.ranker_config = config

    def loadfuser(self, fuser_path: str | os.PathLike[str], device: Any = None, **kwargs: Any) -> None:
        """Load a T5 fuser such as ``llm-blender/gen_fuser_3b``.

        Args:
            fuser_path: Folder or hub repository.
            device: A torch device; default ``BlenderConfig.device``.
            **kwargs: Fields of ``GenFuserConfig``.

        Raises:
            BlendError: The checkpoint, the device or an option cannot work.
        """
        config = GenFuserConfig()
        with_options(config, kwargs)
        config.model_name = os.fspath(fuser_path)
        config.device = str(device or config.device or self.blender_config.device)
        from blender_core.compat.fusing import CompatFuser

        self.fuser = CompatFuser.load(config, config.device)
        self.fuser_config = config

    def get_best_of_n(
        self,
        inputs: Sequence[str],
        candidates: Sequence[Sequence[str]],
        instructions: Sequence[str] | None = None,
        pairrm_cmp_type: str = "bubble",
        return_all: bool = False,
        batch_size: int = 8,
        *,
        permutation: Sequence[int] | None = None,
    ) -> Any:
        """Pick the best candidate for each input.

        Args:
            inputs: n prompts.
            candidates: The candidates of each.
            instructions: Put before the inputs.
            pairrm_cmp_type: ``"bubble"``: one run, 2 (c - 1) forward passes. ``"full"``: all c (c - 1).
            return_all: Return all candidates. After ``"full"`` they are ordered by rank. After ``"bubble"`` the best
                one comes first, then the others in the order in which they lost, which is no ranking.
            batch_size: Changes nothing.
            permutation: The order of the bubble run for every input; default drawn for each input by ``rng``.

        Returns:
            n texts, or n lists of texts.

        Raises:
            ConfigurationError: The lists do not fit together, or an argument is unknown.
            RankerError: The network gave no finite number.
        """
        return self._pick(inputs, candidates, instructions, pairrm_cmp_type, return_all, permutation, 1)

    def get_worst_of_n(
        self,
        inputs: Sequence[str],
        candidates: Sequence[Sequence[str]],
        instructions: Sequence[str] | None = None,
        pairrm_cmp_type: str = "bubble",
        return_all: bool = False,
        batch_size: int = 8,
        *,
        permutation: Sequence[int] | None = None,
    ) -> Any:
        """Pick the worst candidate for each input; the arguments are those of ``get_best_of_n``.

        Returns:
            n texts; with ``return_all`` n lists of texts, the worst one first.
        """
        return self._pick(inputs, candidates, instructions, pairrm_cmp_type, return_all, permutation, -1)

    def n_generate(
        self,
        model: Any,
        model_tokenizer: Any,
        inputs: Sequence[str],
        instructions: Sequence[str] | None = None,
        n: int = 5,
        sampling_mode: str | None = "top_p_sampling",
        batch_size: int = 4,
        **generate_kwargs: Any,
    ) -> list[list[str]]:
        """Sample n answers for each input from a transformers model.

        Args:
            model: A transformers model. For one of vLLM's, sample yourself and call ``get_best_of_n``.
            model_tokenizer: Its tokenizer; for a decoder-only model it must pad on the left.
            inputs: The prompts.
            instructions: Put before the inputs, with a line break between.
            n: Answers for each.
            sampling_mode: ``"top_p_sampling"`` (default top_p 1.0), ``"top_k_sampling"`` (default top_k 50), both
                with temperature 0.7, or ``None``.
            batch_size: Prompts in a batch.
            **generate_kwargs: Arguments of ``generate``.

        Returns:
            n texts for each input.

        Raises:
            ConfigurationError: The mode is unknown, or a number is below one.
        """
        return sample_candidates(
            model,
            model_tokenizer,
            joined_prompts(inputs, instructions, "\n"),
            n=n,
            sampling_mode=sampling_mode,
            batch_size=batch_size,
            generation=generate_kwargs,
        )

    def best_of_n_generate(
        self,
        model: Any,
        model_tokenizer: Any,
        inputs: Sequence[str],
        instructions: Sequence[str] | None = None,
        n: int = 5,
        sampling_mode: str | None = "top_p_sampling",
        batch_size: int = 4,
        pairrm_cmp_type: str = "bubble",
        return_all: bool = False,
        **generate_kwargs: Any,
    ) -> Any:
        """Sample n answers for each input and keep the best one.

        The arguments are those of ``n_generate`` and ``get_best_of_n``; ``batch_size`` is that of generation.

        Returns:
            As ``get_best_of_n``.

        Raises:
            ConfigurationError: An argument cannot work.
            RankerError: The network gave no finite number.
        """
        sampled = self.n_generate(
            model, model_tokenizer, inputs, instructions, n, sampling_mode, batch_size, **generate_kwargs
        )
        return self.get_best_of_n(inputs, sampled, instructions, pairrm_cmp_type, return_all)

    def fuse(
        self,
        inputs: Sequence[str],
        candidates: Sequence[Sequence[str]],
        instructions: Sequence[str] | None = None,
        batch_size: int = 4,
        **generate_kwargs: Any,
    ) -> list[str]:
        """Fuse the candidates of each input into one text.

        Args:
            inputs: n prompts.
            candidates: The candidates of each, best first.
            instructions: One for each input.
            batch_size: Most inputs in one run of the model.
            **generate_kwargs: Arguments of ``generate``, over ``num_beams=4, max_new_tokens=128``, and
                ``candidate_max_length``.

        Returns:
            n texts.

        Raises:
            ConfigurationError: No fuser is loaded, or the lists do not fit together.
            FusionError: A text could not be written.
        """
        if self.fuser is None:
            raise ConfigurationError("no fuser is loaded; call loadfuser(path) first")
        joined_prompts(inputs, instructions)
        check_candidates(inputs, candidates)
        fields = instructions if instructions is not None else [""] * len(inputs)
        return self.fuser.fuse_batches(inputs, candidates, fields, batch_size=batch_size, generation=generate_kwargs)

    def rank_and_fuse(
        self,
        inputs: Sequence[str],
        candidates: Sequence[Sequence[str]],
        instructions: Sequence[str] | None = None,
        return_scores: bool = False,
        batch_size: int = 4,
        top_k: int = 3,
        **generate_kwargs: Any,
    ) -> tuple[list[str], Any]:
        """Rank, then fuse the best; the other arguments are those of ``rank`` and ``fuse``.

        Args:
            inputs: n prompts.
            candidates: The candidates of each.
            instructions: As in ``rank`` and ``fuse``.
            return_scores: Return scores instead of ranks.
            batch_size: Most inputs in one run of the fuser.
            top_k: Candidates that are fused.
            **generate_kwargs: As in ``fuse``.

        Returns:
            The fused texts, and ranks or scores as from ``rank``.
        """
        numbers = self.rank(inputs, candidates, instructions, return_scores)
        best_first = [
            _ordered(texts, -row if return_scores else row) for texts, row in zip(candidates, numbers, strict=True)
        ]
        kept = [texts[:top_k] for texts in best_first]
        return self.fuse(inputs, kept, instructions, batch_size, **generate_kwargs), numbers

    def _pick(
        self,
        inputs: Sequence[str],
        candidates: Sequence[Sequence[str]],
        instructions: Sequence[str] | None,
        kind: str,
        return_all: bool,
        permutation: Sequence[int] | None,
        sign: int,
    ) -> Any:
        if kind not in ("bubble", "full"):
            raise ConfigurationError(f"pairrm_cmp_type {kind!r} is unknown; choose 'bubble' or 'full'")
        prompts = joined_prompts(inputs, instructions)
        check_candidates(prompts, candidates)
        if kind == "full":
            ranks = self.rank(prompts, candidates)
            picked = [_ordered(texts, sign * row) for texts, row in zip(candidates, ranks, strict=True)]
        else:
            picked = [
                self._bubble(prompt, texts, permutation, sign)
                for prompt, texts in zip(prompts, candidates, strict=True)
            ]
        return picked if return_all else [texts[0] for texts in picked]

    def _bubble(self, prompt: str, texts: Sequence[str], permutation: Sequence[int] | None, sign: int) -> list[str]:
        def compare(i: int, j: int) -> float:
            ab, ba = (prompt, texts[i], texts[j]), (prompt, texts[j], texts[i])
            known = self.pair_logits([ab, ba])
            return sign * (known[ab] - known[ba])

        order = self._rng.sample(range(len(texts)), len(texts)) if permutation is None else permutation
        if len(order) != len(texts):
            raise ConfigurationError(f"permutation {list(order)} does not fit {len(texts)} candidates")
        run = bubble_run(compare, order)
        return [texts[index] for index in (run.best, *run.losers)]


def get_topk_candidates_from_ranks(
    ranks: Any, candidates: Sequence[Sequence[str]], top_k: int | None
) -> list[list[str]]:
    """Pick the candidates of best rank, as ``blender.blender_utils`` of the old package does.

    Args:
        ranks: Ranks of the candidates of each input, as from ``Blender.rank``; a lower one is better.
        candidates: The candidates of each.
        top_k: How many to keep; ``None`` for all.

    Returns:
        Lists of texts, best first; if ranks are equal, the earlier candidate comes first.

    Examples:
        >>> get_topk_candidates_from_ranks([[3, 1, 2]], [["a", "b", "c"]], top_k=2)
        [['b', 'c']]
    """
    return [_ordered(texts, row)[:top_k] for texts, row in zip(candidates, ranks, strict=True)]


def _ordered(texts: Sequence[str], keys: Any) -> list[str]:
    return [texts[index] for index in np.argsort(keys, kind="stable").tolist()]
