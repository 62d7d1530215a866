"""Refuses, and notes, every connection and look-up beyond this machine: put on a Python path as `sitecustomize.py`, so that it is in
force before anything else is imported, in child processes too. An audit hook cannot be removed by what it watches.

Libraries that open sockets of their own, without Python, pass it by; the namespace without a network does not let them.
"""

import ipaddress
import os
import sys


def _is_this_machine(host):
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in (None, "", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        if not isinstance(address, tuple) or _is_this_machine(address[0]):  # a path or None: a socket of this machine
            return
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        address = arguments[0]
        if _is_this_machine(address):
            return
    else:
        return
    with open(os.environ["NOTED"], "a", encoding="utf8") as file:  # noqa: PTH123  (pathlib would be imported at every start)
        file.write(f"{event} {address!r} by {' '.join(sys.argv)[:200]}\n")
    raise PermissionError(f"this test lets nothing go beyond this machine: {event} {address!r}")


sys.addaudithook(_watch)
