/* A counter that is used in rounds, over a network that delivers in any order, and a fence.
 *
 * In each round the sender posts PIECES writes that each add one, and a seal with the total. A
 * packet may arrive, and its acknowledgement return, at any time and in any order. A round may be
 * aborted: then both sides go on to the next epoch, and the packets that are still under way arrive
 * when they please. Before the sender uses the receiver's memory for anything else it waits for its
 * fence: all acknowledgements of what it has posted.
 *
 * Broken on purpose:  -DSEAL_IGNORED      ready as soon as something has arrived
 *                     -DNO_SEALED_BIT     ready when arrived equals the total, sealed or not
 *                     -DEPOCH_IGNORED     late packets of an aborted round count
 *                     -DFENCE_BY_GUESS    the fence is over when the last write is acknowledged
 *                     -DSEAL_SETS         the seal overwrites instead of adding
 */
#define PIECES  2
#define PACKETS 3 /* a round: its pieces and its seal */
#define ROUNDS  3
#define SLOTS   9 /* PACKETS * ROUNDS */
#define SEAL    2 /* the index of the seal in its round */

mtype = { unsent, flying, arrived, acknowledged };
mtype packet[SLOTS] = unsent;

byte epoch;       /* the receiver's round */
byte sender_epoch;
bool aborted[ROUNDS];
byte fenced;      /* rounds whose fence the sender has passed */

/* The counter word: arrivals, total, sealed. */
byte count, total;
bool sealed;

#if defined(SEAL_IGNORED)
#define READY (count > 0)
#elif defined(NO_SEALED_BIT)
#define READY (count == total)
#else
#define READY (sealed && count == total)
#endif

#ifdef EPOCH_IGNORED
#define CURRENT(number) true
#else
#define CURRENT(number) ((number) / PACKETS == epoch)
#endif

/* What came, not what the counter says. */
#define CAME(number) (packet[number] == arrived || packet[number] == acknowledged)

#ifdef FENCE_BY_GUESS
#define FENCE(first) (packet[first + SEAL] == acknowledged)
#else
#define FENCE(first) \
    (packet[first] == acknowledged && packet[first + 1] == acknowledged && \
     packet[first + 2] == acknowledged)
#endif

/* One packet arrives: its effect on the counter is one addition to one word. */
inline arrive(number) {
    packet[number] = arrived;
    if
    :: CURRENT(number) ->
        if
        :: number % PACKETS == SEAL ->
#ifdef SEAL_SETS
            count = 0;
#endif
            total = PIECES;
            sealed = true;
        :: else -> count++
        fi
    :: else
    fi
}

proctype network() {
    byte number;
end:
    do
    :: atomic {
        select(number : 0 .. 8);
        if
        :: packet[number] == flying -> arrive(number)
        :: packet[number] == arrived -> packet[number] = acknowledged
        :: else
        fi;
        number = 0
    }
    od
}

proctype sender() {
    byte first;
    do
    :: sender_epoch == ROUNDS -> break
    :: else ->
        first = sender_epoch * PACKETS;
        atomic { packet[first] = flying; packet[first + 1] = flying; packet[first + 2] = flying }
        if
        :: FENCE(first) ->
            assert(CAME(first) && CAME(first + 1) && CAME(first + 2));
            fenced++;
            (epoch > sender_epoch) /* the receiver says that it has begun the next round */
        :: aborted[sender_epoch] /* gives up waiting; its packets stay under way */
        fi;
        sender_epoch++;
        first = 0;
    od
}

/* A round ends when it is ready, or when it is aborted; the last one is never aborted. */
proctype receiver() {
    byte first;
    do
    :: epoch == ROUNDS -> break
    :: atomic {
        epoch < ROUNDS && READY ->
            first = epoch * PACKETS;
            assert(CAME(first) && CAME(first + 1) && CAME(first + 2));
            first = 0; count = 0; total = 0; sealed = false;
            epoch++
    }
    :: atomic {
        epoch < ROUNDS - 1 && sender_epoch == epoch && !READY ->
            count = 0; total = 0; sealed = false;
            aborted[epoch] = true;
            epoch++
    }
    od
}

/* Nothing that arrived in time is lost either: with all there, the counter is ready. */
proctype monitor() {
end:
    atomic {
        epoch < ROUNDS && CAME(epoch * PACKETS) && CAME(epoch * PACKETS + 1) &&
        CAME(epoch * PACKETS + 2) && !READY -> assert(false)
    }
}

init {
    atomic {
        run network();
        run sender();
        run receiver();
        run monitor();
    }
}
