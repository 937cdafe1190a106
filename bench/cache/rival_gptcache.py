# pyright: basic, reportMissingImports=false
"""GPTCache as it comes, in an environment of its own, with vectors that it is given; run by `bench.cache.rivals`.

Its defaults: distance of the two vectors, threshold 0.8. Each pair has a cache of its own.
"""

import json
import sys
import tempfile

from gptcache import Cache
from gptcache.adapter.api import get, put
from gptcache.manager import CacheBase, VectorBase, get_data_manager
from gptcache.processor.pre import get_prompt
from gptcache.similarity_evaluation import SearchDistanceEvaluation
from numpy import asarray, float32

__all__ = ["serves"]


def serves(stored: str, asked: str, vectors: dict[str, list[float]]) -> bool:
    """Whether the answer to the one is given to the other."""
    known = {text: asarray(vector, dtype=float32) for text, vector in vectors.items() if text in (stored, asked)}
    with tempfile.TemporaryDirectory() as folder:
        kept = CacheBase("sqlite", sql_url="sqlite:///:memory:")
        index = VectorBase("faiss", dimension=len(known[stored]), index_path=f"{folder}/kept.index")
        cache = Cache()
        cache.init(
            pre_embedding_func=get_prompt,
            embedding_func=lambda text, **_: known[text],
            data_manager=get_data_manager(kept, index),
            similarity_evaluation=SearchDistanceEvaluation(),
        )
        put(stored, "answer", cache_obj=cache)
        return get(asked, cache_obj=cache) is not None


if __name__ == "__main__":
    told = json.load(sys.stdin)
    json.dump([serves(stored, asked, told["vectors"]) for stored, asked in told["pairs"]], sys.stdout)
