"""The embedder of the trials: the default model, as the service runs it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from enginehouse.core.catalogue import DEFAULT_MODELS
from enginehouse.engines.onnx import open_embedder
from enginehouse.settings import current_environ, load
from enginehouse.stores.artifacts import Artifacts

__all__ = ["MODEL", "Floats", "embed_all", "model_folder"]

Floats = NDArray[np.float32]
MODEL = "minilm"


async def model_folder() -> Path:
    """Files of the default embedder, fetched once."""
    stated, settings = DEFAULT_MODELS[MODEL], load(None, current_environ())
    assert stated.source is not None
    return await Artifacts(settings.data_dir / "artifacts", settings.sources).fetch(stated.source, stated.sha256)


def embed_all(texts: Sequence[str]) -> Floats:
    """One unit vector a text, in their order."""
    return asyncio.run(_embed_all(list(dict.fromkeys(texts)), texts))


async def _embed_all(once: list[str], texts: Sequence[str]) -> Floats:
    async with open_embedder(await model_folder(), max_length=DEFAULT_MODELS[MODEL].context_length) as embedder:
        vectors = np.asarray((await embedder.embed(once)).vectors, dtype=np.float32)
    places = {text: place for place, text in enumerate(once)}
    return vectors[[places[text] for text in texts]]
