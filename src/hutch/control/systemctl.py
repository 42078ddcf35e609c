"""What is run in a guest to work its systemd, and what that answers. Pure.

One shell script for all, as every process costs some 50 ms in software emulation and every reload of systemd 500. What
is to be written comes on its stdin and names as its arguments: nothing is ever put into it. Its own paths are relative,
to the guest's `/`.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from hutch.control import units

LONGEST = 4096
"""Characters of a journal's line, or of what systemd says of a service; the rest is cut."""

NO_SYSTEMD, EXISTS, MISSING = 69, 17, 4
"""With which the script ends, beside 0 and the codes of what it runs."""

_NAMES = f"""\
units={units.DIRECTORY[1:]} succeeded={units.SUCCEEDED[1:]} lock={units.LOCK[1:]} mark='{units.MARK}'
ready={units.READY[1:]} no_systemd={NO_SYSTEMD} exists={EXISTS} missing={MISSING}
"""

_SCRIPT = r"""
PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C SYSTEMD_COLORS=0 SYSTEMD_PAGER=
export PATH LC_ALL SYSTEMD_COLORS SYSTEMD_PAGER
umask 022
# In the first moments of a boot systemd does not listen yet.
will_run() { for it in sbin/init lib/systemd/systemd usr/lib/systemd/systemd; do
    if [ -x "$it" ]; then case $(readlink -f "$it") in */systemd) return 0;; esac; fi; done; return 1; }
tries=0; until [ -S run/systemd/private ] || [ $tries -ge 200 ] || ! will_run; do
    tries=$((tries + 1)); sleep 0.1; done
[ -d run/systemd/system ] || exit $no_systemd
verb=$1; shift

exists() { for d in etc/systemd/system.control run/systemd/system.control run/systemd/transient $units \
    run/systemd/system run/systemd/generator run/systemd/generator.early run/systemd/generator.late \
    usr/local/lib/systemd/system usr/lib/systemd/system lib/systemd/system; do
    if [ -e "$d/$1" ] || [ -L "$d/$1" ]; then return 0; fi; done; return 1; }
is_ours() { [ -f "$units/$1" ] && grep -qxF "$mark" "$units/$1"; }
ours() { (cd $units && exec grep -lsxF -D skip -- "$mark" *.service); }
locked() { exec 9>$lock && flock -w 60 9; }

# put FILE BYTES: from stdin, but for what it requires of units that were removed when they had ended well.
put() { { [ -d "${1%/*}" ] || mkdir -p "${1%/*}"; } && dd bs="$2" count=1 iflag=fullblock of="$1.new" 2>/dev/null &&
    [ "$(wc -c <"$1.new")" -eq "$2" ] && if [ -d $succeeded ]; then
    ls $succeeded | sed 's/^/Requires=/' >"$1.not" && grep -vxFf "$1.not" "$1.new" >"$1.put" &&
    mv "$1.put" "$1" && rm "$1.new" "$1.not"; else mv "$1.new" "$1"; fi; }
# As `systemctl enable` and `disable`, for UNIT as it is described in FILE; a reload has to follow.
link() { sed -n 's/^WantedBy=//p' "$2" | while read -r it; do
    [ -d "$units/$it.wants" ] || mkdir -p "$units/$it.wants"; ln -sfn "../$1" "$units/$it.wants/$1" || exit 1; done; }
unlink() { rm -f $units/*.wants/"$1"; }

# Of all: UNIT BYTES ENABLED
none_exists() { while [ $# -gt 0 ]; do exists "$1" && printf '%s\n' "$1" && return 1; shift 3; done; return 0; }
anew() { while [ $# -gt 0 ]; do [ ! -e "$succeeded/$1" ] || rm -f "$succeeded/$1"; shift 3; done; }
put_all() { while [ $# -gt 0 ]; do
    put "$units/$1" "$2" && { [ "$3" = 0 ] || link "$1" "$units/$1"; } || return 1; shift 3; done; }
undo_all() { while [ $# -gt 0 ]; do
    rm -f "$units/$1" "$units/$1.new" "$units/$1.not" "$units/$1.put"; unlink "$1"; shift 3; done; }
systemctl_all() { words=$1; shift; n=$#; while [ $n -gt 0 ]; do set -- "$@" "$1"; shift 3; n=$((n - 3)); done
    systemctl $words -- "$@"; }

case $verb in
create)
    locked || exit 1; rm -f $ready
    none_exists "$@" || exit $exists
    anew "$@"
    if put_all "$@"; then # systemd finds new files by itself, before version 246 not always
        systemctl_all "start --no-block" "$@" 2>/dev/null && exit 0
        systemctl daemon-reload && systemctl_all "start --no-block" "$@" && exit 0
    fi
    systemctl_all "stop --no-block" "$@" 2>/dev/null; undo_all "$@"; systemctl daemon-reload; exit 1;;
patch) # UNIT FILE BYTES ENABLED: 1, 0, or nothing to leave it
    locked || exit 1; rm -f $ready
    exists "$1" || exit $missing
    file=$units/$2; [ ! -e "$file" ] || cp -p "$file" "$file.old" || exit 1
    links=$(ls -d $units/*.wants/"$1" 2>/dev/null)
    if put "$file" "$3"; then
        if is_ours "$1"; then unlink "$1"; [ "$4" = 0 ] || link "$1" "$file"
        elif [ "$4" = 1 ]; then systemctl --quiet enable -- "$1"; link "$1" "$file"
        elif [ "$4" = 0 ]; then systemctl --quiet disable -- "$1"; fi
        if systemctl daemon-reload && systemctl try-restart --no-block -- "$1"; then rm -f "$file.old"; exit 0; fi
    fi
    if [ -e "$file.old" ]; then mv "$file.old" "$file"; else rm -f "$file"; fi
    unlink "$1"; for it in $links; do ln -sfn "../$1" "$it"; done
    rm -f "$file.new" "$file.not" "$file.put"; systemctl daemon-reload; exit 1;;
delete)
    is_ours "$1" || exit $missing
    timeout 30 systemctl stop -- "$1" ||
        { systemctl kill --signal=KILL -- "$1"; timeout 30 systemctl stop -- "$1"; }
    locked || exit 1
    rm -rf "$units/$1" "$units/$1.d"; unlink "$1"; systemctl reset-failed -- "$1" 2>/dev/null
    systemctl daemon-reload;;
act) rm -f $ready; exec systemctl "$1" -- "$2";;
list) ours; exit 0;;
status) exec systemctl show --property=LoadState,ActiveState,SubState,Description -- "$1";;
logs)
    exists "$1" || [ -e "$succeeded/$1" ] || exit $missing
    unit=$1; shift
    exec journalctl --quiet --no-pager --output=json --reverse --unit="$unit" \
        --output-fields=MESSAGE,PRIORITY,UNIT,_SYSTEMD_UNIT "$@";;
states) # of these units, or of ours
    systemctl show --property=SystemState || exit
    for it in $succeeded/*; do [ ! -e "$it" ] || printf '+%s\n' "${it##*/}"; done
    [ $# -gt 0 ] || set -- $(ours)
    [ $# -gt 0 ] || exit 0
    echo
    exec systemctl show --property=Id,LoadState,ActiveState,Result,Job,InactiveEnterTimestampMonotonic -- "$@";;
esac
"""


class Verb(StrEnum):
    """What the script does."""

    CREATE = "create"
    PATCH = "patch"
    DELETE = "delete"
    ACT = "act"
    LIST = "list"
    STATUS = "status"
    LOGS = "logs"
    STATES = "states"


def argv(verb: Verb, *arguments: str) -> tuple[str, ...]:
    """To be run as root, in `/`."""
    return ("sh", "-c", _NAMES + _SCRIPT, "hutch", verb.value, *arguments)


class Standing(StrEnum):
    """Where a service stands."""

    UNDER_WAY = "under way"  # it starts or stops, or is about to
    FAILED = "failed"
    RUNS = "runs"  # or counts as active after its end
    ENDED = "ended"  # well
    INACTIVE = "inactive"  # it was not started, or ended well so that systemd has forgotten it
    ABSENT = "absent"  # there is none


@dataclass(frozen=True, slots=True)
class States:
    """What systemd said of itself and of some services, by unit, with a word for how a failed one failed."""

    system: str  # starting, running, degraded …
    units: Mapping[str, tuple[Standing, str]]

    @property
    def has_booted(self) -> bool:
        return self.system in ("running", "degraded")

    def among(self, standing: Standing) -> list[str]:
        """The units that stand so."""
        return [unit for unit, (its, _) in self.units.items() if its is standing]


def properties(told: str) -> dict[str, str]:
    """The `NAME=VALUE` lines of `systemctl show` for one unit; of a name told twice, the first."""
    pairs = [line.partition("=") for line in told.splitlines()]
    return {key: value[:LONGEST] for key, _, value in reversed(pairs)}


def states(told: str, wanted: Sequence[str] = ()) -> States:
    """What `Verb.STATES` answered; for units asked for by name, in this order."""
    head, _, rest = told.partition("\n\n")
    lines = head.splitlines()
    succeeded = {line[1:] for line in lines if line.startswith("+")}
    blocks = [properties(block) for block in rest.split("\n\n") if block.strip()]
    names = wanted or [it.get("Id", "") for it in blocks]
    told_of = dict(zip(names, blocks, strict=False))
    found = {name: _standing(name, told_of.get(name, {}), succeeded) for name in names}
    return States(properties(head).get("SystemState", ""), found)


def _standing(unit: str, its: Mapping[str, str], succeeded: Collection[str]) -> tuple[Standing, str]:
    active, result = its.get("ActiveState", ""), its.get("Result", "success")
    if its.get("Job", "") not in ("", "0") or active in ("activating", "deactivating", "reloading"):
        return Standing.UNDER_WAY, active
    if active == "active":
        return Standing.RUNS, active
    if active == "failed" or result != "success":
        return Standing.FAILED, result
    if unit in succeeded:
        return Standing.ENDED, result
    if its.get("LoadState") != "loaded":
        return Standing.ABSENT, its.get("LoadState", "")
    has_run = its.get("InactiveEnterTimestampMonotonic", "0") not in ("", "0")
    return (Standing.ENDED, result) if has_run else (Standing.INACTIVE, result)


@dataclass(frozen=True, slots=True)
class JournalLine:
    """A line of the guest's journal."""

    message: str
    at: datetime
    priority: int | None = None  # of syslog: 0 to 7
    unit: str | None = None


def journal(told: bytes) -> Iterator[JournalLine]:
    """What `journalctl --output=json` wrote, in its order; a line that makes no sense is left out."""
    for raw in told.splitlines():
        try:
            it = json.loads(raw)
            message, priority = it["MESSAGE"], it.get("PRIORITY")
            if isinstance(message, list):  # journalctl's way with what is not UTF-8
                message = bytes(message).decode("utf-8", "replace")
            at = datetime.fromtimestamp(int(it["__REALTIME_TIMESTAMP"]) / 1_000_000, UTC)
            unit = it.get("UNIT") or it.get("_SYSTEMD_UNIT")  # the former: what systemd says of it
            level = None if priority is None else int(priority)
        except (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError, AttributeError):
            continue
        if isinstance(message, str):
            its = _text(str(unit).removesuffix(units.SUFFIX)) if unit else None
            yield JournalLine(_text(message), at, level, its)


def _text(told: str) -> str:
    """As much of it as is told, without halves of characters."""
    return told[:LONGEST].encode(errors="replace").decode()


def moment(since: str) -> str:
    """`since` for journalctl, which knows no RFC 3339: what has an offset or a Z is told in Unix seconds."""
    try:
        at = datetime.fromisoformat(since)
    except ValueError:
        return since
    return since if at.tzinfo is None else f"@{at.timestamp():.6f}"
