#!/bin/sh
# Runs one command on the content of an image from a stranger. Started in namespaces of its own (mount, pid, network).
# It sees the host's /usr and, as /layout, the downloaded blobs, both read-only; and one or two file systems in files,
# where neither devices nor setuid mean anything: /scratch and /root. Of root's powers it has those over files.
# usage: jail.sh JAIL LAYOUT SCRATCH ROOT COMMAND...   (JAIL: an empty directory; ROOT: "-" for none)
# exit 101: the jail could not be made, 102: what was written could not be brought to disk, else the command's own code.
set -eu
jail=$1 layout=$2 scratch=$3 root=$4
shift 4
unavailable() { exit 101; }

mount -t tmpfs -o mode=0755,size=1m jail "$jail" || unavailable
mkdir "$jail/usr" "$jail/layout" "$jail/scratch" "$jail/root" "$jail/tmp"
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
mount -o loop,nosuid,nodev,noexec,noatime "$scratch" "$jail/scratch" || unavailable
if [ "$root" != - ]; then
    mount -o loop,nosuid,nodev,noexec,noatime "$root" "$jail/root" || unavailable
fi
mount -o remount,ro "$jail" || unavailable

capabilities=-all,+chown,+dac_override,+dac_read_search,+fowner,+fsetid,+setfcap,+mknod
code=0
chroot "$jail" /usr/bin/setpriv --no-new-privs --inh-caps=-all "--bounding-set=$capabilities" -- "$@" || code=$?

for name in scratch root; do
    if mountpoint -q "$jail/$name"; then
        sync -f "$jail/$name" || exit 102
        umount "$jail/$name" || exit 102
    fi
done
exit $code
