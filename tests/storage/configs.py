"""The configuration of each XRootD server, as text."""

from __future__ import annotations

from storage.layout import (
    CACHE,
    ORIGINS,
    SERVERS,
    STORAGE_AUDIENCE,
    TOKEN_CACHE,
    TOKEN_ORIGIN,
    Layout,
)

# A cache that is told nothing waits for a dead origin for minutes, and remembers it as dead for half an hour.
IMPATIENT = {
    "XRD_CONNECTIONRETRY": "1",
    "XRD_CONNECTIONWINDOW": "3",
    "XRD_STREAMERRORWINDOW": "0",
    "XRD_REQUESTTIMEOUT": "15",
    "XRD_STREAMTIMEOUT": "10",
    "XRD_TIMEOUTRESOLUTION": "1",
}
"""The environment of every long-running XRootD client: FUSE mounts and caches."""

SCITOKENS = "scitokens"


def render(layout: Layout) -> dict[str, str]:
    """Name of a file below `etc/`, without `.cfg` -> its text."""
    texts = {server: _common(layout, server) for server in SERVERS}
    for server in ORIGINS:
        texts[server] += _ORIGIN
    texts[TOKEN_ORIGIN] += _ORIGIN + _tokens(layout) + _https(layout.ports[TOKEN_ORIGIN])
    texts[CACHE] += _CACHE
    texts[TOKEN_CACHE] += _CACHE + _tokens(layout)
    texts[SCITOKENS] = _scitokens(layout)
    return texts


def _common(layout: Layout, server: str) -> str:
    run = layout.run(server)
    return f"""\
all.role server
xrd.port {layout.ports[server]}
# No look-up of names: everything is on this machine.
xrd.network nodnr norpipa
xrd.sched mint 2 maxt 128 avlt 2
all.adminpath {run}
all.pidpath {run}
oss.localroot {layout.data(server)}
xrootd.chksum max 2 adler32
"""


_ORIGIN = """\
all.export /
# A third-party copy: the destination runs this program, which reads from the source. `ttl`: see `tpc.py`.
ofs.tpc ttl 5 5 xfr 64 pgm /usr/bin/xrdcp --server
"""

_CACHE = """\
# Whoever asks names the origin: root://cache//root://origin:port//path
all.export /root:/ nolock r/o
all.export /xroot:/ nolock r/o
ofs.osslib libXrdPss.so
pss.cachelib libXrdFileCache.so
pss.origin =
pss.setopt ConnectTimeout 5
pss.setopt ReconnectWait 1
pss.setopt StreamTimeout 20
pss.setopt RequestTimeout 20
# A ceiling, not what is taken; the server refuses to start with less.
pfc.ram 1g
pfc.blocksize 128k
pfc.prefetch 0
pfc.diskusage 0.97 0.99
"""


def _tokens(layout: Layout) -> str:
    return f"""\
xrd.tls {layout.pki / "server.crt"} {layout.pki / "server.key"}
xrd.tlsca certdir {layout.certificates}
xrootd.tls capable all
xrootd.seclib libXrdSec.so
sec.protocol ztn
sec.protbind * only ztn
ofs.authorize 1
ofs.authlib libXrdAccSciTokens.so config={layout.config(SCITOKENS)}
"""


def _https(port: int) -> str:
    return f"""\
xrd.protocol http:{port} libXrdHttp.so
http.header2cgi Authorization authz
http.exthandler xrdtpc libXrdHttpTPC.so
http.desthttps yes
http.selfhttps2http no
"""


def _scitokens(layout: Layout) -> str:
    return f"""\
[Global]
audience = {STORAGE_AUDIENCE}
onmissing = deny

[Issuer lab]
issuer = {layout.issuer}
base_path = /
map_subject = false
default_user = {layout.user or "nobody"}
"""
