"""Test unauthenticated access to sockets: a separate program, run in their network.

Takes, as JSON on standard input, a list of ``host:port`` and tries each without credentials; the
host ``*`` is the address that leads to the one given as argument. It
prints, as JSON, for each the access (see ``records_network.Access``) and the attempt. Only requests
that change nothing are made.
"""

from __future__ import annotations

import json
import socket
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

_TIMEOUT = 3.0
_PAGES = ("/api/version", "/api/jobs/", "/metrics", "/")
"""Pages to request. A server of only metrics answers any page, and so the first, with metrics."""
_CALLS = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.NodeManagerService/GetSystemConfig",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.ReporterService/HealthCheck",
    "/ray.rpc.RayletDriver/ClusterInfo",
    "/ray.rpc.ObjectManagerService/Pull",
)
_METRICS = ("# HELP", "# TYPE")
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def attempt(address: str) -> tuple[str, str]:
    """Access and attempt of one socket."""
    by_web = _web(address)
    if by_web is not None:
        return by_web
    return _calls(address)


def _web(address: str) -> tuple[str, str] | None:
    refused = None
    for page in _PAGES:
        try:
            with _opener.open(f"http://{address}{page}", timeout=_TIMEOUT) as answer:
                text = answer.read(4096).decode(errors="replace")
                if page == _PAGES[0] and text.startswith(_METRICS):
                    return "metrics", f"GET {page}: HTTP {answer.status}, metrics"
                # A page that asks for credentials is no access, if the other pages were refused.
                if page == "/" and refused is not None:
                    continue
                return "open", f"GET {page}: HTTP {answer.status}"
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                refused = refused or f"GET {page}: HTTP {error.code}"
        except OSError:
            return None
        except Exception:  # not HTTP: another protocol
            return None
    return ("refused", refused) if refused else ("unknown", "HTTP, but no known page")


def _calls(address: str) -> tuple[str, str]:
    import grpc

    said = "no answer"
    with grpc.insecure_channel(address) as channel:
        for call in _CALLS:
            name = call.rpartition(".")[2]
            try:
                method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(call)
                method(b"", timeout=_TIMEOUT)
            except grpc.RpcError as error:
                code = error.code().name
                if code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
                    return "refused", f"{name}: {code}"
                said = f"{name}: {code}"
                if code != "UNIMPLEMENTED":
                    break
            else:
                return "open", f"{name}: answered"
    return "unknown", said


def own_address(towards: str) -> str:
    """Our address in the network of ``towards``; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.connect((towards, 9))
        return str(door.getsockname()[0])


def main() -> int:
    """Try all, a few at once."""
    addresses, own = json.load(sys.stdin), own_address(sys.argv[1])
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(attempt, [address.replace("*", own) for address in addresses])
        found = dict(zip(addresses, answers, strict=True))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
