#!/bin/sh
# Keeps $XROOTD_URL mounted at $MOUNT until it is told to end; then nothing stays mounted.
set -u

away() {
    umount -l "$MOUNT" 2>/dev/null
}

stop() {
    trap '' TERM INT
    away
    kill "$daemon" 2>/dev/null
    exit 0
}

# With XRootD's own defaults a server that is away blocks readers for minutes and is remembered for half an hour.
export XRD_CONNECTIONRETRY=1 XRD_CONNECTIONWINDOW=3 XRD_STREAMERRORWINDOW=0
export XRD_REQUESTTIMEOUT=15 XRD_STREAMTIMEOUT=10 XRD_TIMEOUTRESOLUTION=1

while :; do
    # A daemon that was killed has left a dead mount behind.
    away
    mkdir -p "$MOUNT" || exit 1
    # Without refreshdslist it asks for the data servers only once. If none answered then, nothing would be there for ever.
    xrootdfs "$MOUNT" -f -o "rdr=$XROOTD_URL,refreshdslist=15s,uid=daemon,allow_other,ro,fsname=xrootdfs" &
    daemon=$!
    trap stop TERM INT
    wait "$daemon"
    echo "xrootdfs ended with status $?; mounting again" >&2
    # Not by ending, too: Kubernetes would wait longer each time before it starts the container again.
    sleep 1
done
