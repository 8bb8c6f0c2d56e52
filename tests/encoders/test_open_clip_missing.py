"""What is said of open_clip's models in an environment without open_clip, as the ordinary one is."""

import pytest

from clipflow.encoders import describe
from clipflow.errors import EncoderError
from clipflow.spec import EncoderSpec


@pytest.mark.parametrize(
    "spec",
    [
        EncoderSpec(model="open-clip:hf-hub:timm/eva02_base_patch16_clip_224.merged2b_s8b_b131k"),
        EncoderSpec(model="open-clip:RN50-quickgelu:/weights/rn50.pt", allow_pickle=True),
        EncoderSpec(model="local-dir:/weights", loader="open_clip"),
    ],
)
def test_the_extra_is_named(spec: EncoderSpec) -> None:
    with pytest.raises(EncoderError, match="open_clip is not installed") as caught:
        describe(spec)
    assert "clipflow[engine,open-clip]" in caught.value.mend
