# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# zonefs-tools' own tests on several devices of ours.

# shellcheck source=tests/harness/sources.sh
. "$VM/sources.sh"

ZONEFS_DEVICES=(
	"plain     capacity_mb=512,zone_size_mb=16,conv_zones=4"
	"limits    capacity_mb=512,zone_size_mb=16,zone_capacity_mb=12,conv_zones=0,max_open_zones=8"
)

check_zonefs() {
	checkout ZONEFS_TOOLS_SRC tests/zonefs-tests.sh
	local tools device
	tools=$(built_from zonefs-tools "$ZONEFS_TOOLS_SRC")
	for device in "${ZONEFS_DEVICES[@]}"; do
		[[ ${ZONEFS_ONLY:-${device%% *}} == "${device%% *}" ]] || continue
		printf '%s\n' "$device"
	done | in_vms one_zonefs "$tools"
}

# one_zonefs "NAME OPTIONS" TOOLS
one_zonefs() {
	local name options
	read -r name options <<<"$1"
	suite_in_vm "zonefs/$name" --payload "$2/src:zonefs-tools/src" --payload "$2/tests:zonefs-tools/tests" \
		--cmd "bash /payload/tests/zonefs/guest '$name' '$options'"
}
