"""How parameters are cut over devices: `sharding` of an experiment is the name of a preset, or ((regex, rule), ...).

Of pairs the first counts whose regex finds something in the path of a parameter; one that none finds is whole. Rules:

    "replicate"     whole on every device
    "largest"       its largest dimension that divides is cut over fsdp; whole where none does, or where it is small, see `SLACK`
    "fsdp,model"    one axis a dimension, "-" for none; "model?" cuts where the size divides, and leaves whole where not
    a preset        what the preset says of this parameter
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence

from jax.sharding import AbstractMesh, Mesh
from jax.sharding import PartitionSpec as P

from jaxemb import patterns
from jaxemb.config import ConfigError, suggest

AXES = ("data", "fsdp", "model")
Pairs = Sequence[tuple[str, str]]
Rules = str | Pairs
Meshes = Mesh | AbstractMesh
Shapes = Mapping[str, tuple[int, ...]]

SLACK = 0.05
"""Of what a device would hold if everything were cut evenly: so much more it may hold, for the smallest parameters to stay whole.
A norm or a bias is a few kilobytes, and to gather it costs a message like any other."""

TABLE = r"(^|/)(embedding|type_embedding|table)$"
PRESETS: Mapping[str, Pairs] = {
    "replicate": ((".*", "replicate"),),
    # A table is cut along its features: each device looks up its share of them for all rows, which then change places once. Cut
    # along ids, every device would hold the vectors of all rows of the batch, and zeros for most.
    "fsdp": ((TABLE, "-,fsdp"), (".*", "largest")),
    # Two all-reduce a layer forward and no gather: the inputs of a block are whole, what lies between its products is cut. Keys and
    # values of grouped heads stay whole where there are fewer of them than devices. The vocabulary is cut along ids: the devices of
    # model hold the same rows of the batch, so that the vectors that a device lacks come in one sum.
    "fsdp+tensor": (
        (r"(^|/)(q|k|v)/kernel$", "fsdp?,model?,-"),
        (r"(^|/)(q|k|v)/bias$", "model?,-"),
        (r"(^|/)out/kernel$", "model?,-,fsdp?"),
        (r"(^|/)mlp/(up|gate)/kernel$", "fsdp?,model?"),
        (r"(^|/)mlp/(up|gate)/bias$", "model?"),
        (r"(^|/)mlp/down/kernel$", "model?,fsdp?"),
        (r"(^|/)head/kernel$", "fsdp?,model"),
        (r"(^|/)head/bias$", "model"),
        (r"(^|/)stem/embedding$", "model,fsdp?"),
        (r"(^|/)stem/embedding$", "fsdp?,model"),
        (TABLE, "-,fsdp"),
        (".*", "largest"),
    ),
}
"""Of a preset the first pair counts that finds the parameter, names as many dimensions, and whose axes without "?" divide."""
OWN = ("replicate", "largest")
"""Rules that are no axes."""


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
    """The rule for a parameter: one of `OWN`, axes, or a preset."""
    if isinstance(rules, str):
        return rules if pairs(rules) else ""
    return next((rule for regex, rule in rules if re.search(regex, path)), "replicate")


def small(sizes: Mapping[str, int], mesh: Meshes) -> Collection[str]:
    """The parameters that "largest" leaves whole: all up to the largest size at which they make up no more than `SLACK` of a
    device's even share."""
    spare = SLACK * sum(sizes.values()) / (mesh.shape["fsdp"] * mesh.shape["model"])
    held, largest = 0, 0
    for size in sorted(set(sizes.values())):
        held += size * sum(s == size for s in sizes.values())
        if held > spare:
            break
        largest = size
    return {path for path, size in sizes.items() if size <= largest}


def placements(shapes: Shapes, rules: Rules, mesh: Meshes, scanned: Collection[str] = ()) -> dict[str, P]:
    """How each of all parameters is cut, by path; `scanned` are stacks."""
    whole = small({path: math.prod(shape) for path, shape in shapes.items()}, mesh)
    return {p: partition(rule_of(p, rules), p, shape, mesh, p in scanned, p in whole) for p, shape in shapes.items()}


def partition(rule: str, path: str, shape: tuple[int, ...], mesh: Meshes, stacked: bool = False, small: bool = False) -> P:
    """How a rule cuts one parameter. `stacked`: nn.scan put the depth in front, and layers are not spread over devices; `small`:
    see `small`."""
    if rule in PRESETS and rule not in OWN:
        fitting = (r for regex, r in PRESETS[rule] if re.search(regex, path) and (r in OWN or _fits(r, shape, mesh, stacked)))
        rule = next(fitting)
    if rule == "replicate" or (rule == "largest" and small):
        return P()
    if rule == "largest":
        return _largest(shape, mesh.shape["fsdp"], stacked)
    named = _axes(rule, shape, stacked)
    axes = [axis and axis.removesuffix("?") for axis in named]
    if bad := [axis for axis in axes if axis and axis not in AXES]:
        valid = dict.fromkeys((*PRESETS, *OWN))
        raise ConfigError(
            f"sharding: {rule!r} is no rule ({bad[0]!r}); valid: {', '.join(map(repr, valid))}, or axes such as 'fsdp,model'"
        )
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


def _axes(rule: str, shape: tuple[int, ...], stacked: bool) -> list[str | None]:
    """What a rule says of each dimension, nothing of the depth of a stack."""
    named = [None if axis.strip() == "-" else axis.strip() for axis in rule.split(",")]
    return [None, *named] if stacked and len(named) == len(shape) - 1 else named


def _fits(rule: str, shape: tuple[int, ...], mesh: Meshes, stacked: bool) -> bool:
    """Whether the axes of a preset's rule are for such a parameter."""
    named = _axes(rule, shape, stacked)
    if len(named) != len(shape):
        return False
    return all(a is None or a.endswith("?") or size % mesh.shape[a] == 0 for a, size in zip(named, shape, strict=True))


def _largest(shape: tuple[int, ...], count: int, stacked: bool) -> P:
    """Its largest dimension that divides over fsdp; never the depth of a stack."""
    fitting = [d for d in range(int(stacked), len(shape)) if shape[d] and shape[d] % count == 0]
    largest = max(fitting, key=lambda d: shape[d], default=None)
    return P() if count == 1 or largest is None else P(*("fsdp" if d == largest else None for d in range(len(shape))))


# ---- what no rule can cut --------------------------------------------------------------------------------------------------------


def uncut(shapes: Shapes, rules: Rules, mesh: Meshes, scanned: Collection[str] = ()) -> str:
    """A sentence on the parameters that a preset leaves whole since nothing of them divides, and on the mesh by which a device
    holds least; empty where they are less than twice `SLACK` of an even share."""
    fsdp, total = mesh.shape["fsdp"], sum(map(math.prod, shapes.values()))
    if fsdp == 1 or not total:
        return ""
    spared = small({path: math.prod(shape) for path, shape in shapes.items()}, mesh)
    placed = placements(shapes, rules, mesh, scanned)
    asked = {p for p in shapes if rule_of(p, rules) == "largest" or rule_of(p, rules) in set(PRESETS) - set(OWN)}
    left = sum(math.prod(shapes[p]) for p in asked - set(spared) if _pieces(placed[p], mesh) == 1)
    even = total / (fsdp * mesh.shape["model"])
    if left <= 2 * SLACK * even:
        return ""
    said = f"sharding: {100 * left / total:.3g} % of the parameters stay whole on every device, since fsdp={fsdp} divides none of "
    held = _held(shapes, rules, mesh, scanned)
    said += f"their dimensions: a device holds {held / even:.3g} times an even share"
    others = [_with_fsdp(mesh, n) for n in range(1, fsdp) if fsdp % n == 0]
    best = min(others, key=lambda other: _held(shapes, rules, other, scanned))
    less = held / _held(shapes, rules, best, scanned)
    axes = {axis: size for axis, size in best.shape.items() if size > 1}
    return said + (f"; with mesh={json.dumps(axes)} it holds {less:.3g} times less" if less > 1 else "")


def _with_fsdp(mesh: Meshes, fsdp: int) -> AbstractMesh:
    """As many devices, with fewer along fsdp and more along data."""
    sizes = mesh.shape
    return AbstractMesh((sizes["data"] * sizes["fsdp"] // fsdp, fsdp, sizes["model"]), AXES)


def _held(shapes: Shapes, rules: Rules, mesh: Meshes, scanned: Collection[str]) -> float:
    """Of the numbers of all parameters those on a device."""
    return sum(math.prod(shapes[p]) / _pieces(spec, mesh) for p, spec in placements(shapes, rules, mesh, scanned).items())


def _pieces(spec: P, mesh: Meshes) -> int:
    return math.prod(mesh.shape[axis] for axis in spec if axis)
