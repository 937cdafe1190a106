"""NanoGuard's network as its package runs it: four layers that read 512 tokens, padding included, and two labels.

Attention sees the padding, as it did when the model learnt; only the mean at the end leaves it out.
"""

import io
from typing import Any

import torch
from torch import Tensor, nn

from models.guard.packages import member

__all__ = ["LENGTH", "NanoGuard", "published"]

LENGTH, VOCABULARY, LAYERS, HEADS, WIDTH = 512, 8192, 4, 4, 512
HEAD = WIDTH // HEADS
EPSILON = torch.finfo(torch.float32).eps


def _norm(states: Tensor) -> Tensor:
    """Rows of length 1, as `rms_norm` makes them."""
    return states * torch.rsqrt(states.square().mean(-1, keepdim=True) + EPSILON)


def _turns(length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines by place, as coarse as the package has them."""
    speeds = 1.0 / (10000 ** (torch.arange(0, HEAD, 2, dtype=torch.float32) / HEAD))
    angles = torch.outer(torch.arange(length, dtype=torch.float32), speeds)
    return tuple(part.bfloat16().float()[None, :, None, :] for part in (angles.cos(), angles.sin()))


class Attention(nn.Module):
    """Every token looks at every other; places are turns of what they ask and offer."""

    def __init__(self) -> None:
        super().__init__()
        self.c_q, self.c_k, self.c_v, self.c_proj = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))

    def forward(self, states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        rows, length, _ = states.shape

        def split(part: nn.Module) -> Tensor:
            return part(states).view(rows, length, HEADS, HEAD)

        def turned(given: Tensor) -> Tensor:
            first, second = given[..., : HEAD // 2], given[..., HEAD // 2 :]
            return _norm(torch.cat([first * cos + second * sin, second * cos - first * sin], 3))

        query, key = turned(split(self.c_q)).transpose(1, 2), turned(split(self.c_k)).transpose(1, 2)
        scores = torch.softmax(query @ key.transpose(2, 3) / HEAD**0.5, dim=-1)
        mixed = scores @ split(self.c_v).transpose(1, 2)
        return self.c_proj(mixed.transpose(1, 2).reshape(rows, length, WIDTH))


class Inner(nn.Module):
    """Squares of what is above zero."""

    def __init__(self) -> None:
        super().__init__()
        self.c_fc = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.c_proj = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        return self.c_proj(torch.relu(self.c_fc(states)).square())


class Block(nn.Module):
    """One layer."""

    def __init__(self) -> None:
        super().__init__()
        self.attn, self.mlp = Attention(), Inner()

    def forward(self, states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        states = states + self.attn(_norm(states), cos, sin)
        return states + self.mlp(_norm(states))


class NanoGuard(nn.Module):
    """Token ids and mask, `[text, 512]`, to logits `[text, label]`; safe comes first."""

    def __init__(self) -> None:
        super().__init__()
        blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.transformer = nn.ModuleDict({"wte": nn.Embedding(VOCABULARY, WIDTH), "h": blocks})
        self.cls_norm = nn.LayerNorm(WIDTH)
        self.cls_head = nn.Linear(WIDTH, 2)
        self.resid_lambdas = nn.Parameter(torch.ones(LAYERS))
        self.x0_lambdas = nn.Parameter(torch.zeros(LAYERS))
        for name, turns in zip(("cos", "sin"), _turns(LENGTH), strict=True):
            self.register_parameter(name, nn.Parameter(turns, requires_grad=False))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        first = states = _norm(self.transformer["wte"](input_ids))
        for number, block in enumerate(self.transformer["h"]):
            states = block(
                self.resid_lambdas[number] * states + self.x0_lambdas[number] * first, self.cos, self.sin
            )
        seen = attention_mask.to(torch.float32)[:, :, None]
        return self.cls_head(self.cls_norm((_norm(states) * seen).sum(1) / seen.sum(1)))


def published() -> NanoGuard:
    """The network with the weights of the package."""
    given: dict[str, Any] = torch.load(
        io.BytesIO(member("metatronnanoguard", "nanoguard/assets/model.pt")), weights_only=True
    )
    network = NanoGuard()
    missing, unexpected = network.load_state_dict(given["model_state_dict"], strict=False)
    assert not unexpected
    assert set(missing) == {"cos", "sin"}
    return network.eval()
