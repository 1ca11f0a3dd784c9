/*
 * A server that is stopped: everybody goes on serving the others until all have said that they want nothing any more.
 *
 * The attendant tells each process to drain, one later than another. Each may be killed meanwhile, and has no next life
 * then. A rule is one turn of a process, as in parking.pml; here any process runs jobs for any other.
 */

#ifndef PROCESSES
#define PROCESSES 3
#endif
#ifndef JOBS
#define JOBS 1                          /* of each process, at any time until it has said that it wants nothing */
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

#define LINE 3
#define NOBODY PROCESSES
#define FROM_TO(p, q) ((p) * PROCESSES + (q))

mtype:word = { DISPATCH, RETURNED, DRAINED };
chan line[PROCESSES * PROCESSES] = [LINE] of { mtype:word };
chan ends_told[PROCESSES] = [PROCESSES] of { byte };

mtype:being = { SERVES, DRAINS, SAID, LEFT, GONE };
mtype:being state[PROCESSES] = SERVES;
byte jobs[PROCESSES] = JOBS;
byte with[PROCESSES] = NOBODY;          /* who has the job that this process waits for */
bit runs[PROCESSES * PROCESSES];        /* the second runs a job for the first */
bit knows[PROCESSES * PROCESSES];
bit heard[PROCESSES * PROCESSES];       /* the first has heard that the second wants nothing any more */
bit killed[PROCESSES];
byte deaths = DEATHS;
bit stopping;

hidden byte a, gone;
hidden mtype:word said;

#define IS_THERE(p) (state[p] != LEFT && state[p] != GONE)

#define HEARD(p, q) (!knows[FROM_TO(p, q)] || heard[FROM_TO(p, q)])
#if PROCESSES > 2
#define HOLDS(p) (runs[FROM_TO(0, p)] || runs[FROM_TO(1, p)] || runs[FROM_TO(2, p)])
#define ALL_HEARD(p) (HEARD(p, 0) && HEARD(p, 1) && HEARD(p, 2))
#else
#define HOLDS(p) (runs[FROM_TO(0, p)] || runs[FROM_TO(1, p)])
#define ALL_HEARD(p) (HEARD(p, 0) && HEARD(p, 1))
#endif

/* workers/endpoint.py: send */
inline say(p, q, what) {
    if
    :: IS_THERE(q) ->
        assert(len(line[FROM_TO(p, q)]) < LINE);
        line[FROM_TO(p, q)]!what
    :: else
    fi
}

/* workers/dispatch.py: Submitted */
inline submit(p, q) {
    jobs[p]--;
    with[p] = q;
    say(p, q, DISPATCH)
}

/* workers/worker.py: accept */
inline accept(p, q) {
    runs[FROM_TO(q, p)] = 1
}

/* workers/worker.py: _answer */
inline answer(p, q) {
    runs[FROM_TO(q, p)] = 0;
    say(p, q, RETURNED)
}

/* workers/dispatch.py: Answered */
inline answered(p) {
    with[p] = NOBODY
}

/* workers/supervision.py: StopAsked */
inline stop_all() {
    stopping = 1
}

/* runtime/process.py: _drain */
inline begin_to_drain(p) {
    state[p] = DRAINS
}

/* runtime/process.py: _check_drained */
inline say_drained(p) {
    state[p] = SAID;
    for (a : 0 .. PROCESSES - 1) {
        if
        :: a != p && knows[FROM_TO(p, a)] -> say(p, a, DRAINED)
        :: else
        fi
    }
}

/* runtime/process.py: on_letter; workers/node.py: Letter */
inline hear_drained(p, q) {
    heard[FROM_TO(p, q)] = 1
}

/* Of no case. */
inline silence(way) {
    do
    :: len(way) > 0 -> way?said
    :: else -> break
    od
}

/* Of no case: a process is gone, with what it knew and what was in its inbox. */
inline forget(p) {
    with[p] = NOBODY;
    jobs[p] = 0;
    for (a : 0 .. PROCESSES - 1) {
        silence(line[FROM_TO(a, p)]);
        runs[FROM_TO(a, p)] = 0;
        knows[FROM_TO(p, a)] = 0;
        heard[FROM_TO(p, a)] = 0
    }
    do
    :: len(ends_told[p]) > 0 -> ends_told[p]?gone
    :: else -> break
    od
}

/* runtime/process.py: run */
inline stop(p) {
    for (a : 0 .. PROCESSES - 1) {
        assert(!runs[FROM_TO(a, p)]);
        assert(!(line[FROM_TO(a, p)]??[DISPATCH]));     /* no job is lost with one that leaves in good order */
        assert(!(line[FROM_TO(a, p)]??[RETURNED]))
    }
    state[p] = LEFT;
    forget(p)
}

/* workers/supervision.py: Ended */
inline bury_for_good(p) {
    state[p] = GONE;
    for (a : 0 .. PROCESSES - 1) {
        if
        :: IS_THERE(a) -> ends_told[a]!p
        :: else
        fi
    }
}

/* runtime/process.py: PeerDown */
inline hear_end_of(p, q) {
#ifndef BUG_WAITS_FOR_THE_DEAD
    knows[FROM_TO(p, q)] = 0;
#endif
    runs[FROM_TO(q, p)] = 0;
    silence(line[FROM_TO(q, p)]);
    if
    :: with[p] == q ->
        assert(killed[q]);                              /* nobody who leaves in good order takes a job along */
        with[p] = NOBODY
    :: else
    fi
}

proctype Process(byte p) {
    byte i;
end:
    do
    :: d_step { state[p] == SERVES && stopping -> begin_to_drain(p) }
#ifdef BUG_SAYS_SO_WHILE_IT_WAITS
    :: d_step { state[p] == DRAINS -> say_drained(p); skip }
#else
    :: d_step { (state[p] == DRAINS && with[p] == NOBODY && !HOLDS(p)) -> say_drained(p); skip }
#endif
#ifdef BUG_LEAVES_WHEN_IDLE
    :: d_step { (state[p] == SAID && with[p] == NOBODY && !HOLDS(p)) -> stop(p); skip }
#else
    :: d_step { (state[p] == SAID && with[p] == NOBODY && !HOLDS(p) && ALL_HEARD(p)) -> stop(p); skip }
#endif
    :: d_step { IS_THERE(p) && len(ends_told[p]) > 0 -> ends_told[p]?i; hear_end_of(p, i); i = 0 }
    :: d_step { IS_THERE(p) && deaths > 0 -> deaths--; killed[p] = 1; state[p] = LEFT; forget(p); skip }
    :: d_step { state[p] == LEFT -> bury_for_good(p); skip }
    od
}

proctype Pair(byte p, q) {
end:
    do
    :: d_step { ((state[p] == SERVES || state[p] == DRAINS) && jobs[p] > 0 && with[p] == NOBODY
            && knows[FROM_TO(p, q)]) ->
            submit(p, q); skip }
    :: d_step { IS_THERE(p) && line[FROM_TO(q, p)]?[DISPATCH] -> line[FROM_TO(q, p)]?said; accept(p, q) }
    :: d_step { IS_THERE(p) && runs[FROM_TO(q, p)] -> answer(p, q); skip }
    :: d_step { IS_THERE(p) && line[FROM_TO(q, p)]?[RETURNED] -> line[FROM_TO(q, p)]?said; answered(p) }
    :: d_step { IS_THERE(p) && line[FROM_TO(q, p)]?[DRAINED] -> line[FROM_TO(q, p)]?said; hear_drained(p, q) }
    od
}

proctype Attendant() {
end:
    do
    :: d_step { !stopping -> stop_all() }
    od
}

/* Nobody else is killed; and when nothing more happens, all must have left. */
proctype Rest() {
    byte i;
end:
    do
    :: d_step { deaths > 0 -> deaths = 0 }
    :: timeout -> d_step {
            for (i : 0 .. PROCESSES - 1) {
                assert(state[i] == GONE)        /* nobody waits for ever, and the server ends */
            }
        } -> break
    od
}

init {
    byte p, q;
    atomic {
        for (p : 0 .. PROCESSES - 1) {
            run Process(p);
            for (q : 0 .. PROCESSES - 1) {
                if
                :: p != q -> knows[FROM_TO(p, q)] = 1; run Pair(p, q)
                :: else
                fi
            }
        }
        run Attendant();
        run Rest()
    }
}
