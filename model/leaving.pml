/*
 * A worker that is replaced in good order, and origins that send to it meanwhile: no job may be lost with it.
 *
 * What an origin and a worker do with the load board is cut into its single reads and writes here, because they do it
 * at the same time. The worker leaves when nobody has anything on it; an origin puts its job on the board, looks whether
 * the worker leaves, and only then sends. Words of an end and of a beginning come as late as can be.
 */

#ifndef ORIGINS
#define ORIGINS 2
#endif
#ifndef JOBS
#define JOBS 2                          /* of each origin, one after the other */
#endif
#ifndef LIVES
#define LIVES 3                         /* of the one worker */
#endif

#define LINE 2

mtype:news = { UP, DOWN };
chan to_worker[ORIGINS * (LIVES + 1)] = [LINE] of { byte };             /* an inbox for each life */
chan to_origin[ORIGINS * (LIVES + 1)] = [LINE] of { byte };
chan told_by_attendant[ORIGINS] = [2 * LIVES] of { mtype:news, byte };

/* The worker's row of the board, and each origin's cell in it. */
byte row_life = 1;
bit draining, paused;
byte cell[ORIGINS];

mtype:being = { SERVING, ASKED, DRAINING, COUNTING, LEFT, BURIED };
mtype:being worker = SERVING;
byte life = 1;
byte counted;                           /* how many cells it has read, all of them zero */

mtype:place = { NOWHERE, QUEUED, LOOKED, PLACED, SENT };
mtype:place place[ORIGINS] = NOWHERE;
byte jobs[ORIGINS] = JOBS;
byte knows[ORIGINS] = 1;
bit closing[ORIGINS];

hidden byte a, whose;
hidden mtype:news happened;

#define INBOX(o, his) to_worker[(his) * ORIGINS + (o)]
#define ANSWERS(o, his) to_origin[(his) * ORIGINS + (o)]

/* ---- an origin ------------------------------------------------------------------------------------------------ */

/* workers/dispatch.py: Submitted */
inline submit(o) {
    jobs[o]--;
    place[o] = QUEUED
}

/* workers/origin.py: _look */
inline look(o) {
    place[o] = LOOKED                   /* it was not paused; what follows goes by that, however long it takes */
}

/* workers/origin.py: Occupy */
inline put_on_board(o) {
    place[o] = PLACED;
    cell[o] = 1
}

#ifdef BUG_ROW_WITHOUT_LIFE
#define IS_LEAVING(his) (paused && (draining || row_life == 0))
#else
#define IS_LEAVING(his) ((row_life != 0 && row_life != (his)) || (paused && (draining || row_life == 0)))
#endif

/* workers/origin.py: Send; workers/loads.py: is_leaving */
inline look_again_and_send(o) {
    if
#ifndef BUG_LOOKS_ONCE
    :: IS_LEAVING(knows[o]) -> send_back(o)
#endif
    :: else ->
        place[o] = SENT;
        if
        :: knows[o] == life && worker != LEFT && worker != BURIED -> INBOX(o, life)!0
        :: else                         /* there is no such inbox any more */
        fi
    fi
}

/* workers/origin.py: _take_back */
inline send_back(o) {
    place[o] = QUEUED;
    closing[o] = 1;
#ifndef BUG_CELL_STAYS
    cell[o] = 0
#endif
}

/* workers/dispatch.py: _on_answered */
inline hear_end(o) {
    assert(place[o] == SENT);
    place[o] = NOWHERE;
    cell[o] = 0
}

/* workers/dispatch.py: _on_worker_down */
inline hear_down(o, his) {
    if
    :: knows[o] == his ->
        knows[o] = 0;
        closing[o] = 0;
        cell[o] = 0;
        assert(place[o] != SENT);       /* it left in good order, so nothing was with it */
        if
        :: place[o] == LOOKED || place[o] == PLACED -> place[o] = QUEUED
        :: else
        fi
    :: else
    fi
}

/* workers/dispatch.py: WorkerUp */
inline worker_up(o, his) {
    knows[o] = his
}

/* ---- the worker ----------------------------------------------------------------------------------------------- */

/* workers/worker.py: _run_one */
inline run_one(o, his) {
    INBOX(o, his)?_;
    ANSWERS(o, his)!0
}

/* workers/supervision.py: RetireAsked; workers/executing.py: Retire; workers/executing.py: _end_if_spent */
inline end_or_retire() {
    worker = ASKED
}

/* workers/executing.py: _leave; runtime/process.py: _retire */
inline begin_to_leave() {
    draining = 1;
    worker = DRAINING
}

/* workers/loads.py: pause */
inline pause() {
#ifndef BUG_COUNTS_BEFORE_IT_PAUSES
    paused = 1;
#endif
    worker = COUNTING;
    counted = 0
}

/* workers/executing.py: _is_quiet; runtime/process.py: _check_retired */
inline count_next() {
    counted++           /* it reads the whole row again and again; that it once saw each cell zero is less */
}

/* workers/node.py: close */
inline leave() {
    worker = LEFT;
    counted = 0;
    draining = 0;
    row_life = 0;
    paused = 1;
    for (a : 0 .. ORIGINS - 1) {
        assert(len(INBOX(a, life)) == 0)        /* nothing is lost with its inbox */
    }
}

/* workers/supervision.py: _restart; workers/supervision.py: _vacate */
inline bury_and_fork() {
    worker = BURIED;
    for (a : 0 .. ORIGINS - 1) {
        told_by_attendant[a]!DOWN, life
    }
    life++
}

/* workers/loads.py: enter */
inline enter() {
    row_life = life;
    paused = 0;
    worker = SERVING;
    for (a : 0 .. ORIGINS - 1) {
        told_by_attendant[a]!UP, life
    }
}

/* ---- who does all that ---------------------------------------------------------------------------------------- */

proctype Origin(byte o) {
    byte his;
end:
    do
    :: d_step { place[o] == NOWHERE && jobs[o] > 0 -> submit(o) }
    :: d_step { (place[o] == QUEUED && knows[o] > 0 && !closing[o] && !paused) -> look(o) }
    :: d_step { place[o] == LOOKED -> put_on_board(o) }
    :: d_step { place[o] == PLACED -> look_again_and_send(o); skip }
    :: d_step { len(told_by_attendant[o]) > 0 && place[o] != LOOKED && place[o] != PLACED ->
            told_by_attendant[o]?happened, whose;
            if
            :: happened == DOWN -> hear_down(o, whose)
            :: else -> worker_up(o, whose)
            fi; skip }
    od
}

proctype Answers(byte o, his) {
end:
    do
    :: d_step { worker != LEFT && worker != BURIED && life == his && len(INBOX(o, his)) > 0 ->
            run_one(o, his) }
    :: d_step { len(ANSWERS(o, his)) > 0 && place[o] != LOOKED && place[o] != PLACED ->
            ANSWERS(o, his)?_; hear_end(o) }
    od
}

proctype Worker() {
end:
    do
    :: d_step { worker == SERVING && life < LIVES -> end_or_retire() }
    :: d_step { worker == ASKED -> begin_to_leave() }
    :: d_step { worker == DRAINING -> pause() }
    :: d_step { (worker == COUNTING && counted < ORIGINS && cell[counted % ORIGINS] == 0) -> count_next() }
    :: d_step { worker == COUNTING && counted == ORIGINS -> leave(); skip }
    :: d_step { worker == LEFT -> bury_and_fork(); skip }
    :: d_step { worker == BURIED -> enter(); skip }
    od
}

proctype Rest() {
    byte i;
end:
    do
    :: timeout -> d_step {
            assert(worker == SERVING && life == LIVES);
            for (i : 0 .. ORIGINS - 1) {
                assert(place[i] == NOWHERE && jobs[i] == 0 && cell[i] == 0)
            }
        } -> break
    od
}

init {
    byte o, l;
    atomic {
        for (o : 0 .. ORIGINS - 1) {
            run Origin(o);
            for (l : 1 .. LIVES) {
                run Answers(o, l)
            }
        }
        run Worker();
        run Rest()
    }
}
