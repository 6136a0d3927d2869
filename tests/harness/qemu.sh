# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# How QEMU is started. It is Debian 13's on each machine, from a root of its own: the emulator of
# version 10 is a quarter faster than that of Debian 12.
#
# That /dev/kvm opens says nothing: there are machines on which it does and no guest gets past its
# first instructions. So KVM is used after a guest has lived under it, once for each machine and
# kernel; ZLOOP_ACCEL (kvm or tcg) overrides.

accel() {
	local qemu=$1 image=$2 trial
	if [[ ! ${ZLOOP_ACCEL-} ]]; then
		if [[ ! -w /dev/kvm ]]; then
			ZLOOP_ACCEL=tcg
		else
			trial=$CACHE/accel-$({
				uname -r
				echo "$qemu"
				grep -m 1 'model name' /proc/cpuinfo
				cat /proc/sys/kernel/random/boot_id
			} | sha256sum | cut -c1-12)
			[[ -e $trial ]] || try_kvm "$qemu" "$image" >"$trial"
			ZLOOP_ACCEL=$(<"$trial")
		fi
	fi
	case $ZLOOP_ACCEL in
	kvm) printf '%s\n' -accel kvm -cpu host ;;
	*) printf '%s\n' -accel tcg,thread=multi -cpu "$EMULATED_CPU" ;;
	esac
}

# Where the processor says that strings are fast, the kernel copies and clears memory byte by byte;
# emulated, that takes four times as long as words do. Each access to user space under SMAP ends a
# block of translated code.
EMULATED_CPU=max,-erms,-fsrm,-fsrs,-fzrm,-smap

try_kvm() {
	local said
	said=$(timeout -k 1 4 "$1" -nodefaults -no-reboot -display none \
		-accel kvm -cpu host -m 512 -serial stdio \
		-kernel "$2/kernel" -initrd "$2/initrd.img" \
		-append "console=ttyS0 quiet panic=-1 zloop.trial" </dev/null 2>/dev/null) || true
	if [[ $said == *"the guest lives"* ]]; then
		echo kvm
	else
		echo tcg
	fi
}
