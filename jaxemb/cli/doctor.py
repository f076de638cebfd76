"""`jaxemb doctor`: of a run, and of a pretrained model of texts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from etils import epath

from jaxemb.cli.verbs import writing
from jaxemb.config import ConfigError
from jaxemb.log.table import say, table

if TYPE_CHECKING:
    from jaxemb.doctor.patient import Finding
    from jaxemb.doctor.text_patient import TextPatient
    from jaxemb.io.embedder import Embedder


def doctor(args: argparse.Namespace) -> None:
    from jaxemb.doctor.checks import examine
    from jaxemb.doctor.page import write
    from jaxemb.doctor.patient import Patient
    from jaxemb.io.evaluate import is_pretrained

    if is_pretrained(args.run):
        return doctor_of_texts(args)
    if args.set:
        raise ConfigError(f"--set {args.set[0]}: a run is examined as it was trained; --set is for pretrained models")
    patient = Patient(args.run, samples=args.samples, say=say)
    found = examine(patient, say)
    if args.texts is not None:
        from jaxemb.doctor.text_checks import examine_texts
        from jaxemb.io.embedder import Embedder

        found += examine_texts(text_patient(Embedder.from_run(args.run), args), say)
    diagnosis(found)
    say("\n".join(map(str, write(patient, found))))
    if args.out:
        diagnosis_file(args, found)


def doctor_of_texts(args: argparse.Namespace) -> None:
    """A pretrained model: nothing is written there."""
    from jaxemb.doctor.text_checks import examine_texts
    from jaxemb.io.embedder import Embedder
    from jaxemb.io.evaluate import pretrained_options

    model = Embedder.from_pretrained(args.run, **pretrained_options(args.set))
    found = examine_texts(text_patient(model, args), say)
    diagnosis(found)
    if args.out:
        diagnosis_file(args, found)


def text_patient(model: Embedder, args: argparse.Namespace) -> TextPatient:
    """The model with the lines of `--texts`, or with sentences that come along."""
    from jaxemb.doctor.text_patient import TextPatient, refuse

    refuse(model, args.run)
    texts = model.preprocess.read(Path(args.texts))[0] if args.texts else None
    return TextPatient(model, texts, samples=args.samples)


def diagnosis(found: Sequence[Finding]) -> None:
    """The table, and the first red line."""
    from jaxemb.doctor.page import rows

    table(("", "group", "measured", ">value", "what it means"), rows(found))
    worst = next((f for f in found if f.level == "red"), None)
    say(f"\nfirst cause: {worst.name}: {worst.advice}" if worst else "\nno red line", "bold")


def diagnosis_file(args: argparse.Namespace, found: Sequence[Finding]) -> None:
    """The findings and where they come from, in `--out`."""
    from jaxemb.run.environment import environment
    from jaxemb.run.files import write_json

    record = {"model": args.run, "texts": args.texts, "findings": [f._asdict() for f in found], **environment()}
    with writing(Path(args.out)):
        write_json(epath.Path(args.out), record)
    say(args.out)
