"""The optimiser of an experiment: an optax optimiser by name, schedules, and masks by regex."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxemb import patterns
from jaxemb.config import ConfigError, suggest
from jaxemb.ops.paths import map_paths, parameter_paths
from jaxemb.ops.tract import MOMENTS
from jaxemb.train.tract import solved, watched

Params = Any
SCHEDULES = ("cosine", "linear", "constant")
OURS = {"learning_rate", "weight_decay", "weight_decay_rate", "mask", "weight_decay_mask"}
"""Arguments of optax optimisers that are fields of `Optim`."""
REFUSED = {
    "fromage": "its step is not proportional to the learning rate, so that no schedule applies",
    "lbfgs": "its line search needs the loss at other parameters, which a training step does not give",
}


class ScheduledState(NamedTuple):
    """State of the whole transformation."""

    count: Any
    inner: Any


@dataclasses.dataclass(frozen=True)
class Optim:
    """update = -lr(t) lr_multiplier (direction + wd(t) p), after global-norm clipping of the gradient, for t = 1 .. T.

    The direction is that of the optax optimiser; weight decay is decoupled for every optimiser ("adam" and "adamw" are the same
    here), so lr and decay may both follow a schedule. The schedules are those of I-JEPA: linear warm-up
    lr_start -> lr over W steps, then cosine to lr_final at T = stretch * steps; decay by cosine over all T.
    """

    name: str = "adamw"
    """An optimiser of optax: adamw, sgd, lion, lamb, lars, ..."""
    lr: float = 1e-3
    """Peak learning rate."""
    lr_start: float = 0.0
    """Where the warm-up starts from."""
    lr_final: float = 0.0
    warmup: int | float = 0.0
    """Steps (a whole number), or a fraction of all steps (below 1)."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """What follows the warm-up."""
    stretch: float = 1.0
    """The schedules run as if for this many times the steps (`ipe_scale` of I-JEPA): they stop before their end."""
    decay: float | tuple[float, float] = 0.0
    """Weight decay, or (first, last) of a cosine."""
    no_decay: tuple[str, ...] = ("bias", "scale")
    """Parameters whose path one of these regexes finds are not decayed; vectors and scalars never are."""
    clip: float | None = None
    """Largest global norm of the gradient."""
    lr_multipliers: tuple[tuple[str, float], ...] = ()
    """(regex, factor) on the learning rate of the parameters it finds; the first match counts."""
    freeze: tuple[str, ...] = ()
    """Parameters that one of these regexes finds are not trained."""
    tract: tuple[tuple[str, float], ...] = ()
    """(path of a layer, lambda) of TrAct (Petersen et al. 2024, `ops/tract.py`): the weights of the layer move as if its outputs
    were what is trained. Usual: (("encoder/stem/proj", 0.1),) of a `Transformer` on patches, "encoder/stem" of other networks.
    """
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the optax optimiser: b1, b2, eps, momentum, ..."""

    def __post_init__(self) -> None:
        factory = _factory(self.name)
        known = set(inspect.signature(factory).parameters) - OURS
        for option in self.options:
            if option not in known:
                raise ConfigError(f"optim.options: optax.{self.name} takes no {option!r}{suggest(option, known)}")
        if self.options:
            self._try_options(factory)
        if self.schedule not in SCHEDULES:
            raise ConfigError(f"optim.schedule={self.schedule!r}; valid: {', '.join(SCHEDULES)}")
        decays = self.decay if isinstance(self.decay, tuple) else (self.decay,)
        numbers = [(name, getattr(self, name)) for name in ("lr", "lr_start", "lr_final", "warmup")]
        numbers += [("decay", d) for d in decays] + [("lr_multipliers", factor) for _, factor in self.lr_multipliers]
        for name, value in numbers:
            if not 0 <= value < math.inf:
                raise ConfigError(f"optim.{name} must not be negative, nor infinite, is {value}")
        if len(decays) > 2:
            raise ConfigError(f"optim.decay is a number or (first, last), is {self.decay}")
        if isinstance(self.warmup, float) and self.warmup >= 1:
            raise ConfigError(f"optim.warmup={self.warmup}: a fraction below 1, or a whole number of steps")
        if self.clip is not None and self.clip <= 0:
            raise ConfigError(f"optim.clip must be above 0 (None: no clipping), is {self.clip}")
        if self.stretch < 1:
            raise ConfigError(f"optim.stretch must be at least 1, is {self.stretch}")
        for name in ("freeze", "no_decay"):
            if isinstance(getattr(self, name), str):  # its letters would be taken for regexes
                raise ConfigError(f"optim.{name} is a tuple of regexes: ({getattr(self, name)!r},)")
            for regex in getattr(self, name):
                _check_regex(name, regex)
        for path, lam in self.tract:
            if not 0 < lam < math.inf:
                raise ConfigError(f"optim.tract: the lambda of {path!r} must be above 0 and finite (usual: 0.05 to 0.2), is {lam}")
        for regex, _ in self.lr_multipliers:
            _check_regex("lr_multipliers", regex)

    def _try_options(self, factory: Callable[..., Any]) -> None:
        """optax looks at what it was given when it first uses it: in the middle of a start."""

        def first(x: Any) -> Any:
            optimiser = factory(**{"learning_rate": 1.0, **self.options})
            return optimiser.update(x, optimiser.init(x), x)

        try:
            with jax.numpy_dtype_promotion("standard"):
                jax.eval_shape(first, {"w": jnp.zeros((2, 2))})
        except (TypeError, ValueError, AttributeError) as e:
            raise ConfigError(
                f"optim.options={dict(self.options)}: optax.{self.name} cannot use them: {str(e).splitlines()[0]}"
            ) from None

    # ---- schedules, t = 1 .. steps ---------------------------------------------------------------------------------------------

    def horizon(self, steps: int) -> int:
        """T: the step at which the schedules reach their final values."""
        return int(self.stretch * steps)

    def lr_at(self, t: Any, steps: int) -> Any:
        """Learning rate of update t (the first is 1)."""
        total = self.horizon(steps)
        warm = self.warmup if isinstance(self.warmup, int) else int(self.warmup * steps)
        t = jnp.asarray(t, dtype=_real())
        rising = self.lr_start + (self.lr - self.lr_start) * t / max(warm, 1)
        after = jnp.clip((t - warm) / max(total - warm, 1), 0.0, 1.0)
        if self.schedule == "cosine":
            falling = self.lr_final + (self.lr - self.lr_final) * 0.5 * (1 + jnp.cos(jnp.pi * after))
        elif self.schedule == "linear":
            falling = self.lr + (self.lr_final - self.lr) * after
        else:
            falling = jnp.full_like(t, self.lr)
        return jnp.where(t < warm, rising, falling)

    def decay_at(self, t: Any, steps: int) -> Any:
        """Weight decay of update t."""
        first, last = self.decay if isinstance(self.decay, tuple) else (self.decay, self.decay)
        done = jnp.clip(jnp.asarray(t, dtype=_real()) / self.horizon(steps), 0.0, 1.0)
        return last + (first - last) * 0.5 * (1 + jnp.cos(jnp.pi * done))

    # ---- what stands between the gradient and the transformation ---------------------------------------------------------------

    @property
    def measured(self) -> tuple[str, ...]:
        """The collections that `watch` fills."""
        return (MOMENTS,) if self.tract else ()

    def watch(self, apply: Callable) -> Callable:
        """`apply` of the objective, in which layers leave what `precondition` needs; of micro-batches it takes the mean. What is
        frozen has no gradient, which is then not computed either."""
        return watched(self._held(apply) if self.freeze else apply, dict(self.tract))

    def _held(self, apply: Callable) -> Callable:
        def held(variables: Any, *args: Any, **options: Any) -> Any:
            params = jax.tree.map(
                lambda x, trained: x if trained else jax.lax.stop_gradient(x),
                variables["params"],
                self.trained(variables["params"]),
            )
            return apply({**variables, "params": params}, *args, **options)

        return held

    def precondition(self, grads: Params, measured: Any) -> Params:
        """What the transformation gets in the place of the gradient."""
        return solved(grads, measured, dict(self.tract)) if self.tract else grads

    def __hash__(self) -> int:
        """Of `options` too, a dictionary: what is compiled for an optimiser is remembered by it."""
        return hash(repr(self))

    # ---- the transformation ----------------------------------------------------------------------------------------------------

    def make(self, steps: int, scanned: Collection[str] = ()) -> optax.GradientTransformation:
        """The optax transformation for a run of this many steps; `scanned` are the parameters that are stacks over layers."""
        # At a learning rate of 1 an optimiser of optax returns the negative of the bare direction, to which we add the decay.
        arguments = {"learning_rate": 1.0, **self.options}
        if "weight_decay" in inspect.signature(_factory(self.name)).parameters:
            arguments["weight_decay"] = 0.0
        inner = _factory(self.name)(**arguments)
        if self.clip is not None:
            inner = optax.chain(optax.clip_by_global_norm(self.clip), inner)
        if self.freeze:  # what is not trained has no moments, nor eats into the norm that is clipped
            inner = optax.masked(inner, self.trained)

        def init(params: Params) -> ScheduledState:
            self.check(params)
            return ScheduledState(jnp.zeros((), jnp.int32), inner.init(params))

        def update(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, ScheduledState]:
            assert params is not None
            t = state.count + 1
            lr, decay = self.lr_at(t, steps), self.decay_at(t, steps)
            with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes that strict promotion refuses
                direction, inner_state = inner.update(updates, state.inner, params)

            def move(u: Any, p: Any, decayed: bool, factor: float) -> Any:
                if factor == 0:
                    return jnp.zeros_like(p)
                if decayed and self.decay:
                    u = u - decay.astype(p.dtype) * p
                return (factor * lr).astype(p.dtype) * u.astype(p.dtype)

            moves = jax.tree.map(move, direction, params, self.decayed(params, scanned), self.factors(params))
            return moves, ScheduledState(t, inner_state)

        return optax.GradientTransformation(init, update)

    # ---- which parameter gets what ---------------------------------------------------------------------------------------------

    def decayed(self, params: Params, scanned: Collection[str] = ()) -> Params:
        """Tree of bool: tensors of two or more dimensions (three or more in a scanned stack) that no regex excludes."""

        def rule(path: str, p: Any) -> bool:
            # The depth axis that nn.scan adds does not make a matrix of a vector.
            return p.ndim - (path in scanned) > 1 and not any(re.search(r, path) for r in self.no_decay)

        return map_paths(rule, params)

    def factors(self, params: Params) -> Params:
        """Tree of float: the multiplier of the learning rate, 0 where frozen."""

        def rule(path: str, _: Any) -> float:
            if any(re.search(r, path) for r in self.freeze):
                return 0.0
            return next((f for r, f in self.lr_multipliers if re.search(r, path)), 1.0)

        return map_paths(rule, params)

    def trained(self, params: Params) -> Params:
        """Tree of bool: False where frozen."""
        return map_paths(lambda path, _: not any(re.search(r, path) for r in self.freeze), params)

    def check(self, params: Params) -> None:
        """Every regex that singles parameters out must find one, and something must be left to train."""
        paths = parameter_paths(params)
        for name, regexes in (("freeze", self.freeze), ("lr_multipliers", [r for r, _ in self.lr_multipliers])):
            for regex in regexes:
                if not any(re.search(regex, p) for p in paths):
                    raise ConfigError(f"optim.{name}: {regex!r} finds none of the parameters: {', '.join(paths)}")
        if paths and not any(jax.tree.leaves(self.trained(params))):
            raise ConfigError(f"optim.freeze={self.freeze} leaves no parameter to train")


def _factory(name: str) -> Callable[..., Any]:
    if name in REFUSED:
        raise ConfigError(f"optim.name: {name!r} cannot be used here: {REFUSED[name]}")
    factory = getattr(optax, name, None)
    if not inspect.isfunction(factory) or not _is_optimiser(name, factory):
        names = [n for n, f in inspect.getmembers(optax, inspect.isfunction) if n not in REFUSED and _is_optimiser(n, f)]
        raise ConfigError(f"optim.name: optax has no optimiser {name!r}{suggest(name, names)}")
    return factory


def _is_optimiser(name: str, f: Callable[..., Any]) -> bool:
    return "learning_rate" in inspect.signature(f).parameters and not name.startswith(("scale_by_", "_"))


def _check_regex(name: str, regex: str) -> None:
    try:
        patterns.check(regex)
    except patterns.PatternError as e:
        raise ConfigError(f"optim.{name}: {e}") from None


def _real() -> Any:
    """float64 where 64-bit numbers are enabled, else float32."""
    return jnp.result_type(float)
