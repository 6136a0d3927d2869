# SPDX-License-Identifier: GPL-2.0
# Storms, for some seconds each; `make storm` has them last.
#
# Guards against crashes, hangs and leaks where devices, requests, zone commands,
# reports and the module itself come and go all at once: see tests/storm/storm.py.
# They find most in the debug kernel.
# limit: 300
# udev: yes

storm() {
	python3 "$TESTS/storm/storm.py" "$@" || fail "storm $*"
}

# The C driver gives a removed device's number away while that is still there, and
# the kernel complains.
test_weather() {
	storm weather --count 12
}

test_one_after_the_other() {
	storm thousand --count 60
}

# What has no memory says so, and the kernel adds where it was.
# allow-dmesg: page allocation failure|oom-kill|invoked oom-killer
test_as_many_as_there_can_be() {
	storm crowd --count 40
}

test_rmmod_at_the_wrong_moment() {
	storm rmmod --count 2
}

test_reports_among_writes() {
	storm reports --count 5
}
