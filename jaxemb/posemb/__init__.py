"""Positional embeddings."""

from typing import TYPE_CHECKING

from jaxemb.lazy import attach

if TYPE_CHECKING:  # written by scripts/short_imports.py
    from jaxemb.posemb.alibi import ALiBi as ALiBi
    from jaxemb.posemb.base import Places as Places
    from jaxemb.posemb.base import PosEmb as PosEmb
    from jaxemb.posemb.conditional import Conditional as Conditional
    from jaxemb.posemb.curve import Curve as Curve
    from jaxemb.posemb.digit_encoder import DigitBlock as DigitBlock
    from jaxemb.posemb.digit_encoder import DigitEncoder as DigitEncoder
    from jaxemb.posemb.disentangled import Disentangled as Disentangled
    from jaxemb.posemb.disentangled import Table as Table
    from jaxemb.posemb.extended import Extended as Extended
    from jaxemb.posemb.fire import FIRE as FIRE
    from jaxemb.posemb.fourier import LearnableFourier as LearnableFourier
    from jaxemb.posemb.irpe import IRPE as IRPE
    from jaxemb.posemb.learned import Learned as Learned
    from jaxemb.posemb.llama3 import Llama3 as Llama3
    from jaxemb.posemb.logit_scale import LogitScale as LogitScale
    from jaxemb.posemb.loope import LOOPE as LOOPE
    from jaxemb.posemb.loope import Offsets as Offsets
    from jaxemb.posemb.none import NoPos as NoPos
    from jaxemb.posemb.relative import RelativeBuckets as RelativeBuckets
    from jaxemb.posemb.relative import RelativeGrid as RelativeGrid
    from jaxemb.posemb.rescale import NTK as NTK
    from jaxemb.posemb.rescale import DynamicNTK as DynamicNTK
    from jaxemb.posemb.rescale import Interpolated as Interpolated
    from jaxemb.posemb.rescale import YaRN as YaRN
    from jaxemb.posemb.reuse import Grouped as Grouped
    from jaxemb.posemb.reuse import Recurrent as Recurrent
    from jaxemb.posemb.rotary import Rotary as Rotary
    from jaxemb.posemb.rotary_centred import RotaryCentred as RotaryCentred
    from jaxemb.posemb.rotary_mixed import MixedRotary as MixedRotary
    from jaxemb.posemb.self_extend import SelfExtend as SelfExtend
    from jaxemb.posemb.seqpe import Prefix as Prefix
    from jaxemb.posemb.seqpe import Projection as Projection
    from jaxemb.posemb.seqpe import SeqPE as SeqPE
    from jaxemb.posemb.seqpe import Warmup as Warmup
    from jaxemb.posemb.sincos import SinCos as SinCos
else:
    __getattr__, __dir__ = attach(__name__)
