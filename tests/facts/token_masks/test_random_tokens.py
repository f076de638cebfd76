import numpy as np

from jaxemb.ops.draws import Draws
from jaxemb.token_masks.random_tokens import RandomTokens


def test_every_token_is_hidden_alike_often():
    """4 000 rows of 20 tokens: the share of each place within four deviations of the binomial."""
    masked = RandomTokens(0.15)(np.ones((4000, 20), bool), Draws((0,), 4000))["masked"]
    share = np.bincount(masked.ravel(), minlength=20) / 4000
    assert (abs(share - 0.15) < 4 * (0.15 * 0.85 / 4000) ** 0.5).all()
