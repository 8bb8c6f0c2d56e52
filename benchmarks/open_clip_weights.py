"""The benchmark's CLIP in open_clip's layout, so that both embed with the same numbers.

python -m benchmarks.open_clip_weights CHECKPOINT FILE
"""

import re
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

_BLOCK = (
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("self_attn.out_proj", "attn.out_proj"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
)
_NAMES = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
}
_LAYER = re.compile(r"(text|vision)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")


def renamed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of transformers' CLIPModel by open_clip's names; query, key and value become one matrix there."""
    made = {new: weights[old] for old, new in _NAMES.items()}
    made["text_projection"] = weights["text_projection.weight"].T.contiguous()
    made["visual.proj"] = weights["visual_projection.weight"].T.contiguous()
    for name, values in weights.items():
        if (found := _LAYER.fullmatch(name)) is None:
            continue
        side, layer, part, kind = found.groups()
        block = f"{'visual.' if side == 'vision' else ''}transformer.resblocks.{layer}"
        if part in dict(_BLOCK):
            made[f"{block}.{dict(_BLOCK)[part]}.{kind}"] = values
        elif part == "self_attn.q_proj":
            three = [weights[name.replace("q_proj", f"{one}_proj")] for one in "qkv"]
            made[f"{block}.attn.in_proj_{kind}"] = torch.cat(three)
    return made


if __name__ == "__main__":
    torch.save(renamed(load_file(Path(sys.argv[1]) / "model.safetensors")), sys.argv[2])
