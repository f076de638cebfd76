"""Which self-supervised setting makes the demo worth showing? The objectives that were tried on drawn scenes, by name.

    jaxemb train experiments/jepa/shapes_search.py:vicreg --set data.ground=0.3 --set data.clutter=0.5 --set steps=250

What came of it: "What was tried" in README.md beside this file, and results/demo_search.csv with the command of every trial.
`former` is the demo that shapes.py replaced: I-JEPA with patches of 8 on scenes whose ground has any colour.
"""

from experiments.jepa import shapes
from jaxemb.data import Shapes
from jaxemb.data.shapes import FACTORS
from jaxemb.evals import KNN, RankMe, Ridge
from jaxemb.experiment import replace
from jaxemb.layers import Projector
from jaxemb.masks import FixedBlocks
from jaxemb.nn import Patches, Predictor, Transformer
from jaxemb.objectives import IJEPA, MAE, Classify, LeJEPA, SimCLR, VICReg
from jaxemb.views import CropViews

block, encoder, decoder = shapes.block, shapes.encoder, shapes.decoder
rows = {"label": tuple(FACTORS), "every": 500, "train": 2000, "test": 1000}
main = mae = replace(
    shapes.main,
    name="mae",
    objective=MAE(encoder=encoder, decoder=decoder, norm_pixels=False),
    data=Shapes(),
    steps=500,
    batch=64,
    evals={"knn": KNN(**rows), "white_knn": KNN(whiten=True, **rows), "probe": Ridge(**rows)},
    expect={},
)
ijepa = replace(
    mae,
    name="ijepa",
    objective=IJEPA(
        encoder=encoder,
        predictor=Predictor(width=48, depth=2, blocks=(block,), kernel_init="xavier"),
        masks=FixedBlocks(targets=4, size=(3, 3), context=16),
        loss_name="l2",
        joint=True,
        target_layers=4,
        sigreg=0.02,
    ),
    ema=(0.99, 1.0),
)
mean, std = Shapes().usual_statistics
views = CropViews(scale=(0.4, 1.0), mean=mean, std=std)
simclr = replace(mae, name="simclr", objective=SimCLR(encoder=encoder, projector=Projector((256, 64)), views=views))
vicreg = replace(mae, name="vicreg", objective=VICReg(encoder=encoder, projector=Projector((256, 256)), views=views))
lejepa = replace(mae, name="lejepa", objective=LeJEPA(encoder=encoder, projector=Projector((256, 64), bias=True), views=views))
supervised = replace(
    mae, name="supervised", objective=Classify(encoder=encoder, label=tuple(FACTORS), classes=tuple(map(len, FACTORS.values())))
)

longer = {"label": tuple(FACTORS), "every": 500, "train": 5000, "test": 2000}
former = replace(
    ijepa,
    name="shapes_ijepa",
    objective=IJEPA(
        encoder=Transformer(stem=Patches(8, kernel_init="xavier"), width=96, depth=4, blocks=(block,)),
        predictor=Predictor(width=48, depth=2, blocks=(block,), kernel_init="xavier"),
        masks=FixedBlocks(targets=3, size=(2, 2), context=6),
        loss_name="l2",
        joint=True,
        target_layers=4,
    ),
    steps=2_500,
    evals={"knn": KNN(**longer), "probe": Ridge(**longer), "rankme": RankMe(samples=5000, every=500)},
    expect={"probe/top1": 0.31, "probe/colour/top1": 0.51},
)
