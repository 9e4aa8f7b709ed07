/* Transposed convolution as a convolution of stride 1 with an output channel for each channel and phase: where results go,
 * and how weights are dealt out. */
#include "pyconv.h"

pc_phase pc_phase_of(const pc_conv *p, int64_t m) {
    const pc_phases *s = &p->phases;
    const int64_t group = m / p->c_out, r = m % p->c_out, channels = p->c_out / s->count;
    const int64_t phase = s->channels_inner ? r / channels : r % s->count;
    const int64_t channel = s->channels_inner ? r % channels : r / s->count;
    return (pc_phase){m, phase / (s->h.n * s->w.n), phase / s->w.n % s->h.n, phase % s->w.n, group * channels + channel};
}

pc_phase pc_phase_next(const pc_conv *p, pc_phase phase, int64_t step) {
    const pc_phases *s = &p->phases;
    if (step != 1 || s->channels_inner)
        return pc_phase_of(p, phase.m + step);
    phase.m++;
    if (++phase.a_w < s->w.n)
        return phase;
    phase.a_w = 0;
    if (++phase.a_h < s->h.n)
        return phase;
    phase.a_h = 0;
    if (++phase.a_d < s->d.n)
        return phase;
    phase.a_d = 0;
    phase.channel++;
    return phase;
}

static int64_t phase_index(const pc_phase_axis *axis, int64_t a, int64_t result) {
    const int64_t at = axis->first + axis->stride * result + axis->step * a;
    return at < axis->size ? at : -1;
}

int pc_phase_row(const pc_conv *p, const pc_phase *phase, pc_place at, int64_t *row) {
    at.m = phase->channel;
    at.d = phase_index(&p->phases.d, phase->a_d, at.d);
    at.h = phase_index(&p->phases.h, phase->a_h, at.h);
    at.w = 0;
    *row = pc_at(&p->ld_out, at);
    return at.d >= 0 && at.h >= 0;
}

void pc_phase_places(const pc_conv *p, pc_place at, int64_t step, int64_t n, pc_phase_place *places) {
    pc_phase phase = pc_phase_of(p, at.m);
    for (int64_t i = 0; i < n; i++, phase = pc_phase_next(p, phase, step)) {
        places[i].exists = pc_phase_row(p, &phase, at, &places[i].row);
        places[i].a_w = phase.a_w;
    }
}

/* ---- weights ---- */

/* Channels of a task on either side: reads are runs of PHASE_CHANNELS kernels, and a run's lines stay in L1 until the rows
 * that they are dealt out to have used them up. */
enum { PHASE_CHANNELS = 16, PHASE_INPUTS = 16 };

typedef struct weights_job {
    const pc_part *part;
    int64_t item_bytes, taps, kernel, blocks, input_blocks;
    const void *w;
    void *to;
} weights_job;

/* Input channels [c, end) of one row: its taps, last one first, from kernels ld apart. */
#define COPY_ROW(type)                                                                                                 \
    static void copy_row_##type(const pc_part *s, const type *from, int64_t ld, int64_t n, type *to) {                 \
        const int64_t n_d = s->taps[0], n_h = s->taps[1], n_w = s->taps[2];                                            \
        const int64_t step_d = s->step[0] * s->k[1] * s->k[2], step_h = s->step[1] * s->k[2], step_w = s->step[2];     \
        if (n_d * n_h * n_w == 1) {                                                                                    \
            for (int64_t c = 0; c < n; c++)                                                                            \
                to[c] = from[c * ld];                                                                                  \
            return;                                                                                                    \
        }                                                                                                              \
        from += (n_d - 1) * step_d + (n_h - 1) * step_h + (n_w - 1) * step_w;                                          \
        for (int64_t c = 0; c < n; c++, from += ld)                                                                    \
            for (int64_t d = 0; d < n_d; d++)                                                                          \
                for (int64_t h = 0; h < n_h; h++) {                                                                    \
                    const type *row = from - d * step_d - h * step_h;                                                  \
                    for (int64_t w = 0; w < n_w; w++, row -= step_w)                                                   \
                        *to++ = *row;                                                                                  \
                }                                                                                                      \
    }
COPY_ROW(uint32_t)
COPY_ROW(uint64_t)
#undef COPY_ROW

static void weights_task(void *ctx, int64_t task, int worker) {
    (void)worker;
    const weights_job *job = ctx;
    const pc_part *s = job->part;
    const int64_t c0 = task % job->input_blocks * PHASE_INPUTS, n_c = pc_min(PHASE_INPUTS, s->c_in - c0);
    task /= job->input_blocks;
    const int64_t g = task / job->blocks, first = task % job->blocks * PHASE_CHANNELS;
    const int64_t last = pc_min(s->c_out, first + PHASE_CHANNELS), count = s->n[0] * s->n[1] * s->n[2];
    const int64_t ld = s->c_out * job->kernel;
    for (int64_t phase = 0; phase < count; phase++) {
        const int64_t a_w = phase % s->n[2], a_h = phase / s->n[2] % s->n[1], a_d = phase / s->n[2] / s->n[1];
        const int64_t at = ((s->first[0] + a_d) * s->k[1] + s->first[1] + a_h) * s->k[2] + s->first[2] + a_w;
        const int64_t number = a_d * s->rank[0] + a_h * s->rank[1] + a_w * s->rank[2];
        for (int64_t m = first; m < last; m++) {
            const int64_t row = s->channels_inner ? number * s->c_out + m : m * count + number;
            const int64_t from = ((g * s->c_in + c0) * s->c_out + m) * job->kernel + at;
            const int64_t to = ((g * s->c_out * count + row) * s->c_in + c0) * job->taps;
            if (job->item_bytes == 4)
                copy_row_uint32_t(s, (const uint32_t *)job->w + from, ld, n_c, (uint32_t *)job->to + to);
            else
                copy_row_uint64_t(s, (const uint64_t *)job->w + from, ld, n_c, (uint64_t *)job->to + to);
        }
    }
}

void pc_part_weights(const pc_part *part, int64_t item_bytes, const void *w, void *to, int threads) {
    weights_job job = {part, item_bytes, part->taps[0] * part->taps[1] * part->taps[2],
                       part->k[0] * part->k[1] * part->k[2], pc_ceil_div(part->c_out, PHASE_CHANNELS),
                       pc_ceil_div(part->c_in, PHASE_INPUTS), w, to};
    pc_parallel(weights_task, &job, part->groups * job.blocks * job.input_blocks, threads);
}
