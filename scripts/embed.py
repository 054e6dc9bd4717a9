#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A file as a C string constant. Usage: embed.py IN OUT NAME"""
import sys

source, out, name = sys.argv[1:]
data = open(source, 'rb').read() + b'\0'
with open(out, 'w') as f:
    f.write(f'/* Made from {source.rsplit("/", 1)[-1]}: do not edit. */\n'
            f'extern const char {name}[];\nconst char {name}[] = {{\n')
    for at in range(0, len(data), 20):
        f.write('    ' + ' '.join(f'{b},' for b in data[at:at + 20]) + '\n')
    f.write('};\n')
