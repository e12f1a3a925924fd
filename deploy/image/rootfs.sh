#!/bin/sh
# usage: deploy/image/rootfs.sh EXECUTABLE DIR
# Lays out in DIR the whole file system of an image that runs EXECUTABLE. Used by every way to build the images.
set -eu

executable=$1
rootfs=$2
name=$(basename "$executable")

mkdir -p "$rootfs/etc/ssl/certs" "$rootfs/tmp" "$rootfs/var/lib/efs-csi"
# The default socket lies in /tmp, the default state in /var/lib/efs-csi; the image's user may write to both.
chmod 1777 "$rootfs/tmp"
chmod 0777 "$rootfs/var/lib/efs-csi"
cp "$executable" "$rootfs/$name"
chmod 0755 "$rootfs/$name"
# The authorities that vouch for the AWS endpoints: those of the building machine, or the PEM file CA_BUNDLE.
cp "${CA_BUNDLE:-/etc/ssl/certs/ca-certificates.crt}" "$rootfs/etc/ssl/certs/ca-certificates.crt"
chmod 0644 "$rootfs/etc/ssl/certs/ca-certificates.crt"
# Host aliases of a pod are in /etc/hosts; libc reads it before it asks the DNS only if it is told to.
echo 'hosts: files dns' >"$rootfs/etc/nsswitch.conf"
echo 'nonroot:x:65532:65532::/:/' >"$rootfs/etc/passwd"
echo 'nonroot:x:65532:' >"$rootfs/etc/group"
chmod 0644 "$rootfs/etc/nsswitch.conf" "$rootfs/etc/passwd" "$rootfs/etc/group"
