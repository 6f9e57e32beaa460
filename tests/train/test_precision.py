"""The precision of a training step is one that the processor has."""

from __future__ import annotations

import pytest
import torch

from edge.train.precision import autocast, emulated

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def on(monkeypatch: pytest.MonkeyPatch, machine: str, capability: str) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)


@pytest.mark.train
@pytest.mark.parametrize(
    ("machine", "capability", "device", "precision", "expected"),
    [
        ("x86_64", "AVX2", CPU, "bf16", True),
        ("x86_64", "DEFAULT", CPU, "bf16", True),
        ("x86_64", "AVX512", CPU, "bf16", False),
        ("x86_64", "AVX2", CPU, "fp32", False),
        ("x86_64", "AVX2", CUDA, "bf16", False),
        ("aarch64", "DEFAULT", CPU, "bf16", False),
    ],
)
def test_bf16_is_emulated_on_x86_without_avx512(
    monkeypatch: pytest.MonkeyPatch, machine: str, capability: str, device: torch.device, precision: str, expected: bool
) -> None:
    on(monkeypatch, machine, capability)
    assert emulated(device, precision) is expected


@pytest.mark.train
@pytest.mark.parametrize(("capability", "expected"), [("AVX2", torch.float32), ("AVX512", torch.bfloat16)])
def test_a_step_computes_in_fp32_where_bf16_would_be_emulated(
    monkeypatch: pytest.MonkeyPatch, capability: str, expected: torch.dtype
) -> None:
    on(monkeypatch, "x86_64", capability)
    with autocast(CPU, "bf16"):
        assert torch.nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == expected
