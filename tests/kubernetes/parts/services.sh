# Programs that run in the box: started, killed and started again, each with a log of its own.
# shellcheck shell=bash disable=SC2154

run_program() { # NAME WHERE COMMAND...: WHERE is `control`, or a node's number
    local name=$1 where=$2; shift 2
    echo "$where" > "$state/programs/$name.where"
    printf '%q ' "$@" > "$state/programs/$name.command"
    start_program "$name"
}

# Its id is that in the box.
program_runs() { [ -s "$state/programs/$1.pid" ] && inside kill -0 "$(cat "$state/programs/$1.pid")" 2> /dev/null; }

known_program() {
    [ -e "$state/programs/$1.where" ] || die "there is no program $1, but: $(cd "$state/programs" && echo *.where | sed 's/\.where//g')"
}

start_program() { # NAME
    known_program "$1"
    ! program_runs "$1" || die "$1 runs already"
    local where enter=(inside)
    where=$(cat "$state/programs/$1.where")
    [ "$where" = control ] || enter=(inside_node "$where")
    "${enter[@]}" setsid bash -c "echo \$\$ > '$state/programs/$1.pid'; exec $(cat "$state/programs/$1.command")" \
        >> "$state/log/$1.log" 2>&1 < /dev/null &
    disown
}

stop_program() { # NAME
    known_program "$1"
    program_runs "$1" || die "$1 does not run"
    local pid
    pid=$(cat "$state/programs/$1.pid")
    inside kill -KILL "$pid"
    while inside kill -0 "$pid" 2> /dev/null; do sleep 0.05; done
    rm "$state/programs/$1.pid"
}

log_program() { # NAME
    known_program "$1"
    cat "$state/log/$1.log"
}
