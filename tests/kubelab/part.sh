#!/bin/bash
# part.sh start|kill|freeze|thaw NAME: one part of the control plane (etcd apiserver controller-manager scheduler coredns).
#   kill    SIGKILL: connections are refused; start brings it back
#   freeze  SIGSTOP: connections stay open and nothing answers; thaw lets it go on
. "$(dirname "$0")/lab.sh"
need_inside
. "$HERE/control.sh"
[ $# = 2 ] || die "usage: part.sh start|kill|freeze|thaw NAME"
case $2 in
etcd | apiserver | controller-manager | scheduler | coredns) ;;
*) die "no part '$2': etcd, apiserver, controller-manager, scheduler or coredns" ;;
esac
case $1 in
start) "start_${2//-/_}" ;;
kill) kill_daemon "$2" ;;
freeze | thaw)
    pid=$(alive "$2") || die "$2 does not run"
    [ "$1" = freeze ] && signal=STOP || signal=CONT
    kill "-$signal" "$pid"
    ;;
*) die "no verb '$1': start, kill, freeze or thaw" ;;
esac
