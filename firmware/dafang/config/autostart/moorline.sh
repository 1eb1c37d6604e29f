#!/bin/sh
# Xiaomi-Dafang-Hacks starts each script of config/autostart at boot. Not run on camera hardware yet: see firmware/HARDWARE.md.
# What the agent tells it keeps itself: /tmp/moorline/log.
/system/sdcard/moorline/agent daemon >/dev/null 2>&1 &
