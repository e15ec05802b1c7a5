"""Which processors are taken to have instructions for bfloat16."""

from __future__ import annotations

import platform

import pytest

torch = pytest.importorskip("torch")

from blender_core.models.bfloat16 import computes_bfloat16  # noqa: E402

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, True),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, True),
        ({"architecture": "aarch64", "neon": True, "bf16": True}, True),
        ({"architecture": "aarch64", "neon": True, "bf16": False}, False),
    ],
)
def test_a_cpu_has_what_torch_says(capabilities, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert computes_bfloat16(CPU) is expected


@pytest.mark.parametrize(
    ("machine", "says", "expected"),
    [("x86_64", False, False), ("AMD64", True, True), ("aarch64", False, True), ("x86_64", None, True)],
)
def test_an_older_torch_tells_of_x86_alone(machine, says, expected, monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    if says is not None:
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: says, raising=False)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert computes_bfloat16(CPU) is expected


def test_other_devices_are_taken_to_have_it(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False}, raising=False)
    assert computes_bfloat16(torch.device("cuda")) is True
