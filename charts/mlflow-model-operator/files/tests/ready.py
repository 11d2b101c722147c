"""Run by `helm test`, in the operator's image: all replicas are ready, and one of them leads."""

import os
import re
import socket
import sys
import time
import urllib.request

SERVICE, REPLICAS = os.environ["SERVICE"], int(os.environ["REPLICAS"])
DEADLINE = time.monotonic() + float(os.environ["TIMEOUT"])
PORT = 8080


def get(address: str, path: str) -> str:
    """The body of a response; raises OSError for any other status than 200."""
    host = f"[{address}]" if ":" in address else address
    with urllib.request.urlopen(f"http://{host}:{PORT}{path}", timeout=5) as response:
        return str(response.read(), "utf-8")


def fault() -> str:
    """Why the release is not well; "" if it is."""
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(SERVICE, PORT)}
        for address in addresses:
            get(address, "/readyz")
        metrics = [get(address, "/metrics") for address in addresses]
    except OSError as error:
        return f"{SERVICE}: {error}"
    if len(addresses) != REPLICAS:
        return f"{len(addresses)} of {REPLICAS} replicas are ready"
    leading = sum(bool(re.search(r"^mlflow_model_operator_leader 1", m, re.M)) for m in metrics)
    return "" if leading == 1 else f"{leading} replicas lead, not one"


while (found := fault()) and time.monotonic() < DEADLINE:
    time.sleep(1)
sys.exit(found or print(f"{REPLICAS} of {REPLICAS} replicas are ready, one of them leads"))
