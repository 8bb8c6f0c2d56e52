"""Packed layers: each against torch's own, and left alone where they would be something else."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from clipflow.encoders.packed_layers import PackedLinear, fold_quick_gelu, pack

Function = Callable[[torch.Tensor], torch.Tensor]
ACTIVATIONS: dict[str, Function] = {
    "quick": lambda values: values * torch.sigmoid(1.702 * values),
    "silu": functional.silu,
    "gelu": functional.gelu,
    "tanh": lambda values: functional.gelu(values, approximate="tanh"),
    "relu": functional.relu,
}
NAMES = [("fc1", "activation_fn", "fc2"), ("fc1", "act", "fc2"), ("c_fc", "gelu", "c_proj")]


class Activation(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.function(values)


class Perceptron(nn.Module):
    """A block as the libraries have them, under their names."""

    def __init__(self, names: tuple[str, str, str], function: Function, *, bias: bool = True) -> None:
        super().__init__()
        parts = (nn.Linear(16, 40, bias=bias), Activation(function), nn.Linear(40, 16, bias=bias))
        for name, part in zip(names, parts, strict=True):
            self.add_module(name, part)
        self.names = names

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        for name in self.names:
            values = getattr(self, name)(values)
        return values


class Gated(nn.Module):
    """The names of a perceptron, and another way through them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(16, 80), nn.SiLU(), nn.Linear(40, 16)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        gate, values = self.fc1(values).chunk(2, dim=-1)
        made: torch.Tensor = self.fc2(self.act(gate) * values)
        return made


def values(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(1)).mul_(3).to(dtype)


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("names", NAMES)
@torch.inference_mode()
def test_a_block_computes_what_it_did(names: tuple[str, str, str], activation: str, *, bias: bool) -> None:
    block = Perceptron(names, ACTIVATIONS[activation], bias=bias)
    exact = block(values())
    fold_quick_gelu(block)
    folded = isinstance(getattr(block, names[1]), nn.SiLU)
    assert folded == (activation == "quick")
    assert torch.allclose(block(values()), exact, atol=1e-5)
    block.bfloat16()
    assert pack(block, lambda: True)
    assert isinstance(getattr(block, names[0]), PackedLinear)
    assert isinstance(getattr(block, names[2]), PackedLinear)
    assert isinstance(getattr(block, names[1]), nn.Identity) == (activation != "relu")
    made = block(values(torch.bfloat16))
    assert made.dtype == torch.bfloat16
    # Three roundings to 8 bits on the way.
    assert torch.allclose(made.float(), exact, atol=0.03 * exact.abs().max().item())


@torch.inference_mode()
def test_a_gate_is_no_perceptron() -> None:
    block = Gated().bfloat16()
    plain = block(values(torch.bfloat16))
    assert pack(block, lambda: True)
    assert isinstance(block.act, nn.SiLU)
    assert torch.allclose(block(values(torch.bfloat16)).float(), plain.float(), atol=0.02)


@torch.inference_mode()
def test_an_activation_of_pictures_only_is_left_alone() -> None:
    block = Perceptron(NAMES[1], lambda values: values * values.mean((-2, -1), keepdim=True))
    exact = block(values())
    fold_quick_gelu(block)
    block.bfloat16()
    assert pack(block, lambda: True)
    assert isinstance(block.act, Activation)
    assert torch.allclose(block(values(torch.bfloat16)).float(), exact, atol=0.05 * exact.abs().max().item())


@torch.inference_mode()
def test_fp32_stays_as_it_is() -> None:
    block = Perceptron(NAMES[0], functional.gelu)
    assert not pack(block, lambda: True)
    assert type(block.fc1) is nn.Linear


@torch.inference_mode()
@pytest.mark.parametrize("fault", ["weights are read", "something else"])
def test_what_does_not_work_is_put_back(fault: str) -> None:
    block = Perceptron(NAMES[0], functional.gelu).bfloat16()
    plain = block(values(torch.bfloat16))

    def alike() -> bool:
        # What some models' own code does.
        layer: Any = block.fc1
        return fault == "weights are read" and bool(functional.linear(values(torch.bfloat16), layer.weight).all())

    assert not pack(block, alike)
    assert [type(part) for part in block.children()] == [nn.Linear, Activation, nn.Linear]
    assert torch.equal(block(values(torch.bfloat16)), plain)


def test_a_derived_layer_is_left_alone() -> None:
    class Twice(nn.Linear):
        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(given)

    model = nn.Sequential(Twice(16, 16), nn.Linear(16, 16)).bfloat16()
    assert pack(model, lambda: True)
    assert [type(part) for part in model] == [Twice, PackedLinear]
