"""Provide the API of the ``llm-blender`` package, so that its scripts change one import.

```python
import blender_core.compat as llm_blender

blender = llm_blender.Blender()
blender.loadranker("llm-blender/PairRM")
blender.rank(["hello!"], [["hi!", "Go away."]])
```

Shapes, dtypes and meanings are those of ``llm-blender`` 0.0.2; ``docs/llm_blender_differences.md`` lists the numbers
and errors that differ, and why. New code should use ``PairRanker`` and ``GenFuser``.
"""

from __future__ import annotations

from blender_core.compat.blender import Blender, get_topk_candidates_from_ranks
from blender_core.compat.configs import BlenderConfig, GenFuserConfig, RankerConfig

__all__ = ["Blender", "BlenderConfig", "GenFuserConfig", "RankerConfig", "get_topk_candidates_from_ranks"]
