"""The section of the config that says where batches of work run; it changes no result."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from databourse.config_section import Section


class RayConfig(Section):
    """Workers of a Ray cluster; without an address, one is started on this machine."""

    address: str | None = Field(
        default=None,
        pattern=r"^(auto|[A-Za-z0-9._-]+:\d{1,5})$",
        description="HOST:PORT of a cluster; null: that of RAY_ADDRESS, else one on this machine.",
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Processes that compute; null: as many as the cluster has CPUs for.",
    )
    cpus_per_worker: int = Field(
        default=1, ge=1, description="CPUs of a worker, and its threads: they change no number."
    )
    gpus_per_worker: float = Field(
        default=0.0, ge=0, description="GPUs of a worker; compute.device: cuda needs some."
    )
    attempts: int = Field(
        default=4, ge=1, description="Workers that may be lost over one batch before the run stops."
    )
    start_seconds: float = Field(
        default=600.0, gt=0, description="How long to wait for the first worker."
    )
    object_store_mb: int = Field(
        default=200,
        ge=100,
        description="Shared memory of a cluster on this machine, for batches on their way.",
    )


class OnRay(Section):
    """The engine ray with settings: {ray: {workers: 8}}."""

    ray: RayConfig = RayConfig()


EngineConfig = Literal["local", "ray"] | OnRay


def ray_config(engine: EngineConfig) -> RayConfig | None:
    """Return the settings of the engine ray; None where the engine is local."""
    if engine == "local":
        return None
    return RayConfig() if isinstance(engine, str) else engine.ray


def threads_there(engine: EngineConfig) -> int:
    """Return the threads of one worker of the engine; 1 where there are none."""
    settings = ray_config(engine)
    return 1 if settings is None else settings.cpus_per_worker
