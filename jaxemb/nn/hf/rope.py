"""The rotary settings of a config.json, in the field names of transformers 4 and 5."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from jaxemb.config import ConfigError
from jaxemb.nn.hf.base import Config
from jaxemb.posemb.base import PosEmb
from jaxemb.posemb.llama3 import Llama3
from jaxemb.posemb.rescale import DynamicNTK, Interpolated, YaRN
from jaxemb.posemb.rotary import Rotary

KINDS = ("default", "linear", "dynamic", "yarn", "llama3")


def rotary(
    config: Config, layers: str | None = None, *, theta: str = "rope_theta", base: float = 10_000.0, scaled: bool = True
) -> PosEmb:
    """Of the layers of this type, where types differ ("full_attention"); in version 4 under the name `theta`, `base` where it is
    left out, and with the scaling of the whole model only where `scaled`."""
    found = settings(config, layers, theta, base, scaled)
    kind = found.get("rope_type", found.get("type", "default"))
    if kind not in KINDS:
        raise ConfigError(f"{config.where}: rope_type={kind!r} is not supported; only {', '.join(KINDS)}")
    # Heads are turned whole unless a config says otherwise.
    plain = Rotary(
        base=float(found["rope_theta"]), share=float(config.get("partial_rotary_factor", found.get("partial_rotary_factor", 1.0)))
    )
    if kind == "default":
        return plain
    if "factor" not in found:
        raise ConfigError(f"{config.where}: rope_type={kind!r} needs a factor")
    factor = float(found["factor"])
    if kind == "linear":
        return Interpolated(of=plain, factor=factor)
    original = int(found.get("original_max_position_embeddings") or config.need("max_position_embeddings"))
    if kind == "dynamic":
        return DynamicNTK(of=plain, factor=factor, original=original)
    if kind == "llama3":
        low, high = (float(found[f"{name}_freq_factor"]) for name in ("low", "high"))
        return Llama3(of=plain, factor=factor, original=original, low=low, high=high)
    fast, slow = float(found.get("beta_fast") or 32), float(found.get("beta_slow") or 1)
    whole = bool(found.get("truncate", True))
    return YaRN(
        of=plain, factor=factor, original=original, fast=fast, slow=slow, multiplier=_multiplier(found, factor), whole=whole
    )


def _multiplier(found: Mapping[str, Any], factor: float) -> float | None:
    """Of YaRN's cosines and sines: as given, or from the two scales that DeepSeek's configs have."""
    if found.get("attention_factor") is not None:
        return float(found["attention_factor"])
    scale, every = found.get("mscale"), found.get("mscale_all_dim")
    if scale and every:
        return (0.1 * scale * math.log(factor) + 1) / (0.1 * every * math.log(factor) + 1) if factor > 1 else 1.0
    return None


def settings(config: Config, layers: str | None, theta: str, base: float, scaled: bool) -> dict[str, Any]:
    """`rope_theta`, `rope_type` and what belongs to it, for a type of layers."""
    every = config.get("rope_parameters", {})
    if layers in every:
        every = every[layers] or {}
    if every and not all(isinstance(x, Mapping) for x in every.values()):
        return {"rope_theta": config.get(theta, base)} | dict(every)
    scaling = config.get("rope_scaling", {}) if scaled else {}
    return {"rope_theta": config.get(theta, base)} | dict(scaling)
