/* Sequenced operations of one lane, over a network that delivers in any order: numbers modulo
 * NUMBERS, and a signal that must follow all that was sent before it.
 *
 * The sender posts number n only while n < u + WINDOW, u being its oldest number that is not
 * acknowledged. The receiver notes what arrives within the half of the number space from `next` on,
 * and applies signals up to the first gap. What lies in the other half has come before: a fault.
 * Acknowledgements come in any order, too. Every second operation is a signal.
 *
 * Broken on purpose:  -DSPAN_NOT_BOUNDED    bounds how many are in flight, not their span
 *                     -DWINDOW_TOO_LARGE    as many as there are numbers, not half of them
 *                     -DSIGNAL_NOT_HELD     a signal is applied when it arrives
 *                     -DPOPPED_IS_POSTED    an acknowledgement of a later one counts for all before
 */
#define NUMBERS 8
#define HALF    4
#define TOTAL   12

#ifdef WINDOW_TOO_LARGE
#define WINDOW NUMBERS
#else
#define WINDOW HALF
#endif

mtype = { unsent, flying, arrived, acknowledged };
mtype state[TOTAL] = unsent;
byte oldest;    /* of the sender: not acknowledged */
byte in_flight;
byte posted;

byte next;              /* of the receiver: has not arrived; counted without wrapping */
bool noted[NUMBERS];
byte applied;           /* operations that are applied, and the signals among them */

#define IS_SIGNAL(n) ((n) % 2 == 1)
#define CAME(n)      (state[n] == arrived || state[n] == acknowledged)

#ifdef SPAN_NOT_BOUNDED
#define MAY_POST (in_flight < WINDOW)
#else
#define MAY_POST (posted < oldest + WINDOW)
#endif

inline all_came_before(n) {
    index = 0;
    do
    :: index < n -> assert(CAME(index)); index++
    :: else -> break
    od;
    index = 0
}

/* What the receiver sees of number n is n modulo NUMBERS. */
inline arrive(n) {
    state[n] = arrived;
    distance = (n + 2 * NUMBERS - next % NUMBERS) % NUMBERS;
    assert(distance < HALF && !noted[n % NUMBERS]); /* else a fresh one is taken for a repeated one */
    noted[n % NUMBERS] = true;
#ifdef SIGNAL_NOT_HELD
    if
    :: IS_SIGNAL(n) -> all_came_before(n)
    :: else
    fi;
#endif
    do
    :: noted[next % NUMBERS] ->
        noted[next % NUMBERS] = false;
        if
        :: IS_SIGNAL(next) -> all_came_before(next + 1)
        :: else
        fi;
        next++;
        applied++
    :: else -> break
    od;
    distance = 0
}

inline acknowledge(n) {
    state[n] = acknowledged;
    in_flight--;
#ifdef POPPED_IS_POSTED
    oldest = (oldest > n + 1 -> oldest : n + 1);
#else
    do
    :: oldest < TOTAL && state[oldest] == acknowledged -> oldest++
    :: else -> break
    od
#endif
}

proctype sender() {
end:
    do
    :: atomic {
        posted < TOTAL && MAY_POST ->
            state[posted] = flying;
            posted++;
            in_flight++
    }
    od
}

proctype network() {
    byte n, index, distance;
end:
    do
    :: atomic {
        select(n : 0 .. 11);
        if
        :: state[n] == flying -> arrive(n)
        :: state[n] == arrived -> acknowledge(n)
        :: else
        fi;
        n = 0
    }
    od
}

/* When all has been acknowledged, all has been applied, once. */
proctype monitor() {
end:
    atomic { oldest == TOTAL && next != TOTAL -> assert(false) }
}

init {
    atomic {
        run sender();
        run network();
        run monitor();
    }
}
