import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply, init

from jaxemb.config import ConfigError
from jaxemb.data.packing import pack
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.resnet import ResNet
from jaxemb.nn.stem import Patches, Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.classify import Classify
from jaxemb.pooling.mean import Mean
from jaxemb.pooling.token import Token
from jaxemb.posemb.sincos import SinCos
from jaxemb.types import Now

NOW = Now(0, 1, jax.random.key(0))

BATCH = {"images": normal(0, 4, 8, 8, 3), "labels": jnp.array([0, 1, 2, 2])}
MODEL = Classify(encoder=Transformer(stem=Patches(4), width=16, depth=1, blocks=(Block(Attention(2)),)), classes=3)


def with_head(kernel):
    params = jax.jit(MODEL.init)(jax.random.key(1), BATCH)  # the encoder is the same whatever the head
    params["params"]["head"] = {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(kernel.shape[1])}
    return params


def test_first_loss_is_the_logarithm_of_the_classes():
    params = jax.jit(MODEL.init)(jax.random.key(1), BATCH)
    assert float(apply(MODEL, params, BATCH, None, NOW, method="loss").value) == pytest.approx(np.log(3), rel=1e-6)


def test_cross_entropy_smoothing_and_soft_labels_by_hand():
    params = with_head(normal(2, 16, 3))
    logits = np.asarray(apply(MODEL, params, BATCH, method="logits"), np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    hard = np.eye(3)[np.asarray(BATCH["labels"])]

    def loss(model, **more):
        return float(apply(model, params, {**BATCH, **more}, None, NOW, method="loss").value)

    assert loss(MODEL) == pytest.approx(-(hard * log_p).sum(-1).mean(), rel=1e-5)
    assert loss(MODEL.clone(smoothing=0.1)) == pytest.approx(-((0.9 * hard + 0.1 / 3) * log_p).sum(-1).mean(), rel=1e-5)
    soft = np.array([[0.5, 0.5, 0], [0, 1, 0], [0.2, 0, 0.8], [0, 0, 1]], np.float32)
    assert loss(MODEL, labels_soft=jnp.asarray(soft)) == pytest.approx(-(soft * log_p).sum(-1).mean(), rel=1e-5)
    accuracy = apply(MODEL, params, BATCH, None, NOW, method="loss").logs["accuracy"]
    assert float(accuracy) == (logits.argmax(-1) == np.asarray(BATCH["labels"])).mean()


def test_several_labels_have_a_head_each():
    batch = {**BATCH, "size": jnp.array([0, 1, 1, 0])}
    kernel = normal(2, 16, 5)
    both = MODEL.clone(label=("labels", "size"), classes=(3, 2))
    alone = (MODEL.clone(), kernel[:, :3]), (MODEL.clone(label="size", classes=2), kernel[:, 3:])
    out = apply(both, with_head(kernel), batch, None, NOW, method="loss")
    each = [apply(model, with_head(k), batch, None, NOW, method="loss") for model, k in alone]
    assert float(out.value) == pytest.approx(np.mean([float(e.value) for e in each]), rel=1e-6)
    assert float(out.logs["accuracy"]) == pytest.approx(np.mean([float(e.logs["accuracy"]) for e in each]))
    assert float(out.logs["accuracy_size"].value) == float(each[1].logs["accuracy"])
    with pytest.raises(ConfigError, match="mixup and cutmix mix one label, not"):
        apply(both, with_head(kernel), {**batch, "labels_soft": jnp.eye(3)}, None, NOW, method="loss")


def test_encode_is_below_the_head():
    a, b = (
        apply(MODEL, with_head(k), BATCH, method="encode") for k in (np.zeros((16, 3), np.float32), np.ones((16, 3), np.float32))
    )
    np.testing.assert_array_equal(a, b)
    assert a.shape == (4, 16)


def test_a_resnet_is_an_encoder_too():
    model = Classify(encoder=ResNet(18, width=4), classes=3)
    variables = jax.jit(model.init)(jax.random.key(1), BATCH)
    assert "batch_stats" in variables
    assert apply(model, variables, BATCH, method="encode").shape == (4, 32)


def test_the_encoder_reads_the_array_that_is_named():
    batch = {"scans": BATCH["images"], "labels": BATCH["labels"]}
    params = with_head(normal(2, 16, 3))
    a, b = apply(MODEL, params, BATCH, method="logits"), apply(MODEL.clone(inputs="scans"), params, batch, method="logits")
    np.testing.assert_array_equal(a, b)
    with pytest.raises(ConfigError, match="inputs='tokens' is not in the batch, which holds images, labels"):
        apply(MODEL.clone(inputs="tokens"), params, BATCH, method="logits")


def test_a_mask_is_refused_where_the_encoder_cannot_heed_it():
    with pytest.raises(
        ConfigError, match="the batch holds 'mask', which Classify of ResNet cannot heed: it would take padding for"
    ):
        jax.eval_shape(Classify(encoder=ResNet(18, width=4)).init, jax.random.key(0), BATCH | {"mask": jnp.ones((4, 4), bool)})


def test_another_label_and_its_absence():
    with pytest.raises(ConfigError, match="label='shape' is not in the batch, which holds images, labels"):
        init(MODEL.clone(label="shape"), jax.random.key(0), BATCH)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"smoothing": 1.0}, "smoothing"),
        ({"classes": 1}, "classes must be at least 2"),
        ({"classes": (3, 2)}, "a number for each label, which are labels"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        MODEL.clone(**fields)


def test_each_text_of_a_packed_row_has_a_label_and_the_loss_of_a_row_of_its_own():
    encoder = Transformer(stem=Tokens(16), pos=SinCos(axes=1), width=16, depth=1, blocks=(Block(Attention(2)),))
    ids = np.random.default_rng(0).integers(0, 16, (3, 6))
    texts = [ids[0, :3], ids[1, :4], ids[2, :6]]
    rows = [pack(row, 8) for row in (texts[:2], texts[2:])]
    packed = {name: jnp.stack([r[name] for r in rows]) for name in rows[0]}
    packed["labels"] = jnp.array([[0, 2], [1, -1]])
    alone = {
        "tokens": jnp.stack([jnp.asarray(np.pad(t, (0, 8 - len(t))), jnp.int32) for t in texts]),
        "mask": jnp.stack([jnp.arange(8) < len(t) for t in texts]),
        "labels": jnp.array([0, 2, 1]),
    }
    for pooling in (Mean(), Token(last=True)):
        model = Classify(encoder=encoder, pooling=pooling, classes=3, inputs="tokens")
        params = jax.jit(model.init)(jax.random.key(1), packed)
        params["params"]["head"]["kernel"] = normal(2, 16, 3)
        together, apart = (apply(model, params, x, None, NOW, method="loss") for x in (packed, alone))
        assert float(together.weight) == float(apart.weight) == 3
        np.testing.assert_allclose(together.value, apart.value, rtol=1e-5)
        for method in ("encode", "logits"):
            with pytest.raises(ConfigError, match="a packed row.*holds several texts"):
                apply(model, params, packed, method=method)
