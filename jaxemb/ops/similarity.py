"""Vectors of length 1, of which products are cosines; the same for NumPy and JAX, without importing JAX."""

from __future__ import annotations

from typing import TypeVar

from jaxtyping import Float

A = TypeVar("A")


def unit(x: Float[A, "*n d"], *, axis: int = -1, eps: float = 1e-12) -> Float[A, "*n d"]:
    """x / max(|x|, eps) along an axis. Zeros stay zeros, and their gradient is finite."""
    xp = x.__array_namespace__()  # pyright: ignore[reportAttributeAccessIssue]
    return x / xp.sqrt(xp.maximum((x * x).sum(axis=axis, keepdims=True), xp.asarray(eps**2, dtype=x.dtype)))  # pyright: ignore[reportAttributeAccessIssue, reportOperatorIssue]
