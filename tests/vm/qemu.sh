# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# How QEMU is started. That /dev/kvm opens says nothing: there are machines on
# which it does and no guest gets past its first instructions. So KVM is used
# after a guest has lived under it, once for each machine and kernel; ZLOOP_ACCEL
# (kvm or tcg) overrides.

accel() {
	local image=$1 trial
	if [[ ! ${ZLOOP_ACCEL-} ]]; then
		if [[ ! -w /dev/kvm ]]; then
			ZLOOP_ACCEL=tcg
		else
			trial=$CACHE/accel-$({
				uname -r
				qemu-system-x86_64 --version
				grep -m 1 'model name' /proc/cpuinfo
				cat /proc/sys/kernel/random/boot_id
			} | sha256sum | cut -c1-12)
			[[ -e $trial ]] || try_kvm "$image" >"$trial"
			ZLOOP_ACCEL=$(<"$trial")
		fi
	fi
	case $ZLOOP_ACCEL in
	kvm) printf '%s\n' -accel kvm -cpu host ;;
	*) printf '%s\n' -accel tcg,thread=multi -cpu max ;;
	esac
}

try_kvm() {
	local said
	said=$(timeout -k 1 4 qemu-system-x86_64 -nodefaults -no-reboot -display none \
		-accel kvm -cpu host -m 512 -serial stdio \
		-kernel "$1/vmlinuz" -initrd "$1/initrd.img" \
		-append "console=ttyS0 quiet panic=-1 zloop.trial" </dev/null 2>/dev/null) || true
	if [[ $said == *"the guest lives"* ]]; then
		echo kvm
	else
		echo tcg
	fi
}
