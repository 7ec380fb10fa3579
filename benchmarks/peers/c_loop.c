/* Rounds of federated matrix factorisation, exact: every client trains its own copy of the
 * item rows it touches. Two threads take clients in turn; each adds the changes of its clients
 * into its own table, and the tables are added at the end of a round.
 *
 * Compiled for one width: -DDIM=32.
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef THREADS
#define THREADS 2
#endif

typedef struct { /* what the caller fills */
    int64_t num_clients, num_items, clients_per_round, epochs, negatives, batch_size, seed;
    const int64_t *offsets, *items; /* positives, client after client */
    float user_rate, item_rate;
    float *users, *table; /* [N, DIM], [I, DIM]: trained in place */
} Problem;

typedef struct { /* of one thread */
    float *local, *total; /* [I, DIM] */
    int32_t *stamp;       /* client whose row `local` holds, plus 1 */
    int32_t *touched;     /* rows that this client holds */
    uint64_t *seen;       /* bitmap of its positives and of negatives it has drawn */
    int32_t *free_items;  /* what it may draw, one longer than the catalogue */
    int32_t *ids;
    float *labels, *slopes;
} Worker;

typedef struct {
    const Problem *problem;
    const int32_t *cohort; /* largest clients first */
    atomic_long *next;
    int64_t round;
    Worker *worker;
} Job;

/* SplitMix64 */
static inline uint64_t draw(uint64_t *state) {
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static inline uint32_t below(uint64_t *state, uint32_t limit) { /* uniform in 0 .. limit - 1 */
    return (uint32_t)(((draw(state) >> 32) * limit) >> 32);
}

static uint64_t seeded(uint64_t seed, uint64_t round, uint64_t client) {
    uint64_t state = seed;
    state = draw(&state) ^ round;
    state = draw(&state) ^ client;
    return draw(&state);
}

/* A client's negatives: outside its positives, and none twice in a round until all are used.
 * Few are drawn by rejection, many by a shuffle of the free items that goes on as they go. */
typedef struct {
    int is_list;
    int64_t used, num_free;
} Negatives;

static Negatives open_negatives(const Problem *p, Worker *w, int64_t num_positives) {
    Negatives draws = {0, 0, p->num_items - num_positives};
    draws.is_list = 2 * num_positives * p->negatives * p->epochs > draws.num_free;
    if (draws.is_list)
        for (int64_t item = 0, n = 0; item < p->num_items; item++) {
            w->free_items[n] = (int32_t)item;
            n += !(w->seen[item >> 6] >> (item & 63) & 1);
        }
    return draws;
}

static inline int32_t next_negative(const Problem *p, Worker *w, Negatives *draws,
                                    uint64_t *state) {
    if (draws->is_list) {
        int64_t i = draws->used == draws->num_free ? 0 : draws->used;
        int64_t j = i + below(state, (uint32_t)(draws->num_free - i));
        int32_t item = w->free_items[j];
        w->free_items[j] = w->free_items[i], w->free_items[i] = item;
        draws->used = i + 1;
        return item;
    }
    uint32_t item;
    do item = below(state, (uint32_t)p->num_items);
    while (w->seen[item >> 6] >> (item & 63) & 1);
    w->seen[item >> 6] |= 1ull << (item & 63);
    return (int32_t)item;
}

/* One pass: positives, each with fresh negatives, in random order. */
static int64_t epoch(const Problem *p, Worker *w, int64_t client, Negatives *draws,
                     uint64_t *state) {
    int64_t n = 0;
    for (int64_t e = p->offsets[client]; e < p->offsets[client + 1]; e++) {
        w->ids[n] = (int32_t)p->items[e];
        w->labels[n++] = 1;
        for (int64_t k = 0; k < p->negatives; k++) {
            w->ids[n] = next_negative(p, w, draws, state);
            w->labels[n++] = 0;
        }
    }
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = below(state, (uint32_t)(i + 1));
        int32_t id = w->ids[i];
        float label = w->labels[i];
        w->ids[i] = w->ids[j], w->labels[i] = w->labels[j];
        w->ids[j] = id, w->labels[j] = label;
    }
    return n;
}

/* One SGD step: every gradient is taken at the parameters before the step. */
static void step(const Problem *p, Worker *w, float *user, const int32_t *ids,
                 const float *labels, int64_t n) {
    float user_grad[DIM] = {0}, before[DIM];
    memcpy(before, user, sizeof before);
    for (int64_t k = 0; k < n; k++) {
        const float *row = w->local + (int64_t)ids[k] * DIM;
        float score = 0;
        for (int d = 0; d < DIM; d++) score += row[d] * before[d];
        w->slopes[k] = score;
    }
    for (int64_t k = 0; k < n; k++) { /* past 60 the sigmoid is 0 or 1 to float's precision */
        float score = fminf(fmaxf(w->slopes[k], -60), 60);
        w->slopes[k] = (1 / (1 + expf(-score)) - labels[k]) / (float)n;
    }
    for (int64_t k = 0; k < n; k++) {
        const float *row = w->local + (int64_t)ids[k] * DIM;
        for (int d = 0; d < DIM; d++) user_grad[d] += w->slopes[k] * row[d];
    }
    for (int64_t k = 0; k < n; k++) {
        float *row = w->local + (int64_t)ids[k] * DIM, move = p->item_rate * w->slopes[k];
        for (int d = 0; d < DIM; d++) row[d] -= move * before[d];
    }
    for (int d = 0; d < DIM; d++) user[d] -= p->user_rate * user_grad[d];
}

static void train(const Problem *p, Worker *w, int64_t client, int64_t round) {
    uint64_t state = seeded((uint64_t)p->seed, (uint64_t)round, (uint64_t)client);
    int64_t num_touched = 0;
    for (int64_t e = p->offsets[client]; e < p->offsets[client + 1]; e++)
        w->seen[p->items[e] >> 6] |= 1ull << (p->items[e] & 63);
    Negatives draws = open_negatives(p, w, p->offsets[client + 1] - p->offsets[client]);
    for (int64_t pass = 0; pass < p->epochs; pass++) {
        int64_t n = epoch(p, w, client, &draws, &state);
        for (int64_t k = 0; k < n; k++) { /* a row is copied when it is first met */
            int32_t id = w->ids[k];
            if (w->stamp[id] != (int32_t)client + 1) {
                w->stamp[id] = (int32_t)client + 1;
                w->touched[num_touched++] = id;
                memcpy(w->local + (int64_t)id * DIM, p->table + (int64_t)id * DIM,
                       DIM * sizeof(float));
            }
        }
        for (int64_t begin = 0; begin < n; begin += p->batch_size) {
            int64_t size = n - begin < p->batch_size ? n - begin : p->batch_size;
            step(p, w, p->users + client * DIM, w->ids + begin, w->labels + begin, size);
        }
    }
    for (int64_t k = 0; k < num_touched; k++) {
        int64_t at = (int64_t)w->touched[k] * DIM;
        for (int d = 0; d < DIM; d++) w->total[at + d] += w->local[at + d] - p->table[at + d];
        w->stamp[w->touched[k]] = 0;
    }
    memset(w->seen, 0, (size_t)(p->num_items / 64 + 1) * 8);
}

static void *work(void *argument) {
    Job *job = argument;
    const Problem *p = job->problem;
    for (;;) {
        long place = atomic_fetch_add(job->next, 1);
        if (place >= p->clients_per_round) return NULL;
        train(p, job->worker, job->cohort[place], job->round);
    }
}

static const int64_t *offsets_to_sort_by;

static int larger_first(const void *a, const void *b) {
    const int64_t *o = offsets_to_sort_by;
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    int64_t m = o[i + 1] - o[i], n = o[j + 1] - o[j];
    return (m < n) - (m > n);
}

static void *room(int64_t count, size_t size) {
    void *memory = calloc((size_t)count, size);
    if (!memory) abort();
    return memory;
}

/* `cohorts` is [num_rounds, clients_per_round]; each is sorted in place. */
void run_rounds(const Problem *p, int32_t *cohorts, int64_t first_round, int64_t num_rounds) {
    Worker workers[THREADS];
    Job jobs[THREADS];
    pthread_t threads[THREADS];
    int64_t longest = 0, size = p->num_items * DIM, C = p->clients_per_round;
    for (int64_t c = 0; c < p->num_clients; c++)
        if (p->offsets[c + 1] - p->offsets[c] > longest) longest = p->offsets[c + 1] - p->offsets[c];
    longest *= 1 + p->negatives;
    for (int t = 0; t < THREADS; t++)
        workers[t] = (Worker){room(size, 4), room(size, 4), room(p->num_items, 4),
                              room(p->num_items, 4), room(p->num_items / 64 + 1, 8), room(p->num_items + 1, 4),
                              room(longest, 4), room(longest, 4), room(p->batch_size, 4)};
    offsets_to_sort_by = p->offsets;
    for (int64_t round = first_round; round < first_round + num_rounds; round++) {
        int32_t *cohort = cohorts + (round - first_round) * C;
        qsort(cohort, (size_t)C, 4, larger_first);
        atomic_long next = 0;
        for (int t = 0; t < THREADS; t++) {
            jobs[t] = (Job){p, cohort, &next, round, &workers[t]};
            if (pthread_create(&threads[t], NULL, work, &jobs[t])) abort();
        }
        for (int t = 0; t < THREADS; t++) pthread_join(threads[t], NULL);
        for (int t = 0; t < THREADS; t++) {
            for (int64_t i = 0; i < size; i++) p->table[i] += workers[t].total[i] / (float)C;
            memset(workers[t].total, 0, (size_t)size * 4);
        }
    }
    for (int t = 0; t < THREADS; t++) {
        Worker *w = &workers[t];
        free(w->local), free(w->total), free(w->stamp), free(w->touched), free(w->seen);
        free(w->free_items);
        free(w->ids), free(w->labels), free(w->slopes);
    }
}
