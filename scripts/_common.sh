# What the scripts of this folder share. It is sourced, never run:
#     source "$(dirname -- "${BASH_SOURCE[0]}")/_common.sh"
# Sourcing it goes to the repository's root and takes --install out of the caller's arguments.
# shellcheck shell=bash
set -euo pipefail

ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
VENV="$ROOT/.venv"
INSTALL=0
[[ "${CI:-}" == true ]] && INSTALL=1
cd -- "$ROOT"

_arguments=()
for _argument in "$@"; do
  if [[ "$_argument" == --install ]]; then INSTALL=1; else _arguments+=("$_argument"); fi
done
set -- "${_arguments[@]}"

# Sets PYTHON to the first interpreter that is new enough, or prints what is wrong with the best one.
find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      PYTHON="$candidate"
      return 0
    fi
  done
  return 1
}

# Prints the Debian packages that are missing, one a line. Arguments: what is needed beside Python, as command:package.
missing_packages() {
  local need
  if ! find_python; then
    if command -v python3 >/dev/null; then
      printf '%s\n' python3.11 python3.11-venv
    else
      printf '%s\n' python3 python3-venv
    fi
  elif [[ ! -x "$VENV/bin/python" ]] && ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "$(basename -- "$PYTHON")-venv"
  fi
  for need in "$@"; do
    _is_there "${need%%:*}" || echo "${need#*:}"
  done
}

# Debian keeps the programs of PostgreSQL's server outside PATH, in a folder for each version.
_is_there() { command -v "$1" >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/$1" >/dev/null; }

# Makes sure that Python and the named programs are there: installs them when asked to, otherwise says how and stops.
require_packages() {
  local packages sudo=()
  mapfile -t packages < <(missing_packages "$@")
  if (( ${#packages[@]} == 0 )); then find_python; return; fi
  if (( EUID != 0 )) && { (( ! INSTALL )) || command -v sudo >/dev/null; }; then sudo=(sudo); fi
  local line=("${sudo[@]}" apt-get install -y --no-install-recommends "${packages[@]}")
  if (( ! INSTALL )); then
    {
      echo "Missing: ${packages[*]}. (Python 3.11 or newer with venv is needed;"
      echo "the tests need promtool, curl, PostgreSQL, Redis, Node.js with npm, and Chromium.)"
      printf 'Install with\n\n    %s\n\nor run this command again with --install.\n' "${line[*]}"
    } >&2
    exit 1
  fi
  "${sudo[@]}" apt-get update >&2
  _without_starting_servers "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive "${line[@]:${#sudo[@]}}" >&2
  mapfile -t packages < <(missing_packages "$@")
  if (( ${#packages[@]} > 0 )); then echo "Still missing after the installation: ${packages[*]}" >&2; exit 1; fi
  find_python
}

# Runs an installation. Packages such as prometheus, postgresql and redis-server start a server of their own, unless this
# file says no (invoke-rc.d(8)); the tests start their own ones.
_without_starting_servers() (
  policy=/usr/sbin/policy-rc.d
  if [[ ! -e "$policy" ]]; then
    trap '"${sudo[@]}" rm -f -- "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee -- "$policy" >/dev/null
    "${sudo[@]}" chmod 755 "$policy"
  fi
  "$@"
)

# Brings .venv up to date. Argument: serve (what the gateway needs) or dev (also what its tests need). Nothing is
# installed when the lock files, the package's metadata, the interpreter and the folder are those of the last time.
environment() {
  local kind="$1" wanted locks=(-r requirements.lock -r requirements-build.lock)
  [[ "$kind" == dev ]] && locks+=(-r requirements-dev.lock)
  # Two commands started at once must not install into the same folder at once.
  exec 9<"$ROOT"
  if command -v flock >/dev/null; then flock 9; fi
  if ! _environment_is_usable; then
    echo "Making $VENV" >&2
    "$PYTHON" -m venv --clear "$VENV"
  fi
  wanted="$(_identity; cksum pyproject.toml gateway/version.py requirements*.lock)"
  if [[ ! -x "$VENV/bin/lunarbit" || "$(cat -- "$VENV/.installed-$kind" 2>/dev/null)" != "$wanted" ]]; then
    echo "Installing the locked requirements into $VENV" >&2
    rm -f -- "$VENV"/.installed-*
    _pip_install --require-hashes --only-binary :all: "${locks[@]}"
    # The build back end is locked and installed already, so nothing is fetched here.
    _pip_install --no-deps --no-build-isolation --no-index --editable .
    echo "$wanted" | tee -- "$VENV/.installed-serve" >"$VENV/.installed-$kind"
  fi
  exec 9<&-
}

# Twice quiet: errors are shown, advice about the machine's own pip configuration is not.
_pip_install() { "$VENV/bin/python" -m pip install -qq --no-input --disable-pip-version-check "$@" >&2; }

_identity() { echo "$ROOT $("$VENV/bin/python" -V)"; }

# False for an environment that was interrupted while it was made, that was copied or moved with its repository (its
# scripts point to the old place), or whose interpreter was replaced by another version.
_environment_is_usable() {
  local stamp
  "$VENV/bin/python" -c 'import pip' 2>/dev/null || return 1
  for stamp in "$VENV"/.installed-*; do
    [[ ! -e "$stamp" || "$(head -n 1 -- "$stamp")" == "$(_identity)" ]] || return 1
  done
}

# Formatter check, linter, type checker and import contracts, stopping at the first that finds something.
static_checks() {
  _step ruff format --check .
  _step ruff check .
  _step mypy
  _step lint-imports
}

_step() {
  echo "--- $*" >&2
  "$VENV/bin/$1" "${@:2}"
}
