"""A port on all of the pod's addresses."""

from __future__ import annotations

import socket


def bind(port: int) -> socket.socket:
    """A socket for IPv4, and for IPv6 too where there is IPv6; it does not listen yet.

    Raises OSError if the port is taken.
    """
    dual = socket.has_dualstack_ipv6()
    listener = socket.socket(socket.AF_INET6 if dual else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if dual:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::" if dual else "0.0.0.0", port))
    return listener
