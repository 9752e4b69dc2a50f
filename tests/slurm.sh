#!/usr/bin/env bash
# A SLURM of one node on this machine, for tests: no systemd, no database, no cgroup. As root, on Debian or Ubuntu.
# Usage: slurm.sh up|down FOLDER     FOLDER keeps its state and logs; `up` again finds it running.
# It installs slurm-wlm and munge if they are missing, listens on the loopback only, and owns the links in /etc/slurm.
set -euo pipefail
folder=$(realpath -m "$2")
node=$(hostname -s)

runs() { [ -s "$folder/$1.pid" ] && kill -0 "$(cat "$folder/$1.pid")" 2>/dev/null; }

install_packages() {
    command -v slurmctld slurmd munged >/dev/null && return
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends slurm-wlm munge
}

configure() {
    mkdir -p "$folder"/state "$folder"/spool /etc/slurm
    chmod 700 "$folder"
    [ -e "$folder/munge.key" ] || (umask 277 && head -c 1024 /dev/urandom >"$folder/munge.key")
    # A character device stands in for a GPU: SLURM then sets CUDA_VISIBLE_DEVICES, and gives it to one job at a time.
    [ -e "$folder/gpu0" ] || mknod "$folder/gpu0" c 1 3
    echo "NodeName=$node Name=gpu Type=fake File=$folder/gpu0" >"$folder/gres.conf"
    cat >"$folder/slurm.conf" <<CONF
ClusterName=tests
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
ReturnToService=2
MinJobAge=600
KillWait=2
InactiveLimit=0
GresTypes=gpu
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(awk '/MemTotal/ {print int($2 / 1100)}' /proc/meminfo) Gres=gpu:fake:1
PartitionName=cpu Nodes=$node Default=YES MaxTime=600
PartitionName=gpu Nodes=$node MaxTime=600
CONF
    # Steps started by the executor's jobs do not inherit SLURM_CONF: the files must be where SLURM looks by itself.
    for name in slurm.conf gres.conf; do
        if [ -e "/etc/slurm/$name" ] && [ "$(readlink "/etc/slurm/$name")" != "$folder/$name" ]; then
            echo "/etc/slurm/$name belongs to another SLURM" >&2
            exit 1
        fi
        ln -sfn "$folder/$name" "/etc/slurm/$name"
    done
}

up() {
    install_packages
    configure
    runs munged || munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
        --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
    runs slurmctld || slurmctld -f "$folder/slurm.conf"
    runs slurmd || slurmd -f "$folder/slurm.conf"
    for _ in $(seq 100); do
        [ "$(sinfo -h -p cpu -o %T 2>/dev/null)" = idle ] && return
        sleep 0.2
    done
    tail -n 20 "$folder"/*.log >&2
    exit 1
}

down() {
    for daemon in slurmd slurmctld munged; do
        if runs $daemon; then
            kill "$(cat "$folder/$daemon.pid")"
            for _ in $(seq 100); do
                runs $daemon || break
                sleep 0.1
            done
        fi
    done
    # What a job left whose node was lost.
    pkill -KILL slurmstepd || true
    pkill -KILL -f "$folder/" || true
    rm -f /etc/slurm/slurm.conf /etc/slurm/gres.conf
}

"$1"
