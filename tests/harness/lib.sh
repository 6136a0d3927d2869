# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What the scripts of this folder share: the cache, the log, being root, and
# the toolchain root.
#
# An artefact is a directory in the cache, made by the script make/NAME and
# called NAME-KEY, where the key is the hash of that script and of its
# arguments. It is built under a temporary name and renamed when it is
# complete, so an interrupted run leaves nothing that looks finished; a lock
# per name makes a second run wait for the first one instead of racing it.
# An artefact that depends on another one has that one's name as an argument,
# and so a new key when it changes.
#
# An ordinary user becomes root of a user namespace; root only gets a mount
# namespace of its own. All mounts live in there and vanish with it.

set -euo pipefail
shopt -s inherit_errexit

VM=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TREE=$(cd "$VM/../.." && pwd)
CACHE=${ZLOOP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/zloop}
# Debian's kernel, and what the VM runs: the same, or of its version the debug
# kernel or the user-mode kernel.
STOCK_KERNEL=${STOCK_KERNEL:-${KERNEL:-7.3.4+deb13-amd64}}
KERNEL=$STOCK_KERNEL
if [[ ${ZLOOP_DEBUG-} ]]; then
	KERNEL=${STOCK_KERNEL%%[+-]*}-debug
	export LLVM=1
elif [[ ${ZLOOP_UML-} ]]; then
	KERNEL=${STOCK_KERNEL%%[+-]*}-uml
fi
# One of the series before, which the same source is for.
OLDER_KERNEL=${OLDER_KERNEL:-7.2.12+deb13-amd64}
# Kernels that our package for Debian is tried with.
DKMS_KERNELS=("$STOCK_KERNEL" "$OLDER_KERNEL")
export VM TREE CACHE KERNEL STOCK_KERNEL

# Steps of one command, nested scripts included, are timed from its start.
export ZLOOP_START=${ZLOOP_START:-$EPOCHSECONDS}

step() { printf '[%3ds] %s\n' $((EPOCHSECONDS - ZLOOP_START)) "$*" >&2; }

die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# as_root COMMAND...: in a mount namespace, as real root or a namespace's.
as_root() {
	if ((EUID == 0)); then
		unshare --mount --propagation private "$@"
	else
		unshare --user --map-root-user --map-auto --mount "$@"
	fi
}

# remove PATH...: also what belongs to a namespace's other users.
remove() { as_root rm -rf "$@"; }

# need_host_tools: what no root of ours can provide, installed when we may.
need_host_tools() {
	local packages=()
	command -v mmdebstrap >/dev/null || packages+=(mmdebstrap)
	((EUID == 0)) || command -v newuidmap >/dev/null || packages+=(uidmap)
	((${#packages[@]})) || return 0
	if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
		die "missing on this machine; as root: apt-get install ${packages[*]}"
	fi
	step "installing ${packages[*]}"
	logged host-tools install_packages "${packages[@]}"
}

install_packages() {
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q || echo "some package lists could not be read"
	apt-get install -y -q --no-install-recommends "$@"
}

# logged NAME COMMAND...: quiet unless it fails.
logged() {
	local log=$CACHE/log/$1.$$ status=0
	shift
	mkdir -p "$CACHE/log"
	# A subshell with its own errexit: ours is off left of `||`.
	set +e
	(
		set -e
		"$@"
	) >"$log" 2>&1 </dev/null
	status=$?
	set -e
	if ((status)); then
		tail -n 40 "$log" >&2
		die "'$*' failed; all of its output: $log"
	fi
	rm -f "$log"
}

# artefact NAME DESCRIPTION [ARGUMENT...]: print its path, building it first if
# the cache lacks it.
artefact() {
	local name=$1 what=$2 key path lock
	shift 2
	key=$(cat "$VM/make/$name" - <<<"$*" | sha256sum | cut -c1-12)
	path=$CACHE/$name-$key
	if [[ ! -d $path ]]; then
		mkdir -p "$CACHE"
		exec {lock}>"$CACHE/.lock-$name"
		flock -n "$lock" || {
			step "waiting for another run that makes the $what"
			flock "$lock"
		}
		if [[ ! -d $path ]]; then
			step "making the $what"
			remove "$CACHE/$name"-????????????.tmp
			mkdir "$path.tmp"
			logged "$name" "$VM/make/$name" "$path.tmp" "$@"
			mv "$path.tmp" "$path"
			prune "$name" "$path"
		fi
		exec {lock}>&-
	fi
	touch "$path"
	printf '%s\n' "$path"
}

# prune NAME KEEP: artefacts of that name that nothing used for two weeks.
prune() {
	local old
	find "$CACHE" -maxdepth 1 -name "$1-*" ! -path "$2" -mtime +14 |
		while read -r old; do remove "$old"; done
}

toolchain() {
	need_host_tools
	artefact toolchain "toolchain root (a minute)"
}

kernel() {
	local root kernel
	root=$(toolchain)
	# Debian's is made with gcc.
	kernel=$(LLVM='' ZLOOP_UML='' artefact kernel "build directory of Linux $STOCK_KERNEL (two minutes)" "$STOCK_KERNEL" "${root##*/}")
	case $KERNEL in
	"$STOCK_KERNEL") printf '%s\n' "$kernel" ;;
	*-uml)
		ZLOOP_UML='' artefact uml-kernel "user-mode kernel (6 minutes)" "$KERNEL" "${kernel##*/}" \
			"$(sha256sum <"$TREE/tests/uml/kernel.config")"
		;;
	*)
		artefact debug-kernel "debug kernel (20 minutes)" "$KERNEL" "${kernel##*/}" \
			"$(sha256sum <"$TREE/tests/debug/kernel.config")"
		;;
	esac
}

# qemu_root: what runs the VMs.
qemu_root() {
	need_host_tools
	artefact qemu-root "root with QEMU (a minute)"
}

# loom_root: where tests/loom runs.
loom_root() {
	need_host_tools
	artefact loom-root "root for the model checker (two minutes)"
}

# lint_root: where Python is checked.
lint_root() {
	need_host_tools
	artefact lint-root "root for checks of Python (two minutes)"
}

# package_root: where the package is made.
package_root() {
	need_host_tools
	artefact package-root "root for packages (a minute)"
}

# plot_root: where pictures are drawn.
plot_root() {
	need_host_tools
	artefact plot-root "root for pictures (a minute)"
}

# deb: our package for Debian.
deb() {
	local root
	root=$(package_root)
	artefact deb "package for Debian" "${root##*/}" \
		"$(cd "$TREE" && package_sources | xargs -r sha256sum | sha256sum)"
}

# dkms_root: where a user has installed it.
dkms_root() {
	local root
	root=$(artefact user-root "Debian root of a user (a minute)" "$STOCK_KERNEL")
	artefact dkms-root "user's root with our package (five minutes)" "${DKMS_KERNELS[@]}" "${root##*/}" \
		"$(cd "$TREE" && find debian dkms -type f -exec sha256sum {} + | sort | sha256sum)"
}

# image: what the VM boots.
image() {
	local kernel root
	kernel=$(kernel)
	root=$(artefact test-root "test root (a minute)")
	artefact image "VM's image (20 seconds)" "$KERNEL" "${kernel##*/}" "${root##*/}" \
		"$(sha256sum <"$VM/guest/init")"
}

# c_zloop: the C driver that came with this kernel.
c_zloop() {
	local kernel
	kernel=$(kernel)
	artefact c-zloop "C driver" "$KERNEL" "${kernel##*/}"
}

# sources: the files that make our module: all Rust files outside of tests/, and
# what kbuild reads.
sources() {
	(cd "$TREE" && find . \( -path './.?*' -o -path ./tests -o -path ./debian \) -prune -o -name '*.rs' -print
		printf '%s\n' ./Kbuild ./Kconfig) | sort
}

# package_sources: what our package for Debian is made from.
package_sources() {
	sources
	(cd "$TREE" && find debian dkms Documentation README.md -type f -print) | sort
}

# linux: the files of the kernel's source that our patches for it are made with.
linux() {
	toolchain >/dev/null
	artefact linux "files of Linux $STOCK_KERNEL (half a minute)" "$STOCK_KERNEL"
}

# module [MAKE_ARGUMENT...]: our module from the sources as they are now.
module() {
	local kernel
	kernel=$(kernel)
	artefact module "module" "$KERNEL" "${kernel##*/}" \
		"$(cd "$TREE" && sources | xargs -r sha256sum | sha256sum)" "$@"
}

# requests [MAKE_ARGUMENT...]: the module of tests/kmod.
requests() {
	local kernel
	kernel=$(kernel)
	artefact requests "module for in-kernel requests" "$KERNEL" "${kernel##*/}" \
		"$(cd "$TREE" && find tests/kmod kernel_ext/compat* -type f -exec sha256sum {} + | sort | sha256sum)" "$@"
}

# enter [--bind FROM:TO]... COMMAND...: run a command in the toolchain root,
# with this tree at /zloop, the cache at /cache, and the kernel's headers, if
# they are there already, where their package puts them.
enter() {
	local root binds=("$TREE:/zloop" "$CACHE:/cache")
	root=$(toolchain)
	while [[ $1 == --bind ]]; do
		binds+=("$2")
		shift 2
	done
	if [[ ${ZLOOP_KERNEL_DIR-} ]]; then
		local path
		for path in "$ZLOOP_KERNEL_DIR"/root/usr/{src/linux-headers-*,lib/linux-kbuild-*}; do
			[[ -d $path ]] || continue
			binds+=("$path:${path#"$ZLOOP_KERNEL_DIR/root"}")
		done
	fi
	as_root "$VM/enter-root" "$root" "${binds[@]}" -- "$@"
}

# enter_root ROOT COMMAND...: the same in another root, without any kernel.
enter_root() {
	as_root "$VM/enter-root" "$1" "$TREE:/zloop" "$CACHE:/cache" -- "${@:2}"
}

# enter_for_kernel ...: the same with the kernel's build directory made.
enter_for_kernel() {
	local ZLOOP_KERNEL_DIR
	ZLOOP_KERNEL_DIR=$(kernel)
	enter "$@"
}

# in_cache PATH: the same file seen from inside the toolchain root.
in_cache() { printf '/cache/%s\n' "${1#"$CACHE/"}"; }
