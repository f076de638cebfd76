"""The sentence-pair head and its distillation against text_losses.npz, in 64 bits."""

import jax
import jax.numpy as jnp
import numpy as np
from reference import names, number

from jaxemb.nn.pair_head import PairHead
from jaxemb.objectives.pair_scores import PairScores
from jaxemb.types import Now


def test_labels_and_the_logits_of_a_teacher(load):
    file = load("text_losses.npz")
    with jax.enable_x64(True):
        hidden, classes = file["dse_W2"].shape
        layers = {"hidden": ("dse_W1", "dse_b1"), "out": ("dse_W2", "dse_b2")}
        params = {"head": {n: {"kernel": jnp.asarray(file[w]), "bias": jnp.asarray(file[b])} for n, (w, b) in layers.items()}}
        batch = {"labels": jnp.asarray(file["dse_labels"]), "teacher": jnp.asarray(file["dse_teacher_logits"])}
        for case in names(file, "dse_alpha"):
            model = PairScores(head=PairHead(classes, hidden), task="classes", alpha=number(case, "alpha"))

            def value(u, v, model=model):
                z, now = {"query": u, "positive": v}, Now(0, 1, jax.random.key(0))
                return model.apply({"params": params}, z, batch, None, now, method="compare").value

            got, grads = jax.jit(jax.value_and_grad(value, (0, 1)))(jnp.asarray(file["q"]), jnp.asarray(file["p"]))
            np.testing.assert_allclose(got, file[f"{case}__loss"], rtol=1e-7)
            for name, grad in zip("uv", grads, strict=True):
                np.testing.assert_allclose(grad, file[f"{case}__grad_{name}"], rtol=1e-7, atol=1e-9)
