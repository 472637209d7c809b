"""Whether Prometheus is ready: for Debian's image, whose promtool (2.42) cannot send a password."""

import base64
import pathlib
import urllib.request

PASSWORD = pathlib.Path("/run/secrets/monitoring_password").read_bytes()
REQUEST = urllib.request.Request("http://127.0.0.1:9090/-/ready")
REQUEST.add_header("Authorization", f"Basic {base64.b64encode(b'ga:' + PASSWORD).decode()}")
urllib.request.build_opener(urllib.request.ProxyHandler({})).open(REQUEST, timeout=3)
