"""Which self-supervised setting makes the demo worth showing? The objectives that were tried on drawn scenes, by name.

    jaxemb train experiments/jepa/shapes_search.py:vicreg --seed 0 --set data.ground=0.3 --set data.clutter=0.5 --set steps=250

What came of it: "What was tried" in README.md beside this file, and results/demo_search.csv with the command of every trial.
`former` is the demo that shapes.py replaced: I-JEPA with patches of 8 on scenes whose ground has any colour.
"""

from jaxemb.data.shapes import FACTORS, Shapes
from jaxemb.evals.knn import KNN
from jaxemb.evals.probe import Ridge
from jaxemb.evals.rankme import RankMe
from jaxemb.experiment import Experiment, replace
from jaxemb.masks.fixed_blocks import FixedBlocks
from jaxemb.nn.decoder import Decoder
from jaxemb.nn.predictor import Predictor
from jaxemb.nn.projector import Projector
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.classify import Classify
from jaxemb.objectives.ijepa import IJEPA
from jaxemb.objectives.lejepa import LeJEPA
from jaxemb.objectives.mae import MAE
from jaxemb.objectives.simclr import SimCLR
from jaxemb.objectives.vicreg import VICReg
from jaxemb.train.optim import Optim
from jaxemb.views.crops import CropViews

encoder = Transformer(stem=Patches(4), width=96, depth=4, heads=4, activation="gelu_tanh", kernel_init="xavier")
rows = {"label": tuple(FACTORS), "every": 500, "train": 2000, "test": 1000}
mae = Experiment(
    name="mae",
    objective=MAE(encoder=encoder, decoder=Decoder(width=64, depth=1, heads=4), norm_pixels=False),
    data=Shapes(),
    optim=Optim("adamw", lr=2e-3, lr_start=2e-4, lr_final=2e-5, warmup=0.1, decay=0.05, clip=3.0),
    steps=500,
    batch=64,
    evals={"knn": KNN(**rows), "white_knn": KNN(whiten=True, **rows), "probe": Ridge(**rows)},
)
ijepa = replace(
    mae,
    name="ijepa",
    objective=IJEPA(
        encoder=encoder,
        predictor=Predictor(width=48, depth=2),
        masks=FixedBlocks(targets=4, size=(3, 3), context=16),
        loss_name="l2",
        joint=True,
        target_layers=4,
        sigreg=0.02,
    ),
    ema=(0.99, 1.0),
)
views = CropViews(scale=(0.4, 1.0), mean=Shapes().statistics[0], std=Shapes().statistics[1])
simclr = replace(mae, name="simclr", objective=SimCLR(encoder=encoder, projector=Projector((256, 64)), views=views))
vicreg = replace(mae, name="vicreg", objective=VICReg(encoder=encoder, projector=Projector((256, 256)), views=views))
lejepa = replace(mae, name="lejepa", objective=LeJEPA(encoder=encoder, projector=Projector((256, 64), bias=True), views=views))
supervised = replace(
    mae, name="supervised", objective=Classify(encoder=encoder, label=tuple(FACTORS), classes=tuple(map(len, FACTORS.values())))
)

small = Transformer(stem=Patches(8), width=96, depth=4, heads=4, activation="gelu_tanh", kernel_init="xavier")
former = replace(
    ijepa,
    name="shapes_ijepa",
    objective=IJEPA(
        encoder=small,
        predictor=Predictor(width=48, depth=2),
        masks=FixedBlocks(targets=3, size=(2, 2), context=6),
        loss_name="l2",
        joint=True,
        target_layers=4,
    ),
    steps=2_500,
    evals={
        "knn": KNN(label=tuple(FACTORS), every=500, train=5000, test=2000),
        "probe": Ridge(label=tuple(FACTORS), every=500, train=5000, test=2000),
        "rankme": RankMe(samples=5000, every=500),
    },
    expect={"probe/top1": 0.31, "probe/colour/top1": 0.51},
)
