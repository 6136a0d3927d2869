# SPDX-License-Identifier: GPL-2.0
"""What runs the tests: see tests/README.md."""
