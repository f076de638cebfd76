"""Which positional embedding serves a small ViT best, at the resolution of training and at larger ones it was not trained on?

    jaxemb train experiments/posemb/cifar10.py:rotary
    jaxemb train experiments/posemb/cifar10.py:none --set seed=1 --run runs/posemb_none_1

CIFAR-10 by tensorflow-datasets, 32 px, patches of 4: a grid of 8 x 8. Evaluated at 32, 48, 64 and 96 px as it is, without tuning;
figures in README.md beside this file. SeqPE regularises positions up to 24, the grid of 96 px.
"""

from jaxemb import Experiment, Optim
from jaxemb.data import Flip, Images, RandomResizedCrop
from jaxemb.evals import Accuracy, Extrapolate
from jaxemb.layers import FeedForward
from jaxemb.nn import Attention, Block, Patches, Transformer
from jaxemb.objectives import Classify
from jaxemb.posemb import (
    IRPE,
    ALiBi,
    Conditional,
    Curve,
    Interpolated,
    LearnableFourier,
    Learned,
    MixedRotary,
    NoPos,
    PosEmb,
    RelativeGrid,
    Rotary,
    SeqPE,
    SinCos,
)

block = Block(Attention(2, kernel_init="xavier"), FeedForward(activation="gelu_tanh", kernel_init="xavier"))


def experiment(name: str, pos: PosEmb) -> Experiment:
    """The same model and budget, one field changed."""
    encoder = Transformer(
        stem=Patches(4, kernel_init="xavier"),
        pos=pos,
        width=64,
        depth=3,
        blocks=(block,),
    )
    return Experiment(
        name=f"posemb_{name}",
        objective=Classify(encoder=encoder, classes=10),
        data=Images("cifar10", size=32, valid_share=0.0, augment=(RandomResizedCrop((0.5, 1.0)), Flip())),
        optim=Optim("adamw", lr=2e-3, lr_final=2e-5, warmup=0.1, decay=0.05, clip=1.0),
        steps=500,
        batch=64,
        evals={"larger": Extrapolate(of=Accuracy(test=1_000), factors=(1.0, 1.5, 2.0, 3.0))},
        save_every=500,
    )


rotary_base = Rotary(axes=2, base=100.0)
main = rotary = experiment("rotary", rotary_base)
none = experiment("none", NoPos())
learned = experiment("learned", Learned(shape=(8, 8), extend="resample"))
sincos2d = experiment("sincos2d", SinCos(axes=2))
raster = experiment("raster", Curve(order="raster"))
gilbert = experiment("gilbert", Curve(order="gilbert"))
fourier = experiment("fourier", LearnableFourier())
mixed = experiment("mixed", MixedRotary())
alibi = experiment("alibi", ALiBi())
irpe = experiment("irpe", IRPE())
swin = experiment("swin", RelativeGrid(shape=(8, 8), extend="resample"))
conditional = experiment("conditional", Conditional())
seqpe = experiment("seqpe", SeqPE(limit=24, pivots=16, candidates=16, windows=8, samples=32))
# Read at larger sizes with positions or frequencies rescaled; at 32 px these are `rotary` and `sincos2d`.
sincos2d_interpolated = experiment("sincos2d_interpolated", Interpolated(of=SinCos(axes=2), factor=None, original=8))
rotary_interpolated = experiment("rotary_interpolated", Interpolated(of=rotary_base, factor=None, original=8))
