# Sourced by generation/run.sh and tests/run.sh, in the root of the checkout: an environment with rnn-zoos in it.
#   prepare_environment EXTRAS
# Uses the active virtual environment, or makes .venv. Installs only if what is to be installed has changed since; the
# extra `test` holds the others.

prepare_environment() {
    local extras=$1
    if [ -z "${VIRTUAL_ENV:-}" ]; then
        if [ ! -f .venv/bin/activate ] || [ ! -x .venv/bin/pip ]; then
            local python=${PYTHON:-python3}
            if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
                echo "Error: $python is missing or older than Python 3.10. Name a newer one: PYTHON=python3.12 $0" >&2
                return 1
            fi
            echo "Making a virtual environment in .venv"
            "$python" -m venv --clear .venv || {
                echo "Error: no virtual environment could be made. On Debian: apt-get install python3-venv" >&2
                return 1
            }
        fi
        # shellcheck disable=SC1091
        . .venv/bin/activate
    fi
    local stamp="$VIRTUAL_ENV/rnn-zoos-installed" wanted
    wanted="$PWD $(cat pyproject.toml constraints.txt | cksum)"
    if ! grep -qsxF "$wanted" "$stamp-$extras" "$stamp-test"; then
        echo "Installing rnn-zoos[$extras] with the versions of constraints.txt"
        python -m pip install --quiet --disable-pip-version-check -e ".[$extras]" -c constraints.txt || return 1
        echo "$wanted" > "$stamp-$extras"
    fi
}
