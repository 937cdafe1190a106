"""Rulers of models, for sessions: prompts as long as the model's own tokenizer says, where it can be asked.

A llama-server that is in memory is asked each time; one that is not is brought in only when a prompt might not fit.
Servers elsewhere are asked only then. A prompt has fewer tokens than bytes, which is how it is known to fit.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from enginehouse.core.catalogue import Catalogue
from enginehouse.core.copies import Copies
from enginehouse.core.gateway.flows import asked_of
from enginehouse.core.gateway.meter import guessed_tokens
from enginehouse.core.sessions import Count
from enginehouse.core.usable import resolved_for, usable_by
from enginehouse.engines.base import Counts, Engine, Tokenizes
from enginehouse.engines.encodings import Encode, Encodings
from enginehouse.errors import InvalidRequest
from enginehouse.residency.manager import Residency
from enginehouse.types import EngineName, Kind, Model, Principal
from enginehouse.types.generation import Generation, Text, Turn

__all__ = ["ModelRuler", "ModelRulers"]

_TEMPLATE = 512
"""Bytes that a template may add to a prompt of its own accord, with as much again for each turn's `_AROUND`."""
_AROUND = 64
_LONG = 16_384
"""Characters from which on a text is encoded in a thread."""
_A_TURN, _A_NAME, _AN_ANSWER = 3, 1, 3
"""Tokens that OpenAI puts around each turn, before a speaker's name, and before the answer."""


class ModelRulers:
    """Satisfies `Rulers`.

    Args:
        catalogue: what names mean.
        residency: where engines are asked.
        copies: which copy of a model is asked.
        encodings: OpenAI's.
        default: the name of the model that answers where none is named, asked each time; the first that may be used
            when it is None.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        residency: Residency,
        copies: Copies,
        encodings: Encodings,
        default: Callable[[], str | None],
    ) -> None:
        self._catalogue, self._residency, self._copies = catalogue, residency, copies
        self._encodings, self._default = encodings, default

    def of(self, principal: Principal, model: str | None, request_id: str) -> "ModelRuler":
        """The ruler of a model, by a name of it.

        Raises:
            ModelNotFound, InvalidRequest: there is none, or it does not chat.
            PermissionDenied: it is not for this caller.
        """
        name = model or self._default() or self._first(principal)
        found = resolved_for(principal, self._catalogue, name)
        if found.kind is not Kind.CHAT:
            raise InvalidRequest(f"{found.id!r} is no chat model.", param="model")
        return ModelRuler(name, found, self._residency, self._copies, self._encodings, request_id)

    def _first(self, principal: Principal) -> str:
        for model in usable_by(principal, self._catalogue):
            if model.kind is Kind.CHAT:
                return model.id
        raise InvalidRequest("There is no chat model that you may use; name one.", param="model")


class ModelRuler:
    """Satisfies `Ruler`: one model's, for one request."""

    def __init__(
        self,
        name: str,
        model: Model,
        residency: Residency,
        copies: Copies,
        encodings: Encodings,
        request_id: str,
    ) -> None:
        self.model = name
        self._model, self._residency, self._copies = model, residency, copies
        self._encodings, self._request_id = encodings, request_id
        self._here = model.deployments[0].engine is EngineName.LLAMA_SERVER
        source = hashlib.sha256(msgspec.json.encode(model.deployments[0].source)).hexdigest()
        self.tokenizer = f"{model.id}:{source[:12]}"

    @property
    def context_length(self) -> int | None:
        """Of one sequence, by the model or by how it runs."""
        known = (self._model.context_length, *(place.context_length for place in self._model.deployments))
        return min((length for length in known if length is not None), default=None)

    async def text(self, turn: Turn) -> Count:
        """Tokens of a turn's own words."""
        words = "\n".join(_texts([turn]))
        encode = await self._encoding()
        if encode is not None:
            return Count(await _encoded(encode, words), exact=True)
        engine = self._residency.engine(self._model.deployments[0].id)
        if self._here and isinstance(engine, Tokenizes):
            return Count(len(await engine.tokenize(words)), exact=True)
        return Count(guessed_tokens(Generation(model="", turns=(turn,))), exact=False)

    async def prompt(self, generation: Generation, limit: int) -> Count:
        """Tokens of a whole prompt."""
        encode = await self._encoding()
        if encode is not None and not generation.tools:
            return await _framed(encode, generation)
        place = self._model.deployments[0]
        ready = self._here and self._residency.engine(place.id) is not None
        if ready or _most(generation) > limit:
            async with self._engine() as engine:
                if isinstance(engine, Counts):
                    asked = asked_of(place, generation)
                    return Count(await engine.count(asked, request_id=self._request_id), exact=True)
        return Count(guessed_tokens(generation), exact=False)

    async def _encoding(self) -> Encode | None:
        place = self._model.deployments[0]
        if place.engine is not EngineName.OPENAI:
            return None
        found = await self._encodings.of(place.name_there)
        if found is None:
            return None
        self.tokenizer, encode = found
        return encode

    @asynccontextmanager
    async def _engine(self) -> AsyncGenerator[Engine]:
        place, terms = self._copies.pick(self._model)
        async with self._residency.lease(place, terms, counted=False) as lease:
            yield lease.engine


async def _framed(encode: Encode, generation: Generation) -> Count:
    """As OpenAI counts words; pictures and the like count otherwise."""
    turns = generation.turns
    names = [turn.name for turn in turns if turn.name]
    words = await _encoded(encode, *_texts(turns), *(turn.role.value for turn in turns), *names)
    exact = all(isinstance(part, Text) for turn in turns for part in turn.parts)
    return Count(words + _A_TURN * len(turns) + _A_NAME * len(names) + _AN_ANSWER, exact=exact)


async def _encoded(encode: Encode, *texts: str) -> int:
    if sum(map(len, texts)) < _LONG:
        return sum(map(encode, texts))
    return await asyncio.to_thread(lambda: sum(map(encode, texts)))


def _texts(turns: Sequence[Turn]) -> list[str]:
    return [part.text for turn in turns for part in turn.parts if isinstance(part, Text)]


def _most(generation: Generation) -> int:
    """More tokens than it has: a token is a byte at least."""
    size = len(msgspec.json.encode((generation.turns, generation.tools)))
    return size + _TEMPLATE + _AROUND * len(generation.turns)
