# SPDX-License-Identifier: GPL-2.0
# A random program of commands beside a model: the short form of `make model`.
#
# Guards all promises of the zone model at once, in combinations that nobody has
# thought of. tests/model/model.py says how a difference is repeated.

# limit: 300

test_model() {
	use_requests
	mkdir -p "$BASE"
	python3 "$TESTS/model/model.py" "$BASE" --driver "$DRIVER" --seed 1 --count 2500 --steps 250
}
