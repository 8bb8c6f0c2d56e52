"""`clipflow convert-head`: a known head, from its authors' file to ours."""

import argparse
from typing import Any

from clipflow.cli.parser import Answer, add_verb


def add(verbs: Any) -> None:
    """The verb."""
    convert = add_verb(
        verbs,
        "convert-head",
        "make a head for `score: head` of its authors' file",
        _convert,
        "Write a head, a small network on an encoder's vectors, as safetensors that a rule's `weights` can name.\n"
        "IN is a state dict saved by torch; no code of it is run.",
    )
    convert.add_argument("source", metavar="IN", help="the authors' .pth file")
    convert.add_argument("target", metavar="OUT.safetensors", help="the file to write; one that is there is replaced")
    convert.add_argument("--kind", required=True, metavar="aesthetic_v1|aesthetic_v2|nsfw", help="which head it is")
    convert.add_argument(
        "--encoder", required=True, metavar="MODEL", help="whose vectors it was trained on, as under encoder.model"
    )
    convert.add_argument("--revision", metavar="R", help="the encoder's revision on the hub")


def _convert(call: argparse.Namespace) -> Answer:
    from clipflow.policy.convert_head import convert_head
    from clipflow.spec import EncoderSpec

    made = convert_head(call.source, call.target, call.kind, EncoderSpec(model=call.encoder, revision=call.revision))
    return made, f"{made['head']}: {made['kind']} for {made['model']} ({made['checkpoint_fp'][:12]})"
