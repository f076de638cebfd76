import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply

from jaxemb.config import ConfigError
from jaxemb.contrastive import InfoNCE, NTXent
from jaxemb.layers.projector import Projector
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.simclr import SimCLR
from jaxemb.ops.draws import Draws
from jaxemb.types import Now

NOW = Now(0, 1, jax.random.key(0))

MODEL = SimCLR(encoder=Transformer(stem=Patches(4), width=8, depth=1, blocks=(Block(Attention(2)),)), projector=Projector((6, 5)))
RAW = {"images": np.asarray(normal(0, 4, 8, 8, 3))}


def prepared():
    return jax.tree.map(jnp.asarray, MODEL.prepare(RAW, Draws((0,), len(RAW["images"]))))


def test_loss_reads_the_projections_of_both_views():
    variables = jax.jit(MODEL.init)(jax.random.key(1), prepared())
    out = apply(MODEL, variables, prepared(), None, NOW, method="loss")
    z = out.views["projections"]
    loss = NTXent(0.1)(z[:, 0], z[:, 1])
    assert float(out.value) == pytest.approx(float(loss.value)) and float(out.logs["accuracy"]) == float(loss.logs["accuracy"])
    other = apply(MODEL.clone(contrast=InfoNCE(0.5)), variables, prepared(), None, NOW, method="loss")
    assert float(other.value) == pytest.approx(float(InfoNCE(0.5)(z[:, 0], z[:, 1]).value))
    one = {k: v[:1] for k, v in prepared().items()}
    with pytest.raises(ConfigError, match="SimCLR compares the examples of a batch: it needs at least 2"):
        apply(MODEL, variables, one, None, NOW, method="loss")
