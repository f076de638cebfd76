"""How much a device can compute: what a utilisation divides by."""

from __future__ import annotations

import re

PEAKS = {
    **{"GB200": 2500, "B200": 2250, "GH200": 989, "H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312},
    **{"L40S": 362, "L40": 181, "L4": 121},
    **{"TPU v4": 275, "TPU v5 lite": 197, "TPU v5e": 197, "TPU v5": 459, "TPU v5p": 459, "TPU v6 lite": 918, "TPU v6e": 918},
    "TPU7x": 2307 / 2,
}
"""Dense bfloat16 TFLOP/s as published, by words of what JAX calls the device; the longest name that fits. TPU7x: of half a chip."""


def peak(kind: str) -> float | None:
    """FLOP/s of a device in bfloat16; None where it is not known, as of a CPU."""
    names = sorted(PEAKS, key=len, reverse=True)
    return next((1e12 * PEAKS[name] for name in names if re.search(rf"\b{re.escape(name)}\b", kind)), None)
