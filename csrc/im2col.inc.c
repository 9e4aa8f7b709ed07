/* conv_im2col: the loops of direct.inc.c with the operand of each pixel panel packed first. */

static void STORED(conv_im2col_task)(void *ctx, int64_t task, int worker) { STORED(dense_task)(ctx, task, worker, 1); }

static void STORED(conv_im2col_run)(const pc_conv *p, const pc_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(conv_im2col, DTYPE, PC_ISA)));
    NAME(dense_job) job = {p, arrays};
    pc_parallel(STORED(conv_im2col_task), &job, p->blk.n_tasks, threads);
}

static int STORED(conv_im2col_plan)(pc_conv *p, int64_t max_scratch_bytes) {
    return pc_plan_im2col(p, PC_TILE_SHAPE, max_scratch_bytes);
}

#if !PC_WIDENED
static int64_t NAME(conv_im2col_pack)(const pc_conv *p, const void *w, void *packed) {
    return NAME(pack_panels)(p, w, packed);
}
#endif
