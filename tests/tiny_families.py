"""Tiny checkpoints with random weights of the families beside CLIP and SigLIP, laid out as the real ones are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AltCLIPConfig,
    AltCLIPModel,
    BertTokenizer,
    ChineseCLIPConfig,
    ChineseCLIPModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    MetaClip2Config,
    MetaClip2Model,
    Siglip2Config,
    Siglip2Model,
    Siglip2Tokenizer,
    XLMRobertaTokenizer,
)
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.chinese_clip.image_processing_pil_chinese_clip import ChineseCLIPImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from tests.tiny_models import CAPTIONS, SIDE, spread

_SIZES: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_VISION: dict[str, Any] = {**_SIZES, "image_size": SIDE, "patch_size": 8}
_WORDS = sorted({word for caption in CAPTIONS for word in caption.split()})
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789,.照片猫é"
DIM = 24
LENGTH = 20


def tiny_siglip2(folder: Path) -> Path:
    """SigLIP 2 with the aspect kept: at most 16 patches of 8 x 8 pixels."""
    torch.manual_seed(3)
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *_LETTERS, *(f"<0x{one:02X}>" for one in range(256))]
    tokenizer = Siglip2Tokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, model_max_length=LENGTH)
    text = {**_SIZES, "vocab_size": len(tokenizer), "max_position_embeddings": LENGTH, "projection_size": 32}
    vision = {**_SIZES, "patch_size": 8, "num_patches": 16}
    model = spread(Siglip2Model(Siglip2Config(text_config=text, vision_config=vision)))
    with torch.no_grad():
        model.logit_scale.fill_(4.7)
        model.logit_bias.fill_(-16.5)
    return _saved(folder, model, Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16), tokenizer)


def tiny_chinese_clip(folder: Path) -> Path:
    """Chinese-CLIP: BERT's tokenizer, pictures squashed."""
    torch.manual_seed(4)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *_LETTERS, *(f"##{letter}" for letter in _LETTERS), *_WORDS]
    vocab = {word: i for i, word in enumerate(dict.fromkeys(words))}
    tokenizer = BertTokenizer(vocab=vocab, model_max_length=512)
    text = {**_SIZES, "vocab_size": len(vocab), "max_position_embeddings": 512, "pad_token_id": 0}
    config = ChineseCLIPConfig(text_config=text, vision_config={**_VISION, "projection_dim": DIM}, projection_dim=DIM)
    processor = ChineseCLIPImageProcessorPil(size={"height": SIDE, "width": SIDE}, do_center_crop=False)
    return _saved(folder, spread(ChineseCLIPModel(config)), processor, tokenizer)


def tiny_altclip(folder: Path) -> Path:
    """AltCLIP: XLM-RoBERTa's tokenizer, CLIP's pictures."""
    torch.manual_seed(5)
    tokenizer = _xlm_roberta(512)
    text = {**_SIZES, "vocab_size": len(tokenizer), "max_position_embeddings": 130, "project_dim": 32}
    vision = {**_VISION, "projection_dim": DIM}
    model = spread(AltCLIPModel(AltCLIPConfig(text_config=text, vision_config=vision, projection_dim=DIM)))
    return _saved(folder, model, _clip_processor(), tokenizer)


def tiny_metaclip_2(folder: Path) -> Path:
    """MetaCLIP 2: XLM-V's tokenizer, CLIP's pictures."""
    torch.manual_seed(6)
    tokenizer = _xlm_roberta(LENGTH)
    ends = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    text = {**_SIZES, **ends, "vocab_size": len(tokenizer), "max_position_embeddings": LENGTH, "projection_dim": DIM}
    vision = {**_VISION, "projection_dim": DIM}
    model = spread(MetaClip2Model(MetaClip2Config(text_config=text, vision_config=vision, projection_dim=DIM)))
    return _saved(folder, model, _clip_processor(), tokenizer)


def tiny_dinov2(folder: Path) -> Path:
    """DINOv2; its position embeddings are stretched from 4 x 4 patches to those of the picture."""
    torch.manual_seed(7)
    return _saved(folder, spread(spread(Dinov2Model(Dinov2Config(**_VISION)))), _dino_processor())


def tiny_dinov2_with_registers(folder: Path) -> Path:
    """DINOv2 with registers."""
    torch.manual_seed(8)
    model = spread(spread(Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**_VISION, num_register_tokens=4))))
    return _saved(folder, model, _dino_processor())


def tiny_dinov3_vit(folder: Path) -> Path:
    """DINOv3, a vision transformer; its processor exists for torchvision only, so its file is written by hand."""
    torch.manual_seed(9)
    model = spread(DINOv3ViTModel(DINOv3ViTConfig(**_VISION, num_register_tokens=4)))
    return _with_dinov3_processor(_saved(folder, model))


def tiny_dinov3_convnext(folder: Path) -> Path:
    """DINOv3, a ConvNeXt."""
    torch.manual_seed(10)
    model = spread(DINOv3ConvNextModel(DINOv3ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1])))
    return _with_dinov3_processor(_saved(folder, model))


TINY: dict[str, Callable[[Path], Path]] = {
    "siglip2": tiny_siglip2,
    "chinese_clip": tiny_chinese_clip,
    "altclip": tiny_altclip,
    "metaclip_2": tiny_metaclip_2,
    "dinov2": tiny_dinov2,
    "dinov2_with_registers": tiny_dinov2_with_registers,
    "dinov3_vit": tiny_dinov3_vit,
    "dinov3_convnext": tiny_dinov3_convnext,
}
"""By `model_type`."""


def _saved(folder: Path, model: Any, *parts: Any) -> Path:
    for part in (model, *parts):
        part.save_pretrained(folder)
    return folder


def _clip_processor() -> CLIPImageProcessorPil:
    return CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})


def _dino_processor() -> BitImageProcessorPil:
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    crop = {"height": 48, "width": 48}
    return BitImageProcessorPil(size={"shortest_edge": 56}, crop_size=crop, image_mean=mean, image_std=std)


def _with_dinov3_processor(folder: Path) -> Path:
    settings = {"image_processor_type": "DINOv3ViTImageProcessorFast", "size": {"height": SIDE, "width": SIDE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def _xlm_roberta(length: int) -> XLMRobertaTokenizer:
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    words = [(f"▁{word}", -4.0) for word in _WORDS]
    letters = [("▁", -6.0), *((letter, -8.0) for letter in _LETTERS)]
    return XLMRobertaTokenizer(vocab=[*special, *words, *letters, ("<mask>", 0.0)], model_max_length=length)
