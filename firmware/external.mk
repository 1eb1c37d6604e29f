# Not run on camera hardware yet: see firmware/HARDWARE.md.
include $(sort $(wildcard $(BR2_EXTERNAL_MOORLINE_PATH)/package/*/*.mk))
