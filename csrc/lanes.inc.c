/* Pixels of arrays of any strides <-> pixels of LANES channels: runs of neighbours are turned in registers
 * (turn.inc.c), pixels of neighbouring channels moved whole, anything else element by element. */

/* n neighbouring pixels, ld_p apart, of n_lanes channels, ld_c apart, into dst[pixel][lane]; spare lanes hold zeros. */
static void STORED(lanes_load)(const STORAGE *src, int64_t ld_c, int64_t ld_p, int64_t n_lanes, int64_t n, REAL *dst) {
    if (ld_p == 1 && n >= LANES) {
        STORED(turn_in)(src, ld_c, n_lanes, n, n, 0, dst);
        return;
    }
    for (int64_t i = 0; i < n; i++, dst += LANES) {
        const STORAGE *const from = src + i * ld_p;
        if (ld_c == 1) {
            *(VEC *)dst = (VEC){0};
            STORED(read)(dst, from, n_lanes);
            continue;
        }
        for (int64_t l = 0; l < LANES; l++)
            dst[l] = l < n_lanes ? STORED(get)(from + l * ld_c) : 0;
    }
}

/* The way back. */
static void STORED(lanes_save)(const REAL *y, int64_t ld_c, int64_t ld_p, int64_t n_lanes, int64_t n, STORAGE *dst) {
    int64_t done = 0;
    if (ld_p == 1 && n > 1) {
        /* a last pixel or two of 49 or 98 are cheaper one by one than with a vector of old ones */
        done = n > LANES && n % LANES <= 2 ? n - n % LANES : n;
        STORED(turn_out)(NULL, y, n_lanes, done, PC_ACT_NONE, dst, ld_c, NULL, 0);
        y += done * LANES;
    }
    for (int64_t i = done; i < n; i++, y += LANES) {
        STORAGE *const to = dst + i * ld_p;
        if (ld_c == 1) {
            STORED(write)(to, y, n_lanes);
            continue;
        }
        for (int64_t l = 0; l < n_lanes; l++)
            STORED(put)(to + l * ld_c, y[l]);
    }
}
