"""A tower for texts and one for images, whose vectors are compared."""

from __future__ import annotations

import math
from dataclasses import field

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.nn.pooled import Pooled
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.ops.similarity import unit
from jaxemb.types import Batch, Features


def _text() -> Pooled:
    return Pooled(Transformer(stem=Tokens()))


class TwoTowers(nn.Module):
    """Texts and images in one space: logits = exp(t) cos(image, text) + b, with a trained t (CLIP) and b (SigLIP).

    A batch of texts holds `tokens`, one of images `images`, as for `Pooled`; {"text": ..., "image": ...} holds both. Parameters:
    text, image, logit_scale (), with `bias` logit_bias ().
    """

    text: Pooled = field(default_factory=_text)
    image: Pooled = field(default_factory=Pooled)
    bias: bool = False
    scale_start: float = 1 / 0.07
    """exp(t) at the start."""
    bias_start: float = 0.0

    def setup(self) -> None:
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(math.log(self.scale_start)), (), jnp.float32)
        if self.bias:
            self.logit_bias = self.param("logit_bias", nn.initializers.constant(self.bias_start), (), jnp.float32)

    def __call__(self, batch: Batch) -> Array:
        """The vectors of texts or of images; of a batch with both the logits of each image for each text."""
        if "text" not in batch:
            return self.encode(batch)
        return self.logits(self.encode(batch["image"]), self.encode(batch["text"]))

    def encode(self, batch: Batch, role: str = "document") -> Float[Array, "b d"]:
        """The embedding of each row, not normalised."""
        return self._tower(batch).encode(batch, role)

    def features(self, batch: Batch, role: str = "document") -> Features:
        """The tokens behind it."""
        return self._tower(batch).features(batch, role)

    def logits(self, images: Float[Array, "b d"], texts: Float[Array, "m d"]) -> Float[Array, "b m"]:
        """How well each image goes with each text."""
        cosines = jnp.matmul(unit(images), unit(texts).T, precision="highest")
        logits = cosines * jnp.exp(self.logit_scale).astype(cosines.dtype)
        return logits + self.logit_bias.astype(cosines.dtype) if self.bias else logits

    def _tower(self, batch: Batch) -> Pooled:
        return self.text if "tokens" in batch else self.image
