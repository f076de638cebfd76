import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.nn.resnet import ResNet

IMAGES = normal(0, 4, 16, 16, 3)


@pytest.mark.parametrize("depth", [18, 50])
def test_running_statistics_move_in_training_alone(depth):
    model = ResNet(depth, width=4)
    variables = jax.jit(model.init)(jax.random.key(1), IMAGES)
    f = jax.jit(model.apply)(variables, IMAGES)
    assert f.tokens.shape == (4, 4, 32 if depth == 18 else 128) and bool(f.mask.all())
    _, new = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))(variables, IMAGES)
    stem = new["batch_stats"]["stem_norm"]["mean"]
    assert not np.allclose(stem, variables["batch_stats"]["stem_norm"]["mean"])


def test_imagenet_stem_cuts_sixteen_times_more():
    f = jax.eval_shape(
        lambda k, x: ResNet(18, "imagenet", width=4).init_with_output(k, x)[0], jax.random.key(0), jnp.zeros((1, 64, 64, 3))
    )
    assert f.tokens.shape == (1, 4, 32)


def test_the_pool_of_the_small_stem_halves_the_map():
    shapes = {}
    for stem in ("cifar", "cifar_pool"):
        model = ResNet(18, stem, width=4)
        shapes[stem] = jax.eval_shape(model.init_with_output, jax.random.key(0), IMAGES)
    assert shapes["cifar"][0].tokens.shape == (4, 4, 32) and shapes["cifar_pool"][0].tokens.shape == (4, 1, 32)
    assert shapes["cifar"][1] == shapes["cifar_pool"][1]


def test_unknown_sizes_are_named():
    with pytest.raises(ConfigError, match="depth=34; valid: 18, 50"):
        ResNet(34)
    with pytest.raises(ConfigError, match="stem='tiny'"):
        ResNet(18, "tiny")
