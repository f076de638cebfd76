"""What was traced and compiled for an experiment serves the next one that is alike: other seeds, a run that goes on."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import CodeType
from typing import Any

import jax

LIMIT = 8
"""Functions that a maker remembers; the one made first goes first."""


def remembered(make: Callable[..., Any]) -> Any:
    """A maker of functions that gives the same function for the same arguments, so that JAX, which goes by the identity of
    functions, traces, lowers and compiles it once a process.

    The same: equal, written alike (1 is neither 1.0 nor True), of classes whose methods have the same code (a notebook may have
    edited them), under the same kind of random keys. What a method reads from its module is as it was when it was first traced.
    Arguments with a field that has no hash are made anew.
    """
    known: dict[Any, Any] = {}

    @functools.wraps(make)
    def either(*args: Any) -> Any:
        key = (args, repr(args), tuple(codes(args)), jax.config.jax_default_prng_impl)  # pyright: ignore[reportAttributeAccessIssue]
        try:
            hash(key)
        except TypeError:
            return make(*args)
        if key not in known:
            if len(known) == LIMIT:
                del known[next(iter(known))]
            known[key] = make(*args)
        return known[key]

    return either


def codes(x: Any) -> Iterator[CodeType]:
    """The code of all methods of a tree of configs."""
    if isinstance(x, tuple | list | Mapping):
        for item in x.values() if isinstance(x, Mapping) else x:
            yield from codes(item)
    elif dataclasses.is_dataclass(x) and not isinstance(x, type):
        for cls in type(x).__mro__:
            for method in vars(cls).values():
                if inspect.isfunction(inspect.unwrap(method) if callable(method) else method):
                    yield inspect.unwrap(method).__code__
        for field in dataclasses.fields(x):
            if field.name not in ("parent", "name"):  # of a Linen module
                yield from codes(getattr(x, field.name, None))
