# SPDX-License-Identifier: GPL-2.0
# Fuzzed commands, a few thousand of them; `make fuzz` sends more.
#
# Guards the promise that no text, however it is sent, crashes the driver, leaks
# anything or makes anything that was not asked for, and that the language is the
# one that options.rs describes: each outcome is known beforehand.
# limit: 300

test_fuzz() {
	python3 "$TESTS/fuzz/fuzz.py" --seed 1 --count 4000
}

# What is in the language of both drivers has the same outcome in both, but for
# what is listed in fuzz.py.
# allow-dmesg: WARNING
test_same_as_c() {
	local driver
	for driver in rust c; do
		use_driver $driver
		python3 "$TESTS/fuzz/fuzz.py" --seed 2 --count 400 --outcomes "$SCRATCH/$driver"
	done
	python3 "$TESTS/fuzz/fuzz.py" --compare "$SCRATCH/rust" "$SCRATCH/c"
}
