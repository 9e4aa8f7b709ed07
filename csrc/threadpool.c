/* The library's own threads.
 *
 * A job is n_tasks calls of one function. Every thread starts on its contiguous share of the tasks and, when that is
 * done, helps with what is left of the others' shares. Tasks are cut by the problem, never by the number of threads,
 * and each output element belongs to one task, so neither the number of threads nor who ran what can change a bit.
 *
 * A woken worker is often put on the very processor that its caller keeps busy, and waits there while another idles, for
 * longer than most calls last. On machines of few processors the caller therefore takes its own one out of the workers'
 * affinity masks, and puts it back when it is met on another; within what the caller may use, nothing else is pinned.
 *
 * One caller owns the pool at a time; a caller that finds it taken does the work on its own thread. Workers wait for
 * the next job by a short spin and then on a condition variable. One that was woken soon after it fell asleep is in the
 * middle of a network, whose layers have other work between them, and spins longer next time; one that spins in vain is
 * back at the short spin. After fork() the child starts with an empty pool.
 *
 * Between the layers of a host whose OpenMP threads spin for milliseconds after each of its loops (torch), two sets of
 * threads would share the processors. A thread may therefore ask for its jobs to be run on the host's team (ADR 10).
 */
#define _GNU_SOURCE
#include "pyconv.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

enum {
    MAX_THREADS = 256,
    FEW_PROCESSORS = 16,
    SPINS = 1500,              /* some 20 us: longer than the gap between two layers, shorter than a time slice */
    MOST_SPINS = 15000,        /* some 200 us: longer than a small layer that NumPy computes, and than what one processor
                                * is behind the others at the end of a layer; waking takes some 50 us */
    SOON_NS = 400000,
    STACK_BYTES = 1 << 20,     /* the same everywhere (musl's default is 128 KiB); kernels use less than 64 KiB */
};

typedef struct share {
    _Alignas(64) _Atomic int64_t next;
    int64_t end;
} share;

typedef struct job {
    pc_task run;
    void *ctx;
    int threads;
    share shares[MAX_THREADS];
} job;

static struct {
    _Atomic int busy;          /* a caller owns the pool */
    _Atomic uint64_t ticket;   /* job number * 2^16 + threads in the job: all that an idle worker may read */
    _Atomic int pending;       /* workers of this job that have not finished */
    _Atomic int sleepers;
    int n_workers;
    pthread_t workers[MAX_THREADS];
    int caller_cpu;            /* the processor that the workers keep off; -1: none */
    pthread_mutex_t mutex;
    pthread_cond_t wake, done;
    job job;
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .done = PTHREAD_COND_INITIALIZER,
          .caller_cpu = -1};

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void deal(job *j, pc_task run, void *ctx, int64_t n_tasks, int threads) {
    j->run = run;
    j->ctx = ctx;
    j->threads = threads;
    for (int t = 0; t < threads; t++) {
        atomic_store_explicit(&j->shares[t].next, n_tasks * t / threads, memory_order_relaxed);
        j->shares[t].end = n_tasks * (t + 1) / threads;
    }
}

static void work(job *j, int self) {
    for (int i = 0; i < j->threads; i++) {
        share *s = &j->shares[(self + i) % j->threads];
        for (;;) {
            int64_t task = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
            if (task >= s->end)
                break;
            j->run(j->ctx, task, self);
        }
    }
}

/* ---- a host's team ---- */

static _Thread_local struct {
    void (*parallel)(void (*body)(void *), void *data, unsigned threads, unsigned flags);
    int (*self)(void);
} team;
static _Atomic int has_teams, lost_teams;

typedef struct team_job {
    job job;
    int (*self)(void);
} team_job;

static void team_member(void *arg) {
    team_job *t = arg;
    int self = t->self();
    if (self < t->job.threads)
        work(&t->job, self);
}

/* Apart, for its shares are 16 KiB of stack. The whole team comes, as it does for its host's own loops: libgomp ends
 * threads that a smaller team has no place for, and makes them again for a larger one. Members who come short of
 * `threads` leave shares to the others. */
static __attribute__((noinline)) void run_on_team(pc_task run, void *ctx, int64_t n_tasks, int threads) {
    team_job t;
    t.self = team.self;
    deal(&t.job, run, ctx, n_tasks, threads);
    team.parallel(team_member, &t, 0, 0);
}

/* ---- workers ---- */

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t wait_for_job(uint64_t seen, int *patience) {
    for (int spin = 0; spin < *patience; spin++) {
        uint64_t now = atomic_load_explicit(&pool.ticket, memory_order_acquire);
        if (now != seen)
            return now;
        relax();
    }
    const int64_t asleep = now_ns();
    pthread_mutex_lock(&pool.mutex);
    atomic_fetch_add(&pool.sleepers, 1);
    uint64_t now;
    while ((now = atomic_load(&pool.ticket)) == seen)
        pthread_cond_wait(&pool.wake, &pool.mutex);
    atomic_fetch_sub(&pool.sleepers, 1);
    pthread_mutex_unlock(&pool.mutex);
    *patience = now_ns() - asleep < SOON_NS ? MOST_SPINS : SPINS;
    return now;
}

/* The processor that this thread is on; -1 where the system does not say. */
static int this_cpu(void) {
#if defined(__linux__)
    return sched_getcpu();
#else
    return -1;
#endif
}

/* Keeps the workers off the processor that the caller is on; called by the owner of the pool. */
static void leave_caller_alone(int threads) {
    int cpu = this_cpu();
    if (cpu < 0)
        return;
#if defined(__linux__)
    static _Thread_local int n; /* processors that this thread may use; asking costs a system call */
    cpu_set_t allowed;
    if (n == 0 || cpu != pool.caller_cpu || threads > n) {
        if (pthread_getaffinity_np(pthread_self(), sizeof allowed, &allowed) != 0)
            return;
        n = CPU_COUNT(&allowed);
    }
    /* more threads than processors have to share them; among many the system finds an idle one by itself */
    const int aside = threads <= n && n >= 2 && n <= FEW_PROCESSORS;
    if ((aside ? cpu : -1) == pool.caller_cpu)
        return;
    if (aside)
        CPU_CLR(cpu, &allowed);
    for (int w = 0; w < pool.n_workers; w++)
        pthread_setaffinity_np(pool.workers[w], sizeof allowed, &allowed);
    pool.caller_cpu = aside ? cpu : -1;
#else
    (void)threads;
#endif
}

typedef struct birth {
    int self;
    uint64_t seen;
} birth;

/* Born under pool.mutex with the ticket it has to outwait, so the job that is published next is never missed. */
static birth newborn;
static _Atomic int born;

static void *worker(void *arg) {
    (void)arg;
    birth b = newborn;
    atomic_store_explicit(&born, 1, memory_order_release);
    int patience = SPINS;
    for (uint64_t seen = b.seen;;) {
        seen = wait_for_job(seen, &patience);
        int threads = (int)(seen & 0xffff);
        if (b.self >= threads)
            continue;
        work(&pool.job, b.self);
        if (atomic_fetch_sub_explicit(&pool.pending, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&pool.mutex);
            pthread_cond_signal(&pool.done);
            pthread_mutex_unlock(&pool.mutex);
        }
    }
    return NULL;
}

static void forget_workers_in_child(void) {
    /* libgomp would wait for the parent's threads for ever */
    team.parallel = NULL;
    atomic_store(&lost_teams, atomic_load(&has_teams));
    pool.n_workers = 0;
    pool.caller_cpu = -1;
    atomic_store(&pool.busy, 0);
    atomic_store(&pool.pending, 0);
    atomic_store(&pool.sleepers, 0);
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pthread_cond_init(&pool.done, NULL);
}

static void register_fork_handler(void) { pthread_atfork(NULL, NULL, forget_workers_in_child); }

static void follow_forks(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_fork_handler);
}

void pc_join_team(void *parallel, void *self) {
    follow_forks();
    if (atomic_load(&lost_teams))
        return;
    if (parallel != NULL)
        atomic_store(&has_teams, 1);
    memcpy(&team.parallel, &parallel, sizeof parallel); /* an object pointer is no function pointer in ISO C */
    memcpy(&team.self, &self, sizeof self);
}

/* Grows the pool to `threads - 1` workers, as far as the system allows; returns how many threads there are now. */
static int grow(int threads) {
    follow_forks();
    if (pool.n_workers >= threads - 1)
        return threads;
    pthread_attr_t attr;
    sigset_t all, old;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals belong to the program's threads */
    while (pool.n_workers < threads - 1) {
        pthread_t id;
        newborn = (birth){pool.n_workers + 1, atomic_load(&pool.ticket)};
        atomic_store(&born, 0);
        if (pthread_create(&id, &attr, worker, NULL) != 0)
            break;
        while (!atomic_load_explicit(&born, memory_order_acquire))
            sched_yield();
        pool.workers[pool.n_workers++] = id;
        pool.caller_cpu = -1; /* the new worker has not heard of it */
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return pool.n_workers + 1;
}

void pc_parallel(pc_task run, void *ctx, int64_t n_tasks, int threads) {
    const int wanted = threads;
    threads = (int)pc_min(pc_min(threads, n_tasks), MAX_THREADS);
    if (threads > 1 && team.parallel != NULL) {
        run_on_team(run, ctx, n_tasks, threads);
        return;
    }
    int expected = 0;
    if (threads > 1 && atomic_compare_exchange_strong(&pool.busy, &expected, 1)) {
        threads = grow(threads);
        if (threads == 1)
            atomic_store(&pool.busy, 0);
    } else {
        threads = 1;
    }
    if (threads == 1) {
        for (int64_t task = 0; task < n_tasks; task++)
            run(ctx, task, 0);
        return;
    }
    leave_caller_alone(wanted);
    deal(&pool.job, run, ctx, n_tasks, threads);
    atomic_store_explicit(&pool.pending, threads - 1, memory_order_relaxed);
    uint64_t number = (atomic_load_explicit(&pool.ticket, memory_order_relaxed) >> 16) + 1;
    atomic_store(&pool.ticket, number << 16 | (uint64_t)threads);
    if (atomic_load(&pool.sleepers) > 0) {
        pthread_mutex_lock(&pool.mutex);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.mutex);
    }
    work(&pool.job, 0);
    for (int spin = 0; atomic_load_explicit(&pool.pending, memory_order_acquire) > 0; spin++) {
        if (spin < MOST_SPINS) {
            relax();
        } else {
            pthread_mutex_lock(&pool.mutex);
            while (atomic_load(&pool.pending) > 0)
                pthread_cond_wait(&pool.done, &pool.mutex);
            pthread_mutex_unlock(&pool.mutex);
        }
    }
    atomic_store_explicit(&pool.busy, 0, memory_order_release);
}

int pc_pool_workers(void) { return pool.n_workers; }
int pc_pool_max_threads(void) { return MAX_THREADS; }
