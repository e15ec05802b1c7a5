"""A pairwise judge for preference data, in the shape of the ``PairRMJudge`` that TRL once had.

Prompts and completions go in, ranks come out. It runs offline with the shipped ranker; give the name or the folder
of a PairRanker checkpoint to judge with that one:

    python examples/pairrm_judge.py
    python examples/pairrm_judge.py llm-blender/PairRM
"""

import random
import sys
from collections.abc import Sequence

from blender_core.rank import Ranker, resolve_ranker


class PairRMJudge:
    """Ranks the completions of each prompt; 0 is the best.

    Args:
        ranker: A ranker, or its name.
        rng: Draws which completions swap places, so that no place has an advantage.
    """

    def __init__(self, ranker: Ranker | str = "embedded", rng: random.Random | None = None) -> None:
        self._ranker = resolve_ranker(ranker)
        self._rng = rng or random.Random()

    def judge(
        self,
        prompts: Sequence[str],
        completions: Sequence[Sequence[str]],
        shuffle_order: bool = True,
        return_scores: bool = False,
    ) -> list[int] | list[tuple[float, ...]]:
        """Index of the best completion for each prompt, or the scores of all of them."""
        results = []
        for prompt, texts in zip(prompts, completions, strict=True):
            places = list(range(len(texts)))
            if shuffle_order:
                self._rng.shuffle(places)
            ranking = self._ranker.rank(prompt, [texts[place] for place in places])
            scores = dict(zip(places, ranking.scores, strict=True))
            results.append(
                tuple(scores[place] for place in range(len(texts))) if return_scores else places[ranking.best]
            )
        return results


def main() -> None:
    judge = PairRMJudge(sys.argv[1] if len(sys.argv) > 1 else "embedded", random.Random(0))
    prompts = ["What is the capital of France?", "Name the largest planet of the solar system."]
    completions = [
        ["The capital of France is Paris.", "Bananas are yellow."],
        ["I like trains a lot.", "Jupiter is the largest planet of the solar system."],
    ]
    scores = judge.judge(prompts, completions, return_scores=True)
    for prompt, texts, best, row in zip(prompts, completions, judge.judge(prompts, completions), scores, strict=True):
        print(prompt)
        print(f"  won: {texts[best]!r}  scores: {', '.join(f'{score:.2f}' for score in row)}")


if __name__ == "__main__":
    main()
