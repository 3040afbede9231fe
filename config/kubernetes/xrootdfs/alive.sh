#!/bin/sh
# Liveness: the mount is there, and its daemon answers something. A server that is away shows as "No such file", which
# mounting again would not help.
grep -q " $MOUNT fuse" /proc/self/mounts || { echo "$MOUNT is not mounted"; exit 1; }
# ls, not stat: what the kernel remembers of the folder itself outlives the daemon for a moment.
said=$(timeout -s KILL 20 ls "$MOUNT" 2>&1 >/dev/null)
code=$?
case "$code:$said" in
    137:*) echo "$MOUNT does not answer"; exit 1 ;;
    *"not connected"*) echo "$said"; exit 1 ;;
esac
exit 0
