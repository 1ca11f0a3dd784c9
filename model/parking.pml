/*
 * Jobs on their way: origins that park contexts, workers, the attendant, and everything that can go wrong.
 *
 * Each rule is one turn of a process, and so one step: the cores decide without being interrupted. What happens between
 * turns is left to chance: what is delivered next, who dies, whose deadline passes. The comment before a rule names the
 * case of the code that it stands for; the code names the rule (tests/model/test_names.py).
 *
 * A word is lost only with its receiver or its sender. Lines between two lives keep their order, different lines
 * overtake each other freely. Bounds come as -D definitions, so do the faults that are to be found; see
 * docs/protocol-model.md.
 */

#ifndef ORIGINS
#define ORIGINS 1
#endif
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef JOBS
#define JOBS 1                          /* of each life of each origin */
#endif
#ifndef LIVES
#define LIVES 2                         /* of each name */
#endif
#ifndef DEATHS
#define DEATHS 1                        /* of all together */
#endif
#ifndef ROOM
#define ROOM 2                          /* how many jobs of one origin a worker holds */
#endif
#ifndef EARLY
#define EARLY 1                         /* how many deadlines pass or cancellations come */
#endif
#ifndef AGAIN
#define AGAIN 0                         /* how many of the jobs are idempotent: those with the lowest serials */
#endif

#ifndef DIRECTED
#define DIRECTED 0                      /* how many are directed at the first worker: those with the lowest serials */
#endif

#define IDEMPOTENT(j) ((j) < AGAIN)
#define IS_DIRECTED(j) ((j) < DIRECTED)
#define PROCESSES (ORIGINS + WORKERS)
#define MINE (ORIGINS * JOBS)           /* jobs of the present lives of the origins */
#define LINE 6                          /* more words than ever wait on one line; to find it full is an error */

#define WORKER(w) (ORIGINS + (w))
#define JOB(o, j) ((o) * JOBS + (j))
#define PAIR(o, w) ((o) * WORKERS + (w))
#define TO_WORKER(o, life, w) to_worker[((o) * LIVES + (life) - 1) * WORKERS + (w)]
#define TO_ORIGIN(w, life, o) to_origin[((w) * LIVES + (life) - 1) * ORIGINS + (o)]
#define HELD(w, o, life, j) held[(((w) * ORIGINS + (o)) * LIVES + (life) - 1) * JOBS + (j)]

/* What is said. */
mtype:word = { DISPATCH, WITHDRAW, RETURNED, TIMED_OUT, CANCELLED, GIVEN_BACK, WORKER_LOST, REJECTED, ANOTHERS,
    NOTHING };
mtype:news = { UP, DOWN };

chan to_worker[ORIGINS * LIVES * WORKERS] = [LINE] of { mtype:word, byte };        /* what, serial */
chan to_origin[WORKERS * LIVES * ORIGINS] = [LINE] of { mtype:word, byte, byte };  /* what, serial, of which life */
chan told_by_attendant[PROCESSES] = [LINE] of { mtype:news, byte, byte };          /* what, name, life */

/* Processes: a name's present life, and how it is. */
mtype:being = { LIVING, DYING, STARTING };
mtype:being state[PROCESSES] = LIVING;
byte life[PROCESSES] = 1;
byte deaths = DEATHS;
byte early = EARLY;

/* The load board: what an origin says that it has on a worker. */
byte board[ORIGINS * WORKERS];

/* An origin's dispatcher: where each job is, and what it knows of each worker. */
mtype:place = { NOWHERE, QUEUED, SENT };
mtype:place place[MINE] = NOWHERE;
byte holder[MINE];
byte runs[MINE];
bit settled_early[MINE];
bit submitted[MINE];
byte knows[ORIGINS * WORKERS];          /* the life that is up, 0 for none */
byte dead[ORIGINS * WORKERS];           /* the newest life known to be dead */
bit closing[ORIGINS * WORKERS];
bit refusing[ORIGINS];

/* An origin's suspensions, and what its callers have been told. */
bit waits[MINE];
mtype:word outcome[MINE] = NOTHING;     /* settled, and to be told in a later turn */
bit due[MINE];                          /* one clock for all: past its deadline for everybody */

/* A worker's hands, by the job's origin, its life and its serial. */
mtype:hold = { FREE, ACCEPTED, BEGUN };
mtype:hold held[WORKERS * ORIGINS * LIVES * JOBS] = FREE;
byte buried[WORKERS * ORIGINS];         /* the newest life of an origin that the worker knows to be dead */

/* What nobody in the system sees: for the properties alone. */
bit told[MINE];
byte begun[MINE];

hidden byte a, b, c, k, serial, name, owner, whose;
hidden mtype:word said;
hidden mtype:news happened;

/* ---- what an origin does to a job ------------------------------------------------------------------------------- */

/* Of no case: no worker holds the job, and it does not wait for one. */
inline forget_entry(i) {
    place[i] = NOWHERE;
    holder[i] = 0;
    runs[i] = 0;
    settled_early[i] = 0;
    begun[i] = 0
}

/* workers/suspensions.py: settle; workers/origin.py: Settle */
inline settle(o, j, with) {
    assert(waits[JOB(o, j)]);                   /* the dispatcher settles each job once */
#ifndef BUG_WAITER_STAYS
    waits[JOB(o, j)] = 0;
#endif
    outcome[JOB(o, j)] = with
}

/* workers/origin.py: deliver */
inline deliver(o, j) {
    assert(!told[JOB(o, j)]);                   /* exactly once ... */
    assert(outcome[JOB(o, j)] != ANOTHERS);     /* ... and with its own answer */
    told[JOB(o, j)] = 1;
    outcome[JOB(o, j)] = NOTHING;
    due[JOB(o, j)] = 0
}

/* workers/origin.py: Occupy */
inline occupy(o, w) {
    k = 0;
    for (c : 0 .. JOBS - 1) {
        if
        :: place[JOB(o, c)] == SENT && holder[JOB(o, c)] == w -> k++
        :: else
        fi
    }
    board[PAIR(o, w)] = k
}

/* workers/dispatch.py: Submitted */
inline submit(o, j) {
    submitted[JOB(o, j)] = 1;
    waits[JOB(o, j)] = 1;
    if
    :: refusing[o] -> settle(o, j, REJECTED)
    :: !refusing[o] && !IS_DIRECTED(j) -> place[JOB(o, j)] = QUEUED
    :: else -> send_directed(o, j)
    fi
}

/* workers/dispatch.py: _send_directed */
inline send_directed(o, j) {
    if
    :: knows[PAIR(o, 0)] > 0 && !closing[PAIR(o, 0)] -> give_out(o, j, 0)
    :: else -> settle(o, j, REJECTED)
    fi
}

/* workers/dispatch.py: RoomMade */
inline give_out(o, j, w) {
    assert(waits[JOB(o, j)] && !settled_early[JOB(o, j)]);          /* nothing is sent that nobody waits for */
    assert(runs[JOB(o, j)] == 0 || IDEMPOTENT(j));                  /* no second run of what was sent once */
    assert(runs[JOB(o, j)] < 2);
    assert(!IS_DIRECTED(j) || (w == 0 && runs[JOB(o, j)] == 0));    /* a directed job goes to its worker alone, once */
    place[JOB(o, j)] = SENT;
    holder[JOB(o, j)] = w;
    runs[JOB(o, j)]++;
    occupy(o, w);
    say_worker(o, w, DISPATCH, j)
}

/* workers/dispatch.py: DeadlinePassed; workers/dispatch.py: CancelAsked */
inline end_early(o, j, with) {
    if
    :: place[JOB(o, j)] == QUEUED ->
#ifndef BUG_ENDED_STAYS_QUEUED
        forget_entry(JOB(o, j));
#endif
        settle(o, j, with)
    :: place[JOB(o, j)] == SENT && !settled_early[JOB(o, j)] ->
        settled_early[JOB(o, j)] = 1;
        settle(o, j, with);
        say_worker(o, holder[JOB(o, j)], WITHDRAW, j)
    :: else
    fi
}

/* Of no case: time goes on. */
inline fall_due(o, j) {
    early--;
    due[JOB(o, j)] = 1
}

/* ---- what an origin hears ---------------------------------------------------------------------------------------- */

/* workers/dispatch.py: Answered */
inline answered(o, w, his, what, j, owner) {
    if
#ifdef BUG_WORDS_OF_THE_DEAD
    :: place[JOB(o, j)] == SENT ->
#else
    :: knows[PAIR(o, w)] == his && place[JOB(o, j)] == SENT && holder[JOB(o, j)] == w ->
#endif
        k = settled_early[JOB(o, j)];
        if
        :: what == GIVEN_BACK -> take_back(o, j, w)
        :: else ->
            if
            :: !k && owner == life[o] -> settle(o, j, what)
            :: !k && owner != life[o] -> settle(o, j, ANOTHERS)
#ifdef BUG_LATE_WORD_SETTLES
            :: else -> settle(o, j, what)
#else
            :: else                                                 /* late: it was settled */
#endif
            fi;
            forget_entry(JOB(o, j))
        fi;
#ifdef BUG_SLOT_KEPT
        if
        :: !k -> occupy(o, w)
        :: else
        fi
#else
        occupy(o, w)
#endif
    :: else                                                         /* late: of the dead, or twice */
    fi
}

/* workers/dispatch.py: _take_back */
inline take_back(o, j, w) {
    closing[PAIR(o, w)] = 1;
    runs[JOB(o, j)]--;
    if
#ifndef BUG_SETTLED_COMES_BACK
    :: settled_early[JOB(o, j)] -> forget_entry(JOB(o, j))          /* late */
#endif
    :: !settled_early[JOB(o, j)] && due[JOB(o, j)] ->
        settle(o, j, TIMED_OUT);
        forget_entry(JOB(o, j))
#ifndef BUG_DIRECTED_GOES_ELSEWHERE
    :: !settled_early[JOB(o, j)] && !due[JOB(o, j)] && IS_DIRECTED(j) ->
        settle(o, j, REJECTED);
        forget_entry(JOB(o, j))
#endif
    :: else ->
        place[JOB(o, j)] = QUEUED;
        holder[JOB(o, j)] = 0
    fi
}

/* workers/dispatch.py: WorkerUp */
inline worker_up(o, w, his) {
    if
    :: his > dead[PAIR(o, w)] && his > knows[PAIR(o, w)] ->
        write_off(o, w, knows[PAIR(o, w)]);                         /* the next life tells of the death of the last */
        knows[PAIR(o, w)] = his
    :: else
    fi
}

/* workers/dispatch.py: WorkerDown */
inline worker_down(o, w, his) {
    write_off(o, w, his);
    if
    :: dead[PAIR(o, w)] < his -> dead[PAIR(o, w)] = his
    :: else
    fi
}

/* workers/dispatch.py: _write_off */
inline write_off(o, w, his) {
    if
    :: his > 0 && knows[PAIR(o, w)] == his ->
        knows[PAIR(o, w)] = 0;
        closing[PAIR(o, w)] = 0;
        dead[PAIR(o, w)] = his;
        for (a : 0 .. JOBS - 1) {
            if
            :: place[JOB(o, a)] == SENT && holder[JOB(o, a)] == w -> lose(o, a)
            :: else
            fi
        }
        occupy(o, w)
    :: else
    fi
}

/* workers/dispatch.py: _may_run_again */
inline lose(o, j) {
    if
#ifdef BUG_ALL_RUN_AGAIN
    :: !settled_early[JOB(o, j)] && !due[JOB(o, j)] && runs[JOB(o, j)] < 2 && !IS_DIRECTED(j) ->
#else
    :: !settled_early[JOB(o, j)] && !due[JOB(o, j)] && runs[JOB(o, j)] < 2 && IDEMPOTENT(j) && !IS_DIRECTED(j) ->
#endif
        place[JOB(o, j)] = QUEUED;
        holder[JOB(o, j)] = 0
    :: else ->
#ifndef BUG_LOSS_UNTOLD
        if
        :: !settled_early[JOB(o, j)] -> settle(o, j, WORKER_LOST)
        :: else
        fi;
#endif
        forget_entry(JOB(o, j))
    fi
}

/* ---- what a worker does ------------------------------------------------------------------------------------------ */

/* workers/node.py: _receive */
inline ignore() {
    skip                                                            /* words of the dead change nothing */
}

/* workers/worker.py: accept */
inline accept(w, o, his, j) {
    HELD(w, o, his, j) = ACCEPTED
}

/* workers/worker.py: withdraw; workers/node.py: Withdraw */
inline withdraw(w, o, his, j) {
    if
    :: HELD(w, o, his, j) == ACCEPTED ->
        HELD(w, o, his, j) = FREE;
#ifndef BUG_WITHDRAWN_UNANSWERED
        say_origin(w, o, his, CANCELLED, j)
#endif
    :: else                                                         /* it runs to its end, or was answered */
    fi
}

/* workers/worker.py: origin_down */
inline origin_down(w, o, his) {
    for (a : 1 .. LIVES) {
        for (b : 0 .. JOBS - 1) {
            if
            :: a <= his -> HELD(w, o, a, b) = FREE
            :: else
            fi
        }
    }
    if
    :: buried[PAIR(o, w)] < his -> buried[PAIR(o, w)] = his
    :: else
    fi
}

/* workers/worker.py: _run_one */
inline begin(w, o, his, j) {
    if
    :: his == life[o] && due[JOB(o, j)] ->
        HELD(w, o, his, j) = FREE;
        say_origin(w, o, his, TIMED_OUT, j)
    :: else ->
        HELD(w, o, his, j) = BEGUN;
        if
        :: his == life[o] && state[o] == LIVING ->
#ifndef BUG_INBOX_INHERITED                                         /* which would be found by this already */
            assert(place[JOB(o, j)] == SENT && holder[JOB(o, j)] == w);     /* its origin knows where it runs */
#endif
            begun[JOB(o, j)]++;
            assert(begun[JOB(o, j)] == 1 || IDEMPOTENT(j));
            assert(begun[JOB(o, j)] <= 2)
        :: else
        fi
    fi
}

/* workers/worker.py: _answer */
inline answer(w, o, his, j) {
    HELD(w, o, his, j) = FREE;
    say_origin(w, o, his, RETURNED, j)
}

/* workers/worker.py: close */
inline close_worker(w) {
    for (a : 0 .. ORIGINS - 1) {
        for (b : 1 .. LIVES) {
            for (c : 0 .. JOBS - 1) {
                if
                :: HELD(w, a, b, c) == ACCEPTED -> say_origin(w, a, b, GIVEN_BACK, c)
                :: HELD(w, a, b, c) == BEGUN -> say_origin(w, a, b, CANCELLED, c)
                :: else
                fi
            }
        }
    }
}

/* ---- the wire ---------------------------------------------------------------------------------------------------- */

/* workers/endpoint.py: send; workers/origin.py: SendCancel */
inline say_worker(o, w, what, j) {
    if
    :: state[WORKER(w)] == LIVING && life[WORKER(w)] == knows[PAIR(o, w)] ->
        assert(len(TO_WORKER(o, life[o], w)) < LINE);
        TO_WORKER(o, life[o], w)!what, j
    :: else                                                         /* each life has an inbox of its own */
    fi
}

/* workers/endpoint.py: send */
inline say_origin(w, o, his, what, j) {
    if
#ifdef BUG_INBOX_INHERITED
    :: state[o] == LIVING ->
#else
    :: state[o] == LIVING && life[o] == his ->
#endif
        assert(len(TO_ORIGIN(w, life[WORKER(w)], o)) < LINE);
        TO_ORIGIN(w, life[WORKER(w)], o)!what, j, his
    :: else
    fi
}

/* ---- the end of a life, and the next ----------------------------------------------------------------------------- */

/* Of no case: a process is gone, with what it knew and what was in its inbox. What it has said may still arrive. */
inline die(p) {
    state[p] = DYING;
    for (a : 0 .. LINE - 1) {
        if
        :: len(told_by_attendant[p]) > 0 -> told_by_attendant[p]?_, _, _
        :: else
        fi
    }
    if
    :: p < ORIGINS -> forget_origin(p)
    :: else -> forget_worker(p - ORIGINS)
    fi
}

/* Of no case, as what follows. */
inline forget_origin(o) {
    refusing[o] = 0;
    for (a : 0 .. JOBS - 1) {
        forget_entry(JOB(o, a));
        submitted[JOB(o, a)] = 0;
        waits[JOB(o, a)] = 0;
        outcome[JOB(o, a)] = NOTHING;
        due[JOB(o, a)] = 0;
        told[JOB(o, a)] = 0
    }
    for (a : 0 .. WORKERS - 1) {
        knows[PAIR(o, a)] = 0;
        dead[PAIR(o, a)] = 0;
        closing[PAIR(o, a)] = 0;
        for (b : 1 .. LIVES) {
            empty_line(TO_ORIGIN(a, b, o), said, serial, owner)
        }
    }
}

/* Of no case. */
inline forget_worker(w) {
    for (a : 0 .. ORIGINS - 1) {
        buried[PAIR(a, w)] = 0;
        for (b : 1 .. LIVES) {
            for (c : 0 .. JOBS - 1) {
                HELD(w, a, b, c) = FREE
            }
            empty_line2(TO_WORKER(a, b, w), said, serial)
        }
    }
}

/* Of no case. */
inline empty_line(line, x, y, z) {
    do
    :: len(line) > 0 -> line?x, y, z
    :: else -> break
    od
}

/* Of no case. */
inline empty_line2(line, x, y) {
    do
    :: len(line) > 0 -> line?x, y
    :: else -> break
    od
}

/* workers/supervision.py: Ended; workers/loads.py: clear_slot */
inline bury(p) {
#ifndef BUG_COLUMN_STAYS
    if
    :: p < ORIGINS ->
        for (a : 0 .. WORKERS - 1) {
            board[p * WORKERS + a] = 0
        }
    :: else
    fi;
#endif
    announce(p, DOWN);
    life[p]++;
    state[p] = STARTING
}

/* workers/supervision.py: SaidReady */
inline come_up(p) {
    state[p] = LIVING;
    announce(p, UP);
    for (a : 0 .. PROCESSES - 1) {
        if
        :: state[a] == LIVING && (a < ORIGINS) != (p < ORIGINS) -> tell(p, UP, a)
        :: else
        fi
    }
}

/* workers/tree.py: Announce */
inline announce(p, news) {
    for (a : 0 .. PROCESSES - 1) {
        if
        :: state[a] == LIVING && (a < ORIGINS) != (p < ORIGINS) -> tell(a, news, p)
        :: else
        fi
    }
}

/* workers/tree.py: _announce */
inline tell(to, news, whom) {
    assert(len(told_by_attendant[to]) < LINE);
    told_by_attendant[to]!news, whom, life[whom]
}

/* workers/dispatch.py: Closing */
inline close_origin(o) {
    refusing[o] = 1;
    for (a : 0 .. JOBS - 1) {
        if
        :: !submitted[JOB(o, a)] -> submit(o, a)
        :: else
        fi;
        end_early(o, a, CANCELLED);
        if
        :: outcome[JOB(o, a)] != NOTHING -> deliver(o, a)
        :: else
        fi;
        assert(told[JOB(o, a)])
    }
}

/* ---- who does all that ------------------------------------------------------------------------------------------- */

/* One job in its origin's process. */
proctype Caller(byte o, j) {
    byte w;
end:
    do
    :: d_step { state[o] == LIVING && !submitted[JOB(o, j)] -> submit(o, j); skip }
    :: d_step { state[o] == LIVING && outcome[JOB(o, j)] != NOTHING -> deliver(o, j); skip }
    :: d_step { state[o] == LIVING && due[JOB(o, j)] && waits[JOB(o, j)] -> end_early(o, j, TIMED_OUT);
            assert(!waits[JOB(o, j)]); skip }                               /* none was lost before its deadline */
    :: d_step { early > 0 && state[o] == LIVING && waits[JOB(o, j)] && !due[JOB(o, j)] ->
            fall_due(o, j) }
    :: d_step { early > 0 && state[o] == LIVING && waits[JOB(o, j)] -> early--; end_early(o, j, CANCELLED); skip }
    od
}

/* One worker as an origin sees it: what goes there. */
proctype Sends(byte o, w, j) {
end:
    do
    :: d_step { (state[o] == LIVING && place[JOB(o, j)] == QUEUED && knows[PAIR(o, w)] > 0 && !closing[PAIR(o, w)]
            && board[PAIR(o, w)] < ROOM) -> give_out(o, j, w); skip }
    od
}

proctype OriginHears(byte o, w, his) {
end:
    do
    :: d_step { state[o] == LIVING && len(TO_ORIGIN(w, his, o)) > 0 ->
            TO_ORIGIN(w, his, o)?said, serial, owner;
            answered(o, w, his, said, serial, owner); skip }
    :: d_step { (life[WORKER(w)] != his || state[WORKER(w)] != LIVING) && len(TO_ORIGIN(w, his, o)) > 0 ->
            empty_line(TO_ORIGIN(w, his, o), said, serial, owner); skip }         /* the rest is lost with its sender */
    od
}

proctype WorkerHears(byte w, o, his) {
end:
    do
    :: d_step { state[WORKER(w)] == LIVING && len(TO_WORKER(o, his, w)) > 0 ->
            TO_WORKER(o, his, w)?said, serial;
            if
            :: his <= buried[PAIR(o, w)] -> ignore()
            :: else ->
                if
                :: said == DISPATCH -> accept(w, o, his, serial)
                :: else -> withdraw(w, o, his, serial)
                fi
            fi; skip }
    :: d_step { (life[o] != his || state[o] != LIVING) && len(TO_WORKER(o, his, w)) > 0 ->
            empty_line2(TO_WORKER(o, his, w), said, serial); skip }
    od
}

proctype Works(byte w, o, his, j) {
end:
    do
    :: d_step { state[WORKER(w)] == LIVING && HELD(w, o, his, j) == ACCEPTED -> begin(w, o, his, j); skip }
    :: d_step { state[WORKER(w)] == LIVING && HELD(w, o, his, j) == BEGUN -> answer(w, o, his, j); skip }
    od
}

/* What a process hears from the attendant, and the attendant's part in its life. */
proctype Process(byte p) {
end:
    do
    :: d_step { state[p] == LIVING && len(told_by_attendant[p]) > 0 ->
            told_by_attendant[p]?happened, name, whose;
            if
            :: p < ORIGINS && happened == UP -> worker_up(p, name - ORIGINS, whose)
            :: p < ORIGINS && happened == DOWN -> worker_down(p, name - ORIGINS, whose)
            :: p >= ORIGINS && happened == UP
            :: else -> origin_down(p - ORIGINS, name, whose)
            fi; skip }
    :: d_step { state[p] == DYING -> bury(p); skip }
    :: d_step { state[p] == STARTING -> come_up(p); skip }
    :: d_step { deaths > 0 && state[p] == LIVING -> deaths--; die(p); skip }
    :: d_step { deaths > 0 && state[p] == LIVING && p < ORIGINS -> deaths--; close_origin(p); die(p); skip }
    :: d_step { deaths > 0 && state[p] == LIVING && p >= ORIGINS -> deaths--; close_worker(p - ORIGINS); die(p); skip }
    od
}

/* Nothing more goes wrong; and when nothing more happens, nothing may be left. */
proctype Rest() {
    byte i;
end:
    do
    :: d_step { deaths + early > 0 -> deaths = 0; early = 0; skip }
    :: timeout -> d_step {
            for (i : 0 .. PROCESSES - 1) {
                assert(state[i] == LIVING)
            }
            for (i : 0 .. MINE - 1) {
                assert(told[i] && !waits[i]);   /* no context is parked for ever */
                assert(place[i] == NOWHERE)     /* no job is lost */
            }
            for (i : 0 .. ORIGINS * WORKERS - 1) {
                assert(board[i] == 0)           /* no slot leaks */
            }
            for (i : 0 .. WORKERS * ORIGINS * LIVES * JOBS - 1) {
                assert(held[i] == FREE)
            }
        } -> break
    od
}

init {
    byte o, w, l, j;
    atomic {
        for (o : 0 .. ORIGINS - 1) {
            for (w : 0 .. WORKERS - 1) {
                knows[PAIR(o, w)] = 1
            }
        }
        for (j : 0 .. PROCESSES - 1) {
            run Process(j)
        }
        for (o : 0 .. ORIGINS - 1) {
            for (j : 0 .. JOBS - 1) {
                run Caller(o, j);
                for (w : 0 .. WORKERS - 1) {
                    run Sends(o, w, j);
                    for (l : 1 .. LIVES) {
                        run Works(w, o, l, j)
                    }
                }
            }
            for (w : 0 .. WORKERS - 1) {
                for (l : 1 .. LIVES) {
                    run OriginHears(o, w, l);
                    run WorkerHears(w, o, l)
                }
            }
        }
        run Rest()
    }
}
