# SPDX-License-Identifier: GPL-2.0
#
# Out of the kernel's tree this builds zloop.ko against a kernel's build
# directory, and is where the tests and the virtual machine are started from.

KDIR ?= /lib/modules/$(shell uname -r)/build

modules modules_install:
	$(MAKE) -C $(KDIR) M=$(CURDIR) $@

# TEST=zone/limits, for instance.
check:
	tests/check $(if $(TEST),vm)

check-style:
	tests/check style

check-host:
	tests/check host

check-in-tree:
	tests/check in-tree

# The kernel crate after each patch.
check-series:
	tests/in-tree steps

check-package:
	tests/check package

check-dkms:
	tests/check dkms

check-older:
	tests/check older

check-vm:
	tests/check vm

check-power:
	tests/check power

# Its two CPUs are never idle, so that a second VM beside it slows both down.
check-debug:
	ZLOOP_DEBUG=1 ZLOOP_VMS=$${ZLOOP_VMS:-1} tests/check vm

check-zbd:
	tests/check zbd

check-zonefs:
	tests/check zonefs

# DEFECTS='--only 17', for instance.
check-defects:
	tests/defects $(DEFECTS)

# The long forms of what `check` does for a minute.
fuzz:
	tests/fuzz/run $(foreach v,SEED COUNT FIRST WITH NATIVE,$(if $($(v)),$(v)=$($(v))))

power:
	tests/power/run $(foreach v,SEED COUNT FIRST VOLATILE NATIVE DRIVER,$(if $($(v)),$(v)=$($(v))))

storm:
	tests/storm/run $(foreach v,SEED COUNT DRIVER,$(if $($(v)),$(v)=$($(v))))

model:
	tests/model/run $(foreach v,SEED COUNT FIRST ROUND DRIVER NATIVE,$(if $($(v)),$(v)=$($(v))))

# BENCH=--quick, for instance; tests/bench/run --help lists what there is.
bench:
	tests/bench/run $(BENCH)

deb:
	bash -c '. tests/harness/lib.sh && cp -v "$$(deb)"/zloop-dkms_*_all.deb .'

# For the tree LINUX, or else for the source of the virtual machine's kernel.
patch:
	rm -rf zloop-patches.new
	bash -c '. tests/harness/lib.sh && patch/make "$${LINUX:-$$(linux)}" zloop-patches.new'
	rm -rf zloop-patches && mv zloop-patches.new zloop-patches

demo:
	tests/harness/demo

shell:
	tests/harness/run --shell

# kbuild's own clean wants KDIR; what it removes is known.
clean:
	find . -path ./.git -prune -o \( -name '*.ko' -o -name '*.o' -o -name '*.mod' \
		-o -name '*.mod.c' -o -name '*.a' -o -name '*.rmeta' -o -name '.*.cmd' \
		-o -name '.*.o.d' -o -name Module.symvers -o -name modules.order \) -type f -exec rm -f {} +

distclean: clean
	tests/harness/distclean

help:
	@echo 'make                 build zloop.ko for the running kernel'
	@echo 'make KDIR=dir        for the kernel with that build directory'
	@echo 'make deb             a package for Debian that builds zloop.ko for each kernel'
	@echo 'make patch [LINUX=dir]                   patches for a kernel tree, in zloop-patches/'
	@echo 'make demo            a zoned disk at work in a virtual machine'
	@echo 'make shell           a virtual machine with the module loaded'
	@echo 'make check           all tests but the longest'
	@echo 'make check TEST=zone/limits               the tests of a folder or a file, or one test'
	@echo 'make check JUNIT=file                     the same, with the results as a file of JUnit XML'
	@echo 'make check-style     rustfmt, warnings, clippy, stack use, shellcheck, ruff, mypy, the defects table'
	@echo 'make check-host      the tests of the files that need no kernel'
	@echo 'make check-in-tree   the patches in a kernel tree, built in and as a module'
	@echo 'make check-series    the tree after each patch of the series, in ten minutes'
	@echo 'make check-package   the patches, the package, the manual page'
	@echo 'make check-dkms      the package, installed, with modules for two kernels'
	@echo 'make check-older     some of the tests with the previous kernel series'
	@echo 'make check-vm        the tests in a virtual machine'
	@echo 'make check-power     a few power cuts under load'
	@echo 'make check-debug     the same tests in a kernel with KASAN, lockdep, kmemleak'
	@echo 'make check-zbd FIO_SRC=dir               t/zbd of a fio checkout'
	@echo 'make check-zonefs ZONEFS_TOOLS_SRC=dir   tests of a zonefs-tools checkout'
	@echo 'make check-defects   the tests of the defects of the C driver, on both drivers'
	@echo 'make fuzz [SEED=n] [COUNT=n] [NATIVE=1]  a million fuzzed commands'
	@echo 'make power [SEED=n] [COUNT=n] [NATIVE=1] [VOLATILE=1]'
	@echo '                     a thousand power cuts under load'
	@echo 'make storm [SEED=n] [COUNT=n]            requests, faults and removals in parallel'
	@echo 'make model [SEED=n] [COUNT=n] [NATIVE=1] random commands, compared with a model'
	@echo 'make bench           the speed, beside the C driver and raw files (BENCH=--quick)'
	@echo 'make clean           remove what was built in this directory'
	@echo 'make distclean       also remove the cache of downloads and builds'
	@echo
	@echo 'KERNEL=7.3.4+deb13-amd64   the Debian kernel of the virtual machine'
	@echo 'OLDER_KERNEL=7.2.12+deb13-amd64   the one of check-older'
	@echo 'ZLOOP_CACHE=dir            the cache (~/.cache/zloop)'
	@echo 'ZLOOP_ACCEL=kvm|tcg        the accelerator; by default a trial chooses'
	@echo 'DEBIAN_MIRROR=url          the source of packages'

export KERNEL OLDER_KERNEL ZLOOP_CACHE ZLOOP_ACCEL DEBIAN_MIRROR LINUX FIO_SRC ZONEFS_TOOLS_SRC TEST JUNIT

.PHONY: modules modules_install deb patch check check-style check-host check-in-tree check-series check-package check-dkms check-older \
	check-vm check-power check-debug check-zbd check-zonefs check-defects fuzz power storm model bench demo shell clean distclean help
