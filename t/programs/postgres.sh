#!/bin/bash
# A PostgreSQL server with pgbench as its client, both in the job; its books have to balance.
# SPDX-License-Identifier: Apache-2.0
. "${0%/*}/gate.sh"
set -e -o pipefail
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
export PGHOST=$PWD PGUSER=test PGDATABASE=postgres TZ=UTC
"$bin/initdb" -D data -U test --no-sync --locale=C >initdb.log 2>&1
"$bin/postgres" -D data -k "$PWD" -c listen_addresses= ${PGOPTS:-} >server.log 2>&1 &
server=$!
until "$bin/pg_isready" -q; do sleep 0.1; done
"$bin/pgbench" -q -i -s 2 >init.log 2>&1

ask() { "$bin/psql" -qAt -c "$1"; }
balance() {
    ask "select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from
        pgbench_tellers), (select sum(bbalance) from pgbench_branches), (select
        coalesce(sum(delta), 0) from pgbench_history), (select count(*) from pgbench_history)"
}

work() { # rounds of a known number of transactions with known sums
    rounds=0
    until [ -e "$GATE.go" ] && [ "$rounds" -ge 3 ]; do
        "$bin/pgbench" -n -c 3 -j 2 -t 300 --random-seed=5 >bench.log 2>&1 || cat bench.log
        grep -o 'processed: 900/900' bench.log >/dev/null || { cat bench.log; return 1; }
        rounds=$((rounds + 1))
        IFS='|' read -r accounts tellers branches deltas count <<<"$(balance)"
        [ "$count" = $((rounds * 900)) ] && [ "$accounts" = "$deltas" ] &&
            [ "$tellers" = "$deltas" ] && [ "$branches" = "$deltas" ] ||
            { echo "round $rounds: $accounts $tellers $branches $deltas $count"; return 1; }
    done
    echo "sum of a round: $((deltas / rounds))"
}
work &
gate
wait $!
ask 'create extension amcheck' && ask "select count(bt_index_check(indexrelid)) from pg_index"
kill -INT $server
wait $server
tail -n 1 server.log | sed 's/.*LOG/LOG/'
