"""What an engine process may know of its parent's environment."""

from collections.abc import Iterable, Mapping

__all__ = ["engine_environ"]

_VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
_SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "DATABASE_URL", "REDIS_URL")


def engine_environ(environ: Mapping[str, str], gpus: Iterable[int]) -> Mapping[str, str]:
    """No secrets, and only its GPUs.

    Args:
        environ: ours.
        gpus: indices of those it may use; empty leaves it to the environment.
    """
    known = {
        name: value for name, value in environ.items() if not any(word in name.upper() for word in _SECRET_WORDS)
    }
    devices = ",".join(map(str, gpus))
    ordered = {**known, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # so that numbers mean what the driver's tools mean
    return {**ordered, _VISIBLE_GPUS: devices} if devices else ordered
