"""What blender_lab exports, and that importing it is cheap."""

from __future__ import annotations

import subprocess
import sys

import pytest

import blender_lab


def test_every_exported_name_is_there():
    for module in ("pydantic", "torch", "transformers"):
        pytest.importorskip(module, reason="the train extra is not installed")
    assert list(blender_lab.__all__) == sorted(blender_lab.__all__)
    assert dir(blender_lab) == sorted(blender_lab.__all__)
    for name in blender_lab.__all__:
        assert getattr(blender_lab, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'train_everything'"):
        blender_lab.train_everything  # noqa: B018


def test_settings_load_without_torch():
    pytest.importorskip("pydantic", reason="the train extra is not installed")
    code = (
        "import sys; from blender_lab import FuserTrainingConfig, RankerTrainingConfig, RewardHeadConfig; "
        "sys.exit(int('torch' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
