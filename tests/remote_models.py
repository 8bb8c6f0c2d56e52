"""Stand-ins of models that bring their own code: file layout, `auto_map` and calling conventions of the real ones.

Importing any of their modules adds a line to the file that the environment variable STANDIN_RAN names.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, XLMRobertaTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from tests.tiny_models import CAPTIONS, CLIP_LENGTH, SIDE, clip_tokenizer, hub_layout

COMMITS = {name: f"{number:x}" * 40 for number, name in enumerate(("main", "code", "inner", "inner_code"), 1)}

_RAN = """import os

if os.environ.get("STANDIN_RAN"):
    with open(os.environ["STANDIN_RAN"], "a") as ran:
        ran.write(__name__ + "\\n")
"""

_EVA_CONFIG = (
    _RAN
    + """
from transformers import PretrainedConfig


class EvaCLIPTextConfig(PretrainedConfig):
    model_type = "clip_text_model"


class EvaCLIPVisionConfig(PretrainedConfig):
    model_type = "clip_vision_model"


class EvaCLIPConfig(PretrainedConfig):
    model_type = "clip"

    def __init__(self, text_config=None, vision_config=None, projection_dim=16, **kwargs):
        super().__init__(**kwargs)
        self.text_config = EvaCLIPTextConfig(**(text_config or {}))
        self.vision_config = EvaCLIPVisionConfig(**(vision_config or {}))
        self.projection_dim = projection_dim
"""
)

# Rotations in a buffer that no checkpoint holds, and numbers read while building, as in EVA's and Jina's towers.
_EVA_MODEL = (
    _RAN
    + """
import torch
from torch import nn
from transformers import PreTrainedModel

from .configuration_evaclip import EvaCLIPConfig


class Vision(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.patch = nn.Conv2d(3, config.hidden_size, config.patch_size, config.patch_size)
        count = (config.image_size // config.patch_size) ** 2
        turns = torch.arange(count)[:, None] * torch.logspace(0, -2, config.hidden_size)[None]
        self.register_buffer("turns", torch.cos(turns), persistent=False)
        self.rates = [rate.item() for rate in torch.linspace(0, 0.1, 3)]
        self.block = nn.TransformerEncoderLayer(config.hidden_size, 4, 64, 0.0, batch_first=True)

    def forward(self, pixel_values):
        tokens = self.patch(pixel_values).flatten(2).transpose(1, 2) * self.turns
        return (None, self.block(tokens).mean(1))


class Text(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.register_buffer("position_ids", torch.arange(config.max_position_embeddings)[None], persistent=False)
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.block = nn.TransformerEncoderLayer(config.hidden_size, 4, 64, 0.0, batch_first=True)

    def forward(self, input_ids):
        length = input_ids.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=input_ids.device)
        states = self.block(self.tokens(input_ids) + self.positions(self.position_ids[:, :length]), src_mask=mask)
        return (None, states[torch.arange(len(states)), input_ids.argmax(-1)])


class EvaCLIPModel(PreTrainedModel):
    config_class = EvaCLIPConfig

    def __init__(self, config):
        super().__init__(config)
        self.vision_model = Vision(config.vision_config)
        self.text_model = Text(config.text_config)
        self.visual_projection = nn.Linear(config.vision_config.hidden_size, config.projection_dim)
        self.text_projection = nn.Linear(config.text_config.hidden_size, config.projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(2.6592))
        self.post_init()

    def encode_image(self, pixel_values):
        return self.visual_projection(self.vision_model(pixel_values=pixel_values)[1])

    def encode_text(self, input_ids):
        return self.text_projection(self.text_model(input_ids=input_ids)[1])
"""
)

_JINA_CONFIG = (
    _RAN
    + """
from transformers import PretrainedConfig


class JinaCLIPTextConfig(PretrainedConfig):
    model_type = "jina_clip_text"


class JinaCLIPVisionConfig(PretrainedConfig):
    model_type = "jina_clip_vision"


class JinaCLIPConfig(PretrainedConfig):
    model_type = "jina_clip"

    def __init__(self, text_config=None, vision_config=None, projection_dim=16, **kwargs):
        super().__init__(**kwargs)
        self.text_config = JinaCLIPTextConfig(**(text_config or {}))
        self.vision_config = JinaCLIPVisionConfig(**(vision_config or {}))
        self.projection_dim = projection_dim
"""
)

_JINA_MODEL = (
    _RAN
    + """
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedModel

from .configuration_clip import JinaCLIPConfig, JinaCLIPTextConfig


class Vision(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.patch = nn.Conv2d(3, config.embed_dim, config.patch_size, config.patch_size)

    def forward(self, x):
        return torch.tanh(self.patch(x)).flatten(2).mean(2)


class Text(nn.Module):
    def __init__(self, config):
        super().__init__()
        inner = AutoConfig.from_pretrained(config.hf_model_name_or_path, trust_remote_code=True)
        self.transformer = AutoModel.from_config(inner, trust_remote_code=True)
        self.pad = inner.pad_token_id

    def forward(self, x):
        seen = (x != self.pad)[..., None].float()
        return (self.transformer(x) * seen).sum(1) / seen.sum(1)


class JinaCLIPModel(PreTrainedModel):
    config_class = JinaCLIPConfig

    def __init__(self, config):
        super().__init__(config)
        if not isinstance(config.text_config, JinaCLIPTextConfig):
            raise ValueError("config.text_config is expected to be of type JinaCLIPTextConfig")
        self.text_model = Text(config.text_config)
        self.vision_model = Vision(config.vision_config)
        self.logit_scale = nn.Parameter(torch.tensor(2.6592))
        self.visual_projection = nn.Identity()
        self.text_projection = nn.Identity()
        self.post_init()

    def get_text_features(self, input_ids=None, *_, **__):
        return self.text_projection(self.text_model(x=input_ids))

    def get_image_features(self, pixel_values=None, *_, **__):
        return self.visual_projection(self.vision_model(x=pixel_values))
"""
)

_JINA_INNER = (
    _RAN
    + """
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel


class FlashConfig(PretrainedConfig):
    model_type = "acme-flash"


class FlashModel(PreTrainedModel):
    config_class = FlashConfig

    def __init__(self, config):
        super().__init__(config)
        self.tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.mix = nn.Linear(config.hidden_size, config.hidden_size)
        self.post_init()

    def forward(self, x):
        return self.mix(self.tokens(x)).tanh()
"""
)

_NOMIC_CONFIG = (
    _RAN
    + """
from transformers import GPT2Config


class NomicBertConfig(GPT2Config):
    model_type = "nomic_bert"

    def __init__(self, img_size=0, patch_size=8, **kwargs):
        self.img_size = img_size
        self.patch_size = patch_size
        super().__init__(**kwargs)
"""
)

_NOMIC_MODEL = (
    _RAN
    + """
from torch import cat, nn, zeros
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from .configuration_hf_nomic_bert import NomicBertConfig


class NomicVisionModel(PreTrainedModel):
    config_class = NomicBertConfig

    def __init__(self, config):
        super().__init__(config)
        self.patch = nn.Conv2d(3, config.n_embd, config.patch_size, config.patch_size)
        self.cls_token = nn.Parameter(zeros(1, 1, config.n_embd))
        self.block = nn.TransformerEncoderLayer(config.n_embd, 4, 64, 0.0, batch_first=True)
        self.post_init()

    def forward(self, pixel_values):
        tokens = self.patch(pixel_values).flatten(2).transpose(1, 2)
        tokens = cat([self.cls_token.expand(len(tokens), -1, -1), tokens], 1)
        return BaseModelOutput(last_hidden_state=self.block(tokens))
"""
)


@dataclass(frozen=True)
class Standin:
    """A model in an offline hub cache.

    Attributes:
        model: Its hub id, its commit is `COMMITS["main"]`.
        code_revision: Of the repositories of its code.
        reference: The model as its authors' code made it, before anything was saved.
        home: What HF_HOME would be.
    """

    model: str
    code_revision: str | None
    reference: Any
    home: Path

    @property
    def folder(self) -> Path:
        """The model's snapshot."""
        return snapshot(self.home, self.model, COMMITS["main"])

    @property
    def job(self) -> dict[str, Any]:
        """What a job says under `encoder`."""
        pinned = {"model": self.model, "revision": COMMITS["main"], "trust_remote_code": True, "precision": "fp32"}
        return {**pinned, "code_revision": self.code_revision}


def snapshot(home: Path, model: str, commit: str) -> Path:
    """Where the hub's cache holds a repository."""
    return home / "hub" / f"models--{model.replace('/', '--')}" / "snapshots" / commit


def tiny_eva(home: Path, work: Path) -> Standin:
    """EVA-CLIP: code beside the weights, CLIP's `model_type`, no file about preprocessing."""
    code = {"configuration_evaclip.py": _EVA_CONFIG, "modeling_evaclip.py": _EVA_MODEL}
    tokenizer = clip_tokenizer()
    text = {"vocab_size": len(tokenizer), "hidden_size": 32, "max_position_embeddings": CLIP_LENGTH}
    config = {
        "model_type": "clip",
        "architectures": ["EvaCLIPModel"],
        "auto_map": {
            "AutoConfig": "configuration_evaclip.EvaCLIPConfig",
            "AutoModel": "modeling_evaclip.EvaCLIPModel",
        },
        "projection_dim": 16,
        "text_config": text,
        "vision_config": {"image_size": SIDE, "patch_size": 8, "hidden_size": 32},
    }
    folder = _folder(work / "eva", {**code, "config.json": config})
    tokenizer.save_pretrained(folder)
    return _laid_out(home, "acme/eva", folder, None)


def tiny_jina(home: Path, work: Path) -> Standin:
    """Jina-CLIP v2: all code in a second repository, its text side configured by a third and coded by a fourth."""
    code = {"configuration_clip.py": _JINA_CONFIG, "modeling_clip.py": _JINA_MODEL}
    hub_layout(home, "acme/jina-code", _folder(work / "jina-code", code), COMMITS["code"])
    hub_layout(home, "acme/flash-code", _folder(work / "flash", {"modeling.py": _JINA_INNER}), COMMITS["inner_code"])
    tokenizer = _xlm_tokenizer()
    inner = {
        "model_type": "acme-flash",
        "auto_map": {
            "AutoConfig": "acme/flash-code--modeling.FlashConfig",
            "AutoModel": "acme/flash-code--modeling.FlashModel",
        },
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "pad_token_id": tokenizer.pad_token_id,
    }
    hub_layout(home, "acme/flash-text", _folder(work / "flash-text", {"config.json": inner}), COMMITS["inner"])
    config = {
        "model_type": "jina_clip",
        "architectures": ["JinaCLIPModel"],
        "auto_map": {
            "AutoConfig": "acme/jina-code--configuration_clip.JinaCLIPConfig",
            "AutoModel": "acme/jina-code--modeling_clip.JinaCLIPModel",
        },
        "projection_dim": 16,
        "text_config": {"embed_dim": 16, "hf_model_name_or_path": "acme/flash-text"},
        "vision_config": {"image_size": SIDE, "patch_size": 8, "embed_dim": 16},
    }
    processor = {
        "auto_map": {"AutoImageProcessor": "acme/jina-code--processing_clip.JinaCLIPImageProcessor"},
        "image_processor_type": "JinaCLIPImageProcessor",
        "size": SIDE,
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "resize_mode": "shortest",
        "interpolation": "bicubic",
        "fill_color": 0,
    }
    folder = _folder(work / "jina", {"config.json": config, "preprocessor_config.json": processor})
    tokenizer.save_pretrained(folder)
    pins = {"acme/jina-code": "code", "acme/flash-text": "inner", "acme/flash-code": "inner_code"}
    return _laid_out(home, "acme/jina", folder, ",".join(f"{name}@{COMMITS[at]}" for name, at in pins.items()))


def tiny_nomic(home: Path, work: Path) -> Standin:
    """Nomic Embed Vision: code in a second repository, CLIP's image processor, no text side."""
    code = {"configuration_hf_nomic_bert.py": _NOMIC_CONFIG, "modeling_hf_nomic_bert.py": _NOMIC_MODEL}
    hub_layout(home, "acme/nomic-code", _folder(work / "nomic-code", code), COMMITS["code"])
    config = {
        "model_type": "nomic_bert",
        "architectures": ["NomicVisionModel"],
        "auto_map": {
            "AutoConfig": "acme/nomic-code--configuration_hf_nomic_bert.NomicBertConfig",
            "AutoModel": "acme/nomic-code--modeling_hf_nomic_bert.NomicVisionModel",
        },
        "n_embd": 32,
        "img_size": SIDE,
        "patch_size": 8,
    }
    folder = _folder(work / "nomic", {"config.json": config})
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=SIDE).save_pretrained(folder)
    return _laid_out(home, "acme/nomic", folder, COMMITS["code"])


def _folder(folder: Path, files: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def _laid_out(home: Path, model: str, folder: Path, code_revision: str | None) -> Standin:
    torch.manual_seed(0)
    reference: Any = AutoModel.from_config(
        AutoConfig.from_pretrained(folder, trust_remote_code=True), trust_remote_code=True
    ).eval()
    with torch.no_grad():
        # At the default scale all pictures look alike to random weights, which hides errors.
        for parameter in reference.parameters():
            if parameter.ndim > 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    save_file(reference.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    hub_layout(home, model, folder, COMMITS["main"])
    return Standin(model, code_revision, reference, home)


def _xlm_tokenizer() -> Any:
    words = sorted(
        {f"▁{word}" for caption in CAPTIONS for word in caption.split()} | set("abcdefghijklmnopqrstuvwxyz▁")
    )
    ends = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return XLMRobertaTokenizer(vocab=[*ends, *((word, -float(len(words))) for word in sorted(words)), ("<mask>", 0.0)])
