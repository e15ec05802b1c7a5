"""Describe a blend in a file: members, settings, ranker, fuser, prior.

Examples:
    >>> config = BlendConfig.parse({"members": [{"model": "gpt-4o-mini"}, {"local": "smollm2-135m"}]})
    >>> [member.label for member in config.members]
    ['gpt-4o-mini', 'smollm2-135m']
"""

from blender_core.config.blend_config import BlendConfig, BreakerConfig, BudgetConfig, MemberConfig, PriceConfig
from blender_core.config.diagnosis import Diagnosis, diagnose
from blender_core.config.members import connect_members, fuser_of, keywords_of

__all__ = [
    "BlendConfig",
    "BreakerConfig",
    "BudgetConfig",
    "Diagnosis",
    "MemberConfig",
    "PriceConfig",
    "connect_members",
    "diagnose",
    "fuser_of",
    "keywords_of",
]
