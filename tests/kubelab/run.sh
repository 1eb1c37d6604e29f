#!/bin/bash
# run.sh CMD...: brings a lab up, runs CMD inside it, takes the lab down, and exits with CMD's status.
# Nothing outlives it, whatever ends it. If it is killed itself, the kernel ends the lab with everything in it; only cgroups without
# processes and files stay, which the next lab of the same name removes.
. "$(dirname "$0")/lab.sh"
trap '"$HERE/down.sh" || exit 1' EXIT
begin setpriv --pdeathsig KILL
"$HERE/up.sh"
status=0
enter "$@" || status=$?
exit $status
