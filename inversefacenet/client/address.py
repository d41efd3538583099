"""Where the server is and how to prove who calls: addresses, API keys, TLS files."""

from __future__ import annotations

import ipaddress
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from inversefacenet.client.errors import ConnectionSettingsError

_SCHEMES: Final = {
    "http": ("rest", False),
    "https": ("rest", True),
    "grpc": ("grpc", False),
    "grpcs": ("grpc", True),
}


@dataclass(frozen=True)
class Address:
    """A server's address.

    Attributes:
        text: As it was given, without a slash at its end.
        protocol: What is spoken there.
        secure: Over TLS.
        host: Name or number.
        target: Host and port, as gRPC wants them.
    """

    text: str
    protocol: Literal["rest", "grpc"]
    secure: bool
    host: str
    target: str

    @property
    def loopback(self) -> bool:
        """Whether what is sent there never leaves this machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def read_address(server: str) -> Address:
    """Read a server's address.

    Args:
        server: `http://`, `https://`, `grpc://` or `grpcs://` with host and port. HTTP addresses may go
            without a port and have a path, such as that of a proxy.

    Raises:
        ConnectionSettingsError: If it is none.
    """
    try:
        parts = urlsplit(server)
        port = parts.port
    except ValueError as error:
        raise ConnectionSettingsError(f"'{server}' is no address: {error}.") from error
    scheme = parts.scheme.lower()
    host = parts.hostname or ""
    if scheme not in _SCHEMES or not host or not host.isprintable() or " " in host:
        raise ConnectionSettingsError(
            f"'{server}' is no server's address: write http://host:port, https://host, grpc://host:port or "
            "grpcs://host:port."
        )
    if parts.username is not None or parts.password is not None:
        raise ConnectionSettingsError("The address holds a user or password: give the key as `api_key`.")
    if parts.query or parts.fragment:
        raise ConnectionSettingsError(f"The address '{server}' must end before '?' and '#'.")
    protocol, secure = _SCHEMES[scheme]
    if protocol == "grpc":
        if port is None or parts.path not in ("", "/"):
            raise ConnectionSettingsError(f"'{server}' must be {scheme}://host:port and no more.")
        return Address(server.rstrip("/"), "grpc", secure, host, parts.netloc)
    return Address(server.rstrip("/"), "rest", secure, host, parts.netloc)


def check_key(api_key: str | None, address: Address, *, allow_plaintext: bool) -> None:
    """Check that a key can be sent, and that nobody on the way could read it.

    Raises:
        ConnectionSettingsError: If it can't or somebody could.
    """
    if api_key is None:
        return
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ConnectionSettingsError("The API key is empty or holds characters that no key has.")
    if not (address.secure or address.loopback or allow_plaintext):
        secure = {"rest": "https://", "grpc": "grpcs://"}[address.protocol]
        raise ConnectionSettingsError(
            f"{address.text} is not encrypted: everybody on the way could read the API key. Use {secure}, or "
            "allow_plaintext=True if something else encrypts the connection."
        )


@dataclass(frozen=True)
class Tls:
    """PEM files of an encrypted connection.

    Attributes:
        ca: Certificates of the authorities to trust, in place of the system's.
        certificate: The client's own certificate chain, where the server asks for one (mutual TLS).
        key: The private key of that certificate.
    """

    ca: str | os.PathLike[str] | None = None
    certificate: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None

    def check(self, address: Address) -> None:
        """Check that the files go together and with the address.

        Raises:
            ConnectionSettingsError: If they don't.
        """
        if not address.secure:
            raise ConnectionSettingsError(f"TLS files were given, but {address.text} is not encrypted.")
        if (self.certificate is None) != (self.key is None):
            raise ConnectionSettingsError("A client's certificate and its key belong together: give both.")

    def context(self) -> ssl.SSLContext:
        """Return what Python's TLS makes of the files.

        Raises:
            ConnectionSettingsError: If a file can't be used.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except OSError as error:  # ssl.SSLError is one
            raise ConnectionSettingsError(f"The TLS files can't be used: {error}.") from error
        return context

    def contents(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Return the files of authorities, key and certificate, as gRPC wants them.

        Raises:
            ConnectionSettingsError: If a file can't be read.
        """
        try:
            ca, key, certificate = (
                None if path is None else Path(path).read_bytes()
                for path in (self.ca, self.key, self.certificate)
            )
        except OSError as error:
            raise ConnectionSettingsError(f"The TLS files can't be read: {error}.") from error
        return ca, key, certificate
