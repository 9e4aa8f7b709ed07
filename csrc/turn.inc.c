/* Runs of neighbouring pixels of each channel into and out of pixels of LANES channels: one LANES x LANES transpose of
 * LANES pixels each way. */

/* dst[pixel][lane] of `pixels` >= LANES neighbours in memory, LANES of them at a time and the last LANES once more at
 * the end; after every `wrap` pixels dst skips `gap` elements. Lanes from n_lanes on become zero. */
static __attribute__((noinline)) void STORED(turn_in)(const STORAGE *src, int64_t ld_c, int64_t n_lanes, int64_t pixels,
                                                      int64_t wrap, int64_t gap, REAL *dst) {
    int64_t row = 0, col = 0; /* of pixel `first` in dst */
    for (int64_t first = 0; first < pixels; first += LANES) {
        const int64_t back = pc_max(0, first + LANES - pixels);
        if (back) {
            row = (first - back) / wrap;
            col = (first - back) % wrap;
        }
        VEC v[LANES];
        const STORAGE *from = src + first - back;
        if (n_lanes == LANES) {
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                v[i] = STORED(load)(from + i * ld_c);
        } else {
            for (int i = 0; i < LANES; i++)
                v[i] = i < n_lanes ? STORED(load)(from + i * ld_c) : (VEC){0};
        }
        NAME(transpose)(v);
        REAL *to = dst + row * (wrap * LANES + gap) + col * LANES;
        if (col + LANES <= wrap) {
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                *(VEC *)(to + i * LANES) = v[i];
            col += LANES;
        } else {
            for (int i = 0; i < LANES; i++, to += LANES) {
                if (col == wrap) {
                    col = 0;
                    row++;
                    to += gap;
                }
                *(VEC *)to = v[i];
                col++;
            }
        }
        if (col == wrap) {
            col = 0;
            row++;
        }
    }
}

/* One run of neighbouring pixels out of y[pixel][lane]: residual, activation, and n_lanes rows of memory. Only whole
 * vectors of a run without a residual may be written twice: the residual may be the output itself. */
static __attribute__((noinline)) void STORED(turn_out)(const pc_conv *p, const REAL *y, int64_t n_lanes, int64_t pixels,
                                                       int64_t activation, STORAGE *out, int64_t ld_c,
                                                       const STORAGE *residual, int64_t ld_r) {
    for (int64_t first = 0; first < pixels; first += LANES) {
        const int64_t base = pixels >= LANES && !residual ? pc_min(first, pixels - LANES) : first;
        const int64_t n = pc_min(LANES, pixels - base);
        VEC v[LANES];
        if (n == LANES) {
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                v[i] = *(const VEC *)(y + (base + i) * LANES);
        } else {
            for (int i = 0; i < LANES; i++)
                v[i] = *(const VEC *)(y + pc_min(base + i, pixels - 1) * LANES);
        }
        NAME(transpose)(v);
        if (residual)
            for (int i = 0; i < n_lanes; i++) {
                VEC r = {0};
                if (n == LANES)
                    r = STORED(load)(residual + i * ld_r + base);
                else
                    STORED(read)((REAL *)&r, residual + i * ld_r + base, n);
                v[i] += r;
            }
        if (activation == PC_ACT_RELU) {
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                v[i] = NAME(relu)(v[i]);
        } else if (activation != PC_ACT_NONE) {
            NAME(activate)((REAL *)v, n_lanes * LANES, activation, (REAL)p->slope);
        }
        if (n == LANES && n_lanes == LANES) {
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                STORED(store)(out + i * ld_c + base, v[i]);
        } else {
            for (int i = 0; i < n_lanes; i++) {
                if (n == LANES)
                    STORED(store)(out + i * ld_c + base, v[i]);
                else
                    STORED(write)(out + i * ld_c + base, (const REAL *)&v[i], n);
            }
        }
    }
}
