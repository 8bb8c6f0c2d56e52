"""The decoder's revision: it goes up when a release decodes what older ones refused, or decodes it otherwise."""


def decoder_revision() -> int:
    """The revision of the decoder on this machine."""
    return 2
