#!/usr/bin/env bash
# The old package's face on the last transformers 4, laid over the current environment; nothing in it changes.
#
#     tests/on_transformers4.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
over=$(mktemp -d)
trap 'rm -rf "$over"' EXIT
python -m pip install -q --no-deps --target "$over" -r tests/transformers4.txt
export PYTHONPATH="$over${PYTHONPATH:+:$PYTHONPATH}" PYTHONDONTWRITEBYTECODE=1
python -c "import transformers as t; assert t.__version__ == '4.57.6', t.__version__; print('transformers', t.__version__)"
python -m pytest -p no:cacheprovider -q tests/blender_core/compat "$@"
