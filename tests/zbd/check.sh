# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# fio's own tests of zoned devices, t/zbd, on several devices of ours. Each has
# more than 130 sequential zones, as some tests skip smaller ones.

# shellcheck source=tests/harness/sources.sh
. "$VM/sources.sh"

ZBD_DEVICES=(
	"plain     capacity_mb=640,zone_size_mb=4,conv_zones=0"
	"capacity  capacity_mb=640,zone_size_mb=4,zone_capacity_mb=3,conv_zones=8"
	"limits    capacity_mb=1128,zone_size_mb=4,conv_zones=26,max_open_zones=16,max_active_zones=16"
	"large     capacity_mb=2560,zone_size_mb=16,conv_zones=1,nr_queues=2"
)

check_zbd() {
	checkout FIO_SRC t/zbd/test-zbd-support
	local fio device
	fio=$(built_from fio "$FIO_SRC")
	for device in "${ZBD_DEVICES[@]}"; do
		[[ ${ZBD_ONLY:-${device%% *}} == "${device%% *}" ]] || continue
		printf '%s\n' "$device"
	done | in_vms one_zbd "$fio"
}

# one_zbd "NAME OPTIONS" FIO
one_zbd() {
	local name options
	read -r name options <<<"$1"
	# shellcheck disable=SC2016
	suite_in_vm "zbd/$name" --payload "$2/fio:fio/fio" --payload "$2/t/zbd:fio/t/zbd" \
		--cmd "bash /payload/tests/zbd/guest '$name' '$options'"
}
