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

/* y[row][col][lane] through the epilogue and out: lane i is channel i * ld_m of out and residual, which point at
 * channel 0, row 0, column 0. */
static __attribute__((noinline)) void STORED(store_channels)(const pc_conv *p, REAL *y, int64_t n_lanes, int64_t ld_m,
                                                             pc_window box, STORAGE *out, const STORAGE *residual) {
    const pc_ld *lo = &p->ld_out, *lr = &p->ld_res;
    const int64_t lo_h = lo->h * box.step, lr_h = lr->h * box.step;
    const int64_t pixels = box.rows * box.cols, ld_c = lo->c * ld_m, ld_r = lr->c * ld_m;
    int64_t activation = p->activation;
    out += box.h * lo->h + box.w * lo->w;
    if (residual)
        residual += box.h * lr->h + box.w * lr->w;
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
