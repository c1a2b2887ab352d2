#!/usr/bin/env bash
# Runs a command under mpirun on two "nodes" of this machine: two network namespaces with host names of their own, joined by one
# (virtual) cable. Ranks of different nodes can only talk over TCP; mpirun starts the second node's ranks through its launch agent.
#
#   sudo tools/two_nodes.sh build/harness run experiments/quickstart.yaml --db two.db
#   RANKS=4 ...        ranks in all, dealt to the nodes in halves (default 2)
#
# Wants root, iproute2, unshare, Open MPI. Says at the end how many bytes went over the cable. Exit code: mpirun's; 77: cannot be done here.
set -euo pipefail
ranks=${RANKS:-2}
[ $# -gt 0 ] || { sed -n '2,8p' "$0"; exit 2; }
cannot() { echo "two_nodes: skipped: $1" >&2; exit 77; }
[ "$(id -u)" = 0 ] || cannot "needs root"
for tool in ip unshare mpirun; do command -v $tool >/dev/null || cannot "needs $tool"; done

a=harness-a-$$ b=harness-b-$$ work=$(mktemp -d)
trap 'ip netns del $a 2>/dev/null; ip netns del $b 2>/dev/null; rm -rf "$work"' EXIT
ip netns add $a 2>/dev/null && ip netns add $b || cannot "no network namespaces"
ip -n $a link add cable type veth peer name cable netns $b 2>/dev/null || cannot "no virtual cables (veth)"
ip -n $a address add 10.77.0.1/24 dev cable
ip -n $b address add 10.77.0.2/24 dev cable
for n in $a $b; do ip -n $n link set lo up; ip -n $n link set cable up; done

# What ssh would be: AGENT HOST COMMAND...
cat >"$work/agent" <<AGENT
#!/bin/sh
shift
exec ip netns exec $b unshare --uts sh -c 'hostname node-b && eval "\$1"' sh "\$*"
AGENT
chmod +x "$work/agent"
half=$(((ranks + 1) / 2))
printf '10.77.0.1 slots=%d\n10.77.0.2 slots=%d\n' $half $half >"$work/hosts"

code=0
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 ip netns exec $a unshare --uts sh -c 'hostname node-a && exec "$@"' sh \
  mpirun -n "$ranks" --hostfile "$work/hosts" --map-by slot --bind-to none \
  -mca plm_rsh_agent "$work/agent" -mca btl_tcp_if_include cable -mca oob_tcp_if_include cable \
  -mca btl_vader_single_copy_mechanism none "$@" || code=$?
sent=$(ip -n $a -s link show cable | awk '/TX:/ {getline; print $1}')
received=$(ip -n $a -s link show cable | awk '/RX:/ {getline; print $1}')
echo "two_nodes: $sent bytes from node-a to node-b, $received back" >&2
exit $code
