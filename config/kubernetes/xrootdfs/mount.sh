#!/bin/sh
# Mounts $XROOTD_URL at $MOUNT until it is told to end, or xrootdfs ends; then nothing stays mounted.
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

# A daemon that was killed has left a dead mount behind.
away
mkdir -p "$MOUNT" || exit 1

xrootdfs "$MOUNT" -f -o "rdr=$XROOTD_URL,uid=daemon,allow_other,ro,fsname=xrootdfs" &
daemon=$!
trap stop TERM INT
wait "$daemon"
code=$?
away
echo "xrootdfs ended with status $code" >&2
exit 1
