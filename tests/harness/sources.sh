# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Programs built from a checkout that the user names.

# checkout VARIABLE FILE: check that it names a checkout with that file.
checkout() {
	local dir=${!1-}
	[[ $dir ]] || die "$1= must name a checkout"
	[[ -e $dir/$2 ]] || die "$1=$dir: there is no $2 in it"
	printf -v "$1" '%s' "$(realpath "$dir")"
	export "${1?}"
}

# built_from NAME DIR: NAME built from DIR, by make/NAME.
built_from() {
	local hash root
	root=$(toolchain)
	hash=$(cd "$2" && find . -name .git -prune -o -type f -print0 | sort -z |
		xargs -0 sha256sum | sha256sum | cut -c1-16)
	artefact "$1" "$1 from $2" "$hash" "${root##*/}"
}
