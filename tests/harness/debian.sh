# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Debian roots. The mirror is the user's choice (DEBIAN_MIRROR), else the one
# this machine uses if it runs Debian, else the one mmdebstrap knows by itself;
# no file of ours names any. More suites are added by a hook that copies the
# line of the main one, whatever it turned out to be.

debian_mirror() {
	if [[ ${DEBIAN_MIRROR-} ]]; then
		printf '%s\n' "$DEBIAN_MIRROR"
		return
	fi
	# shellcheck disable=SC1091
	(. /etc/os-release && [[ $ID == debian ]]) || return 0
	command -v apt-get >/dev/null || return 0
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' \
		'Created-By: Packages' 2>/dev/null |
		awk -v suite="$(. /etc/os-release && echo "$VERSION_CODENAME")" '
			$1 == suite && $2 == "main" && $3 ~ /^(http|https):/ && $3 ~ /debian\/?$/ && !seen++ { print $3 }'
}

# add_suite SUITE: a hook's text that adds a suite beside trixie.
add_suite() {
	# shellcheck disable=SC2016
	printf 'line=$(grep -h "^deb .* trixie main" "$1/etc/apt/sources.list" | head -n 1); %s' \
		'[ -n "$line" ] || exit 1; '
	printf 'echo "$line" | sed "s/ trixie main.*/ %s main/" >>"$1/etc/apt/sources.list"' "$1"
}

# debian_root DIR ARGUMENT...: a trixie root. As an ordinary user it goes
# through a tar stream, as mmdebstrap's own namespace maps ids in another way.
debian_root() {
	local dir=$1 mirror
	shift
	mirror=$(debian_mirror)
	local arguments=(--variant=apt
		--aptopt='Acquire::Check-Valid-Until "false"'
		--aptopt='Acquire::Retries "3"'
		--aptopt='Apt::Install-Recommends "false"'
		--dpkgopt='path-exclude=/usr/share/man/*'
		--dpkgopt='path-exclude=/usr/share/locale/*'
		--dpkgopt='path-exclude=/usr/share/doc/*'
		--dpkgopt='path-exclude=/usr/share/info/*'
		"$@" trixie)
	if ((EUID == 0)); then
		mmdebstrap --mode=root --format=directory "${arguments[@]}" "$dir" \
			${mirror:+"deb $mirror trixie main"}
	else
		TMPDIR=${TMPDIR:-/var/tmp} mmdebstrap --mode=unshare --format=tar \
			"${arguments[@]}" - ${mirror:+"deb $mirror trixie main"} |
			as_root tar -C "$dir" --exclude='./dev/*' -x
	fi
}
