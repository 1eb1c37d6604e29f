#!/bin/sh
# Xiaomi-Dafang-Hacks starts each script of config/autostart at boot. Not run on camera hardware yet: see firmware/HARDWARE.md.
card=/system/sdcard

# A bounded log: the memory is the camera's.
$card/moorline/agent daemon 2>&1 | $card/bin/busybox head -c 262144 >/tmp/moorline-agent.log &
