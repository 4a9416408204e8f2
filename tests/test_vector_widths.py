"""Processors with narrower vectors get right results too: the same code, compiled for AVX2 and for 128 bits."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import llvmlite.binding
import pytest

PROGRAM = """
import numpy as np
import kernels
from experiments import _numpy_lstm
from kernels.contract import Reference
from kernels.cpu.lanes import LANES
from rnn import engines
from rnn.settings import Settings

kernel = kernels.get("cpu-numba-simd")
random = np.random.default_rng(0)
for m, k, n in ((1, 1, 1), (13, 37, 33), (150, 170, 190)):
    for a in (random.standard_normal((m, k), np.float32), random.standard_normal((k, m), np.float32).T):
        b = random.standard_normal((n, k), np.float32).T
        Reference.of(a, b).check(kernel.matmul(a, b), kernel.name)
engine = engines.create("fused", kernel, Settings(hidden=20, batch_size=37))
x, labels = random.random((28, 37, 28), np.float32), random.integers(0, 10, 37).astype(np.uint8)
_, ours = engine.loss_and_gradients(x, labels)
wide = {name: weight.astype(np.float64) for name, weight in engine.weights.items()}
_, exact = _numpy_lstm.loss_and_gradients(wide, x.astype(np.float64), labels)
for name in exact:
    assert np.linalg.norm(ours[name] - exact[name]) < 5e-6 * np.linalg.norm(exact[name]), name
print(LANES)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names processors of the x86-64 family")
@pytest.mark.parametrize(
    ("processor", "features", "lanes"),
    [("haswell", "+sse2,+avx,+avx2,+fma", 8), ("nehalem", "+sse2,+sse4.2", 4)],
)
def test_narrower_vectors(processor: str, features: str, lanes: int, tmp_path: Path) -> None:
    if lanes == 8 and not llvmlite.binding.get_host_cpu_features().get("avx2"):
        pytest.skip("this processor has no AVX2")
    target = {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=Path(__file__).parents[1], env=os.environ | target, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(lanes)
