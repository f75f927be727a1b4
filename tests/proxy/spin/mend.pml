/* Mending a lane: two sides, a lane over one of several paths (pairs of QPs), and a control channel
 * between the sides that loses nothing and keeps order (a TCP socket).
 *
 * A side that finds its path broken takes it down, drains it, raises the generation, prepares a path
 * and says SWITCH {generation, path, received}; received is how many immediates have come on this
 * lane so far. Who hears of a higher generation adopts it: takes its own path down, drains, prepares
 * the path named, and says SWITCH of the same generation and path. When both have chosen the same
 * generation, the path of side 0 wins. A side that has said and heard the same SWITCH is up: it
 * forgets what the peer has received, and posts the rest again.
 *
 * A path may break at any moment, also while it is mended. Then what is under way is lost, in either
 * direction, acknowledgements too; either side may notice first. What was sent on a path that one
 * side only has taken down may still arrive at the other side.
 *
 * Broken on purpose:  -DNO_DRAIN           counts before all that has arrived is looked at
 *                     -DNO_TRIM            posts again whatever is not acknowledged
 *                     -DTIE_UNBROKEN       each side insists on its own path
 *                     -DGENERATION_IGNORED believes a SWITCH of an earlier generation
 *                     -DUP_TOO_EARLY       posts when it has said SWITCH, not when it has heard it
 *                     -DNO_TAKE_DOWN       adopts, but lets what comes on the old path arrive
 */
#define PATHS    2
#define FAILURES 3
#define MOST     2 /* immediates that a side has to send */
#define PLACE(side, path) ((side) * PATHS + (path))

/* Per side. */
byte generation[2], path[2], received[2], acked[2], posted[2];
bool mending[2];
/* Per side and path: the generation of the QP, 0 when it is down. */
byte open[4];
bool broken[PATHS];
byte failures;

typedef Wire {
    chan under_way = [3] of { byte, byte }; /* generation, number: towards the side */
    byte unheard;                           /* acknowledgements of it on their way back */
};
Wire wire[4];
chan arrived[2] = [4] of { byte }; /* numbers that nobody has looked at */
chan control[2] = [6] of { byte, byte, byte }; /* SWITCH to the side */

#define TO_SEND(side) (MOST - (side)) /* 2 and 1 */

inline look(side) {
    arrived[side] ? number;
    assert(number == received[side]); /* neither lost nor doubled, and in order */
    received[side]++;
    number = 0;
}

inline take_down(side) {
#ifndef NO_TAKE_DOWN
    open[PLACE(side, path[side])] = 0;
#endif
#ifndef NO_DRAIN
    do
    :: nempty(arrived[side]) -> look(side)
    :: empty(arrived[side]) -> break
    od;
#endif
    skip
}

inline drop(at) {
    do
    :: nempty(wire[at].under_way) -> wire[at].under_way ? _, _
    :: empty(wire[at].under_way) -> break
    od;
    wire[at].unheard = 0
}

inline prepare(side, new_generation, new_path) {
    generation[side] = new_generation;
    path[side] = new_path;
    open[PLACE(side, new_path)] = new_generation;
    wire[PLACE(1 - (side), new_path)].unheard = 0;
    if /* a broken QP is broken for good: nothing of it is carried on when a new one is made */
    :: broken[new_path] ->
        drop(PLACE(0, new_path));
        drop(PLACE(1, new_path));
        broken[new_path] = false
    :: else
    fi;
    control[1 - (side)] ! new_generation, new_path, received[side];
    mending[side] = true
}

inline up(side, peer_received) {
    assert(peer_received >= acked[side]); /* what is acknowledged has arrived */
#ifdef NO_TRIM
    posted[side] = acked[side];
#else
    acked[side] = peer_received;
    posted[side] = peer_received;
#endif
    mending[side] = false
}

inline hear(side) {
    control[side] ? heard_generation, heard_path, heard_received;
    if
    :: heard_generation > generation[side] ->
        take_down(side);
        prepare(side, heard_generation, heard_path);
        up(side, heard_received)
#ifdef GENERATION_IGNORED
    :: heard_generation <= generation[side] && mending[side] && heard_path == path[side] ->
#else
    :: heard_generation == generation[side] && mending[side] && heard_path == path[side] ->
#endif
        up(side, heard_received)
    :: heard_generation == generation[side] && mending[side] && heard_path != path[side] ->
        if
#ifndef TIE_UNBROKEN
        :: side == 1 -> /* nobody has sent anything on the path that is given up */
            open[PLACE(side, path[side])] = 0;
            prepare(side, heard_generation, heard_path);
            up(side, heard_received)
#endif
        :: else
        fi
    :: else /* of an earlier generation */
    fi;
    heard_generation = 0; heard_path = 0; heard_received = 0
}

#ifdef UP_TOO_EARLY
#define MAY_POST(side) true
#else
#define MAY_POST(side) (!mending[side])
#endif

proctype endpoint(byte me) {
    byte number, heard_generation, heard_path, heard_received, choice;
end:
    do
    :: atomic {
        MAY_POST(me) && posted[me] < TO_SEND(me) && open[PLACE(me, path[me])] == generation[me] &&
        nfull(wire[PLACE(1 - me, path[me])].under_way) ->
            wire[PLACE(1 - me, path[me])].under_way ! generation[me], posted[me];
            posted[me]++
    }
    :: atomic { nempty(arrived[me]) -> look(me) }
    :: atomic {
        wire[PLACE(1 - me, path[me])].unheard > 0 && !mending[me] ->
            wire[PLACE(1 - me, path[me])].unheard--;
            acked[me]++
    }
    :: atomic {
        broken[path[me]] ->
            take_down(me);
            select(choice : 0 .. 1);
            number = generation[me] + 1;
            prepare(me, number, choice);
            number = 0; choice = 0
    }
    :: atomic { nempty(control[me]) -> hear(me) }
    od
}

/* What a NIC does by itself: accepts what belongs to its QP, whoever is looking. */
inline carry(at) {
    wire[at].under_way ? of_generation, number;
    if
    :: open[at] == of_generation ->
        arrived[at / PATHS] ! number;
        if /* the acknowledgement finds the QP that has sent it, or nobody */
        :: open[PLACE(1 - at / PATHS, at % PATHS)] == of_generation -> wire[at].unheard++
        :: else
        fi
    :: else
    fi;
    of_generation = 0; number = 0
}

proctype network() {
    byte of_generation, number;
end:
    do
    :: atomic { !broken[0] && nempty(wire[0].under_way) && nfull(arrived[0]) -> carry(0) }
    :: atomic { !broken[1] && nempty(wire[1].under_way) && nfull(arrived[0]) -> carry(1) }
    :: atomic { !broken[0] && nempty(wire[2].under_way) && nfull(arrived[1]) -> carry(2) }
    :: atomic { !broken[1] && nempty(wire[3].under_way) && nfull(arrived[1]) -> carry(3) }
    :: atomic { failures < FAILURES && !broken[0] -> failures++; broken[0] = true; drop(0); drop(2) }
    :: atomic { failures < FAILURES && !broken[1] -> failures++; broken[1] = true; drop(1); drop(3) }
    od
}

/* When nothing can happen any more, everything has arrived. */
proctype monitor() {
    timeout -> assert(received[0] == TO_SEND(1) && received[1] == TO_SEND(0) &&
                      !mending[0] && !mending[1])
}

init {
    atomic {
        generation[0] = 1; generation[1] = 1;
        open[PLACE(0, 0)] = 1; open[PLACE(1, 0)] = 1;
        run endpoint(0);
        run endpoint(1);
        run network();
        run monitor();
    }
}
