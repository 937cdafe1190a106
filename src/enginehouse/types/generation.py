"""The inner vocabulary of generation: what is asked of a model, in words no dialect owns.

A dialect's request becomes one `Generation`, whatever client wrote it, and a `Generation` becomes any dialect's
request. What only the caller's own dialect can say is kept beside it (`Foreign`, `extra`), so that nothing is lost
on the way back into that dialect and nothing is sent to a server that would not understand it.
"""

from enum import StrEnum
from typing import Any, TypeAlias

from msgspec import Struct

__all__ = [
    "Choosing",
    "Dialect",
    "Foreign",
    "Generation",
    "Image",
    "Json",
    "JsonAnswer",
    "Part",
    "Prompt",
    "Reasoning",
    "RedactedThinking",
    "Refusal",
    "Role",
    "Sampling",
    "Text",
    "Thinking",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "ToolResult",
    "Turn",
]

Json: TypeAlias = dict[str, Any]
"""A JSON object."""


class Dialect(StrEnum):
    """In which words a request is written."""

    OPENAI_CHAT = "openai.chat"
    OPENAI_COMPLETIONS = "openai.completions"
    OPENAI_RESPONSES = "openai.responses"
    OPENAI_EMBEDDINGS = "openai.embeddings"
    ANTHROPIC_MESSAGES = "anthropic.messages"
    OLLAMA_CHAT = "ollama.chat"
    OLLAMA_GENERATE = "ollama.generate"


class Role(StrEnum):
    """Who speaks in a turn."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    """OpenAI's later word for system; dialects without it write system."""
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    """The caller's tools: such a turn holds nothing but results."""


class Said(Struct, frozen=True, kw_only=True):
    """What every part of a request may carry: `extra` holds fields of the caller's dialect that we do not know."""

    extra: Json = {}


class Text(Said, frozen=True, kw_only=True, tag="text"):
    """Words."""

    text: str


class Image(Said, frozen=True, kw_only=True, tag="image"):
    """A picture: the bytes in base64 with their media type, or where it is."""

    data: str | None = None
    media_type: str = ""
    url: str | None = None
    detail: str | None = None
    """How closely to look, in OpenAI's words: low, high, auto."""


class ToolCall(Said, frozen=True, kw_only=True, tag="tool_call"):
    """The model wants a tool run; `arguments` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


class ToolResult(Said, frozen=True, kw_only=True, tag="tool_result"):
    """What a tool answered."""

    call_id: str
    name: str = ""
    """The tool's name, where it is known."""
    parts: tuple["Text | Image | Foreign", ...] = ()
    is_error: bool = False


class Thinking(Said, frozen=True, kw_only=True, tag="thinking"):
    """What the model thought before it spoke; `signature` is its maker's seal on it, where there is one."""

    text: str
    signature: str | None = None


class RedactedThinking(Said, frozen=True, kw_only=True, tag="redacted_thinking"):
    """Thoughts that only their maker can read."""

    data: str


class Refusal(Said, frozen=True, kw_only=True, tag="refusal"):
    """The model's words for not answering."""

    text: str


class Foreign(Struct, frozen=True, kw_only=True, tag="foreign"):
    """A part or a tool that only its own dialect has (audio, files, a server's own tools), as it was written."""

    dialect: Dialect
    kind: str
    """Its `type` there, for messages to people."""
    value: Json


Part: TypeAlias = Text | Image | ToolCall | ToolResult | Thinking | RedactedThinking | Refusal | Foreign


class Turn(Said, frozen=True, kw_only=True):
    """One speaker's words, up to the next speaker's."""

    role: Role
    parts: tuple[Part, ...]
    name: str = ""
    """Who it is, where several speak in one role."""


class Prompt(Struct, frozen=True, kw_only=True):
    """Text to be gone on with as it stands, without a chat template."""

    texts: tuple[str | tuple[int, ...], ...]
    """Texts, or the model's own token ids; more than one are separate answers."""
    suffix: str | None = None
    """What comes after the gap that is to be filled."""
    echo: bool = False
    """Whether the answer repeats the prompt."""


class Tool(Said, frozen=True, kw_only=True, tag="tool"):
    """A function the model may ask for; `parameters` is a JSON schema, None means it takes none."""

    name: str
    description: str = ""
    parameters: Json | None = None
    strict: bool | None = None


class Choosing(StrEnum):
    """Who decides whether a tool is called."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"


class ToolChoice(Struct, frozen=True, kw_only=True):
    """How tools may be called; `name` goes with `NAMED`, `parallel` None leaves it to the server."""

    mode: Choosing | None = None
    name: str = ""
    parallel: bool | None = None


class JsonAnswer(Struct, frozen=True, kw_only=True):
    """The answer shall be JSON: any object when `schema` is None."""

    schema: Json | None = None
    name: str = "answer"
    description: str = ""
    strict: bool | None = None


class Reasoning(Struct, frozen=True, kw_only=True):
    """How much the model shall think before it speaks; None leaves it to the server."""

    enabled: bool | None = None
    effort: str | None = None
    """none, minimal, low, medium, high, xhigh or max."""
    budget: int | None = None
    """Most tokens of thinking."""


class Sampling(Struct, frozen=True, kw_only=True):
    """How tokens are chosen and when to stop; None leaves it to the server."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: int | None = None
    """Most tokens of the answer, thinking included."""
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    n: int = 1
    """How many answers."""
    logprobs: int | None = None
    """How many alternatives to score at each token; 0 scores the chosen one only, None scores nothing."""


class Generation(Struct, frozen=True, kw_only=True):
    """What is asked of a model: a conversation to answer (`turns`), or a text to go on with (`prompt`)."""

    model: str
    turns: tuple[Turn, ...] = ()
    """In the caller's order; system text stands where the caller put it."""
    prompt: Prompt | None = None
    tools: tuple[Tool | Foreign, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    answer: JsonAnswer | None = None
    """None means text."""
    reasoning: Reasoning = Reasoning()
    sampling: Sampling = Sampling()
    user: str | None = None
    """The caller's own name for its end user."""
    dialect: Dialect | None = None
    """Where `extra`, here and in every part, comes from."""
    extra: Json = {}
    """Fields of the caller's request that this vocabulary has no word for."""
