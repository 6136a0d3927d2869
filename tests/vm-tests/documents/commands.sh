# SPDX-License-Identifier: GPL-2.0
# The commands in the documents.
#
# Guards the promise that they work as they are printed there. A recipe in recipes.md is
# a heading, and its script consists of all indented lines below the heading.
# limit: 240

RECIPES=$TESTS/../Documentation/recipes.md

headings() {
	sed -n 's/^## //p' "$RECIPES"
}

script() { # file heading
	awk -v want="## $2" '/^## / { on = $0 == want } on && sub(/^    /, "")' "$1"
}

recipe() { # heading
	run_script < <(script "$RECIPES" "$1")
}

# Run a script from standard input, with its output in $OUT. It has to clean up after
# itself.
run_script() {
	local where
	OUT=$SCRATCH/out
	cat >"$SCRATCH/script"
	[[ -s $SCRATCH/script ]] || fail "there is no such script"
	mkdir "$SCRATCH/zloop"
	mkdir -p /var/local/zloop
	mount --bind "$SCRATCH/zloop" /var/local/zloop
	defer umount /var/local/zloop
	# A user has udev and mount to load file systems; here some are missing.
	modprobe -a loop dm-mod zonefs btrfs xfs f2fs
	bash -euo pipefail "$SCRATCH/script" >"$OUT" 2>&1 || fail "$(cat "$OUT")"
	# shellcheck disable=SC2043
	for where in /sys/block/zloop*; do
		[[ ! -e $where ]] || fail "the script leaves ${where##*/} behind"
	done
	if grep ' /mnt/' /proc/self/mounts; then
		fail "the script leaves something mounted"
	fi
}

said() { # regex
	grep -qE -- "$1" "$OUT" || fail "the script did not say '$1' but: $(cat "$OUT")"
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

# Without the first line, which builds and loads the module.
test_readme() {
	script "$TESTS/../README.md" "Use it in your own kernel" | sed 1d >"$SCRATCH/readme"
	assert_eq "$(wc -l <"$SCRATCH/readme")" 3 "commands"
	run_script <"$SCRATCH/readme"
	assert_eq "$(grep -c zcond: "$OUT")" 32 "zones in the report"
}

# All examples are about one disk, which the document does not remove.
test_making_it_fail() {
	sed -n 's/^    //p' "$TESTS/../Documentation/making-it-fail.md" >"$SCRATCH/examples"
	echo 'echo "remove id=0" >/dev/zloop-control' >>"$SCRATCH/examples"
	run_script <"$SCRATCH/examples"
	assert_eq "$(grep -c 'zcond:13(ro)' "$OUT") $(grep -c 'zcond:15(of)' "$OUT")" "3 1" "failed zones in the report"
}

# Every recipe is run by a test here.
test_all_recipes() {
	local heading
	headings >"$SCRATCH/headings"
	[[ -s $SCRATCH/headings ]] || fail "recipes.md has no recipes"
	while read -r heading; do
		grep -qF "recipe \"$heading\"" "$TESTS/vm-tests/documents/commands.sh" || fail "no test runs '$heading'"
	done <"$SCRATCH/headings"
}
