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

installed_sources() {  # without git, which the archive of a release does not have
    printf '%s\n' pyproject.toml constraints.txt setup.py
    find rnn_zoos generation loaders -type f \( -name '*.cpp' -o -name '*.h' -o -name '*.inc' \) | LC_ALL=C sort
}

# prepare_environment EXTRAS, called in the root of the checkout, uses the active virtual environment, or creates .venv.
# It installs only if what decides the installation has changed since these extras were installed: the settings, the
# sources of native code, which an editable install does not follow, or the path of the checkout. The extra `test`
# includes all others.

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
    wanted="$PWD $(installed_sources | xargs cksum | cksum)"
    if ! grep -qsxF "$wanted" "$stamp-$extras" "$stamp-test"; then
        echo "Installing rnn-zoos[$extras] with the versions in constraints.txt"
        python -m pip install --quiet --disable-pip-version-check -e ".[$extras]" -c constraints.txt || return 1
        echo "$wanted" > "$stamp-$extras"
    fi
}
