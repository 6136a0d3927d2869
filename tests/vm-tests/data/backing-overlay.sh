# SPDX-License-Identifier: GPL-2.0
# Zone files on overlayfs.
#
# Guards the same as the other file systems beneath, and files that are copied up
# from a lower layer when they are opened for writing.
# limit: 240

source "$TESTS/vm-tests/backing.bash"

overlay() { # lower layer
	modprobe overlay
	mkdir -p "$1" "$SCRATCH/upper" "$SCRATCH/work" "$BASE"
	mount -t overlay -o "lowerdir=$1,upperdir=$SCRATCH/upper,workdir=$SCRATCH/work" overlay "$BASE"
	defer "umount_if '$BASE'"
}

test_zone_data() {
	overlay "$SCRATCH/lower"
	zone_data
}

# A device in the lower layer is changed in the upper one.
test_lower_layer() {
	local options=capacity_mb=32,zone_size_mb=4,conv_zones=1
	add_dev -b "$SCRATCH/lower" $options
	zbc "$DEV" write 0 64
	zbc "$DEV" write $((2 * 8192)) 64
	zbc "$DEV" write $((3 * 8192)) 64
	remove_dev
	overlay "$SCRATCH/lower"
	add_dev $options
	zbc "$DEV" check 0 64
	zbc "$DEV" check $((2 * 8192)) 64
	zbc "$DEV" write $((2 * 8192 + 64)) 64
	zbc "$DEV" reset $((3 * 8192))
	zbc "$DEV" write 8 8 2
	zbc "$DEV" flush
	readd_dev $options
	assert_eq "$(zones "$DEV" | sed -n 2,5p | tr '\n' ';')" \
		"1 SEQ_WRITE_REQUIRED em 0 8192;2 SEQ_WRITE_REQUIRED cl 128 8192;3 SEQ_WRITE_REQUIRED em 0 8192;4 SEQ_WRITE_REQUIRED em 0 8192;"
	zbc "$DEV" check $((2 * 8192)) 128
	zbc "$DEV" check 8 8 2
	remove_dev
	umount "$BASE"
	assert_eq "$(stat -c %s "$SCRATCH"/lower/0/seq-00000[23] | tr '\n' ' ')" "32768 32768 " "sizes in the lower layer"
}
