"""llama.cpp's server: the user's own binary with their flags as written, or the bundled one."""

from enginehouse.engines.llama_server.client import LlamaServer
from enginehouse.engines.llama_server.command import LOOPBACK, ChildPlan, device_list_command, plan_child
from enginehouse.engines.llama_server.flags import UnknownFlag, parse_flags
from enginehouse.engines.llama_server.footprint import divided_bytes, estimated_bytes

__all__ = [
    "LOOPBACK",
    "ChildPlan",
    "LlamaServer",
    "UnknownFlag",
    "device_list_command",
    "divided_bytes",
    "estimated_bytes",
    "parse_flags",
    "plan_child",
]
