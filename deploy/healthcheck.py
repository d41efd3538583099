"""Is the service in this container ready? Exit status 0 if so; needs the standard library alone."""

from __future__ import annotations

import os
import socket
import ssl
import sys
import urllib.request
from collections.abc import Mapping

TIMEOUT = 5.0


def check(environment: Mapping[str, str]) -> None:
    """Ask the service, as its own settings say that it listens.

    Args:
        environment: The variables that the service was started with.

    Raises:
        OSError: If it doesn't answer, or says that it isn't ready.
    """
    port = int(environment.get("IFN_PORT") or 8000)
    if environment.get("IFN_TLS_CLIENT_CA"):
        # Only its clients have a certificate that it accepts: that it listens must do.
        socket.create_connection(("127.0.0.1", port), TIMEOUT).close()
        return
    scheme, context = "http", None
    if environment.get("IFN_TLS_CERTIFICATE"):
        # The certificate is for the name that callers use, not for the loopback address.
        scheme, context = "https", ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    url = f"{scheme}://127.0.0.1:{port}/v2/health/ready"
    urllib.request.urlopen(url, timeout=TIMEOUT, context=context).close()


def main() -> int:
    """Check once.

    Returns:
        0 if the service is ready, else 1 with the reason on standard error.
    """
    try:
        check(os.environ)
    except (OSError, ValueError) as error:
        print(f"not ready: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
