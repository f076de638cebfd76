"""Does I-JEPA on drawn scenes make shape, texture, colour, position and size easier to read off?

    jaxemb train experiments/jepa/shapes.py
    jaxemb train experiments/jepa/shapes.py:supervised
    jaxemb compare runs/shapes runs/shapes_supervised

Nothing is downloaded. Judged by probes of the five factors, each against its own chance level, and compared with the encoder's
random initialisation (step 0) and with the same encoder trained on all five labels. Results: README.md beside this file.
"""

from jaxemb import Experiment, Optim
from jaxemb.data import Shapes
from jaxemb.data.shapes import FACTORS
from jaxemb.evals import KNN, RankMe, Ridge
from jaxemb.experiment import replace
from jaxemb.layers import FeedForward
from jaxemb.masks import FixedBlocks
from jaxemb.nn import Attention, Block, Patches, Predictor, Transformer
from jaxemb.objectives import IJEPA, Classify

block = Block(Attention(4, kernel_init="xavier"), FeedForward(activation="gelu_tanh", kernel_init="xavier"))
encoder = Transformer(
    stem=Patches(8, kernel_init="xavier"),
    width=96,
    depth=4,
    blocks=(block,),
)
main = Experiment(
    name="shapes",
    objective=IJEPA(
        encoder=encoder,
        predictor=Predictor(width=48, depth=2, blocks=(block,), kernel_init="xavier"),
        masks=FixedBlocks(targets=3, size=(2, 2), context=6),
        loss_name="l2",
        joint=True,
        target_layers=4,
    ),
    data=Shapes(),
    optim=Optim("adamw", lr=2e-3, lr_start=2e-4, lr_final=2e-5, warmup=0.1, decay=0.05, clip=3.0),
    ema=(0.99, 1.0),
    steps=2_500,
    batch=64,
    evals={
        "knn": KNN(label=tuple(FACTORS), every=500, train=5000, test=2000),
        "probe": Ridge(label=tuple(FACTORS), every=500, train=5000, test=2000),
        "rankme": RankMe(samples=5000, every=500),
    },
    expect={"probe/top1": 0.31, "probe/colour/top1": 0.51},
)
supervised = replace(
    main,
    expect={"probe/top1": 0.59},
    name="shapes_supervised",
    objective=Classify(encoder=encoder, label=tuple(FACTORS), classes=tuple(map(len, FACTORS.values()))),
)
