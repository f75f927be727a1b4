/* The ring with two producers that share it and one consumer; sequentially consistent memory (weak
 * memory is the model tests' part). A slot's words are stored one after the other, the low word with
 * its phase bit last; producers hold back by credits that they refresh from `popped`.
 *
 * Tickets and laps are kept small: `reserved` and `popped` only count to TOTAL.
 *
 * Broken on purpose:  -DPHASE_FIRST        the low word is stored before the high one
 *                     -DONE_CREDIT_MORE    a producer believes in one slot too many
 *                     -DNO_CLAIM           a ticket is read and written back, not claimed
 *                     -DPHASE_CONSTANT     the phase does not change with the lap
 */
#define CAPACITY  2
#define PRODUCERS 2
#define EACH      3
#define TOTAL     6 /* PRODUCERS * EACH: three laps */

#ifdef ONE_CREDIT_MORE
#define CREDITS 3
#else
#define CREDITS CAPACITY
#endif

#ifdef PHASE_CONSTANT
#define PHASE(ticket) 1
#else
#define PHASE(ticket) (1 - ((ticket) / CAPACITY) % 2)
#endif

byte reserved, popped, completed;
bit phase[CAPACITY];
byte low[CAPACITY];  /* the command that the low word belongs to */
byte high[CAPACITY]; /* ... and the high word */
bool handled[TOTAL];

/* Command number `command`, in `ticket`, slot `at`. The low word and its phase are one store. */
inline fill(at, ticket, command) {
#ifdef PHASE_FIRST
    atomic { low[at] = command; phase[at] = PHASE(ticket) }
    high[at] = command;
#else
    high[at] = command;
    atomic { low[at] = command; phase[at] = PHASE(ticket) }
#endif
}

/* Takes `ticket` when nobody else has taken it since it was read. */
inline claim(ticket, done) {
#ifdef NO_CLAIM
    reserved = ticket + 1;
    done = true;
#else
    atomic {
        done = (reserved == ticket);
        if
        :: done -> reserved = ticket + 1
        :: else
        fi
    }
#endif
}

proctype producer(byte me) {
    byte index, ticket, known;
    bool mine;
    do
    :: index == EACH -> break
    :: else ->
        ticket = reserved;
        if /* out of credits: read the consumer's line; wait there until there is one */
        :: ticket - known >= CREDITS ->
            popped > known;
            known = popped;
        :: else
        fi;
        if
        :: ticket - known >= CREDITS
        :: else ->
            claim(ticket, mine);
            if
            :: mine ->
                fill(ticket % CAPACITY, ticket, me * EACH + index);
                index++;
            :: else
            fi
        fi
    od;
    completed > ticket; /* the fence of the last command */
    assert(handled[me * EACH + EACH - 1]);
}

proctype consumer() {
    byte next, at, from_low, index;
    byte due[PRODUCERS];
    do
    :: next == TOTAL -> break
    :: else ->
        at = next % CAPACITY;
        /* Waits for the phase and reads the low word: one load. */
        atomic { phase[at] == PHASE(next); from_low = low[at] }
        assert(high[at] == from_low);
        index = from_low % EACH;
        assert(due[from_low / EACH] == index);
        due[from_low / EACH]++;
        next++;
        popped = next;
        handled[from_low] = true;
        completed = next;
    od
}

/* At every moment: no more tickets are out than there are slots, and nothing is completed early. */
proctype monitor() {
end:
    atomic {
        (reserved - popped > CAPACITY || completed > popped) -> assert(false)
    }
}

init {
    atomic {
        run producer(0);
        run producer(1);
        run consumer();
        run monitor();
    }
}
