"""How far beyond its training length does a small causal language model go, with each positional embedding?

    jaxemb train experiments/posemb/language.py:alibi --set data.path=shakespeare.txt
    jaxemb train experiments/posemb/language.py:none --set data.path=shakespeare.txt --set seed=1 --run runs/language_none_1

A byte-level decoder trained on windows of 64 bytes, and its perplexity in windows of 64 to 512 of the text's last tenth, without
tuning. Any plain-text file serves; the figures in README.md beside this file are of 1.1 MB of Shakespeare.
"""

from jaxemb.data.text import Text
from jaxemb.evals.extrapolate import Extrapolate
from jaxemb.evals.perplexity import Perplexity
from jaxemb.experiment import Experiment
from jaxemb.layers.feedforward import FeedForward
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.next_token import NextToken
from jaxemb.posemb.alibi import ALiBi
from jaxemb.posemb.base import PosEmb
from jaxemb.posemb.fourier import LearnableFourier
from jaxemb.posemb.learned import Learned
from jaxemb.posemb.none import NoPos
from jaxemb.posemb.relative import RelativeBuckets
from jaxemb.posemb.rotary import Rotary
from jaxemb.posemb.seqpe import SeqPE
from jaxemb.posemb.sincos import SinCos
from jaxemb.train.optim import Optim

LENGTH = 64


block = Block(Attention(2, kernel_init="xavier"), FeedForward(activation="gelu_tanh", kernel_init="xavier"))


def experiment(name: str, pos: PosEmb) -> Experiment:
    """The same model and budget, one field changed."""
    encoder = Transformer(
        stem=Tokens(256, std=1.0),
        pos=pos,
        width=64,
        depth=3,
        blocks=(block,),
        causal=True,
    )
    return Experiment(
        name=f"language_{name}",
        objective=NextToken(encoder=encoder, tied=False),
        data=Text(length=LENGTH, valid_share=0.0),
        optim=Optim("adamw", lr=2e-3, lr_final=2e-4, warmup=100, decay=0.05, clip=1.0),
        steps=1_000,
        batch=32,
        evals={"longer": Extrapolate(of=Perplexity(tokens=50_000), field="length", factors=(1.0, 2.0, 4.0, 8.0))},
        save_every=1_000,
    )


main = rotary = experiment("rotary", Rotary())
none = experiment("none", NoPos())
learned = experiment("learned", Learned(shape=(LENGTH,)))
sincos = experiment("sincos", SinCos(axes=1))
fourier = experiment("fourier", LearnableFourier())
alibi = experiment("alibi", ALiBi())
t5 = experiment("t5", RelativeBuckets(causal=True, buckets=32, max_distance=LENGTH))
seqpe = experiment(
    "seqpe",
    SeqPE(
        axes=1, limit=1_000, way="scalar", project="single", pivots=16, candidates=16, windows=8, samples=32, origins=8, pool=160
    ),
)
