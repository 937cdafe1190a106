"""What a process and its children weigh: CPU seconds and resident memory."""

from pathlib import Path

import psutil

__all__ = ["cpu_seconds", "resident_bytes", "scheduled"]


def cpu_seconds(pid: int) -> float:
    """User and system time that the living processes of a tree have used so far."""
    return sum(times.user + times.system for times in (p.cpu_times() for p in _tree(pid)))


def resident_bytes(pid: int) -> int:
    """Resident memory of a tree, pages that processes share counted once for each."""
    return sum(p.memory_info().rss for p in _tree(pid))


def scheduled(pid: int) -> tuple[float, float]:
    """Seconds for which a process's main thread had a processor, and for which it waited to have one."""
    ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    return int(ran) / 1e9, int(waited) / 1e9


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]
