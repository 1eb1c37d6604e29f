################################################################################
#
# moorline-agent
#
################################################################################

# Not run on camera hardware yet: see firmware/HARDWARE.md.
MOORLINE_AGENT_VERSION = 0.1.0
MOORLINE_AGENT_SITE = $(MOORLINE_AGENT_PKGDIR)
MOORLINE_AGENT_SITE_METHOD = local
MOORLINE_AGENT_LICENSE = Apache-2.0 or MIT
MOORLINE_AGENT_DEPENDENCIES = dropbear

MOORLINE_AGENT_BINARY = $(call qstrip,$(BR2_PACKAGE_MOORLINE_AGENT_BINARY))

ifeq ($(BR_BUILDING)$(BR2_PACKAGE_MOORLINE_AGENT)$(MOORLINE_AGENT_BINARY),yy)
$(error Set BR2_PACKAGE_MOORLINE_AGENT_BINARY to the path of the static moorline-agent)
endif

define MOORLINE_AGENT_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(MOORLINE_AGENT_BINARY) $(TARGET_DIR)/usr/bin/moorline-agent
	BR2_CONFIG=$(BR2_CONFIG) \
		$(BR2_EXTERNAL_MOORLINE_PATH)/board/moorline/post-build.sh $(TARGET_DIR)
	$(INSTALL) -d -m 0700 $(TARGET_DIR)/etc/moorline
endef

define MOORLINE_AGENT_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(MOORLINE_AGENT_PKGDIR)/S60moorline-agent \
		$(TARGET_DIR)/etc/init.d/S60moorline-agent
endef

$(eval $(generic-package))
