"""A function that was made for other arguments must never be given."""

import dataclasses
from typing import Any

import jax
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from tiny import tiny

from jaxemb.objectives.classify import Classify
from jaxemb.train.encode import _whole_method
from jaxemb.train.loop import _placed_step
from jaxemb.train.optim import Optim
from jaxemb.train.probes import Realised
from jaxemb.train.remembered import LIMIT, remembered
from jaxemb.train.setup import _init, _placed_init
from jaxemb.train.sharding import make_mesh


@dataclasses.dataclass(frozen=True)
class Config:
    kind: Any = 0

    def scale(self):
        return 2


def test_equal_arguments_give_the_same_function():
    make = remembered(lambda optim, steps: lambda: (optim, steps))
    assert make(Optim(lr=0.1, options={"b1": 0.5}), 10) is make(Optim(lr=0.1, options={"b1": 0.5}), 10)
    others = [make(Optim(lr=0.2, options={"b1": 0.5}), 10), make(Optim(lr=0.1), 10), make(Optim(lr=0.1), 11)]
    assert len({id(f) for f in others}) == 3


def test_what_is_equal_but_of_another_type_is_another():
    make = remembered(lambda config: lambda: config)
    assert len({id(make(Config(kind))) for kind in (1, 1.0, True, 0.0, -0.0)}) == 5
    assert len({id(make(kind)) for kind in (1, 1.0, True)}) == 3


def test_edited_code_and_other_random_keys_are_others(monkeypatch):
    make = remembered(lambda configs: lambda: configs[0].scale())
    first = make((Config(),))
    assert make((Config(),)) is first
    with jax.default_prng_impl("rbg"):
        assert make((Config(),)) is not first
    monkeypatch.setattr(Config, "scale", lambda self: 3)
    assert make((Config(),)) is not first and make((Config(),))() == 3


def test_what_has_no_hash_is_made_anew_and_the_oldest_is_forgotten():
    make = remembered(lambda x: lambda: x)
    assert make({"a": 1})() == {"a": 1} and make({"a": 1}) is not make({"a": 1})
    first = make(-1)
    for i in range(LIMIT - 1):
        make(i)
    assert make(-1) is first
    make(LIMIT)
    assert make(-1) is not first


OBJECTIVE, OTHER = tiny(Classify), tiny(Classify, smoothing=0.1)
ONE, TWO = make_mesh({"data": 1}), make_mesh({"data": 2})
LEAVES, TREE = jax.tree.flatten({"a": NamedSharding(ONE, PartitionSpec())})
CUT = (NamedSharding(ONE, PartitionSpec("data")),)
WHOLE = [NamedSharding(mesh, PartitionSpec()) for mesh in (ONE, TWO)]
MAKERS = {
    _placed_step: [
        (ONE, TWO), (OBJECTIVE, OTHER), (Optim(), Optim(lr=1.0)), (10, 11), ((0.9, 1.0), (0.8, 1.0), None), (1, 2),
        ((), (("seen", Realised(layer="head")),)), (TREE, jax.tree.structure({"b": 0})), (tuple(LEAVES), CUT),
    ],
    _init: [(OBJECTIVE, OTHER), (Optim(), Optim(lr=1.0)), (10, 11), (True, False)],
    _placed_init: [
        (OBJECTIVE, OTHER), (Optim(), Optim(lr=1.0)), (10, 11), (True, False),
        (TREE, jax.tree.structure({"b": 0})), (tuple(LEAVES), CUT),
    ],
    _whole_method: [(OBJECTIVE, OTHER), ("encode", "features"), ((), ("query",), ("document",)), WHOLE],
}  # fmt: skip


@pytest.mark.parametrize("maker", MAKERS, ids=lambda f: f.__name__)
def test_every_argument_counts(maker):
    choices = MAKERS[maker]
    base = [given[0] for given in choices]
    assert maker(*base) is maker(*base)
    for i, (_, *others) in enumerate(choices):
        for other in others:
            assert maker(*base[:i], other, *base[i + 1 :]) is not maker(*base)
