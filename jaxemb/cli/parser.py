"""The options of the verbs, and help that teaches."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from jaxemb.cli import verbs as run
from jaxemb.cli.compile import compile
from jaxemb.cli.doctor import doctor
from jaxemb.cli.encode import encode
from jaxemb.cli.search import search

OVERVIEW = """\
jaxemb: embeddings in JAX. An experiment is a Python file that builds one object; a run is a folder.

  jaxemb train experiments/jepa/shapes.py      train; the same command again resumes exactly
  jaxemb eval runs/shapes                      evaluate from the folder alone
  jaxemb plot runs/shapes                      learning curves
  jaxemb doctor runs/shapes                    why is this run no better than random?
  jaxemb compare runs/shapes runs/supervised   figures side by side, seeds as mean and deviation
  jaxemb encode MODEL photos/ out.npy          embeddings of your images or texts, by a run or a pretrained folder
  jaxemb search MODEL notes/                   ask your own text files, by their meaning; images and vectors too
  jaxemb export runs/shapes models/shapes      weights, config and card, for others
  jaxemb merge runs/a runs/b --out models/c      two models that were trained from one start, as one
  jaxemb list posemb                           what there is to choose from
  jaxemb show experiments/jepa/shapes.py       config, parameters, shapes, arithmetic
  jaxemb compile FILE --topology v5e-64        does it fit a slice that is not here, and how fast can it be there
  jaxemb claims seqpe                          what papers say, and what holds here
"""

TRAIN = """\
examples:
  jaxemb train experiments/jepa/shapes.py
  jaxemb train experiments/jepa/shapes.py:supervised        another experiment of the same file
  jaxemb train 'experiments/tract/digits.py:mlp_*' --seed 1      all that a pattern fits, one after the other, each in its folder
  jaxemb train experiments/jepa/images.py --set data.path=my_photos
  jaxemb train experiments/jepa/shapes.py --set optim.lr=1e-3 --set objective.encoder.depth=6 --run runs/deeper
  jaxemb train experiments/jepa/shapes.py --set 'objective.encoder.pos=jaxemb.posemb.learned:Learned(shape=(4, 4))'
  jaxemb train experiments/jepa/shapes.py --seed 1          in runs/shapes-seed1; `jaxemb plot` draws seeds as a band
  jaxemb train experiments/jepa/shapes.py --profile 100:110      and a trace of ten steps, for Perfetto and XProf
  jaxemb train experiments/jepa/shapes.py --devices 8 --set 'mesh={"data": 2, "fsdp": 2, "model": 2}'
  jaxemb train experiments/jepa/shapes.py --processes 2          as a cluster of two would, on this machine

Ctrl-C and SIGTERM save and leave; the same command goes on, bit for bit on the same devices. A run folder refuses another config.
"""

EVAL = """\
examples:
  jaxemb eval runs/shapes
  jaxemb eval runs/shapes@500 --evals knn,probe
  jaxemb eval runs/shapes --weights params        the trained parameters instead of their average
  jaxemb eval runs/retrieval --set 'objective.encoder.pos=jaxemb.posemb.rescale:YaRN(factor=4.0, original=128)'

  jaxemb eval models/minilm --evals retrieval,sts --set evals.retrieval.path=cranfield --set evals.sts.path=stsb.csv
  jaxemb eval models/minilm --evals retrieval --set evals.retrieval.path=cranfield --set max_length=128 --out minilm.json

--set changes how a run is read, in whatever leaves its parameters alone: positions beyond the training length, other test data.
Figures and where they come from are written to RUN/evals/<name>@<step>.json. A pretrained folder, or the id of one on the hub, is
judged on texts of your own (retrieval, sts, pairs, clustering, classification; a run of a text model as well) and left as it is.
"""

DOCTOR = """\
examples:
  jaxemb doctor runs/shapes
  jaxemb doctor runs/shapes@500 --samples 2000
  jaxemb doctor models/minilm                       a pretrained model of texts
  jaxemb doctor models/minilm --texts mine.txt --out findings.json
  jaxemb doctor models/minilm --set pooling=cls     as it would be opened with pooling="cls"

Measures the newest checkpoint on a sample of the run's own data, causes before effects: data, optimisation, teacher, use of the
context, collapse, worth beside the untrained encoder. Writes RUN/doctor.json and RUN/doctor.png. Of a pretrained model, or with
--texts of a run: tokenizer, truncation, pooling, prompts, geometry, length, and whether halves of a text find each other.
"""

ENCODE = """\
examples:
  jaxemb encode runs/shapes photos/ photos.npy    a row for each image below photos/, names in photos.txt
  jaxemb encode runs/shapes cat.jpg cat.npy
  jaxemb encode runs/shapes images.npz out.npy    the array `images` (n H W c, uint8)
  jaxemb encode FOLDER texts.txt out.npy          a pretrained folder or hub id; a row for each line of a file
  jaxemb encode FOLDER queries.csv out.npy --column text --prompt-name query --normalize
  jaxemb encode FOLDER texts.jsonl out.npy --column body --precision int8 --set max_length=128 --set dtype=bfloat16

The report at the end says what was cut off, how much was padding, the prompt and the pooling.
"""

SEARCH = """\
examples:
  jaxemb search FOLDER notes/                                ask passages of your text files; hits with file and line
  jaxemb search FOLDER notes/ --query "how do I mend a bike" --k 3
  jaxemb search FOLDER notes/ --save notes.index             and jaxemb search FOLDER notes.index starts at once
  jaxemb search FOLDER src/ --files .py,.md                  other endings than those of prose
  jaxemb search FOLDER cranfield cranfield/queries.jsonl --out hits.jsonl
  jaxemb search FOLDER papers.jsonl --column abstract --where 'year>=1990' --where language=de
  jaxemb search FOLDER texts.txt --index 'Rerank(first=Binary(), second=Scalar(bits=4))'
  jaxemb search runs/shapes photos/ --query cat.jpg          images by a model of images
  jaxemb search FOLDER vectors.npy --texts texts.txt         vectors that `jaxemb encode` wrote
  jaxemb search vectors.npy texts.txt queries.npy            no model; without queries ask by the number of a row
  jaxemb search queries.npy vectors.npy --out hits.jsonl     vectors among vectors
  jaxemb search FOLDER texts.txt --bench --index binary --index 'PQ(parts=48)' --out bench.csv

CORPUS: a line each of a text file; a row of a .csv, .tsv, .jsonl or .parquet ("title" and "text" where nothing else is named, all
other values being tags for --where); passages of the text files of a folder; its images; vectors; an index that --save wrote.
Without queries they are asked for, or read from a pipe. `jaxemb list index` says which indexes there are, and their fields.
"""

EXPORT = """\
examples:
  jaxemb export runs/shapes models/shapes          weights, config and README.md; Embedder.from_pretrained opens the folder
  jaxemb export runs/tuned@500 models/tuned        a run that started from a pretrained folder: sentence-transformers opens it too
  jaxemb export runs/lora models/merged --merge    a run with an adapter, as weights without one
"""

MERGE = """\
examples:
  jaxemb merge runs/a runs/b --out models/both                                       the average
  jaxemb merge runs/a runs/b --method slerp --set t=0.3 --out models/between
  jaxemb merge runs/a runs/b --method ties --base models/start --set density=0.2 --out models/both
  jaxemb merge runs/a --method task_arithmetic --base models/start --set scale=-1 --out models/without

All were trained from one model, which is the base. `jaxemb list merging` says which methods there are, and their fields.
"""

LIST = """\
examples:
  jaxemb list                    every method: fields with their defaults, formula or summary, paper
  jaxemb list posemb
  jaxemb list evals '*rank*'     a pattern, or a part of name, summary or paper
  jaxemb list --markdown         docs/methods.md
"""

CLAIMS = """\
examples:
  jaxemb claims                  what each paper says, what was measured here, and the verdict
  jaxemb claims I-JEPA           a part of system, paper, claim, experiment or verdict
  jaxemb claims 'not here'
  jaxemb claims --update         after new results: the figures anew, from the tables of results/; read the verdicts again
  jaxemb claims --markdown       docs/claims.md
"""

SHOW = """\
examples:
  jaxemb show experiments/jepa/shapes.py
  jaxemb show experiments/jepa/shapes.py --set objective.encoder.depth=12
  jaxemb show runs/shapes
  jaxemb show models/all-MiniLM-L6-v2      what a pretrained folder would become; only headers are read
"""

COMPARE = """\
examples:
  jaxemb compare runs/shapes runs/shapes_supervised
  jaxemb compare runs/cifar10 runs/cifar10-seed* --y knn/top1 --y probe/top1
  jaxemb compare runs/cifar10* --csv results/cifar10.csv      every evaluated step, with commit, config hash, seeds, machine
  jaxemb compare runs/sweep_* --pick rankme/rankme --oracle probe/top1      what a figure without labels would have chosen

Runs that differ in the seed alone share a column: mean and standard deviation. Step 0 is the untrained encoder.
"""

COMPILE = """\
examples:
  jaxemb compile experiments/jepa/shapes.py --topology v5e:4x8          bytes a chip, FLOPs, collectives, least time
  jaxemb compile experiments/jepa/shapes.py --topology v5e-8 --topology v5p-64 --no-encode
  jaxemb compile experiments/jepa/shapes.py --topology v5e-64 --set 'mesh={"fsdp": -1}' --set 'sharding=[[".*", "fsdp"]]'
  jaxemb compile experiments/scale/ijepa.py:vit_l --topology v5e-64 --sweep batch,mesh,remat      an hour or two
  jaxemb compile experiments/jepa/shapes.py --topology cpu:8            simulated devices of this machine

Compiles the train step and `encode` with the TPU's compiler on any Linux machine (pip install 'jaxemb[tpu-aot]'); nothing runs.
Chips: v4, v5e, v5p, v6e, tpu7x. The time is a bound from published peaks, not what a step takes;
for causal and windowed attention it may be too high (docs/scale.md).
"""

PLOT = """\
examples:
  jaxemb plot runs/shapes                                     runs/shapes/curves.png
  jaxemb plot runs/shapes runs/shapes-seed* runs/supervised --y knn/top1 --out compare.png
  jaxemb plot runs/language_* --y 'longer/x*_perplexity'      a point for each number that stands at the *, at the last step
  jaxemb plot experiments/jepa/shapes.py --masks --out masks.png      what is shown and what is predicted
  jaxemb plot runs/shapes --features                          principal components of the patch features as colours
  jaxemb plot runs/shapes --neighbours                        test images and their nearest neighbours, before and after training
  jaxemb plot runs/shapes --attention                         where each head of the last layer looks
"""


def parser() -> argparse.ArgumentParser:
    # No abbreviations: `run_processes` must know --processes by its name, or its children would start children.
    how: Any = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    top = argparse.ArgumentParser("jaxemb", description=OVERVIEW, **how)
    verbs = top.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, run: Callable, summary: str, examples: str, *, computes: bool = False) -> Any:
        p = verbs.add_parser(name, help=summary, description=summary, epilog=examples, **how)
        p.set_defaults(verb=run)
        p.add_argument("--debug", action="store_true", help="show the traceback of an error")
        p.add_argument("--project", metavar="DIR", help="the folder of your own experiments/ and packages (or JAXEMB_PROJECT)")
        if computes:
            p.add_argument("--devices", type=int, metavar="N", help="simulate N devices on the CPU")
            p.set_defaults(huge_pages=name == "train")  # see process.py
        return p

    def settable(p: Any) -> None:
        p.add_argument("--set", action="append", default=[], metavar="a.b=v", help="change a field of the config; may be repeated")

    p = verb("train", run.train, "Train an experiment, or resume it.", TRAIN, computes=True)
    p.add_argument("experiment", metavar="FILE[:NAME]", help="a file of experiments/, and which of it (main); * stands for several")
    settable(p)
    p.add_argument("--run", metavar="DIR", help="the run folder (runs/<name>, with -seed<N> for a seed other than 0)")
    p.add_argument("--seed", type=int, metavar="N", help="the same as --set seed=N")
    p.add_argument("--tensorboard", action="store_true", help="write TensorBoard files into the run folder")
    p.add_argument("--wandb", action="store_true", help="log to Weights & Biases")
    p.add_argument("--profile", metavar="START:STOP", help="write a trace of the updates after START up to STOP into RUN/profile")
    p.add_argument(
        "--distributed",
        nargs="?",
        const="auto",
        metavar="ADDRESS:PORT,PROCESSES,ID",
        help="this is one of several processes; on TPU pods and under Slurm they find each other without the argument",
    )
    p.add_argument(
        "--processes", type=int, metavar="N", help="try it on this machine: N processes, each with its devices of the CPU"
    )

    p = verb("eval", run.eval, "Evaluate a run or a pretrained model from its path alone.", EVAL, computes=True)
    p.add_argument(
        "run", metavar="RUN[@STEP]|FOLDER", help="a run folder, and which checkpoint (the newest); or a pretrained folder"
    )
    p.add_argument("--evals", metavar="A,B", help="only these evaluations of the experiment, or evaluations of texts")
    p.add_argument("--out", metavar="FILE.json", help="write the figures and where they come from there as well")
    p.add_argument("--weights", choices=("ema", "params"), default="ema", help="averaged (default) or trained parameters")
    settable(p)

    p = verb("doctor", doctor, "Say why a run is no better than random, and what to try.", DOCTOR, computes=True)
    p.add_argument("run", metavar="RUN[@STEP]|FOLDER", help="a run and which checkpoint (the newest), or a pretrained folder")
    p.add_argument("--samples", type=int, default=512, metavar="N", help="examples to look at (512)")
    p.add_argument("--texts", metavar="FILE", help="a text file, a text a line: what the model is used for")
    p.add_argument("--set", action="append", default=[], metavar="a=v", help="how a pretrained model is opened, e.g. pooling=cls")
    p.add_argument("--out", metavar="FILE.json", help="write the findings there as well")

    p = verb("encode", encode, "Write the embeddings of texts or images.", ENCODE, computes=True)
    p.add_argument("run", metavar="MODEL", help="a run RUN[@STEP], a pretrained folder, or an id of the hub")
    p.add_argument(
        "input",
        metavar="INPUT",
        help="a text file, .csv, .tsv, .jsonl or .parquet; a folder of images, an image, an .npz or an .npy",
    )
    p.add_argument("out", metavar="OUT.npy")
    p.add_argument("--column", metavar="NAME", help="of a file of rows: the value to embed")
    p.add_argument("--prompt-name", metavar="NAME", help="of the model's prompts the one that goes before each text")
    p.add_argument("--prompt", metavar="TEXT", help="what goes before each text")
    p.add_argument("--normalize", action="store_true", help="vectors of length 1")
    p.add_argument("--truncate-dim", type=int, metavar="N", help="only the first N numbers")
    p.add_argument("--precision", default="float32", help="float32 (default), int8, uint8, binary or ubinary")
    p.add_argument("--ranges", metavar="FILE.npy", help="of int8 and uint8: smallest and largest of each dimension (those found)")
    p.add_argument("--weights", choices=("ema", "params"), default="ema", help="of a run: averaged (default) or trained parameters")
    p.add_argument("--batch", type=int, default=32, metavar="N", help="examples at a time (32); texts: of 128 tokens")
    p.add_argument("--set", action="append", default=[], metavar="a=v", help="how a pretrained folder is opened: max_length=128")

    p = verb("search", search, "Search texts, images or vectors.", SEARCH, computes=True)
    p.add_argument("run", metavar="MODEL|.npy", help="a run RUN[@STEP], a pretrained folder, an id of the hub, or vectors")
    p.add_argument("corpus", metavar="CORPUS", help="a file or folder of texts, images, vectors, or a saved index")
    p.add_argument("queries", nargs="?", metavar="QUERIES", help="texts, images or vectors; without them you are asked")
    p.add_argument("--query", action="append", default=[], metavar="TEXT", help="a query; may be repeated")
    p.add_argument("--k", type=int, default=5, metavar="N", help="hits of a query (5)")
    p.add_argument(
        "--index", action="append", default=[], metavar="INDEX", help="how vectors are kept: binary, 'PQ(parts=48)', ..."
    )
    p.add_argument("--where", action="append", default=[], metavar="TAG=V", help="only such rows: =, !=, <, <=, >, >=; repeatable")
    p.add_argument("--save", metavar="DIR", help="keep the index there, to be given as CORPUS the next time")
    p.add_argument("--out", metavar="FILE", help="write the hits there, .jsonl; with --bench the table, .csv")
    p.add_argument("--bench", action="store_true", help="recall against exact search, queries a second, bytes, of each --index")
    p.add_argument("--column", metavar="NAME", help="of a corpus of rows: the value that is the text")
    p.add_argument("--query-column", metavar="NAME", help="of queries that are rows")
    p.add_argument("--files", metavar=".A,.B", help="of a folder: the endings of its text files (.txt,.md,.rst,...)")
    p.add_argument("--texts", metavar="FILE", help="of an .npy as CORPUS: what its rows are")
    p.add_argument("--chars", type=int, default=300, metavar="N", help="characters of a text that are shown (300)")
    p.add_argument("--query-prompt", metavar="TEXT", help="what goes before each query (what the model has for queries)")
    p.add_argument("--document-prompt", metavar="TEXT", help="what goes before each text of the corpus")
    p.add_argument("--weights", choices=("ema", "params"), default="ema", help="of a run: averaged (default) or trained parameters")
    p.add_argument("--batch", type=int, default=32, metavar="N", help="examples at a time (32); texts: of 128 tokens")
    p.add_argument("--set", action="append", default=[], metavar="a=v", help="how a pretrained folder is opened: max_length=128")

    p = verb("export", run.export, "Write a model as a folder for others.", EXPORT, computes=True)
    p.add_argument("model", metavar="RUN[@STEP]|FOLDER", help="a run and which checkpoint (the newest), or a pretrained folder")
    p.add_argument("folder", metavar="DIR", help="a new folder")
    p.add_argument("--weights", choices=("ema", "params"), default="ema", help="averaged (default) or trained parameters")
    p.add_argument("--merge", action="store_true", help="put the adapter (LoRA) into the weights that it was trained beside first")

    p = verb("merge", run.merge, "Merge models that were trained from one start.", MERGE, computes=True)
    p.add_argument("models", nargs="+", metavar="MODEL", help="runs RUN[@STEP], pretrained folders, or ids of the hub")
    p.add_argument("--method", default="average", help="average (default), task_arithmetic, slerp, ties, dare")
    p.add_argument("--base", metavar="MODEL", help="what all were trained from")
    p.add_argument("--out", required=True, metavar="DIR", help="a new folder")
    p.add_argument("--weights", choices=("ema", "params"), default="ema", help="of runs: averaged (default) or trained parameters")
    p.add_argument("--set", action="append", default=[], metavar="a=v", help="a field of the method; may be repeated")

    p = verb("list", run.list, "List the methods there are.", LIST)
    p.add_argument("family", nargs="?", metavar="FAMILY")
    p.add_argument("pattern", nargs="?", metavar="PATTERN")
    p.add_argument("--markdown", action="store_true", help="as a catalogue")

    p = verb("claims", run.claims, "Say what papers claim, and what holds here.", CLAIMS)
    p.add_argument("pattern", nargs="?", metavar="PATTERN")
    p.add_argument("--markdown", action="store_true", help="as a page")
    p.add_argument("--update", action="store_true", help="recompute the figures and write them back")
    p.add_argument("--file", metavar="FILE.csv", help="the table of claims (results/claims.csv of the checkout)")

    p = verb("show", run.show, "Show what an experiment, a run or a pretrained folder is made of; nothing is trained.", SHOW)
    p.add_argument(
        "target", metavar="FILE[:NAME]|RUN|FOLDER", help="as `train` takes it, * stands for several; a run, or pretrained"
    )
    settable(p)

    p = verb("compile", compile, "Compile for TPUs that are not here: does it fit, and how fast can it be?", COMPILE)
    p.add_argument("experiment", metavar="FILE[:NAME]", help="a file of experiments/, and which of it (main)")
    p.add_argument(
        "--topology", action="append", required=True, metavar="SLICE", help="v5e:4x8, v5p-64, cpu:8, ...; may be repeated"
    )
    settable(p)
    p.add_argument("--sweep", metavar="batch,mesh,remat", help="look for the largest batch that fits and the fastest mesh")
    p.add_argument("--no-encode", dest="encode", action="store_false", help="the train step alone")
    p.add_argument("--out", metavar="FILE.json", help="where to write all of it (runs/compile/<name>_<slice>.json)")
    p.add_argument("--csv", metavar="FILE.csv", help="add a line for each program to this table")

    p = verb("compare", run.compare, "Set the figures of several runs side by side.", COMPARE)
    p.add_argument("runs", nargs="+", metavar="RUN")
    p.add_argument("--y", action="append", default=[], metavar="FIGURE", help="a figure, e.g. knn/top1; may be repeated")
    p.add_argument("--csv", metavar="FILE.csv", help="write all steps there as well")
    p.add_argument("--markdown", action="store_true", help="a Markdown table, a row an experiment (many are shown so anyway)")
    p.add_argument(
        "--pick", metavar="FIGURE", help="choose a setting by this figure, seed by seed, and say what it cost by --oracle"
    )
    p.add_argument("--oracle", metavar="FIGURE", help="the accuracy that the pick is held against, e.g. probe/top1")
    p.add_argument("--plateau", type=float, default=0.0, metavar="SHARE", help="figures this near the largest count as equal (0)")

    p = verb("plot", run.plot, "Draw learning curves or feature maps.", PLOT, computes=True)
    p.add_argument("runs", nargs="+", metavar="RUN")
    p.add_argument("--x", default="step", help="the horizontal axis: step, or a figure written along")
    p.add_argument("--y", action="append", default=[], metavar="FIGURE", help="a figure, e.g. knn/top1; may be repeated")
    p.add_argument("--out", metavar="FILE.png", help="where to write (RUN/curves.png, features.png, neighbours.png, attention.png)")
    p.add_argument("--features", action="store_true", help="a map of patch features instead, one row a run")
    p.add_argument("--neighbours", action="store_true", help="test images and their nearest training images instead, a block a run")
    p.add_argument("--attention", action="store_true", help="what each head of the last layer looks at instead, of one run")
    p.add_argument("--masks", action="store_true", help="sampled masks instead, of a run or of FILE[:NAME]")
    p.add_argument("--images", type=int, default=8, metavar="N", help="images in a picture (8)")
    return top
