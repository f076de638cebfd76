"""How parameters are cut over devices: `sharding` of an experiment is the name of a preset, or ((regex, rule), ...).

Of pairs the first counts whose regex finds something in the path of a parameter; one that none finds is whole. Rules:

    "replicate"     whole on every device
    "fsdp"          the largest dimension that divides is cut over fsdp; whole where none does
    "fsdp,model"    one axis a dimension, "-" for none; "model?" cuts where the size divides, and leaves whole where not
    a preset        what the preset says of this parameter

Presets: "replicate" and "fsdp" are these rules for all parameters. "fsdp+tensor" is tensor parallelism of transformers: heads of
the attention, hidden features of the feed-forward part and the vocabulary are cut over model, everything else as by "fsdp".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxemb import patterns
from jaxemb.config import ConfigError, suggest

AXES = ("data", "fsdp", "model")
Pairs = Sequence[tuple[str, str]]
Rules = str | Pairs

PRESETS: Mapping[str, Pairs] = {
    "replicate": ((".*", "replicate"),),
    "fsdp": ((".*", "fsdp"),),
    # Two all-reduce a layer forward and no gather: the inputs of a block are whole, what lies between its products is cut. Keys and
    # values of grouped heads stay whole where there are fewer of them than devices.
    "fsdp+tensor": (
        (r"\battention/(q|k|v)/kernel$", "fsdp?,model?,-"),
        (r"\battention/(q|k|v)/bias$", "model?,-"),
        (r"\battention/out/kernel$", "model?,-,fsdp?"),
        (r"\bmlp/(up|gate)/kernel$", "fsdp?,model?"),
        (r"\bmlp/(up|gate)/bias$", "model?"),
        (r"\bmlp/down/kernel$", "model?,fsdp?"),
        (r"\bstem/embedding$", "model?,fsdp?"),
        (".*", "fsdp"),
    ),
}


def check_rules(rules: Rules) -> None:
    """Raises ConfigError for a preset that there is none of, and for what is no regular expression."""
    for regex, _ in pairs(rules):
        try:
            patterns.check(regex)
        except patterns.PatternError as e:
            raise ConfigError(f"sharding: {e}") from None


def pairs(rules: Rules) -> Pairs:
    """Those of a preset, where one is named."""
    if not isinstance(rules, str):
        return rules
    if rules not in PRESETS:
        raise ConfigError(f"sharding={rules!r} is no preset{suggest(rules, PRESETS)}; else give ((regex, rule), ...)")
    return PRESETS[rules]


def check_found(rules: Rules, paths: Sequence[str]) -> None:
    """Each regex that a user wrote must find a parameter; those of a preset are for whatever is there."""
    for regex, _ in () if isinstance(rules, str) else rules:
        if not any(re.search(regex, path) for path in paths):
            raise ConfigError(f"sharding: {regex!r} finds none of the parameters: {', '.join(paths)}")


def rule_of(path: str, rules: Rules) -> str:
    """The rule for a parameter, which is no preset but one that is a rule itself."""
    rule = next((rule for regex, rule in pairs(rules) if re.search(regex, path)), "replicate")
    return rule if rule not in PRESETS or PRESETS[rule] == ((".*", rule),) else rule_of(path, rule)


def partition(rule: str, path: str, shape: tuple[int, ...], mesh: Mesh, stacked: bool = False) -> P:
    """How a rule cuts one parameter. `stacked`: nn.scan put the depth in front, and layers are not spread over devices."""
    rule = rule_of(path, ((".*", rule),))
    if rule == "replicate":
        return P()
    if rule == "fsdp":
        return _largest(shape, mesh.shape["fsdp"], stacked)
    named = [None if axis.strip() == "-" else axis.strip() for axis in rule.split(",")]
    axes = [axis and axis.removesuffix("?") for axis in named]
    if bad := [axis for axis in axes if axis and axis not in AXES]:
        raise ConfigError(
            f"sharding: {rule!r} is no rule ({bad[0]!r}); valid: {', '.join(map(repr, PRESETS))}, or axes such as 'fsdp,model'"
        )
    if stacked and len(axes) == len(shape) - 1:
        axes, named = [None, *axes], [None, *named]
    if len(axes) != len(shape):
        raise ConfigError(f"sharding: {rule!r} names {len(axes)} dimensions, but {path} has shape {shape}")
    for d, (axis, size) in enumerate(zip(axes, shape, strict=True)):
        if not axis or size % mesh.shape[axis] == 0:
            continue
        if named[d] != axis:
            axes[d] = None
        else:
            raise ConfigError(
                f"sharding: {rule!r} cuts {path} of shape {shape}: {size} is not divisible by {axis}={mesh.shape[axis]}"
            )
    return P(*axes)


def _largest(shape: tuple[int, ...], count: int, stacked: bool) -> P:
    """Its largest dimension that divides over fsdp; never the depth of a stack."""
    fitting = [d for d in range(int(stacked), len(shape)) if shape[d] and shape[d] % count == 0]
    largest = max(fitting, key=lambda d: shape[d], default=None)
    return P() if count == 1 or largest is None else P(*("fsdp" if d == largest else None for d in range(len(shape))))
