# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# run_plan PLAN: run the tests of a plan (tests/harness/plan) on the driver DRIVER, in
# as many VMs as it takes, and print raw results (tests/results.sh).
#
# A VM that dies costs the test that it was running; the rest is run in another.

run_plan() {
	local plan=$1 status log=$1.log left=$1.left file title
	while [[ -s $plan ]]; do
		status=0
		"$VM/run" --raw --driver "${DRIVER:-rust}" --plan "$plan" 2>&1 </dev/null |
			tee "$log" || status=$?
		# Which are left, and which was it?
		awk -F '\t' 'NR == FNR { if (/^@(ok|FAIL|skip)\t/) done_[$2 "\t" $3] = 1; next }
			!(($1 "\t" $2) in done_)' "$log" "$plan" >"$left"
		if ((status <= 1)); then
			mv "$left" "$plan"
			break
		fi
		IFS=$'\t' read -r _ file title < <(grep $'^@start\t' "$log" | tail -n 1) || true
		if grep -qF $'\t'"$file"$'\t'"$title"$'\t' "$log"; then
			# It gave up between two tests; none is to blame for that.
			[[ $(wc -l <"$left") -lt $(wc -l <"$plan") ]] || break
		elif [[ ${title-} ]]; then
			verdict FAIL "$file" "$title" 0 "the VM died"
			tail -n 60 "$log" | grep -v $'^@'
			awk -F '\t' -v f="$file" -v t="$title" '!($1 == f && $2 == t)' "$left" >"$left.new"
			mv "$left.new" "$left"
		else
			break
		fi
		# Later boots without the earlier ones make no sense.
		if awk -F '\t' '$3 > 1 { exit 1 }' "$left"; then
			mv "$left" "$plan"
		else
			mv "$left" "$plan"
			break
		fi
	done
	while IFS=$'\t' read -r file title _; do
		verdict FAIL "$file" "$title" 0 "not run: the VM failed before it"
	done <"$plan"
}
