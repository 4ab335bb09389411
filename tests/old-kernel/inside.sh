#!/bin/bash
# Runs as root in the emulated machine: the server as a systemd unit, on an older
# kernel with cgroup version 2 only. Prints one line a check: "PASS name" or
# "FAIL name: why"; the last line of a whole run is "DONE".
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8

check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then echo "PASS $name"; else echo "FAIL $name: ${output//$'\n'/ | }"; fi
}

wait_for() {
    for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return 0; sleep 0.2; done
    "$@"
}

equals() { [ "$1" = "$2" ] || { echo "got '$1', expected '$2'"; return 1; }; }
answers() { curl -fsS http://127.0.0.1:3000/health; }
in_box() { warren sandbox exec "$BOX" --user root -- "$@"; }
boxes_on_disk() { ls /var/lib/warren/fs/sandboxes | wc -l; }
cgroups_left() { find /sys/fs/cgroup -type d -name "$1*" | wc -l; }

state_directory() {
    mkdir -p /var/lib/warren && mount -o compress=no /dev/vdb /var/lib/warren && btrfs quota enable /var/lib/warren
}

limits_memory() {
    in_box python3 -c 'x = bytearray(3 << 30)' && { echo "3 GiB fitted into 1 GiB"; return 1; }
    equals "$(in_box echo alive)" alive
}

survives_restart() {
    in_box bash -c 'nohup sleep 100000 >/dev/null 2>&1 &' || return 1
    systemctl restart warren && wait_for answers || return 1
    in_box pgrep -f 'sleep 100000'
}

survives_kill_9() {
    systemctl kill -s KILL --kill-whom=main warren
    wait_for answers && in_box pgrep -f 'sleep 100000'
}

nothing_left() {
    warren sandbox kill --all || return 1
    wait_for equals "$(boxes_on_disk)" 0 || return 1
    wait_for equals "$(cgroups_left "$BOX")" 0 || return 1
    equals "$(ip -o link | grep -c ': wv')" 0
}

echo "kernel $(uname -r), $(cat /sys/fs/cgroup/cgroup.controllers), systemd $(systemctl --version | head -1)"
check "the state directory is a btrfs of its own" state_directory
check "doctor finds everything" warren doctor
systemctl start warren
check "the server answers" wait_for answers
export E2B_API_URL=http://127.0.0.1:3000 E2B_SANDBOX_URL=http://127.0.0.1:3000
E2B_API_KEY=$(cat /var/lib/warren/api-key)
export E2B_API_KEY
BOX=$(warren sandbox create base --timeout 3600)
export BOX
check "a sandbox is created" test -n "$BOX"
check "a command runs as root inside" equals "$(in_box id -u)" 0
check "root inside is nobody outside" test "$(ps -eo uid,comm | awk '$2 == "guest" || $2 == "warren-guest" {print $1; exit}')" -ge 1000000
check "the processor limit shows" equals "$(in_box nproc)" "$(nproc)"
check "the sandbox has a cgroup of version 2" test "$(cgroups_left "$BOX")" -ge 1
check "memory is limited and the sandbox lives" limits_memory
check "mounting is refused" bash -c '! warren sandbox exec "$BOX" --user root -- mount -t tmpfs x /mnt'
check "a sandbox outlives a restart of the unit" survives_restart
check "a sandbox outlives kill -9 of the server" survives_kill_9
check "nothing is left behind" nothing_left
journalctl -u warren --no-pager -o cat | grep -E ' (ERROR|WARN) ' | tail -20
echo DONE
