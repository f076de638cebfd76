"""Values that make no sense are refused where the experiment is built or its shapes are first looked at, by the field's name."""

import jax
import pytest

from jaxemb.config import ConfigError, override
from jaxemb.data.digits import Digits
from jaxemb.evals.knn import KNN
from jaxemb.experiment import Experiment
from jaxemb.masks.fixed_blocks import FixedBlocks
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.predictor import Predictor
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.ijepa import IJEPA
from jaxemb.train.setup import batch_shapes, state_shapes
from jaxemb.train.sharding import make_mesh

ENCODER = Transformer(stem=Patches(2), width=16, depth=1, blocks=(Block(Attention(2)),))
EXPERIMENT = Experiment(
    name="x",
    objective=IJEPA(encoder=ENCODER, predictor=Predictor(width=16, depth=1), masks=FixedBlocks()),
    data=Digits(),
    steps=2,
    batch=8,
    ema=(0.9, 1.0),
    evals={"knn": KNN()},
)
BLOCK = "objective.encoder.blocks.0"


def build(assignment):
    """As far as training goes before it allocates anything."""
    experiment = override(EXPERIMENT, [assignment])
    mesh = make_mesh(experiment.mesh)
    batch_shapes(experiment, mesh)
    state_shapes(experiment, mesh)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (f"{BLOCK}.attention.heads=0", "Attention.heads must be at least 1, is 0"),
        (f"{BLOCK}.attention.heads=3", "width 16 is not divisible by heads 3"),
        (f"{BLOCK}.attention.kv_heads=0", "Attention.kv_heads must be at least 1"),
        (f"{BLOCK}.attention.head_width=-8", "Attention.head_width must be at least 1"),
        (f"{BLOCK}.attention.window=-1", "Attention.window must not be negative"),
        (f"{BLOCK}.attention.scale=0.0", "Attention.scale must be finite and above 0"),
        (f"{BLOCK}.attention.softcap=-1.0", "Attention.softcap must be finite and above 0"),
        (f"{BLOCK}.attention.dropout=1.0", r"Attention.dropout must be in \[0, 1\), is 1.0"),
        (f"{BLOCK}.mlp.ratio=0", r"ratio in \(0, 1024\].*not ratio=0"),
        (f"{BLOCK}.mlp.ratio=1e9", r"ratio in \(0, 1024\]"),
        (f"{BLOCK}.mlp.ratio=0.001", "FeedForward.ratio=0.001 of width 16 leaves no hidden feature"),
        (f"{BLOCK}.mlp.hidden=0", "FeedForward.hidden=0: valid: 1 to"),
        (f"{BLOCK}.mlp.hidden=99999999", "FeedForward.hidden=99999999: valid: 1 to"),
        (f"{BLOCK}.mlp.dropout=2", r"dropout in \[0, 1\)"),
        (f"{BLOCK}.norm.eps=-1", "LayerNorm.eps must not be negative, is -1"),
        (f"{BLOCK}.norm=jaxemb.layers.norms:RMSNorm(eps=-1)", "RMSNorm.eps must not be negative, is -1"),
        (f"{BLOCK}.drop_path=2", r"Block.drop_path must be in \[0, 1\), is 2"),
        (f"{BLOCK}.layer_scale=-1", "Block.layer_scale must not be negative, is -1"),
        (f"{BLOCK}.order=per", "Block.order='per'; did you mean 'pre'"),
        ("objective.encoder.blocks=()", "blocks must name at least one block"),
        ("objective.encoder.registers=-1", "Transformer.registers must not be negative, is -1"),
        ("objective.encoder.dtype=fp16", "Transformer.dtype='fp16'; valid: bfloat16"),
        ("objective.encoder.width=-16", "Transformer.width must be at least 1, is -16"),
        ("objective.encoder.depth=1000000", "depth: 1000000 is more than 1024"),
        ("objective.encoder.stem.size=0", "Patches.size must be at least 1"),
        ("objective.encoder.stem.size=1000000", r"Patches\(size=1000000\) does not divide an image of 8 x 8 pixels"),
        ("objective.encoder.pos.base=0", "SinCos needs axes >= 1 and base > 0, not 2 and 0"),
        ("objective.encoder.pos=jaxemb.posemb.rotary:Rotary(axes=2, base=-1)", "Rotary needs axes >= 1, base > 0"),
        ("objective.encoder.remat=half", "Transformer.remat='half'"),
        ("objective.predictor.depth=0", "Predictor.depth must be at least 1, is 0"),
        ("objective.sigreg=-1", "sigreg must not be negative"),
        ("objective.target_layers=2", "target_layers=2 must be from 1 to the encoder's depth, 1"),
        ("data.std=[NaN]", "data.std.0: nan is no value"),
        ("data.std=[0.0]", "std must be above 0 and finite"),
        ("data.size=10000000", "Digits.size=10000000: valid: 1 to 8,192"),
        ("data.channels=0", "size, channels and threads must be at least 1"),
        ("evals.knn.every=0", "evals.knn.every must be at least 1, or -1 for the end alone, not 0"),
        ("evals.knn.k=0", "k must be at least 1"),
        ("evals.knn.temperature=0.0", "temperature above 0"),
        ("evals.knn.test=0", "KNN.test must be at least 1, is 0"),
        ("evals.knn.train=-1", "KNN.train must be at least 1, is -1"),
        ("evals.knn=jaxemb.evals.probe:FewShot(shots=0)", "shots must be at least 1"),
        ("evals.knn=jaxemb.evals.rankme:RankMe(samples=0)", "samples must be at least"),
        ("evals.knn.split=tset", "KNN.split='tset'; did you mean 'test'"),
        ('sharding=[["(", "fsdp"]]', r"sharding: '\(' is no regular expression"),
        ('sharding=[["(.|.)*!", "fsdp"]]', "sharding: .*a choice inside of a repeat"),
        ('sharding=[[".*", "fdsp"]]', "sharding: 'fdsp' is no rule"),
        ('mesh={"data": 0}', "mesh.data must be at least 1, or -1"),
        ('mesh={"dta": 1}', "mesh: there is no axis 'dta'; did you mean 'data'"),
        ("best=knn/nope", "its evaluation runs at the end alone"),
        ("name=", "name='': it names the run folder"),
        ("optim.clip=0.0", "optim.clip must be above 0"),
        ("ema=[2, 1]", r"ema must be two numbers in \[0, 1\]"),
        ("batch=7.5", "batch: expected int, got 7.5"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(assignment, message):
    with pytest.raises(ConfigError, match=message):
        build(assignment)


def test_what_makes_sense_is_not():
    build("objective.encoder.registers=1")
    assert jax.device_count() == 8
