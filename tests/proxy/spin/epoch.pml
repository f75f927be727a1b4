/* The beginning of an epoch: two ranks that write to each other, and then start anew together.
 *
 * In each epoch a rank pushes one write, payload and immediate, and perhaps does not wait for that of
 * its peer: the round was given up. Then it begins the next epoch: fence, barrier, fence for the
 * barrier's signal, counters to zero, and a meeting outside the network. A packet arrives at any
 * time, in any order, and is acknowledged at any time after that. Whatever arrives in another epoch
 * than its own is dropped; but its payload lands in memory.
 *
 * Broken on purpose:  -DNO_FENCE          the barrier, though own writes may be under way
 *                     -DNO_BARRIER        a rank starts anew when its own writes have landed
 *                     -DNO_MEETING        sends before the peer has started anew
 *                     -DCOUNTERS_KEPT     counters are not zeroed
 */
#define EPOCHS 3
#define PACKET(rank, of_epoch, kind) (((rank) * EPOCHS + (of_epoch)) * 2 + (kind))
#define WRITE  0
#define SIGNAL 1
#define LAST   11 /* 2 * EPOCHS * 2 - 1 */

mtype = { unsent, flying, arrived, acknowledged };
mtype packet[12] = unsent;
byte epoch[2], met[2];
byte writes[2], signals[2]; /* counters */

inline arrive(n) {
    from = n / (2 * EPOCHS);
    of_epoch = (n / 2) % EPOCHS;
    packet[n] = arrived;
    if
    :: n % 2 == WRITE ->
        assert(of_epoch >= epoch[1 - from]); /* no old payload in memory that is used again */
        assert(of_epoch == epoch[1 - from]); /* and nothing fresh is taken for something late */
        writes[1 - from]++
    :: else ->
        assert(of_epoch == epoch[1 - from]); /* the peer waits for it */
        signals[1 - from]++
    fi;
    assert(writes[1 - from] <= 1 && signals[1 - from] <= 1);
    from = 0; of_epoch = 0
}

/* The way of one packet. */
proctype carrier(byte n) {
    byte from, of_epoch;
end:
    atomic { packet[n] == flying -> arrive(n) };
    packet[n] = acknowledged
}

proctype rank(byte me) {
    do
    :: epoch[me] == EPOCHS - 1 -> break
    :: else ->
        packet[PACKET(me, epoch[me], WRITE)] = flying;
        if
        :: writes[me] == 1
        :: true /* given up */
        fi;
#ifndef NO_FENCE
        packet[PACKET(me, epoch[me], WRITE)] == acknowledged;
#endif
        packet[PACKET(me, epoch[me], SIGNAL)] = flying;
#ifndef NO_BARRIER
        signals[me] == 1;
#endif
        packet[PACKET(me, epoch[me], SIGNAL)] == acknowledged;
        atomic {
            epoch[me]++;
#ifndef COUNTERS_KEPT
            writes[me] = 0; signals[me] = 0
#endif
        }
        met[me]++;
#ifndef NO_MEETING
        met[1 - me] >= met[me]
#endif
    od
}

proctype monitor() {
    timeout -> assert(epoch[0] == EPOCHS - 1 && epoch[1] == EPOCHS - 1)
}

init {
    byte number;
    atomic {
        number = 0;
        do
        :: number <= LAST -> run carrier(number); number++
        :: else -> break
        od;
        run rank(0);
        run rank(1);
        run monitor();
    }
}
