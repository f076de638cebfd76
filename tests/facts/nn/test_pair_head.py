import jax
import jax.numpy as jnp
import numpy as np
from arrays import normal

from jaxemb.nn.pair_head import PairHead

U, V = normal(0, 3, 4), normal(1, 3, 4)


def test_equal_vectors_have_a_finite_gradient_and_the_order_counts():
    head = PairHead(2, 8)
    variables = jax.jit(head.init)(jax.random.key(0), U, V)
    assert variables["params"]["hidden"]["kernel"].shape == (16, 8)
    run = jax.jit(lambda u, v: (head.apply(variables, u, v), jax.grad(lambda u: head.apply(variables, u, v).sum())(u)))
    (there, _), (back, _), (_, grad) = run(U, V), run(V, U), run(U, U)
    assert np.isfinite(grad).all() and not np.allclose(there, back)
    only = {"params": jax.tree.map(jnp.zeros_like, variables["params"])}
    assert (np.asarray(head.apply(only, U, V)) == 0).all()
