/* The end of a peer: it sends, and then it leaves, dies, or is given up by the rank that receives.
 *
 * The peer has LANES proxies, each with its own order to the rank; what it sends on a lane is
 * followed by its farewell there, or by the end of the connection. The rank applies what arrives, in
 * the order of the lane; it waits for EXPECTED arrivals, and for the fence of one write of its own to
 * the peer. It may mask the peer at any moment: then each of its proxies gives the peer up when it
 * looks next, the transport keeps later writes out, and the rank uses the memory again.
 *
 * Broken on purpose:  -DGONE_FIRST          a farewell is believed before what came ahead of it
 *                     -DONE_FAREWELL        the peer has left when one of its proxies says so
 *                     -DFLIGHTS_KEPT        a write to a peer that is gone is never completed
 *                     -DGIVE_UP_BY_WORD     given up, but the transport still lets writes in
 *                     -DWAITER_NOT_RELEASED the waiter looks at counters only
 */
#define LANES    2
#define EACH     2
#define EXPECTED 4 /* LANES * EACH */

mtype = { write, farewell, torn };
mtype = { alive, left, lost, masked };

chan lane[LANES] = [3] of { mtype };
mtype peer = alive;
byte sent[LANES], arrived, farewells;
bool gone[LANES];     /* the rank's proxy has heard that the peer is gone, or has given it up */
bool dying;           /* the peer will not finish */
bool reused;          /* the memory is in use for something else */
bool flight_open = true, acknowledgement = false;
bool waiter_done, fence_done, satisfied;

proctype sender(byte me) {
    do
    :: atomic { sent[me] < EACH && !dying -> lane[me] ! write; sent[me]++ }
    :: atomic { sent[me] == EACH && !dying -> lane[me] ! farewell; break }
    :: atomic { dying -> lane[me] ! torn; break }
    od
}

/* The peer may die at any moment, and it may acknowledge the rank's write while it lives. */
proctype fate() {
end:
    do
    :: atomic { !dying && sent[0] + sent[1] < EXPECTED -> dying = true }
    :: atomic { !dying && !acknowledgement && !gone[0] -> acknowledgement = true }
    od
}

inline go(me, kind) {
    if
    :: kind == torn && peer == alive -> peer = lost
    :: kind == farewell ->
        farewells++;
#ifdef ONE_FAREWELL
        if
        :: peer == alive -> peer = left
        :: else
        fi
#else
        if
        :: farewells == LANES && peer == alive -> peer = left
        :: else
        fi
#endif
    :: else
    fi;
    gone[me] = true;
#ifndef FLIGHTS_KEPT
    if
    :: me == 0 -> flight_open = false
    :: else
    fi
#endif
}

proctype proxy(byte me) {
    mtype kind;
end:
    do
    :: atomic { /* looks at masks before anything else */
        peer == masked && !gone[me] ->
            gone[me] = true;
#ifndef FLIGHTS_KEPT
            if
            :: me == 0 -> flight_open = false
            :: else
            fi
#endif
    }
#ifdef GONE_FIRST
    :: atomic { !gone[me] && lane[me] ?? [farewell] -> lane[me] ?? farewell; go(me, farewell) }
#endif
    :: atomic {
        lane[me] ? [kind] && (peer != masked || gone[me]) ->
            lane[me] ? kind;
            if
#ifdef GIVE_UP_BY_WORD
            :: kind == write -> assert(!(gone[me] && reused)); arrived++
#else
            :: kind == write && !gone[me] -> assert(!reused); arrived++
            :: kind == write && gone[me] /* kept out */
#endif
            :: kind != write && !gone[me] -> go(me, kind)
            :: kind != write && gone[me]
            fi;
            kind = 0
    }
    :: atomic { me == 0 && acknowledgement && flight_open -> flight_open = false }
    od
}

/* The device of the rank: waits until all has come, or until there is no more hope. It looks at the
 * peer before it looks at the counter. */
proctype waiter() {
    mtype seen;
    do
    :: atomic { seen = peer }
        if
        :: arrived == EXPECTED -> satisfied = true; break
        :: arrived < EXPECTED && seen != alive ->
#ifdef WAITER_NOT_RELEASED
            arrived == EXPECTED;
#endif
            assert(seen != left); /* who leaves in peace has sent everything, and it has arrived */
            break
        :: arrived < EXPECTED && seen == alive -> (peer != alive || arrived == EXPECTED)
        fi
    od;
    waiter_done = true;
    !flight_open;
    fence_done = true
}

/* The rank may go on without the peer; then it uses the memory again when its proxies know. */
proctype masker() {
end:
    atomic { peer == alive && !waiter_done -> peer = masked };
    gone[0] && gone[1];
    reused = true
}

proctype monitor() {
    timeout -> assert(waiter_done && fence_done)
}

init {
    atomic {
        run sender(0);
        run sender(1);
        run fate();
        run proxy(0);
        run proxy(1);
        run waiter();
        run masker();
        run monitor();
    }
}
