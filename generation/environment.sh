# Sourced by the scripts of generation/ and tests/: prepares an environment with rnn-zoos, and reads their options.

absolute() {  # relative paths are relative to the caller of a script, not to the checkout
    case $1 in
        /*) echo "$1" ;;
        *) echo "$PWD/$1" ;;
    esac
}

preset_path() {  # a name, or the absolute path of a YAML file
    case $1 in
        *.yaml | *.yml) absolute "$1" ;;
        *) echo "$1" ;;
    esac
}

digits_path() {  # hub, embedded, or the absolute path of a directory
    case $1 in
        hub | embedded) echo "$1" ;;
        *) absolute "$1" ;;
    esac
}

# prepare_environment EXTRAS, called in the root of the checkout, uses the active virtual environment, or creates .venv.
# It installs only if pyproject.toml, constraints.txt or the path of the checkout have changed since these extras were
# installed; the extra `test` includes all others.

prepare_environment() {
    local extras=$1
    if [ -z "${VIRTUAL_ENV:-}" ]; then
        if [ ! -f .venv/bin/activate ] || [ ! -x .venv/bin/pip ]; then
            local python=${PYTHON:-python3}
            if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
                echo "Error: $python is missing or older than Python 3.10. Choose a newer one: PYTHON=python3.12 $0" >&2
                return 1
            fi
            echo "Creating a virtual environment in .venv"
            "$python" -m venv --clear .venv || {
                echo "Error: the virtual environment could not be created. On Debian: apt-get install python3-venv" >&2
                return 1
            }
        fi
        # shellcheck disable=SC1091
        . .venv/bin/activate
    fi
    local stamp="$VIRTUAL_ENV/rnn-zoos-installed" wanted
    wanted="$PWD $(cat pyproject.toml constraints.txt | cksum)"
    if ! grep -qsxF "$wanted" "$stamp-$extras" "$stamp-test"; then
        echo "Installing rnn-zoos[$extras] with the versions in constraints.txt"
        python -m pip install --quiet --disable-pip-version-check -e ".[$extras]" -c constraints.txt || return 1
        echo "$wanted" > "$stamp-$extras"
    fi
}
