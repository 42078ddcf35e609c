#!/bin/sh
# Runs one command on the content of an image from a stranger. Started in namespaces of its own (mount, pid, network).
# It sees the host's /usr read-only, /layout (the downloaded blobs) read-only, /made, and /scratch: a file system of a
# fixed size in the file $1, where neither devices nor setuid mean anything. Of root's powers it has those over files.
# usage: jail.sh IMAGE LAYOUT MADE JAIL COMMAND...   (JAIL: an empty directory)   exit 101: the jail could not be made,
# 102: what was written could not be brought to the disk, else the command's own code.
set -eu
image=$1 layout=$2 made=$3 jail=$4
shift 4
unavailable() { exit 101; }

mount -t tmpfs -o mode=0755,size=1m jail "$jail" || unavailable
mkdir "$jail/usr" "$jail/layout" "$jail/made" "$jail/scratch" "$jail/tmp"
mount --bind -o ro /usr "$jail/usr" || unavailable
for name in bin sbin lib lib32 lib64; do
    if [ -L "/$name" ]; then
        cp -P "/$name" "$jail/$name"
    elif [ -d "/$name" ]; then
        mkdir "$jail/$name"
        mount --bind -o ro "/$name" "$jail/$name" || unavailable
    fi
done
mount --bind -o ro,nosuid,nodev "$layout" "$jail/layout" || unavailable
mount --bind -o nosuid,nodev "$made" "$jail/made" || unavailable
mount -o loop,nosuid,nodev,noexec,noatime "$image" "$jail/scratch" || unavailable
mount -o remount,ro "$jail" || unavailable

capabilities=-all,+chown,+dac_override,+dac_read_search,+fowner,+fsetid,+setfcap,+mknod
code=0
chroot "$jail" /usr/bin/setpriv --no-new-privs --inh-caps=-all "--bounding-set=$capabilities" -- "$@" || code=$?

sync -f "$jail/scratch" || exit 102
umount "$jail/scratch" || exit 102
exit $code
