#!/usr/bin/env bash
# Prints kernel settings for a gateway with CONNECTIONS sessions, each with its reason. Changes nothing.
#
#   kernel-tuning/profile.sh CONNECTIONS [SHARDS]        SHARDS: default one per core, as `tidegate serve`
#
#   kernel-tuning/profile.sh 1000000 > /etc/sysctl.d/90-tidegate.conf && sysctl --system
#
# `tidegate doctor --connections CONNECTIONS` computes the same numbers and says which of them this machine lacks.

set -euo pipefail

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[[ ${1-} =~ ^[1-9][0-9]{0,9}$ && ${2-1} =~ ^[1-9][0-9]{0,2}$ ]] || usage
connections=$1
shards=${2:-$(nproc)}

# Users spread over shards by hash; a tenth more is far beyond what the fullest shard gets.
share=$(((connections + shards - 1) / shards))
per_shard=$((share + share / 10))
table_max=$((1 << 20))
if ((per_shard > table_max)); then
    echo "$shards shards hold at most $table_max sessions each: use at least $(((connections + connections / 10 + table_max - 1) / table_max)) (tidegate serve --shards)" >&2
    exit 1
fi
files_beside=16384
open_files=$((per_shard > files_beside ? per_shard : files_beside))
buckets=1
while ((buckets * 4 < connections)); do buckets=$((buckets * 2)); done

# A value that is enough already is not touched: some systems ship with more.
line() {
    local here
    here=$(cat "/proc/sys/${1//.//}" 2>/dev/null || echo 0)
    if ((${#here} > 18 || here >= $2)); then
        echo "# Enough here: $here."
        echo "# $1=$2"
    else
        echo "$1=$2"
    fi
}

cat <<PROFILE
# Tidegate: $connections sessions on $shards shards. See kernel-tuning/README.md.

# Every socket is a file of the machine, also in a direct descriptor table; a tenth and 65536 more for everything else.
$(line fs.file-max $((connections + connections / 10 + 65536)))

# The kernel refuses a higher limit of open files than this.
$(line fs.nr_open $open_files)

# Clients that wait for accept: what the listeners ask for. A full queue costs a client a second.
$(line net.core.somaxconn 8192)

# Handshakes half done; past it the kernel answers with SYN cookies, which forget TCP options.
$(line net.ipv4.tcp_max_syn_backlog 8192)

# Not sysctls:
#
# The limit of open files bounds the direct descriptor table of each shard (systemd unit; or nofile in limits.conf).
# LimitNOFILE=$open_files
#
# Buckets of the table of established connections, at most 4 connections each (kernel command line, then boot).
# thash_entries=$buckets
#
# Only where a firewall tracks the gateway's port; better: nft ... tcp dport 9000 notrack.
# net.netfilter.nf_conntrack_max=$((connections + connections / 4))
PROFILE
