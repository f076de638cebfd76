"""Which positional embedding lets a transformer see distance, orientation, area and vector sums? The Three Cell experiment, sparse.

    jaxemb train experiments/posemb/three_cell.py:sincos2d
    jaxemb train experiments/posemb/three_cell.py:none --set seed=1 --run runs/three_cell_none_1

Three cells of a 14 x 14 grid are tokens; six yes-no questions about their places are asked of a class token (Chowdhury et al.
2025). All schemes have the same budget; figures in README.md beside this file.
"""

from experiments.posemb.cells.accuracy import ThreeCellAccuracy
from experiments.posemb.cells.data import LABELS, ThreeCell
from experiments.posemb.cells.stem import Cells
from jaxemb import Experiment, Optim
from jaxemb.experiment import replace
from jaxemb.layers import FeedForward
from jaxemb.nn import Attention, Block, Patches, Transformer
from jaxemb.objectives import Classify
from jaxemb.pooling import Token
from jaxemb.posemb import (
    IRPE,
    LOOPE,
    ALiBi,
    Curve,
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

block = Block(Attention(4, kernel_init="xavier"), FeedForward(activation="gelu_tanh", kernel_init="xavier"))


def experiment(name: str, pos: PosEmb) -> Experiment:
    """The same model and budget, one field changed."""
    encoder = Transformer(
        stem=Cells(14),
        pos=pos,
        class_token=True,
        width=64,
        depth=3,
        blocks=(block,),
    )
    return Experiment(
        name=f"three_cell_{name}",
        objective=Classify(encoder=encoder, pooling=Token(), classes=(2,) * 6, label=LABELS, inputs="cells"),
        data=ThreeCell(grid=14, valid_share=0.0),
        optim=Optim("adam", lr=1e-3, warmup=50),
        steps=700,
        batch=256,
        evals={"cells": ThreeCellAccuracy(every=350)},
        save_every=700,
    )


main = sincos2d = experiment("sincos2d", SinCos(axes=2))
none = experiment("none", NoPos())
learned = experiment("learned", Learned(shape=(14, 14)))
learned_wide = experiment("learned_wide", Learned(shape=(14, 14), std=1.0))
raster = experiment("raster", Curve(order="raster"))
snake = experiment("snake", Curve(order="snake"))
morton = experiment("morton", Curve(order="morton"))
gilbert = experiment("gilbert", Curve(order="gilbert"))
loope = experiment("loope", LOOPE())
loope_constant = experiment("loope_constant", LOOPE(picture="constant"))
loope_token = experiment("loope_token", LOOPE(offset="token"))
fourier = experiment("fourier", LearnableFourier())
rotary = experiment("rotary", Rotary(axes=2, base=100.0))
mixed = experiment("mixed", MixedRotary())
alibi = experiment("alibi", ALiBi())
irpe = experiment("irpe", IRPE())
swin = experiment("swin", RelativeGrid(shape=(14, 14)))
# Its auxiliary losses are about positions beyond the grid, which nothing here asks for.
seqpe = experiment("seqpe", SeqPE(limit=14, contrastive=0.0, transfer=0.0, shift=0.0))

# The form of the paper: a picture of 224 px instead of three tokens, 80 GFLOP a step. Not part of the table.
dense = replace(
    sincos2d,
    name="three_cell_dense",
    objective=replace(
        sincos2d.objective,
        encoder=replace(sincos2d.objective.encoder, stem=Patches(16, kernel_init="xavier")),
        inputs="images",
    ),
    data=ThreeCell(grid=14, form="dense", valid_share=0.0),
)
