#!/bin/sh
# Install the course from this folder, without a network:   sh install.sh [FOLDER]
# It looks for Python $pythons_said and runs install.py.
here=$$(cd "$$(dirname "$$0")" && pwd) || exit 1
for version in $pythons; do
    for name in "$$PYTHON" "python$$version" python3 python; do
        if [ -n "$$name" ] && "$$name" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$$version')" >/dev/null 2>&1; then
            exec "$$name" "$$here/install.py" "$$@"
        fi
    done
done
echo "Python $pythons_said is needed, and none was found." >&2
echo "  -> Install it (python.org has it), or name one: PYTHON=/path/to/python$python sh install.sh" >&2
exit 1
