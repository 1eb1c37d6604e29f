#!/bin/sh
# Xiaomi-Dafang-Hacks starts each script of config/autostart at boot. Not run on camera hardware yet: see firmware/HARDWARE.md.
card=/system/sdcard
home=$card/moorline
log=/tmp/moorline-agent.log

# dbclient is one of the names of its dropbear.
mkdir -p /tmp/moorline-bin
for name in dbclient dropbearkey; do
	ln -sf $card/bin/dropbearmulti /tmp/moorline-bin/$name
done
PATH=/tmp/moorline-bin:$card/bin:$PATH
export PATH
# Its files lie apart from the program: an upgrade must not replace the agent that takes it back.
# A bounded log: the memory is the camera's.
$home/moorline-agent daemon --dir $home/state --run /tmp/moorline --card $home 2>&1 | $card/bin/busybox head -c 262144 >$log &
