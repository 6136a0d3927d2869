# SPDX-License-Identifier: GPL-2.0
# The recipes in Documentation/recipes.md.
#
# Guards the promise that they work as they are printed there: a recipe is a heading,
# and its script consists of all indented lines below the heading.
# limit: 240

RECIPES=$TESTS/../Documentation/recipes.md

headings() {
	sed -n 's/^## //p' "$RECIPES"
}

script() { # heading
	awk -v want="## $1" '/^## / { on = $0 == want } on && sub(/^    /, "")' "$RECIPES"
}

# Run a recipe, with its output in $OUT. It has to clean up after itself.
recipe() { # heading
	local where
	OUT=$SCRATCH/out
	script "$1" >"$SCRATCH/script"
	[[ -s $SCRATCH/script ]] || fail "recipes.md has no recipe '$1'"
	mkdir "$SCRATCH/zloop"
	mkdir -p /var/local/zloop
	mount --bind "$SCRATCH/zloop" /var/local/zloop
	defer umount /var/local/zloop
	# A user has udev and mount to load file systems; here some are missing.
	modprobe -a loop dm-mod zonefs btrfs xfs f2fs
	bash -euo pipefail "$SCRATCH/script" >"$OUT" 2>&1 || fail "$(cat "$OUT")"
	# shellcheck disable=SC2043
	for where in /sys/block/zloop*; do
		[[ ! -e $where ]] || fail "the recipe leaves ${where##*/} behind"
	done
	if grep ' /mnt/' /proc/self/mounts; then
		fail "the recipe leaves something mounted"
	fi
}

said() { # regex
	grep -qE -- "$1" "$OUT" || fail "the recipe did not say '$1' but: $(cat "$OUT")"
}

test_zonefs() {
	recipe "zonefs"
	said '/seq/0 262144$'
}

test_btrfs() {
	recipe "btrfs"
	said 'no error found'
}

test_xfs() {
	recipe "XFS, zoned"
	said 'zoned=1 '
}

test_f2fs() {
	recipe "f2fs"
}

test_fio() {
	recipe "fio on a disk like a ZNS drive"
	said 'err= 0'
}

test_failing_disk() {
	recipe "A disk that fails"
	said '^the write failed$'
	# The report in the middle shows only the first write.
	said 'wptr 0x000080 '
}

test_power_loss() {
	recipe "A power loss"
	# The write pointer after the writes, then after the power loss.
	assert_eq "$(grep -o 'wptr 0x[0-9a-f]*' "$OUT" | tr '\n' ' ')" "wptr 0x000280 wptr 0x000100 " "write pointers"
}

# Every recipe is run by a test here.
test_all_recipes() {
	local heading
	headings >"$SCRATCH/headings"
	[[ -s $SCRATCH/headings ]] || fail "recipes.md has no recipes"
	while read -r heading; do
		grep -qF "recipe \"$heading\"" "$TESTS/vm-tests/documents/recipes.sh" || fail "no test runs '$heading'"
	done <"$SCRATCH/headings"
}
