#!/bin/sh
# Fails the build when the agent is bigger than its budget: flash is small. $1 is the target directory.
# Not run on camera hardware yet: see firmware/HARDWARE.md.
set -eu

agent="$1/usr/bin/moorline-agent"
if [ ! -f "$agent" ]; then
	exit 0
fi

max=376
if [ -n "${BR2_CONFIG:-}" ]; then
	set_max=$(sed -n 's/^BR2_PACKAGE_MOORLINE_AGENT_MAX_KB=//p' "$BR2_CONFIG")
	max=${set_max:-$max}
fi

size=$(wc -c <"$agent")
if [ "$size" -gt $((max * 1024)) ]; then
	echo "moorline-agent: $size bytes, more than $max KiB" >&2
	exit 1
fi
