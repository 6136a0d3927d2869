# SPDX-License-Identifier: GPL-2.0
# Zone files on tmpfs.
#
# Guards the promise that it does not matter which file system is beneath: block
# size, alignment of direct I/O and the sizes of files are taken as they are.
# scratch: tmpfs
# limit: 240

source "$TESTS/vm-tests/backing.bash"

test_zone_data() {
	zone_data
}

test_fio() {
	zone_fio
}
