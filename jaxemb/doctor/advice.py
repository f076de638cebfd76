"""What to try against a symptom, less what the run has already."""

from __future__ import annotations

import numpy as np

from jaxemb.doctor.patient import Patient
from jaxemb.masks.fixed_blocks import FixedBlocks
from jaxemb.nn.block import Layers
from jaxemb.objectives.vicreg import VICReg


def untried(*options: tuple[str, bool]) -> str:
    """The options, each with whether the run has it, that are left; where none is, a longer training."""
    return ", ".join(text for text, has in options if not has) or "the usual remedies are all in place: more steps, other data"


def standardised(x: np.ndarray) -> str:
    """For inputs that are not centred or scaled, with the figures to set."""
    return f"standardise by the statistics of these data: the model sees a mean of {x.mean():.3g} and a deviation of {x.std():.3g}"


def smoother(p: Patient) -> str:
    """For gradients and losses that jump."""
    o = p.experiment.optim
    clip = (f"clip={o.clip / 2:g} instead of {o.clip:g}" if o.clip else "clip=1.0", False)
    warmup = (f"warmup={2 * o.warmup:g} instead of {o.warmup:g}" if o.warmup else "warmup=0.1", False)
    return untried(clip, warmup, (f"a learning rate below {o.lr:g}", False))


def unreached(p: Patient) -> str:
    """For a learning rate that never came."""
    o = p.experiment.optim
    steps = p.experiment.steps
    short = (o.warmup if isinstance(o.warmup, int) else o.warmup * steps) <= steps / 2
    return untried(
        ("a learning rate above 0: nothing is trained", o.lr > 0), (f"a warm-up below {o.warmup:g} of {steps} steps", short)
    )


def masks(p: Patient) -> str:
    """For patches that are never shown or never predicted."""
    known = isinstance(getattr(p.objective, "masks", None), FixedBlocks)
    return untried(("FixedBlocks, which reach the border", known), ("masks of other sizes, or placed otherwise", False))


def faster_average(p: Patient) -> str:
    """For an average that hardly moves: ten times shorter, and at most a tenth of the run."""
    first, last = p.experiment.ema
    lower = max(0.0, 1 - max(10 / p.experiment.steps, 10 * (1 - first)))
    return f"ema=({lower:.3g}, {max(lower, min(last, 1.0)):.3g}), which starts below {first:g}"


def placed_targets(p: Patient) -> str:
    """For targets that follow from their place."""
    encoder = getattr(p.objective, "encoder", None)
    blocks = encoder.blocks if isinstance(encoder, Layers) else ()
    xavier = all("xavier" in (b.attention.kernel_init, b.mlp.kernel_init) for b in blocks)
    several = getattr(p.objective, "target_layers", 2) > 1  # objectives without the field have no such remedy
    return untried(
        ("a spread of the features (sigreg=0.02)", has_spread(p)),
        ("Xavier initialisation (kernel_init='xavier')", xavier),
        ("targets from several layers (target_layers=2)", several),
        ("larger patches", False),
    )


def collapse(p: Patient) -> str:
    """For embeddings that are all alike."""
    known = getattr(p.objective, "sigreg", None) is not None
    variance = (
        "sigreg=0.02" if known else "variance_weight above 0" if isinstance(p.objective, VICReg) else "a variance or SIGReg term"
    )
    return untried(
        (variance, has_spread(p)),
        (f"a learning rate below {p.experiment.optim.lr:g}", False),
        ("an EMA teacher (ema=(0.99, 1.0))", p.teacher is not None),
    )


def has_spread(p: Patient) -> bool:
    """Whether a term of the loss keeps embeddings apart."""
    contrast = getattr(p.objective, "contrast", None)
    apart = contrast is not None and getattr(contrast, "variance_weight", 1.0) > 0  # negatives, or a term of the variance
    return apart or getattr(p.objective, "sigreg", 0) > 0 or type(p.objective).__name__ == "LeJEPA"
