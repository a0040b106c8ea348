"""Health checks: HTTP, TCP, commands, memory, disk, and the base of your own."""

from .checker import HealthChecker
from .checks import (
    CommandHealthCheck,
    DiskHealthCheck,
    HealthCheck,
    HTTPHealthCheck,
    MemoryHealthCheck,
    TCPHealthCheck,
)
from .models import AggregatedHealth, HealthCheckResult, HealthStatus

__all__ = [
    "AggregatedHealth",
    "CommandHealthCheck",
    "DiskHealthCheck",
    "HTTPHealthCheck",
    "HealthCheck",
    "HealthCheckResult",
    "HealthChecker",
    "HealthStatus",
    "MemoryHealthCheck",
    "TCPHealthCheck",
]
