#!/bin/bash
# Runs as root in the emulated machine: the server as a systemd unit, on an older
# kernel with cgroup version 2 only. Prints one line a check: "PASS name" or
# "FAIL name: why"; "AGAIN" says that it goes on after a loss of power, and
# the last line of a whole run is "DONE".
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8

# The console begins with what the boot left on its line.
echo

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
no_box_on_disk() { equals "$(find /var/lib/warren/fs/sandboxes -mindepth 1 -maxdepth 1 | wc -l)" 0; }
cgroups() { find /sys/fs/cgroup -type d -name "$BOX*" | wc -l; }
no_cgroup() { equals "$(cgroups)" 0; }
no_interface() { equals "$(ip -o link | grep -c ': wv')" 0; }

# What has to be known after the loss of power.
KEPT=/root/paused

state_directory() {
    mkdir -p /var/lib/warren && echo '/dev/vdb /var/lib/warren btrfs compress=no 0 0' >>/etc/fstab &&
        mount /var/lib/warren && btrfs quota enable /var/lib/warren
}

limits_memory() {
    in_box python3 -c 'x = bytearray(3 << 30)' && { echo "3 GiB fitted into 1 GiB"; return 1; }
    equals "$(in_box echo alive)" alive
}

start_sleep() { in_box bash -c 'setsid sleep 100000 >/dev/null 2>&1 </dev/null &'; }
still_sleeps() { in_box pgrep -f 'sleep 100000'; }

# What the service manager does with its own part of the tree must not touch ours.
limits() { (cd /sys/fs/cgroup/warren/"$BOX" && head -v cgroup.controllers memory.max pids.max cpu.max cpuset.cpus); }

survives_daemon_reload() {
    local before after
    before=$(limits) && systemctl daemon-reload && sleep 1 && after=$(limits) || return 1
    equals "$after" "$before" && still_sleeps
}

installs_service() {
    warren install-service || return 1
    equals "$(systemctl is-enabled warren)" enabled && wait_for answers
}

# A new version of the unit takes the place of the old one; what runs, runs on.
installs_again() {
    warren install-service -- --no-debug-ports && wait_for answers || return 1
    [[ $(systemctl show warren -p ExecStart) == *--no-debug-ports* ]] || { echo "the old unit runs"; return 1; }
    still_sleeps && wait_for one_launcher
}

# The unit's KillMode=process spares the launcher too; it has to go by itself.
one_launcher() { equals "$(pgrep -xc warren-launcher)" 1; }

survives_restart() {
    local before
    before=$(limits)
    systemctl restart warren && wait_for answers || return 1
    equals "$(limits)" "$before" && still_sleeps && wait_for one_launcher
}

survives_kill_9() {
    systemctl kill -s KILL --kill-whom=main warren
    wait_for answers && still_sleeps && wait_for one_launcher
}

runs_cells() {
    local cell
    CELLS=$(warren sandbox create code-interpreter-v1 --timeout 3600) || return 1
    cell=$(curl -fsS --max-time 120 -H "E2b-Sandbox-Id: $CELLS" -H 'E2b-Sandbox-Port: 49999' \
        -H 'Content-Type: application/json' -d '{"code": "6 * 7"}' http://127.0.0.1:3000/execute) || return 1
    [[ $cell == *'"text": "42"'* ]] || { echo "$cell"; return 1; }
}

monotonic() { in_box python3 -c 'import time; print(int(time.monotonic()))'; }

# A shell with a word in its memory and nowhere else, which it writes down when asked.
remember() {
    in_box bash -c 'cat >/tmp/shell.sh' <<'END'
word=$RANDOM$RANDOM$RANDOM
trap 'echo $word >/tmp/said' USR1
while :; do sleep 1; done
END
    in_box bash -c 'setsid bash /tmp/shell.sh >/dev/null 2>&1 </dev/null &'
}

said() {
    in_box bash -c 'rm -f /tmp/said
        for _ in $(seq 50); do
            pkill -USR1 -f "^bash /tmp/shell.s[h]"
            sleep 0.5
            [ -s /tmp/said ] && exec cat /tmp/said
        done'
}

# Much memory, of which nothing changes, and a count of how often it was as it should be.
remember_much() {
    in_box bash -c 'cat >/tmp/large.py' <<'END'
import time, zlib
data = bytearray(range(256)) * (96 << 12)
wanted, n = zlib.crc32(data), 0
while zlib.crc32(data) == wanted:
    n += 1
    with open("/tmp/large", "w") as count:
        count.write(str(n))
    time.sleep(1)
END
    in_box bash -c 'setsid python3 /tmp/large.py >/dev/null 2>&1 </dev/null &'
    wait_for in_box test -s /tmp/large
}

much_is_as_it_was() {
    in_box bash -c 'before=$(cat /tmp/large)
        for _ in $(seq 120); do
            sleep 0.5
            [ -s /tmp/large ] && [ "$(cat /tmp/large)" -gt "$before" ] && exit 0
        done
        exit 1'
}

was_written_in_rounds() {
    journalctl -u warren -b --no-pager -o cat | grep -E "state was kept" | tail -1 | grep -E "rounds[^0-9]*[1-3]"
}

pauses_with_memory() {
    warren sandbox pause "$BOX" || return 1
    no_cgroup
}

wakes() { warren sandbox resume "$BOX" --timeout 3600 && wait_for still_sleeps; }

says_its_word() { equals "$(said)" "$WORD"; }

# The host's own clock began anew; the sandbox's goes on.
clock_goes_on() {
    local now
    now=$(monotonic)
    [ "$now" -ge "$MONOTONIC" ] && [ "$now" -lt $((MONOTONIC + 1800)) ] || { echo "$MONOTONIC became $now"; return 1; }
}

# A ground test of the backend, beside the server; it says so where it is skipped.
rounds_make_one_memory() {
    local said
    said=$(/usr/local/bin/contract --exact namespaces::namespaces_keep_memory_of_rounds --nocapture 2>&1) ||
        { echo "$said"; return 1; }
    echo "$said" | grep -E '^(ratios|at once|in rounds|a second time)' | sed 's/^/kernel with rounds: /' >/dev/ttyS0
    [[ $said == *"1 passed"* && $said == *"ratios of"* ]] || { echo "$said"; return 1; }
}

# Nothing of the state directory is written back for it: what was answered for has to be.
lose_power() {
    # What shows progress would stand on the line that follows.
    LOST=$(warren sandbox create base --timeout 3600 2>/dev/null)
    KEY=$(warren key create last --quiet)
    declare -p BOX MONOTONIC WORD LOST KEY >"$KEPT"
    sync -f "$KEPT"
    echo AGAIN
    sleep 1
    echo b >/proc/sysrq-trigger
}

# What ran is gone, says so, and keeps nobody from being cleaned up after.
lost_what_ran() {
    local shown
    shown=$(warren sandbox info "$LOST" 2>&1)
    [[ $shown == *"host was restarted or lost it"* || $shown == *"not found"* || $shown == *"doesn't exist"* ]] ||
        { echo "$shown"; return 1; }
    [ ! -e /var/lib/warren/fs/sandboxes/"$LOST" ] || { echo "its files are there"; return 1; }
    ! journalctl -u warren -b --no-pager -o cat | grep "cannot be read" || return 1
}

last_key_works() { equals "$(curl -fsS -o /dev/null -w '%{http_code}' -H "X-API-Key: $KEY" http://127.0.0.1:3000/v2/sandboxes)" 200; }

nothing_left() {
    warren sandbox kill --all || return 1
    wait_for no_box_on_disk && wait_for no_cgroup && wait_for no_interface
}

# Steers the server that runs.
reach_server() {
    export E2B_API_URL=http://127.0.0.1:3000 E2B_SANDBOX_URL=http://127.0.0.1:3000
    E2B_API_KEY=$(cat /var/lib/warren/api-key)
    export E2B_API_KEY BOX
}

end() {
    check "nothing is left behind" nothing_left
    echo "the server's log:"
    journalctl -u warren -b --no-pager -o cat | tail -60
    echo DONE
    exit
}

if [ -e "$KEPT" ]; then
    # shellcheck disable=SC1090
    . "$KEPT"
    wait_for answers
    reach_server
    check "a key outlives a loss of power in the moment after it was made" last_key_works
    check "of a sandbox that ran nothing is left after a loss of power" lost_what_ran
    check "a paused sandbox wakes after a loss of power" wakes
    check "its processes go on with their memory after that" says_its_word
    check "much memory is as it was after that" much_is_as_it_was
    check "its clock goes on where it stood" clock_goes_on
    check "a command runs in it as before" equals "$(in_box id -u)" 0
    end
fi

echo "kernel $(uname -r), $(cat /sys/fs/cgroup/cgroup.controllers), systemd $(systemctl --version | head -1)"
check "the state directory is a btrfs of its own" state_directory
check "doctor finds everything" warren doctor
check "the service is installed, starts at boot and answers" installs_service
reach_server
BOX=$(warren sandbox create base --timeout 3600 2>/dev/null)
check "a sandbox is created" test -n "$BOX"
check "a command runs as root inside" equals "$(in_box id -u)" 0
check "root inside is nobody outside" test "$(ps -eo uid,comm | awk '$2 == "guest" || $2 == "warren-guest" {print $1; exit}')" -ge 1000000
check "the processor limit shows" equals "$(in_box nproc)" "$(nproc)"
check "the sandbox has a cgroup of version 2" test "$(cgroups)" -ge 1
check "memory is limited and the sandbox lives" limits_memory
check "mounting is refused" bash -c '! warren sandbox exec "$BOX" --user root -- mount -t tmpfs x /mnt'
check "a process starts in the background" start_sleep
check "limits and sandbox outlive a daemon-reload" survives_daemon_reload
check "a sandbox outlives a restart of the unit" survives_restart
check "a sandbox outlives kill -9 of the server" survives_kill_9
check "a sandbox outlives another installation of the service" installs_again
check "cells of code run" runs_cells
if [ ! -x /var/lib/criu/usr/sbin/criu ]; then
    echo "SKIP pauses with memory: no checkpoint tool came along"
    end
fi
check "a memory that is written in rounds is one memory" rounds_make_one_memory
remember
WORD=$(said)
check "a shell keeps a word in its memory" test -n "$WORD"
check "a program keeps much memory" remember_much
check "a sandbox is paused with its memory, and holds nothing of the machine" pauses_with_memory
check "its memory was written in rounds" was_written_in_rounds
check "it wakes" wakes
check "its processes go on with their memory" says_its_word
check "much memory is as it was" much_is_as_it_was
MONOTONIC=$(monotonic)
check "it is paused again" pauses_with_memory
check "its memory was written in rounds again" was_written_in_rounds
lose_power
