/*
 * Processes that stand still: a script's mi() waits on its stack for an answer that another process has to give.
 *
 * A process that waits so runs a nested loop, in which it still hears the others and the attendant, and answers quick
 * questions. What answers later it can only begin: its own loop stands still. Nothing here has a deadline, so that none
 * can hide that two wait for each other.
 *
 * A rule is one turn of a process, as in parking.pml.
 */

#ifndef PROCESSES
#define PROCESSES 2
#endif
#ifndef ASKS
#define ASKS 2                          /* of each process */
#endif
#ifndef DEATHS
#define DEATHS 1                        /* of all together */
#endif

#define LINE 3
#define NOBODY PROCESSES
#define FROM_TO(p, q) ((p) * PROCESSES + (q))

mtype:word = { QUICK, LATER, ANSWER };
chan line[PROCESSES * PROCESSES] = [LINE] of { mtype:word };
chan deaths_told[PROCESSES] = [DEATHS + 1] of { byte };

/* MOVING serves traffic; the others wait in block_on, and have not chosen, not asked, or not been answered yet. */
mtype:being = { MOVING, STOPPED, CHOSE, WAITS, DEAD, NONE };
mtype:being state[PROCESSES] = MOVING;
mtype:word kind[PROCESSES] = QUICK;
byte asked[PROCESSES] = NOBODY;
byte asks[PROCESSES] = ASKS;
bit knows[PROCESSES * PROCESSES];
bit task[PROCESSES * PROCESSES];        /* begun in the second for the first, and answered later */
bit paused[PROCESSES];                  /* on the load board, which all see */
byte deaths = DEATHS;

hidden byte a, gone;
hidden mtype:word said;

/* runtime/process.py: block_on */
inline stand_still(p, what) {
    asks[p]--;
    kind[p] = what;
    state[p] = STOPPED;
    paused[p] = 1
}

/* runtime/process.py: block_on */
inline move_again(p) {
    state[p] = MOVING;
    asked[p] = NOBODY;
    kind[p] = QUICK;
    paused[p] = 0
}

/* runtime/errands.py: who_sends */
inline refuse(p) {
    move_again(p)
}

/* runtime/errands.py: who_sends */
inline choose(p, q) {
    asked[p] = q;
    state[p] = CHOSE
}

/* workers/node.py: call */
inline ask(p) {
    state[p] = WAITS;
    if
    :: state[asked[p]] != DEAD && state[asked[p]] != NONE && knows[FROM_TO(p, asked[p])] ->
        assert(len(line[FROM_TO(p, asked[p])]) < LINE);
        line[FROM_TO(p, asked[p])]!kind[p]
    :: else ->
        if
        :: !knows[FROM_TO(p, asked[p])] -> move_again(p)                /* Rejected: it is not there */
        :: else                                                         /* its death is told soon */
        fi
    fi
}

/* workers/node.py: Dispatch */
inline hear_question(p, q, what) {
    if
    :: what == QUICK -> answer(p, q)                                    /* directed jobs run while paused */
    :: else -> task[FROM_TO(q, p)] = 1
    fi
}

/* workers/worker.py: _on_done */
inline end_task(p, q) {
    task[FROM_TO(q, p)] = 0;
    answer(p, q)
}

/* workers/worker.py: _answer */
inline answer(p, q) {
    if
    :: state[q] != DEAD && state[q] != NONE ->
        assert(len(line[FROM_TO(p, q)]) < LINE);
        line[FROM_TO(p, q)]!ANSWER
    :: else
    fi
}

/* workers/node.py: Answers; workers/node.py: Results */
inline hear_answer(p, q) {
    assert(state[p] == WAITS && asked[p] == q);                         /* nobody answers twice, or for another */
    move_again(p)
}

/* runtime/process.py: PeerDown */
inline hear_death(p, q) {
    knows[FROM_TO(p, q)] = 0;
    task[FROM_TO(q, p)] = 0;
    silence(line[FROM_TO(q, p)]);                                       /* words of the dead change nothing */
    if
    :: state[p] == WAITS && asked[p] == q -> move_again(p)              /* WorkerLost */
    :: else
    fi
}

/* Of no case. */
inline silence(way) {
    do
    :: len(way) > 0 -> way?said
    :: else -> break
    od
}

/* Of no case: a process is gone, with what it knew and what was in its inbox. */
inline die(p) {
    state[p] = DEAD;
    asked[p] = NOBODY;
    kind[p] = QUICK;
    asks[p] = 0;
    for (a : 0 .. PROCESSES - 1) {
        silence(line[FROM_TO(a, p)]);
        task[FROM_TO(a, p)] = 0;
        knows[FROM_TO(p, a)] = 0
    }
    do
    :: len(deaths_told[p]) > 0 -> deaths_told[p]?gone
    :: else -> break
    od
}

/* workers/supervision.py: Ended; workers/loads.py: clear_slot */
inline bury(p) {
    state[p] = NONE;
    paused[p] = 1;                      /* a clean row would look like an idle process */
    for (a : 0 .. PROCESSES - 1) {
        if
        :: state[a] != DEAD && state[a] != NONE -> deaths_told[a]!p
        :: else
        fi
    }
}

#define WAITING(p) (state[p] == STOPPED || state[p] == CHOSE || state[p] == WAITS)
#define COULD_ASK(p, q) ((p) != (q) && knows[FROM_TO(p, q)] && (kind[p] == QUICK || !paused[q]))
#if PROCESSES > 2
#define COULD_ASK_ANY(p) (COULD_ASK(p, 0) || COULD_ASK(p, 1) || COULD_ASK(p, 2))
#else
#define COULD_ASK_ANY(p) (COULD_ASK(p, 0) || COULD_ASK(p, 1))
#endif
#define ALIVE(p) (state[p] == MOVING || WAITING(p))

proctype Process(byte p) {
end:
    do
#ifdef BUG_LOOKS_BEFORE_IT_STOPS
    :: d_step { state[p] == MOVING && asks[p] > 0 && asked[p] != NOBODY -> kind[p] = LATER; asks[p]--; paused[p] = 1;
            state[p] = CHOSE }
#else
    :: d_step { state[p] == MOVING && asks[p] > 0 -> stand_still(p, LATER) }
#endif
    :: d_step { state[p] == MOVING && asks[p] > 0 -> stand_still(p, QUICK) }
    :: d_step { state[p] == CHOSE -> ask(p); skip }
    :: d_step { ALIVE(p) && deaths > 0 -> deaths--; die(p); skip }
    :: d_step { state[p] == DEAD -> bury(p); skip }
#ifdef BUG_DEAF_WHILE_STOPPED
    :: d_step { state[p] == MOVING && len(deaths_told[p]) > 0 -> deaths_told[p]?gone; hear_death(p, gone); skip }
#else
    :: d_step { ALIVE(p) && len(deaths_told[p]) > 0 -> deaths_told[p]?gone; hear_death(p, gone); skip }
#endif
    od
}

/* What passes between one process and another. */
proctype Pair(byte p, q) {
end:
    do
#ifdef BUG_LOOKS_BEFORE_IT_STOPS
    :: d_step { state[p] == MOVING && asks[p] > 0 && asked[p] == NOBODY && knows[FROM_TO(p, q)] && !paused[q]
            -> asked[p] = q }
#endif
    /* A quick question may go to anybody, a later one to one that does not wait itself. */
    :: d_step { state[p] == STOPPED && kind[p] == QUICK && knows[FROM_TO(p, q)] -> choose(p, q) }
#ifdef BUG_ASKS_WHO_WAITS
    :: d_step { state[p] == STOPPED && kind[p] == LATER && knows[FROM_TO(p, q)] -> choose(p, q) }
#else
    :: d_step { state[p] == STOPPED && kind[p] == LATER && knows[FROM_TO(p, q)] && !paused[q] -> choose(p, q) }
#endif
#ifdef BUG_QUESTIONS_HELD_BACK
    :: d_step { state[p] == MOVING && len(line[FROM_TO(q, p)]) > 0 && line[FROM_TO(q, p)]?[QUICK] ->
#else
    :: d_step { ALIVE(p) && len(line[FROM_TO(q, p)]) > 0 && line[FROM_TO(q, p)]?[QUICK] ->
#endif
            line[FROM_TO(q, p)]?said; hear_question(p, q, QUICK); skip }
    :: d_step { ALIVE(p) && line[FROM_TO(q, p)]?[LATER] ->
            line[FROM_TO(q, p)]?said; hear_question(p, q, LATER); skip }
#ifdef BUG_OUTCOMES_HELD_BACK
    :: d_step { state[p] == MOVING && line[FROM_TO(q, p)]?[ANSWER] ->
#else
    :: d_step { ALIVE(p) && line[FROM_TO(q, p)]?[ANSWER] ->
#endif
            line[FROM_TO(q, p)]?said; hear_answer(p, q); skip }
    :: d_step { state[p] == MOVING && task[FROM_TO(q, p)] -> end_task(p, q); skip }
    od
}

/* All that could be asked wait themselves, or are gone: the caller gets an error, and nobody is asked. */
proctype Refusal(byte p) {
end:
    do
    :: d_step { state[p] == STOPPED && !COULD_ASK_ANY(p) -> refuse(p) }
    od
}

/* Nobody else dies; and when nothing more happens, nobody may be left waiting. */
proctype Rest() {
    byte i;
end:
    do
    :: d_step { deaths > 0 -> deaths = 0 }
    :: timeout -> d_step {
            for (i : 0 .. PROCESSES - 1) {
                assert(state[i] == MOVING || state[i] == NONE)  /* nobody stands still for ever */
            }
        } -> break
    od
}

init {
    byte p, q;
    atomic {
        for (p : 0 .. PROCESSES - 1) {
            run Process(p);
            run Refusal(p);
            for (q : 0 .. PROCESSES - 1) {
                if
                :: p != q -> knows[FROM_TO(p, q)] = 1; run Pair(p, q)
                :: else
                fi
            }
        }
        run Rest()
    }
}
