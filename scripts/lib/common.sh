# SPDX-License-Identifier: BSD-3-Clause
# Sourced by the scripts: root, packages, and long steps that show their progress.
# Everything said goes to standard error; standard output belongs to the script.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
logs=${STRAIT_LOGS:-$root/build/logs}
export PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

# become_root "$@": starts the script again through sudo if need be.
become_root() {
    if [ "$(id -u)" != 0 ]; then
        command -v sudo > /dev/null || die "run this as root: sudo is not installed"
        exec sudo --preserve-env=STRAIT_LOGS,XDG_CACHE_HOME,CMAKE_CXX_COMPILER_LAUNCHER -- "$0" "$@"
    fi
    # What root builds for a user through sudo stays the user's.
    trap give_back EXIT
}

give_back() {
    if [ -n "${SUDO_UID:-}" ] && [ -d "$root/build" ]; then
        chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$root/build" 2> /dev/null || true
    fi
}

# step TITLE COMMAND...: runs it with its output in a log; shows the time and its last progress
# ("[12/80]") meanwhile, and the end of the log if it fails.
step() {
    local title=$1 begin=$SECONDS log status=0 pid seen shown=0
    shift
    mkdir -p "$logs"
    log=$logs/$(tr -cs '[:alnum:]\n' '-' <<< "$title" | sed 's/-*$//').log
    # In a session of its own, so that an interrupt ends all that it started.
    setsid "$@" > "$log" 2>&1 < /dev/null &
    pid=$!
    trap 'kill -- -'"$pid"' 2> /dev/null; exit 130' INT TERM
    while kill -0 "$pid" 2> /dev/null; do
        sleep 0.2
        if [ -t 2 ]; then
            seen=$(tail -c 300 "$log" | grep -ao '\[[0-9]*/[0-9]*\]' | tail -1 || true)
            printf '\r\033[K%s … %d s %s' "$title" $((SECONDS - begin)) "$seen" >&2
        elif [ $((SECONDS - begin - shown)) -ge 20 ]; then
            shown=$((SECONDS - begin))
            seen=$(tail -c 300 "$log" | grep -ao '\[[0-9]*/[0-9]*\]' | tail -1 || true)
            say "$title … $shown s $seen"
        fi
    done
    wait "$pid" || status=$?
    trap - INT TERM
    [ -t 2 ] && printf '\r\033[K' >&2
    if [ $status != 0 ]; then
        say "$title: FAILED after $((SECONDS - begin)) s; the end of $log:"
        tail -n 40 "$log" >&2
        return $status
    fi
    say "$title: $((SECONDS - begin)) s"
}

# need_packages SET...: installs what is missing of these sets of packages.txt.
need_packages() {
    local missing=() package set
    while read -r set package; do
        case " $* " in *" $set "*)
            dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q '^install ok installed' ||
                missing+=("$package") ;;
        esac
    done < <(grep -v '^#' "$root/scripts/lib/packages.txt")
    [ ${#missing[@]} = 0 ] && return
    command -v apt-get > /dev/null ||
        die "these packages of Debian 12 are missing, and there is no apt-get: ${missing[*]}"
    say "installing ${#missing[@]} packages: ${missing[*]}"
    step "updating apt's lists" apt-get update || true
    step "installing packages" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "${missing[@]}"
}

# build PRESET TARGET...: configures and builds in build/PRESET.
build() {
    local preset=$1
    shift
    if command -v ccache > /dev/null && [ -z "${CMAKE_CXX_COMPILER_LAUNCHER:-}" ]; then
        export CMAKE_CXX_COMPILER_LAUNCHER=ccache
        # What was compiled for a copy of the tree elsewhere, or under another locale, serves this one.
        export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=yes LANG=C.UTF-8
        unset LC_ALL LC_CTYPE LC_MESSAGES
    fi
    (cd "$root" && step "configuring $preset" cmake --preset "$preset" "${configure[@]}") &&
        (cd "$root" && step "building $preset" cmake --build --preset "$preset" --target "$@")
}
configure=()
