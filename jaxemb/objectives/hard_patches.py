"""Hard patches mining: a masked autoencoder that hides what its average copy expects to be hard."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from jaxemb.config import ConfigError, choices
from jaxemb.objectives.mae import MAE, standardise
from jaxemb.ops.draws import Draws
from jaxemb.ops.dtypes import wide
from jaxemb.ops.regression import squared
from jaxemb.types import Batch, Loss, Now, Paper


class HardPatches(MAE):
    """MAE with a second decoder that predicts the loss of each patch (Wang et al., CVPR 2023; TPAMI 2025).

        teacher    h = predicted losses of all patches, from the whole image, by the EMA parameters
        masks      the int(n_hidden alpha) patches with the largest h, the rest of the n_hidden at random
        alpha      alpha_0 + (alpha_T - alpha_0)(i + 1) / T at update i = 0, ..., T - 1 of the experiment
        relative   -mean over ordered pairs (i, j) of hidden patches of an image with l_i != l_j, of the whole batch, of
                   y ln(sigmoid(d) + 1e-6) + (1 - y) ln(1 - sigmoid(d) + 1e-6),  y = [l_i > l_j],  d = s_i - s_j;
                   l are the true losses, without gradient, s the predicted ones
        absolute   mean of (s - standardised l)^2, var with divisor n_hidden - 1 (an ablation)
        loss       mean of l over hidden patches + weight * relative

    As released, the predictor's loss trains the encoder too, its scalar is the mean of the q outputs of a branch like that of the
    pixels, and it is asked about visible patches though trained on hidden ones. Published runs count epochs where this counts
    updates; their teacher's momentum goes from .999 to .9999 in 100 epochs, here `ema` over all of training. The released scripts
    leave `norm_pixels` off; the paper reports it on (from memory, unverified). Masks are made on the device: `prepare` draws
    nothing, and `masks` says how many patches are hidden.

    Arms: alpha=(0, 0) learns to predict losses under random masks; alpha=(1, 1) hides the hardest patches from the start.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Bootstrap Masked Visual Modeling via Hard Patches Mining", 2025, "arxiv.org/abs/2312.13714"
    )

    teacher: ClassVar[bool] = True

    alpha: tuple[float, float] = (0.0, 0.5)
    """Share of the hidden patches that are chosen as hard, at the first and the last update."""
    learn: str = "relative"
    """"relative": which of two patches is harder; "absolute": how hard."""
    weight: float = 1.0
    """Of the predictor's loss."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, learn=LEARN)
        if not all(0 <= a <= 1 for a in self.alpha) or self.alpha[1] < self.alpha[0]:
            raise ConfigError(f"alpha must be two shares in [0, 1] that do not fall, is {self.alpha}")
        if self.weight < 0:
            raise ConfigError(f"weight must not be negative, is {self.weight}")

    def _drawn(self, grid: tuple[int, int], draws: Draws) -> dict[str, np.ndarray]:
        self.masks.visible(grid)  # which refuses a grid that is too small
        return {}

    def targets(self, batch: Batch, now: Now) -> Float[Array, "b n"]:
        """The predicted loss of every patch of an image that is wholly visible."""
        return _scalar(self._decode(batch["images"], None, None, ("difficulty",), False)[0])

    def loss(self, batch: Batch, targets: Any, now: Now) -> Loss:
        images = batch["images"]
        count = self._count(self._hidden(images), now)
        noise = jax.random.uniform(self.make_rng("dropout"), targets.shape, targets.dtype)
        keep, hidden = hard_mask(targets, noise, count, self._hidden(images))
        pixels, scores = self._decode(images, keep, hidden, ("pixels", "difficulty"), True)
        error = self._error(images, hidden, pixels)
        learnt = LEARN[self.learn](_scalar(scores), jax.lax.stop_gradient(error))
        share = count.astype(error.dtype) / hidden.shape[1]
        logs = {"reconstruction": error.mean(), "prediction": learnt, "hard_share": share}
        return Loss(error.mean() + self.weight * learnt, logs=logs)

    def _hidden(self, images: Any) -> int:
        rows, columns = self._grid(images)
        return rows * columns - self.masks.visible((rows, columns))

    def _count(self, hidden: int, now: Now) -> Int[Array, ""]:
        """How many patches are chosen as hard at this update."""
        counts = hard_counts(hidden, now.total, self.alpha)
        # Where the count rises, worked out in 64 bits on the host: on the device int() would be of a float32.
        rises = jnp.asarray(np.searchsorted(counts, np.arange(1, counts[-1] + 1)), jnp.int32)
        return (rises <= jnp.asarray(now.step, jnp.int32)).sum(dtype=jnp.int32)


def _scalar(outputs: Float[Array, "b n q"]) -> Float[Array, "b n"]:
    """In float32 or better: fewer ties."""
    return outputs.astype(wide(outputs)).mean(-1)


def hard_counts(hidden: int, steps: int, alpha: tuple[float, float]) -> np.ndarray:
    """int(hidden alpha_i) at each update i."""
    share = alpha[0] + (alpha[1] - alpha[0]) * (np.arange(steps) + 1) / steps
    return (hidden * share).astype(np.int64)


def hard_mask(
    difficulty: Float[Array, "b n"], noise: Float[Array, "b n"], count: Int[Array, ""], hidden: int
) -> tuple[Int[Array, "b k"], Int[Array, "b t"]]:
    """(visible, hidden) ids, each ascending: hidden are the `count` most difficult patches and those of the rest with most noise.

    `noise` in [0, 1). Shapes depend on `hidden` alone, so that `count` may be traced.
    """
    rank = jnp.argsort(jnp.argsort(-difficulty, axis=1), axis=1)
    order = jnp.argsort(-jnp.where(rank < count.astype(rank.dtype), jnp.ones_like(noise), noise), axis=1)
    return jnp.sort(order[:, hidden:], axis=1), jnp.sort(order[:, :hidden], axis=1)


def relative_loss(predicted: Float[Array, "b n"], true: Float[Array, "b n"]) -> Float[Array, ""]:
    """Of two hidden patches of an image, which is harder? Mean over the ordered pairs of the whole batch that are no ties."""
    sigmoid = jax.nn.sigmoid(predicted[:, :, None] - predicted[:, None, :])
    harder, easier = true[:, :, None] > true[:, None, :], true[:, :, None] < true[:, None, :]
    terms = jnp.where(harder, jnp.log(sigmoid + 1e-6), jnp.where(easier, jnp.log(1 - sigmoid + 1e-6), 0))
    return -terms.sum() / jnp.maximum((harder | easier).sum().astype(terms.dtype), 1)


def absolute_loss(predicted: Float[Array, "b n"], true: Float[Array, "b n"]) -> Float[Array, ""]:
    """Mean squared distance from the losses of an image, standardised."""
    return squared(predicted, standardise(true)).mean()


LEARN = {"relative": relative_loss, "absolute": absolute_loss}
