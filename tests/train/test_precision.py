"""The precision of a training step is one that the processor has."""

from __future__ import annotations

import pytest
import torch

from edge.train.precision import autocast, emulated

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def on(monkeypatch: pytest.MonkeyPatch, machine: str, flags: str) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("edge.backends.cpu._x86_flags", lambda cpuinfo: set(flags.split()))


@pytest.mark.train
@pytest.mark.parametrize(
    ("machine", "flags", "device", "precision", "expected"),
    [
        ("x86_64", "sse4_2 avx2", CPU, "bf16", True),
        ("x86_64", "", CPU, "bf16", True),
        ("x86_64", "avx2 avx512f avx512bw avx512_vnni", CPU, "bf16", True),
        ("x86_64", "avx2 avx512f avx512_bf16", CPU, "bf16", False),
        ("x86_64", "avx2 avx512f amx_bf16 amx_tile", CPU, "bf16", False),
        ("x86_64", "avx2", CPU, "fp32", False),
        ("x86_64", "avx2", CUDA, "bf16", False),
        ("aarch64", "", CPU, "bf16", False),
    ],
)
def test_bf16_is_emulated_on_x86_without_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, machine: str, flags: str, device: torch.device, precision: str, expected: bool
) -> None:
    on(monkeypatch, machine, flags)
    assert emulated(device, precision) is expected


@pytest.mark.train
@pytest.mark.parametrize(("flags", "expected"), [("avx2 avx512f", torch.float32), ("avx512_bf16", torch.bfloat16)])
def test_a_step_computes_in_fp32_where_bf16_would_be_emulated(
    monkeypatch: pytest.MonkeyPatch, flags: str, expected: torch.dtype
) -> None:
    on(monkeypatch, "x86_64", flags)
    with autocast(CPU, "bf16"):
        assert torch.nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == expected
