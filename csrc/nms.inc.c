/* nms_greedy: of boxes in falling order of their scores, those that no better kept box overlaps by more than a threshold.
 *
 *   keep[j] = no kept i < j with  inter(i, j) / (area(i) + area(j) - inter(i, j)) > threshold
 *
 * Each kept box is held against all that come after it, LANES of these at a time; a vector whose boxes are all gone is
 * skipped. In double, where the products of float32 corners are exact. A quotient 0 / 0 is not larger than anything.
 * A run of boxes, a class of them, is a task. */

#ifndef PC_NMS_WORDS
#define PC_NMS_WORDS
static inline double pc_smaller(double a, double b) { return b < a ? b : a; }
static inline double pc_larger(double a, double b) { return b > a ? b : a; }
#endif

static void NAME(nms_run)(void *ctx, int64_t run, int worker) {
    (void)worker;
    const pc_nms_job *job = ctx;
    const int64_t n = job->n, begin = job->runs[run], end = job->runs[run + 1];
    const double *const x1 = job->corners, *const y1 = x1 + n, *const x2 = y1 + n, *const y2 = x2 + n;
    uint8_t *const keep = job->keep;
    memset(keep + begin, 1, (size_t)(end - begin));
    for (int64_t i = begin; i < end; i++) {
        if (!keep[i])
            continue;
        int64_t j = i + 1;
        for (; j + LANES <= end; j += LANES) {
            int any = 0;
            for (int l = 0; l < LANES; l++)
                any |= keep[j + l];
            if (!any)
                continue;
            const VEC left = NAME(load)(x1 + j), top = NAME(load)(y1 + j);
            const VEC right = NAME(load)(x2 + j), bottom = NAME(load)(y2 + j);
            const VEC l = NAME(select)(left > x1[i], left, NAME(splat)(x1[i]));
            const VEC t = NAME(select)(top > y1[i], top, NAME(splat)(y1[i]));
            const VEC r = NAME(select)(right < x2[i], right, NAME(splat)(x2[i]));
            const VEC b = NAME(select)(bottom < y2[i], bottom, NAME(splat)(y2[i]));
            const VEC w = NAME(select)(r > l, r - l, (VEC){0}), h = NAME(select)(b > t, b - t, (VEC){0});
            const VEC inter = w * h;
            const MASK gone = inter / (NAME(load)(job->area + j) + job->area[i] - inter) > job->threshold;
            for (int k = 0; k < LANES; k++)
                keep[j + k] &= (uint8_t)(gone[k] + 1);
        }
        for (; j < end; j++) {
            const double w = pc_smaller(x2[i], x2[j]) - pc_larger(x1[i], x1[j]);
            const double h = pc_smaller(y2[i], y2[j]) - pc_larger(y1[i], y1[j]);
            const double inter = (w > 0 ? w : 0) * (h > 0 ? h : 0);
            if (inter / (job->area[j] + job->area[i] - inter) > job->threshold)
                keep[j] = 0;
        }
    }
}
