/* conv_grouped_channels: groups of a few channels, as many out as in, so that LANES channels are whole groups.
 *
 * depthwise_channels.inc.c with one more loop: its planes are the channels of a group, and plane i is the tile with
 * channel i of each group spread over the group's lanes, a shuffle of each pixel that is loaded. A dense kernel would fill
 * c_out of LANES lanes. Small square kernels with stride 1 or 2, for which there are windows (32 registers).
 *
 * flops: those of direct.inc.c; moved besides x and y: both once more, within L2. Sums run over (c_in, kh, kw). */
#if PC_PIXEL_WINDOWS

static void STORED(conv_grouped_channels_task)(void *ctx, int64_t task, int worker) {
    const NAME(depthwise_job) *job = ctx;
    const pc_conv *p = job->p;
    const pc_blocking *b = &p->blk;
    const int64_t block = task % b->n_m_blocks, d_out = task / b->n_m_blocks % p->d.out;
    const int64_t n = task / b->n_m_blocks / p->d.out, m0 = block * LANES;
    const int64_t n_lanes = pc_min(LANES, p->groups * p->c_out - m0), k_all = p->c_in * p->h.k * p->w.k;

    REAL *tile = (REAL *)(job->arrays->scratch + worker * p->scratch_bytes);
    REAL *y = tile + b->tile_elems;
    const pc_window box = {-p->h.pad, -p->w.pad, b->h_tile, b->w_tile, 1};
    const int64_t d = pc_map_index(d_out * p->d.stride - p->d.pad, p->d.in, p->padding_mode);
    if (d < 0)
        NAME(clear_over)(tile, b->tile_elems);
    else
        STORED(load_channels)(p, (const STORAGE *)job->arrays->x + n * p->ld_x.n + m0 * p->ld_x.c + d * p->ld_x.d,
                              n_lanes, box, tile);
    NAME(pixel_run) run = {.n_d = p->c_in, .ld_in = b->w_tile * LANES, .ld_y = p->w.out * LANES,
                           .w = (const REAL *)job->arrays->packed + block * k_all * LANES};
    for (int64_t i = 0; i < LANES; i++) {
        run.bias[i] = job->arrays->bias ? ((const REAL *)job->arrays->bias)[m0 + pc_min(i, n_lanes - 1)] : 0;
        run.first[i] = (INTEGER)(i - i % p->c_in);
    }
    const pc_panels runs = pc_panels_of(p->w.out, PC_PAIR_PIXELS);
    for (int64_t row = 0; row < p->h.out; row += 2) {
        const int64_t h = pc_min(row, p->h.out - 2); /* an odd last row goes with the one above it, once more */
        for (int64_t v = 0; v < runs.n; v++) {
            const int64_t col = pc_panel_start(runs, v);
            run.x = tile + (h * b->w_tile + col) * p->w.stride * LANES;
            run.y = y + (h * p->w.out + col) * LANES;
            NAME(grouped_windows)[(p->h.k - 3) / 2][p->h.stride - 1][pc_panel_rows(runs, v) - 4](&run);
        }
    }
    STORED(store_channels)(p, job->arrays, y, n_lanes, 1, (pc_window){0, 0, p->h.out, p->w.out, 1},
                           (pc_place){n, m0, d_out, 0, 0});
}

static void STORED(conv_grouped_channels_run)(const pc_conv *p, const pc_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(conv_grouped_channels, DTYPE, PC_ISA)));
    NAME(depthwise_job) job = {p, arrays};
    pc_parallel(STORED(conv_grouped_channels_task), &job, p->blk.n_tasks, threads);
}

static int STORED(conv_grouped_channels_plan)(pc_conv *p, int64_t max_scratch_bytes) {
    return pc_plan_grouped_channels(p, (pc_tile_shape){sizeof(REAL), LANES, 2, PC_PAIR_PIXELS, 0, 0, PC_WIDENED},
                                    max_scratch_bytes);
}

#if !PC_WIDENED
static int64_t NAME(conv_grouped_channels_pack)(const pc_conv *p, const void *w, void *packed) {
    return NAME(pack_lanes)(w, p->groups * p->c_out, p->c_in * p->h.k * p->w.k, packed);
}
#endif
#endif
