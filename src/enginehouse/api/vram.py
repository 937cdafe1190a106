"""Where memory went: every GPU, main memory, and what each model holds of them."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from enginehouse.core.catalogue import Catalogue
from enginehouse.core.holdings import Holding, Holdings
from enginehouse.core.usable import usable_by
from enginehouse.residency.machine import Memory
from enginehouse.types import ResidentState

__all__ = ["vram_router"]

_MIB = 1024 * 1024


class Pool(BaseModel):
    """One memory, in MB of 1024 x 1024 bytes."""

    total_mb: float
    used_mb: float = Field(description="By anybody, as the system or the driver tells it.")
    free_mb: float
    budget_mb: float = Field(description="What models may take: `residency.max_memory_usage` of it.")
    models_mb: float = Field(description="What models take, or have reserved while they load or leave.")


class GpuPool(Pool):
    """One GPU's memory."""

    index: int
    name: str


class ModelMemory(BaseModel):
    """What one model holds."""

    status: ResidentState
    vram_mb: float = Field(description="On all GPUs.")
    ram_mb: float
    gpus: dict[str, float] = Field(description="MB by the GPU's index.")


class Report(BaseModel):
    """All of it. Without a GPU `gpus` is empty, and `ram` says everything."""

    gpus: list[GpuPool]
    ram: Pool
    models: dict[str, ModelMemory] = Field(description="Models that hold memory, by id.")
    total_vram_mb: float
    used_vram_mb: float
    free_vram_mb: float
    timestamp: datetime


def vram_router(catalogue: Catalogue, holdings: Holdings) -> APIRouter:
    """`GET /vram`."""
    router = APIRouter(tags=["operation"])

    @router.get("/vram")
    async def vram(request: Request) -> Report:
        """Memory by GPU and by model, and main memory beside it."""
        gpus = [
            GpuPool(index=gpu.index, name=gpu.name, **_pool(f"vram.{gpu.index}", gpu.memory, holdings))
            for gpu in holdings.gpus()
        ]
        every = {model.id: holdings.of(model) for model in usable_by(request.state.principal, catalogue)}
        return Report(
            gpus=gpus,
            ram=Pool(**_pool("ram", holdings.ram(), holdings)),
            models={id_: _held(holding) for id_, holding in every.items() if holding.is_held},
            total_vram_mb=round(sum(gpu.total_mb for gpu in gpus), 1),
            used_vram_mb=round(sum(gpu.used_mb for gpu in gpus), 1),
            free_vram_mb=round(sum(gpu.free_mb for gpu in gpus), 1),
            timestamp=datetime.now(UTC),
        )

    return router


def _pool(pool: str, memory: Memory, holdings: Holdings) -> dict[str, float]:
    return {
        "total_mb": _mib(memory.total),
        "used_mb": _mib(memory.used),
        "free_mb": _mib(memory.available),
        "budget_mb": _mib(holdings.budget().get(pool, 0)),
        "models_mb": _mib(holdings.taken().get(pool, 0)),
    }


def _held(holding: Holding) -> ModelMemory:
    on_gpus = {pool.removeprefix("vram."): held for pool, held in holding.pools.items() if pool != "ram"}
    return ModelMemory(
        status=holding.status.state,
        vram_mb=_mib(sum(on_gpus.values())),
        ram_mb=_mib(holding.pools.get("ram", 0)),
        gpus={index: _mib(held) for index, held in sorted(on_gpus.items())},
    )


def _mib(amount: int) -> float:
    return round(amount / _MIB, 1)
