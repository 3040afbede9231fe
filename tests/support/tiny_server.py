"""A single-user server in a few megabytes: any program that answers under its prefix is one to JupyterHub.

`GET <prefix>/environ` tells its environment and `GET <prefix>/file?path=...` a file as this process sees it, so that a
test looks at what a notebook would see. JupyterLab itself is started by the tests that are about JupyterLab.
"""

from __future__ import annotations

import json
import os
import stat
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        status, answer = 200, {"version": "tiny"}
        if url.path.endswith("/environ"):
            answer = dict(os.environ)
        elif url.path.endswith("/file"):
            path = parse_qs(url.query)["path"][0]
            try:
                about = os.lstat(path)
                text = os.listdir(path) if stat.S_ISDIR(about.st_mode) else Path(path).read_text()
                answer = {"mode": oct(about.st_mode & 0o7777), "uid": about.st_uid, "content": text}
            except OSError as error:
                status, answer = 404, {"error": str(error)}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


if __name__ == "__main__":
    where = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    ThreadingHTTPServer(("127.0.0.1", where.port or 0), Handler).serve_forever()
