/* Arrays of any strides into and out of pixels of LANES channels: [row][column][lane]. Kernels that keep channels in
 * the lanes never meet a ragged row; what they pay is one LANES x LANES transpose of LANES pixels each way, unless
 * channels are fastest in memory already. */

/* Asks for the lines of a window of n_lanes channels whose rows are contiguous, to read or to write them soon. */
INLINE void STORED(prefetch_window)(const STORAGE *x, int64_t n_lanes, const pc_ld *ld, int64_t h_size, int64_t w_size,
                                    pc_window box, const int to_write) {
    if (ld->w != 1)
        return;
    const int64_t left = pc_max(0, box.w), right = pc_min(w_size, box.w + box.cols);
    for (int64_t i = 0; i < n_lanes; i++)
        for (int64_t r = 0; r < box.rows; r++) {
            const int64_t h = box.h + r * box.step;
            if (h < 0 || h >= h_size)
                continue;
            const STORAGE *row = x + i * ld->c + h * ld->h;
            for (int64_t w = left; w < right; w += 64 / (int64_t)sizeof(STORAGE)) {
                if (to_write)
                    __builtin_prefetch(row + w, 1);
                else
                    __builtin_prefetch(row + w, 0);
            }
        }
}

/* tile[row][col][lane] = x[lane][box.h + row * box.step][box.w + col], border included; lanes from n_lanes on hold
 * zeros. */
static __attribute__((noinline)) void STORED(load_channels)(const pc_conv *p, const STORAGE *x, int64_t n_lanes,
                                                            pc_window box, REAL *tile) {
    const pc_ld *ld = &p->ld_x;
    const int64_t top = pc_min(box.rows, pc_ceil_div(pc_max(0, -box.h), box.step));
    const int64_t left = pc_min(box.cols, pc_max(0, -box.w));
    const int64_t bottom = pc_max(top, pc_min(box.rows, pc_ceil_div(pc_max(0, p->h.in - box.h), box.step)));
    const int64_t right = pc_max(left, pc_min(box.cols, p->w.in - box.w));
    const int64_t width = right - left, height = bottom - top, pitch = box.cols * LANES;
    const int64_t ld_h = ld->h * box.step;
    const STORAGE *src = x + (box.h + top * box.step) * ld->h + (box.w + left) * ld->w;
    REAL *inside = tile + top * pitch + left * LANES;
    if (width > 0 && height > 0) {
        if (ld->w == 1 && ld_h == width && height * width >= LANES) {
            STORED(turn_in)(src, ld->c, n_lanes, height * width, width, pitch - width * LANES, inside);
        } else if (ld->w == 1 && width >= LANES) {
            for (int64_t r = 0; r < height; r++)
                STORED(turn_in)(src + r * ld_h, ld->c, n_lanes, width, width, 0, inside + r * pitch);
        } else if (ld->c == 1 && n_lanes == LANES) {
            for (int64_t r = 0; r < height; r++) {
                const STORAGE *from = src + r * ld_h;
                REAL *to = inside + r * pitch;
                for (int64_t c = 0; c < width; c++, from += ld->w, to += LANES)
                    *(VEC *)to = STORED(load)(from);
            }
        } else {
            for (int64_t r = 0; r < height; r++)
                for (int64_t c = 0; c < width; c++) {
                    const STORAGE *from = src + r * ld_h + c * ld->w;
                    REAL *to = inside + r * pitch + c * LANES;
                    if (ld->c == 1) {
                        *(VEC *)to = (VEC){0};
                        STORED(read)(to, from, n_lanes);
                        continue;
                    }
                    for (int64_t i = 0; i < LANES; i++)
                        to[i] = i < n_lanes ? STORED(get)(from + i * ld->c) : 0;
                }
        }
    }
    if (width == box.cols && height == box.rows)
        return;
    if (p->padding_mode == PC_PAD_ZEROS) {
        NAME(clear_over)(tile, top * pitch);
        for (int64_t r = top; r < bottom; r++) {
            NAME(clear_over)(tile + r * pitch, left * LANES);
            NAME(clear_over)(tile + r * pitch + right * LANES, (box.cols - right) * LANES);
        }
        NAME(clear_over)(tile + bottom * pitch, (box.rows - bottom) * pitch);
        return;
    }
    for (int64_t r = 0; r < box.rows; r++)
        for (int64_t c = 0; c < box.cols; c++) {
            if (r >= top && r < bottom && c >= left && c < right)
                continue;
            const int64_t h = pc_map_index(box.h + r * box.step, p->h.in, p->padding_mode);
            const int64_t w = pc_map_index(box.w + c, p->w.in, p->padding_mode);
            const int64_t tile_h = (h - box.h) / box.step, tile_w = w - box.w;
            REAL *to = tile + r * pitch + c * LANES;
            if ((h - box.h) % box.step == 0 && tile_h >= top && tile_h < bottom && tile_w >= left && tile_w < right)
                *(VEC *)to = *(const VEC *)(tile + tile_h * pitch + tile_w * LANES);
            else
                for (int64_t i = 0; i < LANES; i++)
                    to[i] = i < n_lanes ? STORED(get)(x + i * ld->c + h * ld->h + w * ld->w) : 0;
        }
}

/* Lanes of a vector whose elements are neighbours in the output array: phases of one row, or channels of one phase. */
#ifndef PC_LANE_RUN
#define PC_LANE_RUN
typedef struct pc_lane_run {
    int64_t lane, n;
    int channels; /* all of them exist, or none does */
    pc_phase phase;
} pc_lane_run;

static __attribute__((noinline)) int pc_lane_runs(const pc_conv *p, int64_t m, int64_t n_lanes, int64_t ld_m,
                                                  pc_lane_run *runs) {
    int n_runs = 0;
    pc_phase phase = pc_phase_of(p, m);
    for (int64_t i = 0; i < n_lanes; i++, phase = pc_phase_next(p, phase, ld_m)) {
        pc_lane_run *last = runs + n_runs - 1;
        if (n_runs > 0) {
            const int same_rows = phase.a_d == last->phase.a_d && phase.a_h == last->phase.a_h;
            if (same_rows && phase.a_w == last->phase.a_w && phase.channel == last->phase.channel + last->n &&
                p->ld_out.c == 1 && (last->channels || last->n == 1)) {
                last->channels = 1;
                last->n++;
                continue;
            }
            if (same_rows && phase.a_w == last->phase.a_w + last->n && phase.channel == last->phase.channel &&
                p->ld_out.w == 1 && p->phases.w.step == 1 && !last->channels) {
                last->n++;
                continue;
            }
        }
        runs[n_runs++] = (pc_lane_run){i, 1, 0, phase};
    }
    return n_runs;
}
#endif

/* y[pixel][lane] of one row to the phases of a transposed convolution's output, run by run. */
static __attribute__((noinline)) void STORED(store_runs)(const pc_conv *p, const REAL *y, const pc_lane_run *runs,
                                                         int n_runs, int64_t pixels, pc_place at, STORAGE *out) {
    const pc_phase_axis *const w = &p->phases.w;
    const int64_t step = w->stride * p->ld_out.w;
    for (int r = 0; r < n_runs; r++) {
        const pc_lane_run *run = runs + r;
        const int64_t more = run->channels ? 0 : run->n - 1;
        int64_t row;
        if (!pc_phase_row(p, &run->phase, at, &row))
            continue;
        const int64_t first = w->first + run->phase.a_w * w->step + at.w * w->stride;
        const REAL *from = y + run->lane;
        STORAGE *to = out + row + first * p->ld_out.w;
        const pc_range left = pc_phase_range(w, run->phase.a_w, at.w, pixels);
        const pc_range right = pc_phase_range(w, run->phase.a_w + more, at.w, pixels);
        /* pixels whose phases all exist; before and behind them some do, at the ends of the row */
        const int64_t begin = pc_max(left.begin, right.begin), end = pc_max(begin, pc_min(left.end, right.end));
        if (run->n == LANES)
            for (int64_t e = begin; e < end; e++)
                STORED(store)(to + e * step, *(const VEC *)(from + e * LANES));
        else
            for (int64_t e = begin; e < end; e++)
                STORED(write)(to + e * step, from + e * LANES, run->n);
        for (int64_t a = 0; a <= more; a++) {
            const pc_range own = pc_phase_range(w, run->phase.a_w + a, at.w, pixels);
            for (int64_t e = own.begin; e < pc_min(begin, own.end); e++)
                STORED(put)(to + e * step + a, from[e * LANES + a]);
            for (int64_t e = pc_max(end, own.begin); e < own.end; e++)
                STORED(put)(to + e * step + a, from[e * LANES + a]);
        }
    }
}

/* y[row][col][lane] of a box, residual and activation done, to the phases of a transposed convolution's output. */
static __attribute__((noinline)) void STORED(store_box)(const pc_conv *p, const REAL *y, int64_t n_lanes, int64_t ld_m,
                                                        pc_window box, pc_place at, STORAGE *out) {
    pc_lane_run runs[LANES];
    /* a few phases of a row are better interleaved than stored one by one */
    const int in_rows = p->phases.w.n <= 2 && p->ld_out.c != 1;
    const int n_runs = in_rows ? 0 : pc_lane_runs(p, at.m, n_lanes, ld_m, runs);
    for (int64_t r = 0; r < box.rows; r++, at.h += box.step, y += box.cols * LANES) {
        if (!in_rows) {
            STORED(store_runs)(p, y, runs, n_runs, box.cols, at, out);
            continue;
        }
        pc_phase_place places[LANES];
        pc_phase_places(p, at, ld_m, n_lanes, places);
        for (int64_t first = 0; first < box.cols; first += LANES) {
            VEC v[LANES];
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                v[i] = *(const VEC *)(y + pc_min(first + i, box.cols - 1) * LANES);
            NAME(transpose)(v);
            /* lanes of several groups: then a task has all channels of each */
            STORED(store_phases)(p, (const REAL *)v, LANES, n_lanes, places, at.w + first,
                                 pc_min(LANES, box.cols - first), ld_m != 1, out);
        }
    }
}

/* y[row][col][lane] through the epilogue and out: lane i is channel at.m + i * ld_m, and the box lies in rows and columns
 * of the output from at.h and at.w on. */
static __attribute__((noinline)) void STORED(store_channels)(const pc_conv *p, const pc_arrays *arrays, REAL *y,
                                                             int64_t n_lanes, int64_t ld_m, pc_window box, pc_place at) {
    const pc_ld *lo = &p->ld_out, *lr = &p->ld_res;
    const int64_t lo_h = lo->h * box.step, lr_h = lr->h * box.step;
    const int64_t pixels = box.rows * box.cols, ld_c = lo->c * ld_m, ld_r = lr->c * ld_m;
    int64_t activation = p->activation;
    at.h += box.h;
    at.w += box.w;
    STORAGE *out = arrays->out;
    const STORAGE *residual = arrays->residual;
    if (p->phases.count) {
        if (activation != PC_ACT_NONE)
            NAME(activate)(y, pixels * LANES, activation, (REAL)p->slope);
        STORED(store_box)(p, y, n_lanes, ld_m, box, at, out);
        return;
    }
    out += pc_at(lo, at);
    if (residual)
        residual += pc_at(lr, at);
    const int in_rows = lo->w == 1 && (!residual || lr->w == 1);
    if (activation != PC_ACT_NONE && (!in_rows || activation != PC_ACT_RELU) && !residual) {
        NAME(activate)(y, pixels * LANES, activation, (REAL)p->slope);
        activation = PC_ACT_NONE;
    }
    if (in_rows) {
        const int one_run = box.cols == p->w.out && lo_h == p->w.out && (!residual || lr_h == p->w.out);
        const int64_t runs = one_run ? 1 : box.rows, length = one_run ? pixels : box.cols;
        for (int64_t r = 0; r < runs; r++)
            STORED(turn_out)(p, y + r * length * LANES, n_lanes, length, activation, out + r * lo_h, ld_c,
                             residual ? residual + r * lr_h : NULL, ld_r);
        return;
    }
    if (residual) {
        for (int64_t h = 0, i = 0; h < box.rows; h++)
            for (int64_t w = 0; w < box.cols; w++, i++)
                for (int64_t lane = 0; lane < n_lanes; lane++)
                    y[i * LANES + lane] += STORED(get)(residual + h * lr_h + w * lr->w + lane * ld_r);
        if (activation != PC_ACT_NONE)
            NAME(activate)(y, pixels * LANES, activation, (REAL)p->slope);
    }
    for (int64_t h = 0; h < box.rows; h++)
        for (int64_t w = 0; w < box.cols; w++, y += LANES) {
            STORAGE *to = out + h * lo_h + w * lo->w;
            if (ld_c == 1)
                STORED(write)(to, y, n_lanes);
            else
                for (int64_t lane = 0; lane < n_lanes; lane++)
                    STORED(put)(to + lane * ld_c, y[lane]);
        }
}
