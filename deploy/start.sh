#!/bin/sh
# Start a command of the image with the compiled code that the image holds (see Dockerfile).
set -eu
if [ -d "${SEED:=/opt/numba}" ] && [ ! -e "$NUMBA_CACHE_DIR" ]; then
    # Without it the first photos wait for the compiler; that is no reason not to start.
    cp -R "$SEED" "$NUMBA_CACHE_DIR" || echo "start: $NUMBA_CACHE_DIR can't be written" >&2
fi
exec "$@"
