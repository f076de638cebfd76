"""Does a masked autoencoder on drawn scenes make position, size, colour, shape and texture easier to read off?

    jaxemb train experiments/jepa/shapes.py
    jaxemb train experiments/jepa/shapes.py:supervised
    jaxemb compare runs/shapes runs/shapes_supervised

Nothing is downloaded. Judged by k-NN and by probes of the five factors, each against its own chance level, and compared with the
encoder's random initialisation (step 0) and with the same encoder trained on all five labels for as long on the clock. How it was
chosen, and figures of three seeds: README.md beside this file.
"""

from jaxemb import Experiment, Optim
from jaxemb.data import Shapes
from jaxemb.data.shapes import FACTORS
from jaxemb.evals import KNN, Ridge
from jaxemb.experiment import replace
from jaxemb.layers import FeedForward
from jaxemb.nn import Attention, Block, Decoder, Patches, Transformer
from jaxemb.objectives import MAE, Classify

block = Block(Attention(4, kernel_init="xavier"), FeedForward(activation="gelu_tanh", kernel_init="xavier"))
encoder = Transformer(stem=Patches(4, kernel_init="xavier"), width=96, depth=4, blocks=(block,))
decoder = Decoder(width=64, depth=1, blocks=(block,), kernel_init="xavier")
rows = {"label": tuple(FACTORS), "every": 2_500, "train": 4000, "test": 2000}
main = Experiment(
    name="shapes",
    # The pixels as they are, not normalised in each patch: the colour of a figure is one of the factors.
    objective=MAE(encoder=encoder, decoder=decoder, norm_pixels=False),
    data=Shapes(clutter=0.5, ground=0.3),
    optim=Optim("adamw", lr=2e-3, lr_start=2e-4, lr_final=2e-5, warmup=0.1, decay=0.05, clip=3.0),
    steps=2_500,
    batch=32,
    evals={
        # Whitened: what all scenes share, above all how bright they are, would otherwise decide who is near.
        "knn": KNN(whiten=True, **rows),
        "cosine_knn": KNN(**rows),
        "probe": Ridge(**rows),
    },
    expect={"knn/top1": 0.541, "probe/top1": 0.598, "probe/position/top1": 0.84},
)
supervised = replace(
    main,
    name="shapes_supervised",
    objective=Classify(encoder=encoder, label=tuple(FACTORS), classes=tuple(map(len, FACTORS.values()))),
    steps=1_000,  # the same time: it computes all patches, the autoencoder a quarter of them
    expect={"probe/top1": 0.649},
)
