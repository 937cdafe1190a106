"""An edited configuration and a watched folder, on a running service."""

import shutil

from tests.integration.service import Service, Stream

CHAT = "/v1/chat/completions"


def hello(model):
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}


def test_an_edit_counts_without_touching_what_did_not_change(tmp_path, gguf):
    # One thread each: two engines of two threads on two busy cores wait for each other.
    first = {"first": {"source": str(gguf), "context_length": 512, "flags": ["-t", "1"]}}
    with Service(tmp_path, {"models": first}) as own:
        story = {**hello("first"), "stream": True, "max_tokens": 400, "ignore_eos": True}
        with Stream(own, CHAT, story) as stream:
            stream.read_until(b'"content":"')
            engine = own.children()[0].pid
            second = {"second": {"source": str(gguf), "context_length": 256, "flags": ["-t", "1"]}}
            own.configure({"models": {**first, **second}})
            own.wait_until(lambda: own.call("/v1/models/second")[0] == 200, 10)
            assert own.call(CHAT, hello("second"))[0] == 200
            assert b"data: [DONE]" in stream.read_to_end()
        assert engine in [child.pid for child in own.children()]

        own.config_file.write_text('{"models": {"second": {"sorce": "x"}}}')
        own.wait_until(lambda: "settings_refused" in own.log(), 10)
        assert own.call(CHAT, hello("second"))[0] == 200

        own.configure({"models": {**first, "second": {"source": str(gguf), "context_length": 768}}})
        own.wait_until(lambda: own.call("/v1/models/second")[1]["context_length"] == 768, 10)
        long = {**hello("second"), "messages": [{"role": "user", "content": "word " * 1000}]}
        assert "768" in own.call(CHAT, long)[1]["error"]["message"]

        own.configure({"models": first})
        own.wait_until(lambda: own.call("/v1/models/second")[0] == 404, 10)
        own.wait_until(lambda: len(own.children()) == 1, 10)
        assert engine == own.children()[0].pid


def test_a_dropped_gguf_appears_and_answers(tmp_path, gguf):
    folder = tmp_path / "models"
    folder.mkdir()
    with Service(tmp_path, {"models_dir": str(folder), "default_models": False}) as own:
        assert own.call("/v1/models")[1]["data"] == []
        shutil.copy(gguf, folder / "dropped.gguf")
        own.wait_until(lambda: own.call("/v1/models/dropped")[0] == 200, 15)
        assert own.call("/v1/models/dropped")[1]["context_length"] == 8192
        assert own.call(CHAT, hello("dropped"))[0] == 200
        (folder / "dropped.gguf").unlink()
        own.wait_until(lambda: own.call(CHAT, hello("dropped"))[0] == 404, 15)
        own.wait_until(lambda: not own.children(), 10)


def test_keys_can_be_added_while_it_runs(tmp_path, service):
    with Service(tmp_path) as own:
        assert own.call("/v1/models")[0] == 200
        own.configure({"auth": {"api_keys": ["new-key-1"]}})
        own.wait_until(lambda: own.call("/v1/models")[0] == 401, 10)
        assert own.call("/v1/models", headers={"X-API-Key": "new-key-1"})[0] == 200
