"""Tiny open_clip models with random weights, laid out as open_clip's local-dir."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

_TEXT = {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
_VIT = {"image_size": 32, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8}
_HALF = {"mean": [0.5] * 3, "std": [0.5] * 3}

MODELS: dict[str, dict[str, Any]] = {
    "resnet": {
        "model_cfg": {
            "embed_dim": 24,
            "quick_gelu": True,
            "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64},
            "text_cfg": _TEXT,
        },
        "preprocess_cfg": {},
    },
    "vit": {
        "model_cfg": {"embed_dim": 16, "vision_cfg": _VIT, "text_cfg": {**_TEXT, "context_length": 77}},
        "preprocess_cfg": {"interpolation": "bicubic", "resize_mode": "shortest"},
    },
    "vit_squash_bias": {
        "model_cfg": {
            "embed_dim": 16,
            "custom_text": True,
            "init_logit_bias": -10,
            "vision_cfg": _VIT,
            "text_cfg": {**_TEXT, "tokenizer_kwargs": {"clean": "canonicalize"}, "no_causal_mask": True},
        },
        "preprocess_cfg": {**_HALF, "resize_mode": "squash"},
    },
    "vit_longest": {
        "model_cfg": {"embed_dim": 16, "vision_cfg": {**_VIT, "image_size": [40, 32]}, "text_cfg": _TEXT},
        "preprocess_cfg": {"resize_mode": "longest", "fill_color": 127, "interpolation": "bilinear"},
    },
    "vit_oblong": {
        "model_cfg": {"embed_dim": 16, "vision_cfg": {**_VIT, "image_size": [32, 40]}, "text_cfg": _TEXT},
        "preprocess_cfg": {"interpolation": "bilinear"},
    },
    "eva": {
        "model_cfg": {
            "embed_dim": 16,
            "custom_text": True,
            "vision_cfg": {
                "image_size": 224,
                "timm_model_name": "eva02_tiny_patch14_224",
                "timm_pool": "token",
                "timm_proj": None,
            },
            "text_cfg": _TEXT,
        },
        "preprocess_cfg": {},
    },
    "fastvit": {
        "model_cfg": {
            "embed_dim": 16,
            "custom_text": True,
            "vision_cfg": {
                "image_size": 256,
                "timm_model_name": "fastvit_t8",
                "timm_pool": "avg",
                "timm_proj": None,
                "timm_drop": 0.0,
                "timm_drop_path": 0.0,
            },
            "text_cfg": {**_TEXT, "no_causal_mask": True},
        },
        "preprocess_cfg": {"mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear"},
    },
}


def tiny(folder: Path, kind: str, seed: int = 0) -> Path:
    """A folder with open_clip_config.json and open_clip_model.safetensors."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    config = deepcopy(MODELS[kind])
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    model = built(kind)
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


def built(kind: str) -> Any:
    """The model alone, its weights doubled so that images and texts spread."""
    config = deepcopy(MODELS[kind]["model_cfg"])
    custom = config.pop("custom_text", False)
    model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2)
    return model.eval()
