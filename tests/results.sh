# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Results of tests, as lines with tabs:
#
#   @start FILE TEST
#   @ok|@FAIL|@skip FILE TEST SECONDS [REASON]    then lines of output
#
# `report` prints them for people as they come, and keeps the verdicts, and what
# failed tests have said, in the file $RESULTS. Several may run at once: one test's
# lines stay together.

# verdict KIND FILE TEST SECONDS [REASON]
verdict() {
	local IFS=$'\t'
	printf '@%s\n' "$*"
}

report() {
	local line block='' record='' kind file test seconds reason
	while IFS= read -r line; do
		case $line in
		@start$'\t'*)
			flush_report "$block" "$record"
			block='' record=''
			;;
		@ok$'\t'* | @FAIL$'\t'* | @skip$'\t'*)
			flush_report "$block" "$record"
			IFS=$'\t' read -r kind file test seconds reason <<<"$line"
			record=$line$'\n'
			printf -v block '%-4s  %s %s (%s s)%s\n' "${kind#@}" "$file" "$test" "$seconds" "${reason:+: $reason}"
			if [[ $kind != @FAIL ]]; then
				flush_report "$block" "$record"
				block='' record=''
			fi
			# The output of one that failed follows.
			;;
		*)
			block+="      $line"$'\n'
			[[ ! $record ]] || record+="      $line"$'\n'
			;;
		esac
	done
	flush_report "$block" "$record"
}

# flush_report TEXT RECORD: print the one, and keep the other.
flush_report() {
	[[ $1 ]] || return 0
	(
		flock 9
		printf '%s' "$1"
		printf '%s' "$2" >>"$RESULTS"
	) 9<"$RESULTS"
}

# summary: what took longest, failed and was skipped, then the counts. False if any failed or
# none ran. JUNIT, if it is set, is a file that gets all results as XML.
summary() {
	[[ ! ${JUNIT-} ]] || "$TREE/tests/junit" <"$RESULTS" >"$JUNIT"
	echo
	echo "slowest:"
	sed -n '/^@/p' "$RESULTS" | sort -t $'\t' -k 4,4 -gr | awk -F '\t' '
		NR <= 10 { printf "  %s %s (%d s)\n", $2, $3, $4 }
		{ sub("/.*", "", $2); time[$2] += $4; all += $4 }
		END {
			printf "seconds in all: %d", all
			for (part in time) printf ", %s %d", part, time[part]
			print ""
		}'
	awk -F '\t' '
		{ count[$1]++ }
		$1 == "@FAIL" { failed = failed "  " $2 " " $3 ": " $5 "\n" }
		$1 == "@skip" { skipped = skipped "  " $2 " " $3 ": " $5 "\n" }
		END {
			if (skipped) printf "\nskipped:\n%s", skipped
			if (failed) printf "\nfailed:\n%s", failed
			printf "\n%d passed, %d failed, %d skipped\n", count["@ok"], count["@FAIL"], count["@skip"]
			exit count["@FAIL"] || !count["@ok"]
		}' "$RESULTS"
}

# try FILE TEST COMMAND...: a command as a test, its output shown if it fails.
try() {
	local file=$1 test=$2 output status=0 start=$EPOCHSECONDS
	shift 2
	output=$(mktemp)
	("$@") >"$output" 2>&1 </dev/null || status=$?
	if ((status == 77)); then
		verdict skip "$file" "$test" $((EPOCHSECONDS - start)) "$(tail -n 1 "$output")"
	elif ((status)); then
		verdict FAIL "$file" "$test" $((EPOCHSECONDS - start)) "exit status $status"
		tail -n 60 "$output"
	else
		verdict ok "$file" "$test" $((EPOCHSECONDS - start))
	fi
	rm -f "$output"
}
