"""LangChain's own standard suites, with its OpenAI, Anthropic and Ollama classes pointed at a running service.

The suites of `Small` ask the real bundled models. What they want of a model that calls tools, or that keeps to a
schema whose texts have no end, is beyond 135 million parameters; `Steady` runs all of it with `llmock` behind the
service, once by its OpenAI and once by its Anthropic dialect. What is left out:

- `test_stream_time` compares with recorded conversations, of which there are none;
- images, audio and PDF files would be fetched from the internet (`test_matrix.py` hands over a picture of its own).
"""

import json

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests
from llmock.scenarios import Match, Reply, ToolCall
from llmock.testing import LLMockServer

from enginehouse.dialects.anthropic.shapes import ANSWER_TOOL
from tests.integration.service import Service

# These classes keep their connections for ever, and the asynchronous ones therefore want one loop for all tests.
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning",
        "ignore:.*not an async function:pytest.PytestWarning",
        "ignore:(Pydantic serializer|Received a Pydantic BaseModel V1):UserWarning",  # LangChain's own ways
    ),
]

JOKE = {"setup": "Why did the cat sit on the keyboard?", "punchline": "To keep an eye on the mouse."}


def calls(name, arguments, times=None):
    """A model that calls this tool whenever it is offered any."""
    return Reply(tool_calls=(ToolCall(name, arguments),), times=times, match=Match(tools=True))


TELLS = Reply(text=json.dumps(JOKE), times=None, match=Match(tools=False))
MAGIC = calls("magic_function", {"input": 3})
SCRIPTS = {
    "test_tool_calling": [MAGIC],
    "test_tool_calling_async": [MAGIC],
    "test_unicode_tool_call_integration": [
        calls("unicode_customer", {"customer_name": "你好啊集团", "description": "科技公司"}, times=1),
        calls("unicode_customer", {"customer_name": "こんにちは株式会社", "description": "会社"}, times=1),
    ],
    "test_structured_output": [TELLS],
    "test_structured_output_async": [TELLS],
    "test_structured_output_pydantic_2_v1": [TELLS],
    "test_structured_output_optional_param": [TELLS],
    "test_json_mode": [TELLS, calls(ANSWER_TOOL, JOKE)],
}
"""What the model says where a test wants the question understood; else it goes by the schemas of the tools."""


class Client(ChatModelIntegrationTests):
    """A class of LangChain's at the address `url`."""

    model_name = ""
    max_tokens = 256

    @pytest.fixture
    def benchmark(self):
        """Named by `test_stream_time`, which skips itself."""

    @pytest.fixture
    def vcr(self):
        """So is this."""


class OpenAI(Client):
    chat_model_class = ChatOpenAI
    supports_json_mode = True

    @property
    def chat_model_params(self):
        named = {"model": self.model_name, "base_url": f"{self.url}/v1", "api_key": "none"}
        return named | {"max_tokens": self.max_tokens, "stream_usage": True}


class Responses(OpenAI):
    @property
    def chat_model_params(self):
        return super().chat_model_params | {"use_responses_api": True}


class Anthropic(Client):
    chat_model_class = ChatAnthropic
    supports_anthropic_inputs = True

    @property
    def chat_model_params(self):
        return {"model": self.model_name, "base_url": self.url, "api_key": "none", "max_tokens": self.max_tokens}


class Ollama(Client):
    chat_model_class = ChatOllama
    supports_json_mode = True

    @property
    def chat_model_params(self):
        return {"model": self.model_name, "base_url": self.url, "num_predict": self.max_tokens}


class Small:
    """The real bundled model, which says a few words."""

    model_name = "smollm2"
    max_tokens = 4
    has_tool_calling = False
    has_structured_output = False
    supports_json_mode = False

    @pytest.fixture(autouse=True)
    def _at(self, service):
        self.url = service.url


class TestSmallOpenAI(Small, OpenAI):
    pass


class TestSmallAnthropic(Small, Anthropic):
    supports_anthropic_inputs = False  # they offer a tool, of which this model would not hear: that is refused


class TestSmallOllama(Small, Ollama):
    pass


class _Embeddings(EmbeddingsIntegrationTests):
    @pytest.fixture(autouse=True)
    def _at(self, service):
        self.url = service.url


class TestOpenAIEmbeddings(_Embeddings):
    embeddings_class = OpenAIEmbeddings

    @property
    def embedding_model_params(self):
        # Else it would fetch OpenAI's own tokeniser from the internet, and send us token ids of a foreign model.
        named = {"model": "minilm", "base_url": f"{self.url}/v1", "api_key": "none"}
        return named | {"check_embedding_ctx_length": False}


class TestOllamaEmbeddings(_Embeddings):
    embeddings_class = OllamaEmbeddings

    @property
    def embedding_model_params(self):
        return {"model": "minilm", "base_url": self.url}


@pytest.fixture(scope="module")
def upstream():
    with LLMockServer() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def house(upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("langchain")
    places = {"openai": upstream.base_url("openai"), "anthropic": upstream.base_url("anthropic")}
    models = {
        name + suffix: {"engine": name, "base_url": url} for name, url in places.items() for suffix in ("", "-2")
    }
    with Service(folder, {"default_models": False, "models": models, "data_dir": str(folder)}) as running:
        yield running


class Steady:
    """A model that does as it is told, behind the service."""

    @pytest.fixture(autouse=True)
    def _at(self, house, upstream, request):
        self.url = house.url
        upstream.state.reset()
        upstream.state.scenarios.add(*SCRIPTS.get(request.node.originalname, ()))

    @property
    def model_override_value(self):
        return f"{self.model_name}-2"


class TestSteadyOpenAI(Steady, OpenAI):
    model_name = "openai"


class TestSteadyOpenAITranslated(Steady, OpenAI):
    model_name = "anthropic"


class TestSteadyResponses(Steady, Responses):
    model_name = "openai"


class TestSteadyAnthropic(Steady, Anthropic):
    model_name = "anthropic"


class TestSteadyAnthropicTranslated(Steady, Anthropic):
    model_name = "openai"


class TestSteadyOllama(Steady, Ollama):
    model_name = "openai"


class TestSteadyOllamaTranslated(Steady, Ollama):
    model_name = "anthropic"
