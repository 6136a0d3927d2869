#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The command of zbc.py. It is a file of its own because Python keeps what it has compiled of an
imported file only."""

import zbc

zbc.run()
