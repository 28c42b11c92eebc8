#!/bin/busybox sh
# The guest's initramfs: loads what the disk and the command channel need, then becomes the command server.
export PATH=/
busybox mkdir -p /dev /proc /sys /new
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys

for module in /modules/*; do
    busybox insmod "$module"
done
tries=0
while channel=$(busybox echo /dev/vport*p1) && [ ! -b /dev/vda -o ! -c "$channel" ]; do # until the buses are probed
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { busybox echo "no disk or no channel among" /dev/*; exit 1; }
    busybox sleep 0.05
done

busybox mount -t ext4 -o rw,noatime /dev/vda /new
for kept in dev proc sys; do
    busybox mount --move /$kept /new/$kept
done
cd /new || exit 1
busybox mount -t tmpfs tmpfs run
busybox mount -t tmpfs tmpfs tmp
busybox mkdir -p dev/shm dev/pts
busybox mount -t tmpfs tmpfs dev/shm
busybox mount -t devpts devpts dev/pts
busybox mount -t debugfs debugfs sys/kernel/debug
busybox mount -t tracefs tracefs sys/kernel/tracing
busybox mount -t securityfs securityfs sys/kernel/security
busybox mount -t bpf bpf sys/fs/bpf
busybox mount -t cgroup2 cgroup2 sys/fs/cgroup
busybox ip link set lo up
busybox hostname guest
busybox cp -r /server run/server
export PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH=/run/server
exec /busybox switch_root /new /usr/bin/python3 -S -m tests.lab.guest.server <>".$channel" 1>&0
