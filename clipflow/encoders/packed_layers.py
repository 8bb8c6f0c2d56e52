"""Linear layers in bf16 on a CPU: weights laid out once as oneDNN wants them, bias and activation in the same pass.

torch's own layer lays its weights out for every batch, writes the bias first and adds the product to it, and leaves
the activation to passes of its own. What is used instead are the operators that torch's compiler puts into its code
("weight prepacking" and "post-op fusion" in torch/_inductor/fx_passes/mkldnn_fusion.py); no compiler is needed.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeGuard

import torch
from torch import nn
from torch.nn import functional

_QUICK = 1.702
"""QuickGELU is x * sigmoid(1.702 x): Hendrycks and Gimpel, Gaussian Error Linear Units, 2016, section 2."""
_PERCEPTRONS = (("fc1", "activation_fn", "fc2"), ("fc1", "act", "fc2"), ("c_fc", "gelu", "c_proj"))
"""What transformers, timm and open_clip call the layers of a block's perceptron, in the order they are applied."""

_Function = Callable[[torch.Tensor], torch.Tensor]


class _Epilogue(NamedTuple):
    """What oneDNN does to a product before it is written, as `_linear_pointwise` takes it."""

    name: str = "none"
    algorithm: str = ""


_FUSED: tuple[tuple[_Function, _Epilogue], ...] = (
    (functional.silu, _Epilogue("swish")),
    (functional.gelu, _Epilogue("gelu", "none")),
    (lambda values: functional.gelu(values, approximate="tanh"), _Epilogue("gelu", "tanh")),
)


class PackedLinear(nn.Module):
    """A linear layer [..., inputs] to [..., outputs] with its activation.

    Args:
        layer: The layer in bf16; its weights are copied.
        epilogue: The activation.

    Attributes:
        weight: Shape and type of the layer's, which a model's code may ask for, without values.

    Raises:
        AttributeError: This torch has no such operators.
        RuntimeError: This machine has none.
    """

    def __init__(self, layer: nn.Linear, epilogue: _Epilogue) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.weight.detach().to("meta"), requires_grad=False)
        self._bias = layer.bias
        # Not registered: an opaque tensor can be neither moved nor cast.
        self._packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), None)
        self._epilogue = epilogue

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """bf16 [..., inputs] to bf16 [..., outputs]."""
        made: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            values, self._packed, self._bias, self._epilogue.name, [], self._epilogue.algorithm
        )
        return made

    def unpacked(self) -> nn.Linear:
        """The layer as it was, without the activation: packing moves numbers and rounds none."""
        outputs, inputs = self.weight.shape
        layer = nn.Linear(inputs, outputs, device="meta")
        layer.weight, layer.bias = nn.Parameter(self._packed.to_dense()), self._bias
        return layer


def fold_quick_gelu(part: nn.Module) -> None:
    """Make QuickGELU the SiLU that it is up to a factor, which goes into the weights around it; best in fp32.

    With y = 1.702 x, x * sigmoid(1.702 x) is silu(y) / 1.702: one pass of the activation instead of three.
    """
    for block, (first, activation, second) in _perceptrons(part):
        if not _computes(getattr(block, activation), lambda values: values * torch.sigmoid(_QUICK * values)):
            continue
        before, after = getattr(block, first), getattr(block, second)
        for parameter, factor in ((before.weight, _QUICK), (before.bias, _QUICK), (after.weight, 1 / _QUICK)):
            if parameter is not None:
                # Not in place: weights may be the file itself, mapped.
                parameter.data = parameter.data * factor
        setattr(block, activation, nn.SiLU())


def pack(model: nn.Module, alike: Callable[[], bool]) -> bool:
    """Pack every linear layer that is in bf16.

    Args:
        model: Whose layers.
        alike: Runs the model, and tells whether it still gives the same.

    Returns:
        Whether layers are packed. Without the operators, where a model's code reads weights itself, or where the
        packed model gives something else, they are as they were.
    """
    # Of layers none is kept: each packed one finds room where the last plain one was.
    fused: list[tuple[nn.Module, str, nn.Module]] = []
    try:
        for block, (first, activation, _) in list(_perceptrons(model)):
            function = getattr(block, activation)
            epilogue = next((found for plain, found in _FUSED if _computes(function, plain)), None)
            if epilogue is not None and _is_plain(getattr(block, first)):
                setattr(block, first, PackedLinear(getattr(block, first), epilogue))
                setattr(block, activation, nn.Identity())
                fused.append((block, activation, function))
        for parent, name, layer in _children(model):
            if _is_plain(layer):
                setattr(parent, name, PackedLinear(layer, _Epilogue()))
        if alike():
            return any(isinstance(layer, PackedLinear) for layer in model.modules())
    except (AttributeError, RuntimeError, TypeError):
        pass
    for parent, name, layer in _children(model):
        if isinstance(layer, PackedLinear):
            setattr(parent, name, layer.unpacked())
    for block, activation, function in fused:
        setattr(block, activation, function)
    return False


def _children(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            yield parent, name, child


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether it is torch's own linear layer: a class derived from it may compute something else."""
    return type(layer) is nn.Linear and layer.weight.dtype == torch.bfloat16


def _perceptrons(part: nn.Module) -> Iterator[tuple[nn.Module, tuple[str, str, str]]]:
    """Blocks that apply a linear layer, an activation and a linear layer, with the names of the three."""
    for block in part.modules():
        for names in _PERCEPTRONS:
            first, activation, second = (getattr(block, name, None) for name in names)
            if type(first) is not nn.Linear or type(second) is not nn.Linear or not isinstance(activation, nn.Module):
                continue
            # A gate would take one half of the first layer times the other, and have weights of its own.
            if first.out_features == second.in_features and not any(True for _ in activation.parameters()):
                yield block, names


def _computes(activation: _Function, plain: _Function) -> bool:
    """Whether an activation is another, by what it does: libraries have many classes for the same."""
    values = torch.linspace(-6, 6, 49)
    try:
        return torch.allclose(activation(values), plain(values), rtol=0, atol=1e-6)
    except (IndexError, RuntimeError, TypeError, ValueError):  # it takes no such row of numbers, or gives another shape
        return False
