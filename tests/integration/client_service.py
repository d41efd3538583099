"""A service on ports of this machine, in a thread of its own, and clients of every kind that ask it."""

from __future__ import annotations

import asyncio
import inspect
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from gateway_support import make_settings

from inversefacenet.client import AsyncClient, Client
from services.gateway.app import create_app

SECONDS = 60
WAYS = [("sync", "http"), ("async", "http"), ("sync", "grpc"), ("async", "grpc")]


@dataclass
class Service:
    """A running service.

    Attributes:
        gateway: What is behind both interfaces.
        loop: Where it runs. Clients for asyncio run there too: gRPC wants one loop in a process.
    """

    gateway: Any
    loop: asyncio.AbstractEventLoop
    port: int
    secure: bool = False

    def address(self, protocol):
        name = protocol + ("s" if self.secure else "")
        port = self.port if protocol == "http" else self.gateway.grpc_port
        return f"{name}://{'localhost' if self.secure else '127.0.0.1'}:{port}"

    def ask(self, way, what, *arguments, client=None, **options):
        """Ask a fresh client one thing; what comes piece by piece comes as a list."""
        kind, protocol = way
        if kind == "sync":
            with Client(self.address(protocol), **(client or {})) as opened:
                found = getattr(opened, what)(*arguments, **options)
                return list(found) if what == "reconstruct_many" else found

        async def run():
            async with AsyncClient(self.address(protocol), **(client or {})) as opened:
                found = getattr(opened, what)(*arguments, **options)
                if inspect.isawaitable(found):
                    return await found
                return [one async for one in found]

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(SECONDS)


@contextmanager
def serving(reconstructor, **changes):
    """Run a service with stand-ins for detector and network."""
    settings = make_settings(**{"grpc_port": 0, "queue": 64, "workers": 2, **changes})
    app = create_app(settings, reconstructor)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            ssl_certfile=settings.tls_certificate,
            ssl_keyfile=settings.tls_key,
        )
    )
    started = threading.Event()
    found = {}

    async def run():
        found["loop"] = asyncio.get_running_loop()
        serve = asyncio.ensure_future(server.serve([listener]))
        while not (server.started or serve.done()):
            await asyncio.sleep(0.01)
        started.set()
        await serve

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert started.wait(SECONDS)
    try:
        yield Service(
            app.state.gateway, found["loop"], listener.getsockname()[1], settings.tls_certificate is not None
        )
    finally:
        server.should_exit = True
        thread.join(SECONDS)
        listener.close()
        assert not thread.is_alive()
