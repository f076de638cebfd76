"""What the call of a contrastive loss refuses, whatever the member."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive import InfoNCE, Sigmoid, VICRegLoss
from jaxemb.contrastive.base import ContrastiveLoss, Known
from jaxemb.types import Loss


@dataclasses.dataclass(frozen=True)
class Asks(ContrastiveLoss):
    """A loss that needs two things and has a learned scalar."""

    needs: ClassVar[tuple[str, ...]] = ("own", "guide")

    def learned(self):
        return {"log_scale": 0.5}

    def compare(self, queries, candidates, positives, weights, keep, known):
        return Loss(known.learned["log_scale"] * queries.sum())


@dataclasses.dataclass(frozen=True)
class Deep(ContrastiveLoss):
    def layers(self):
        return (1, -1)

    def compare(self, queries, candidates, positives, weights, keep, known):
        return Loss(queries[0].sum())


Q, C = normal(0, 3, 4), normal(1, 5, 4)
OWN, GUIDE = jnp.zeros((3, 1), jnp.int32), (Q, C)
FULL = Known(own=OWN, guide=GUIDE, learned={"log_scale": jnp.float32(2)})


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (
            FULL._replace(own=None),
            "Asks needs known.own, which is not given; it comes from data with hard negatives, `data.negatives=1`",
        ),
        (FULL._replace(guide=None), "Asks needs known.guide, .*`objective.guide=.*into='guide/model'.*`data.guide=GUIDE`"),
        (FULL._replace(learned={}), r"Asks needs known.learned\['log_scale'\], .*Known\(learned=loss.learned\(\)\)"),
        (FULL._replace(own=OWN[:2]), "Asks: known.own has 2 rows; there are 3 queries and 5 candidates: 3"),
        (FULL._replace(guide=(Q, Q)), r"Asks: known.guide\[1\] has 3 rows; there are 3 queries and 5 candidates: 5"),
    ],
)
def test_what_is_missing_in_known_is_named_with_the_data_that_give_it(known, message):
    with pytest.raises(ConfigError, match=message):
        Asks()(Q, C, known=known)


def test_known_is_a_tree_of_what_is_there_and_reaches_the_member():
    assert len(jax.tree.leaves(FULL)) == 4
    assert float(jax.jit(lambda k: Asks()(Q, C, known=k).value)(FULL)) == pytest.approx(2 * float(Q.sum()), rel=1e-6)


def test_rows_of_other_layers_than_it_compares_are_refused():
    both = jnp.stack([Q, Q]), jnp.stack([C, C])
    assert float(Deep()(*both).value) == float(Q.sum())
    with pytest.raises(
        ConfigError, match=r"Deep compares rows of 2 layers, \(1, -1\) \(l b d\), and was given \(3, 4\) and \(5, 4\)"
    ):
        Deep()(Q, C)
    with pytest.raises(
        ConfigError, match=r"Sigmoid compares rows of the last layer \(b d\), and was given \(2, 3, 4\) and \(2, 5, 4\)"
    ):
        Sigmoid()(*both)


def test_a_batch_of_one_row_teaches_nothing_and_is_refused_where_the_loss_would_be_constant():
    """FlagEmbedding #823: training ran with a loss of 0 for ever, as there was one candidate."""
    assert float(call(InfoNCE(), Q[:1], C[:1]).value) == 0
    assert (jax.jit(jax.grad(lambda q: InfoNCE()(q, C[:1]).value))(Q[:1]) == 0).all()
    with pytest.raises(ConfigError, match="InfoNCE: one pair and no negative give the same loss whatever the embeddings"):
        InfoNCE().refuse_alone(1, 1)
    InfoNCE().refuse_alone(1, 2)
    VICRegLoss().refuse_alone(2, 2)


@pytest.mark.parametrize("temperature", [1e-45, float("inf")])
def test_a_temperature_without_a_use_is_refused(temperature):
    with pytest.raises(ConfigError, match=r"InfoNCE: temperature must be from 1e-6 to 1e6"):
        InfoNCE(temperature)


def test_a_learned_factor_that_starts_above_its_most_is_refused():
    with pytest.raises(ConfigError, match=r"InfoNCE: temperature=0.005 is a factor of 200 to start with, and most_scale=100"):
        InfoNCE(0.005, learn_scale=True)
    InfoNCE(0.005)
