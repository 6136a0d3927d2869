# SPDX-License-Identifier: GPL-2.0
# kernel: debug
#
# The tests of the pure files, as KUnit suites of the module: they run when it is
# loaded, and what they found stays readable until it is unloaded.
#
# Guards that they run at all: a suite that was left out, or that has no case,
# would look like one without failures.

# The suites in the sources, and no others, have run with all their cases.
test_suites_have_run() {
	local suite results cases
	for suite in zloop_block_set zloop_declaration zloop_fault zloop_geometry zloop_option_record zloop_option_value zloop_options zloop_power_failure zloop_sharing zloop_parallelism zloop_zone \
		zloop_zone_file_name zloop_zone_queue; do
		results=/sys/kernel/debug/kunit/$suite/results
		[[ -r $results ]] || fail "the suite $suite is not there"
		cat "$results"
		grep -Eq "^ok [0-9]+ $suite\$" "$results" || fail "$suite has failed"
		refuse grep -qE '^ *not ok|# SKIP' "$results"
		cases=$(grep -cE '^ +ok [0-9]+ ' "$results")
		((cases >= 4)) || fail "$suite has $cases cases only"
	done
	assert_eq "$(compgen -G '/sys/kernel/debug/kunit/zloop_*' | wc -l)" 13 "suites"
}
