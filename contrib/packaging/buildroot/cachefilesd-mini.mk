################################################################################
#
# cachefilesd-mini
#
################################################################################

CACHEFILESD_MINI_VERSION = 0.1
CACHEFILESD_MINI_SITE = https://cachefilesd-mini.invalid/releases
CACHEFILESD_MINI_BEARSSL = bearssl-0.6
CACHEFILESD_MINI_EXTRA_DOWNLOADS = https://bearssl.org/$(CACHEFILESD_MINI_BEARSSL).tar.gz
CACHEFILESD_MINI_LICENSE = MIT
CACHEFILESD_MINI_LICENSE_FILES = LICENSE

# Neither git nor the network is asked for anything.
CACHEFILESD_MINI_MAKE_OPTS = \
	CC="$(TARGET_CC)" \
	AR="$(TARGET_AR)" \
	OBJCOPY="$(TARGET_OBJCOPY)" \
	BEARSSL=$(@D)/$(CACHEFILESD_MINI_BEARSSL) \
	PREFIX=/usr

define CACHEFILESD_MINI_EXTRACT_BEARSSL
	$(TAR) -xf $(CACHEFILESD_MINI_DL_DIR)/$(CACHEFILESD_MINI_BEARSSL).tar.gz -C $(@D)
endef
CACHEFILESD_MINI_POST_EXTRACT_HOOKS += CACHEFILESD_MINI_EXTRACT_BEARSSL

define CACHEFILESD_MINI_BUILD_CMDS
	$(TARGET_MAKE_ENV) $(MAKE) -C $(@D) $(CACHEFILESD_MINI_MAKE_OPTS)
endef

define CACHEFILESD_MINI_INSTALL_TARGET_CMDS
	$(TARGET_MAKE_ENV) $(MAKE) -C $(@D) $(CACHEFILESD_MINI_MAKE_OPTS) \
		DESTDIR=$(TARGET_DIR) install
endef

define CACHEFILESD_MINI_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 644 $(@D)/contrib/systemd/cachefilesd-mini.service \
		$(TARGET_DIR)/usr/lib/systemd/system/cachefilesd-mini.service
endef

define CACHEFILESD_MINI_INSTALL_INIT_OPENRC
	$(INSTALL) -D -m 755 $(@D)/contrib/openrc/cachefilesd-mini.initd \
		$(TARGET_DIR)/etc/init.d/cachefilesd-mini
endef

define CACHEFILESD_MINI_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 755 $(CACHEFILESD_MINI_PKGDIR)/S45cachefilesd-mini \
		$(TARGET_DIR)/etc/init.d/S45cachefilesd-mini
endef

define CACHEFILESD_MINI_LINUX_CONFIG_FIXUPS
	$(call KCONFIG_ENABLE_OPT,CONFIG_BLK_DEV_NBD)
	$(call KCONFIG_ENABLE_OPT,CONFIG_FSCACHE)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CACHEFILES)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CACHEFILES_ONDEMAND)
	$(call KCONFIG_ENABLE_OPT,CONFIG_EROFS_FS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_EROFS_FS_ONDEMAND)
endef

$(eval $(generic-package))
