import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive import InfoNCE
from jaxemb.contrastive.angle import AnglE, angle
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.cosent import CoSENT

Q, P = normal(0, 4, 6), normal(1, 4, 6)
KNOWN = Known(scores=jnp.asarray([0.0, 1.0, 1.0, 0.5]))


def test_the_similarity_is_that_of_complex_numbers_and_odd_widths_get_a_zero():
    for d in (6, 5):
        a, b = (np.asarray(x)[:, :d] / np.linalg.norm(np.asarray(x)[:, :d], axis=1, keepdims=True) for x in (Q, P))
        a, b = (np.pad(x, ((0, 0), (0, d % 2))) for x in (a, b))
        a, b = (x[:, : x.shape[1] // 2] + 1j * x[:, x.shape[1] // 2 :] for x in (a, b))
        z = (a * b.conj()).sum(1)
        np.testing.assert_allclose(angle(Q[:, :d], P[:, :d]), np.abs(z.real + z.imag), rtol=1e-5)


def test_the_three_terms_of_the_paper():
    parts = AnglE(1.0), CoSENT(0.05), InfoNCE(0.05)
    cosine = parts[1](Q, P, known=KNOWN).value
    batch = parts[2](Q, P, weights=KNOWN.scores).value
    out = call(AnglE(1.0, cosine_weight=2.0, batch_weight=3.0), Q, P, known=KNOWN)
    assert float(out.value) == pytest.approx(float(parts[0](Q, P, known=KNOWN).value + 2 * cosine + 3 * batch), rel=1e-5)
    assert set(out.logs) == {"angle", "cosine", "batch"}


def test_equal_and_zero_rows_have_a_finite_gradient():
    q = Q.at[1].set(0)
    assert np.isfinite(jax.jit(jax.grad(lambda x: AnglE(0.01)(x, q, known=KNOWN).value))(q)).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": -1.0}, "AnglE: temperature must be above 0, is -1.0"),
        ({"pair_temperature": 0.0}, "AnglE: pair_temperature must be above 0, is 0.0"),
        ({"batch_weight": -1.0}, "AnglE: batch_weight must not be negative, is -1.0"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        AnglE(**fields)
