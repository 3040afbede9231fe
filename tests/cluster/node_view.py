"""Runs on the node, as root and with its processes in view: what eosxd sees of a container, and what a node can do.

    kubectl exec -i daemonset/node -- python3 - eos CONTAINER UID GID       < node_view.py
    kubectl exec -i daemonset/node -- python3 - watch CONTAINER UID GID SECONDS
    kubectl exec -i daemonset/node -- python3 - kill CONTAINER [NAME]
    kubectl exec -i daemonset/node -- python3 - processes CONTAINER

Prints one line of JSON; never a token. The standard library alone.
"""

import base64
import ctypes
import errno
import hashlib
import json
import os
import signal
import stat
import sys
import time

# eosxd prefers these to OAUTH2_TOKEN; the second ones are paths, of files that it passes over if it cannot open them.
OUTRANKING = ("KRB5CCNAME", "BEARER_TOKEN")
OUTRANKING_FILES = ("X509_USER_PROXY", "BEARER_TOKEN_FILE")


def processes(container):
    """Ids of a container's processes, oldest first."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cgroup") as groups:
                if container in groups.read():
                    found.append((started(int(name)), int(name)))
        except OSError:
            continue
    return [pid for _, pid in sorted(found)]


def started(pid):
    """When a process started, as epoch seconds (to 10 ms)."""
    with open(f"/proc/{pid}/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return boot + ticks / os.sysconf("SC_CLK_TCK")


def environ(pid):
    """The environment that a process was started with."""
    with open(f"/proc/{pid}/environ", "rb") as file:
        pairs = (entry.partition(b"=") for entry in file.read().split(b"\0") if entry)
        return {name.decode(): value.decode() for name, _, value in pairs}


def become(uid, gid):
    """The file system rights of a user, as eosxd takes them for a lookup; nothing supplementary."""
    libc = ctypes.CDLL(None)
    os.setgroups([])
    libc.setfsgid(gid)
    libc.setfsuid(uid)


def walk(root, path):
    """Opens a path inside a container's root, no component of which may be a link; a descriptor."""
    here = os.dup(root)
    parts = [part for part in path.split("/") if part]
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if last else os.O_DIRECTORY)
        try:
            there = os.open(part, flags, dir_fd=here)
        finally:
            os.close(here)
        here = there
    return here


def read(root, path):
    file = walk(root, path)
    try:
        about = os.fstat(file)
        content = b""
        while block := os.read(file, 65536):
            content += block
        return about, content, file_has_acl(file)
    finally:
        os.close(file)


def file_has_acl(file):
    try:
        os.getxattr(file, "system.posix_acl_access")
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise
    return True


def server(container):
    """The notebook server's process, and what it says of its token."""
    pid = processes(container)[0]
    variables = environ(pid)
    return pid, variables, variables.get("OAUTH2_TOKEN", "").removeprefix("FILE:")


def eos(container, uid, gid):
    pid, variables, path = server(container)
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY)
    instead = [f"{folder}/bt_u{uid}" for folder in (variables.get("XDG_RUNTIME_DIR", "/tmp"), "/tmp")]
    with open(f"/proc/{pid}/mountinfo") as file:
        mounts = [line.split() for line in file]
    own = max((m for m in mounts if (path + "/").startswith(m[4].rstrip("/") + "/")), key=lambda m: len(m[4]))
    instead += [variables[name] for name in OUTRANKING_FILES if variables.get(name)]
    become(uid, gid)
    about, content, acl = read(root, path)
    fields = content.decode(errors="replace").split(":")
    claims = json.loads(base64.urlsafe_b64decode(fields[1].split(".")[1] + "==")) if len(fields) > 1 else {}
    audience = claims.get("aud", [])
    return {
        "variable": variables.get("OAUTH2_TOKEN", ""),
        "outranking": [name for name in OUTRANKING if variables.get(name)],
        "instead": [place for place in instead if there(root, place)],
        "fields": [fields[0], *fields[2:]],
        "bytes_besides_printable": sum(not 0x21 <= byte <= 0x7E for byte in content),
        "owner": about.st_uid,
        "mode": stat.S_IMODE(about.st_mode),
        "regular": stat.S_ISREG(about.st_mode),
        "acl": acl,
        "path": path,
        "file_system": own[own.index("-") + 1],
        "mount_point": own[4],
        "mount_options": own[5].split(","),
        "written": about.st_mtime,
        "started": started(pid),
        "server_owner": os.stat(f"/proc/{pid}").st_uid,
        "now": time.time(),
        "expires": claims.get("exp"),
        "audience": audience if isinstance(audience, list) else [audience],
        "scope": str(claims.get("scope", "")).split(),
    }


def there(root, path):
    try:
        os.close(walk(root, path))
    except OSError:
        return False
    return True


def watch(container, uid, gid, seconds):
    """Reads the token over and over: how often it was not there, or not whole, and how often it was renewed."""
    pid, _, path = server(container)
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY)
    become(uid, gid)
    until = time.monotonic() + seconds
    reads = missing = broken = expired = same_time = 0
    seen = {}
    while time.monotonic() < until:
        reads += 1
        try:
            about, content, _ = read(root, path)
        except OSError:
            missing += 1
            continue
        fields = content.split(b":")
        if len(fields) != 3 or fields[1].count(b".") != 2 or stat.S_IMODE(about.st_mode) & 0o077:
            broken += 1
            continue
        digest = hashlib.sha256(content).hexdigest()
        if digest not in seen:
            same_time += about.st_mtime_ns in seen.values()
            seen[digest] = about.st_mtime_ns
        expires = json.loads(base64.urlsafe_b64decode(fields[1].split(b".")[1] + b"=="))["exp"]
        expired += expires < time.time()
        time.sleep(0.002)
    return {
        "reads": reads,
        "missing": missing,
        "broken": broken,
        "expired": expired,
        "renewals": len(seen) - 1,
        "renewals_with_the_same_time": same_time,
    }


def kill(container, name=""):
    """Ends a container's first process, or the one with this name, as nothing can be prepared for."""
    for pid in processes(container):
        with open(f"/proc/{pid}/comm") as file:
            if name in ("", file.read().strip()):
                os.kill(pid, signal.SIGKILL)
                return {"killed": pid}
    return {"killed": None}


def environments(container):
    """What the container's processes were started with, variables and arguments, and how large they are."""
    found = []
    for pid in processes(container):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                arguments = file.read().split("\0")
            with open(f"/proc/{pid}/statm") as file:
                resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            found.append({"arguments": arguments, "variables": environ(pid), "resident_bytes": resident})
        except OSError:
            continue
    return found


def main(what, container, *more):
    numbers = [float(value) if "." in value else int(value) for value in more if value.replace(".", "").isdigit()]
    if what == "eos":
        answer = eos(container, *numbers)
    elif what == "watch":
        answer = watch(container, *numbers)
    elif what == "kill":
        answer = kill(container, *more)
    else:
        answer = environments(container)
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
