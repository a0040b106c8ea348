"""Health checks. Rollway's own probes look; a check that fails is a result, never an exception."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any, Dict, List, Optional

from rollway import _check, _native
from rollway._log import Logger

from .models import HealthCheckResult, HealthStatus

__all__ = [
    "CommandHealthCheck",
    "DiskHealthCheck",
    "HTTPHealthCheck",
    "HealthCheck",
    "MemoryHealthCheck",
    "TCPHealthCheck",
]

logger = Logger(__name__)

_GIBIBYTE = 1024**3
# So much of what a command complained of is kept.
_STDERR_CHARACTERS_MAX = 500


class HealthCheck(ABC):
    """Something that can be asked how it is. Make a subclass for a check of your own."""

    def __init__(self, name: str, timeout: float = 5.0, critical: bool = True) -> None:
        """
        Args:
            name: for messages.
            timeout: the check may take this long, in seconds.
            critical: whether everything is unhealthy when this is.
        """
        self.name = _check.text("name", name)
        self.timeout = _check.number("timeout", timeout, above=0.0)
        self.critical = critical

    @abstractmethod
    def check(self) -> HealthCheckResult:
        """Look once."""

    async def check_async(self) -> HealthCheckResult:
        """Look once, without keeping the event loop waiting."""
        import asyncio

        return await asyncio.get_running_loop().run_in_executor(None, self.check)

    def _found(
        self,
        status: HealthStatus,
        message: str,
        latency_ms: float = 0.0,
        details: Optional[Dict[str, Any]] = None,
    ) -> HealthCheckResult:
        if status is not HealthStatus.HEALTHY:
            logger.debug("health check %s: %s", self.name, message)
        return HealthCheckResult(
            name=self.name,
            status=status,
            message=message,
            latency_ms=latency_ms,
            details={} if details is None else details,
        )


class HTTPHealthCheck(HealthCheck):
    """A URL answers with a status, and with something in its body."""

    def __init__(
        self,
        name: str,
        url: str,
        method: str = "GET",
        expected_status: int = 200,
        expected_body: Optional[str] = None,
        headers: Optional[Dict[str, str]] = None,
        timeout: float = 5.0,
        critical: bool = True,
    ) -> None:
        """
        Args:
            name: for messages.
            url: ``http://...`` or ``https://...``; redirects are followed.
            method: the method of the request.
            expected_status: any other status is unhealthy.
            expected_body: a text that the body must contain.
            headers: headers to send.
            timeout: the check may take this long, in seconds.
            critical: whether everything is unhealthy when this is.
        """
        super().__init__(name, timeout, critical)
        self.url = _check.text("url", url)
        self.method = _check.text("method", method)
        self.expected_status = _check.whole("expected_status", expected_status, least=100)
        self.expected_body = expected_body
        self.headers: Dict[str, str] = dict(_check.mapping("headers", headers or {}))

    def check(self) -> HealthCheckResult:
        """Ask the URL once."""
        headers = [(str(key), str(value)) for key, value in self.headers.items()]
        status, body, why, took = _native.http_check(
            self.url, self.method, headers, (self.expected_status, self.timeout)
        )
        if status is None:
            return self._found(HealthStatus.UNHEALTHY, why, took)
        details = {"status_code": status}
        if status != self.expected_status:
            message = f"Expected status {self.expected_status}, got {status}"
            return self._found(HealthStatus.UNHEALTHY, message, took, details)
        if self.expected_body and self.expected_body not in body.decode("utf-8", "replace"):
            return self._found(HealthStatus.UNHEALTHY, "Response body mismatch", took, details)
        return self._found(HealthStatus.HEALTHY, "OK", took, details)


class TCPHealthCheck(HealthCheck):
    """A port takes connections."""

    def __init__(
        self, name: str, host: str, port: int, timeout: float = 5.0, critical: bool = True
    ) -> None:
        """
        Args:
            name: for messages.
            host: a name or an address.
            port: the port.
            timeout: the check may take this long, in seconds.
            critical: whether everything is unhealthy when this is.
        """
        super().__init__(name, timeout, critical)
        self.host = _check.text("host", host)
        self.port = _check.whole("port", port, least=0, most=65535)

    def check(self) -> HealthCheckResult:
        """Connect once, and hang up."""
        is_open, why, took = _native.tcp_check(self.host, self.port, self.timeout)
        details = {"host": self.host, "port": self.port}
        if is_open:
            return self._found(HealthStatus.HEALTHY, f"Port {self.port} is open", took, details)
        logger.debug("%s:%s: %s", self.host, self.port, why)
        return self._found(HealthStatus.UNHEALTHY, f"Port {self.port} is closed", took, details)


class CommandHealthCheck(HealthCheck):
    """A command ends as expected. It is never given to a shell."""

    def __init__(
        self,
        name: str,
        command: List[str],
        expected_exit_code: int = 0,
        expected_output: Optional[str] = None,
        timeout: float = 10.0,
        critical: bool = True,
    ) -> None:
        """
        Args:
            name: for messages.
            command: program and arguments.
            expected_exit_code: any other one is unhealthy.
            expected_output: a text that its output must contain.
            timeout: it is killed, with all that it started, after so many seconds.
            critical: whether everything is unhealthy when this is.
        """
        super().__init__(name, timeout, critical)
        if isinstance(command, (str, bytes)):
            raise TypeError(f"command: expected a list of arguments, not {command!r}")
        self.command: List[str] = [
            _check.text(f"command[{index}]", word, empty=True)
            for index, word in enumerate(_check.list_of("command", command))
        ]
        self.expected_exit_code = _check.whole("expected_exit_code", expected_exit_code)
        self.expected_output = expected_output

    def check(self) -> HealthCheckResult:
        """Run the command once."""
        began = time.perf_counter()
        try:
            code, timed_out, out, err, took = _native.command_check(self.command, self.timeout)
        except _native.Failed as error:
            took = (time.perf_counter() - began) * 1000.0
            return self._found(HealthStatus.UNHEALTHY, str(error), took)
        stderr = err.decode("utf-8", "replace")[:_STDERR_CHARACTERS_MAX]
        if timed_out:
            return self._found(
                HealthStatus.UNHEALTHY, "Command timed out", took, {"stderr": stderr}
            )
        if code != self.expected_exit_code:
            message = f"Exit code {code}, expected {self.expected_exit_code}"
            return self._found(HealthStatus.UNHEALTHY, message, took, {"stderr": stderr})
        if self.expected_output and self.expected_output not in out.decode("utf-8", "replace"):
            return self._found(
                HealthStatus.UNHEALTHY, "Output mismatch", took, {"stderr": stderr}
            )
        return self._found(HealthStatus.HEALTHY, "OK", took)


class MemoryHealthCheck(HealthCheck):
    """The machine has memory to give."""

    def __init__(
        self,
        name: str = "memory",
        warning_threshold: float = 80.0,
        critical_threshold: float = 95.0,
        timeout: float = 5.0,
        critical: bool = True,
    ) -> None:
        """
        Args:
            name: for messages.
            warning_threshold: degraded from so many percent in use on.
            critical_threshold: unhealthy from so many percent in use on.
            timeout: the check may take this long, in seconds.
            critical: whether everything is unhealthy when this is.
        """
        super().__init__(name, timeout, critical)
        self.warning_threshold = _check.number("warning_threshold", warning_threshold)
        self.critical_threshold = _check.number("critical_threshold", critical_threshold)

    def _classify(
        self, percent: float, details: Dict[str, Any], latency_ms: float
    ) -> HealthCheckResult:
        """What a share in use means."""
        if percent >= self.critical_threshold:
            message, status = f"Memory usage critical: {percent}%", HealthStatus.UNHEALTHY
        elif percent >= self.warning_threshold:
            message, status = f"Memory usage high: {percent}%", HealthStatus.DEGRADED
        else:
            message, status = f"Memory usage: {percent}%", HealthStatus.HEALTHY
        return self._found(status, message, latency_ms, details)

    def check(self) -> HealthCheckResult:
        """Read the machine's figures once."""
        began = time.perf_counter()
        try:
            available, total = _native.memory_figures()
        except _native.Failed as error:
            return self._found(HealthStatus.UNHEALTHY, str(error))
        percent = round((total - available) / total * 100, 1) if total else 0.0
        details = {
            "total_gb": round(total / _GIBIBYTE, 2),
            "available_gb": round(available / _GIBIBYTE, 2),
            "percent_used": percent,
        }
        return self._classify(percent, details, (time.perf_counter() - began) * 1000.0)


class DiskHealthCheck(HealthCheck):
    """A file system has room."""

    def __init__(
        self,
        name: str = "disk",
        path: str = "/",
        warning_threshold: float = 80.0,
        critical_threshold: float = 95.0,
        timeout: float = 5.0,
        critical: bool = True,
    ) -> None:
        """
        Args:
            name: for messages.
            path: any path on the file system.
            warning_threshold: degraded from so many percent in use on.
            critical_threshold: unhealthy from so many percent in use on.
            timeout: the check may take this long, in seconds.
            critical: whether everything is unhealthy when this is.
        """
        super().__init__(name, timeout, critical)
        self.path = _check.path("path", path)
        self.warning_threshold = _check.number("warning_threshold", warning_threshold)
        self.critical_threshold = _check.number("critical_threshold", critical_threshold)

    def _classify(
        self, percent: float, details: Dict[str, Any], latency_ms: float
    ) -> HealthCheckResult:
        """What a share in use means."""
        if percent >= self.critical_threshold:
            message, status = f"Disk usage critical: {percent:.1f}%", HealthStatus.UNHEALTHY
        elif percent >= self.warning_threshold:
            message, status = f"Disk usage high: {percent:.1f}%", HealthStatus.DEGRADED
        else:
            message, status = f"Disk usage: {percent:.1f}%", HealthStatus.HEALTHY
        return self._found(status, message, latency_ms, details)

    def check(self) -> HealthCheckResult:
        """Look at the file system once."""
        began = time.perf_counter()
        try:
            free, used, total = _native.disk_figures(self.path, self.timeout)
        except _native.Failed as error:
            return self._found(HealthStatus.UNHEALTHY, str(error))
        percent = used / total * 100 if total else 0.0
        details = {
            "path": self.path,
            "total_gb": round(total / _GIBIBYTE, 2),
            "free_gb": round(free / _GIBIBYTE, 2),
            "percent_used": round(percent, 2),
        }
        return self._classify(percent, details, (time.perf_counter() - began) * 1000.0)
