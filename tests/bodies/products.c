/* Matrix products in their three forms, the sums of partial ones, and transposition. */
#include "checks.h"

static int64_t seen; /* elements that `collect` has been given */

static void collect(const Product *p, int64_t row, int64_t rows, int64_t column, int64_t columns,
                    const void *part, int64_t stride) {
    for (int64_t r = 0; r < rows; r++)
        memcpy((real *)p->context + (row + r) * p->columns + column, (const real *)part + r * stride,
               (size_t)columns * sizeof(real));
    seen += rows * columns;
}

/* The same bits where nobody but `finished` sees them, if the product can go that way. */
static void check_handed_on(Product product, int form) {
    const real *out = product.out;
    const int64_t n = product.rows * product.columns;
    ProductBody body = bodies->matmul->choose[form](&product);
    if (!bodies->matmul->hands_on(&product, body)) return;
    product.out = NULL, product.finished = collect, product.context = array(n);
    seen = 0;
    body(&product);
    near("elements handed on", n, product.depth, (double)seen, (double)n, 0);
    for (int64_t i = 0; i < n; i++)
        near("handed on", n, i, ((const real *)product.context)[i], out[i], 0);
}

static void check_product(int64_t rows, int64_t depth, int64_t columns) {
    const real *a = drawn(rows * depth, -1, 1), *b = drawn(depth * columns, -1, 1);
    const real *bias = drawn(columns, -1, 1);
    real *out = array(rows * columns);
    for (int form = 0; form < 4; form++) { /* nn, tn, nt, and nt turned */
        const int turned = form == 3, is_nt = form >= 2;
        const Product product = {
            .out = out, .a = a, .b = b, .out_stride = columns,
            .a_stride = form == 1 ? rows : depth, .b_stride = is_nt ? depth : columns,
            .b_end = b + depth * columns, .bias = is_nt ? NULL : bias,
            .rows = rows, .columns = columns, .depth = depth, .turned = turned,
        };
        (form == 0 ? bodies->matmul->nn : form == 1 ? bodies->matmul->tn : bodies->matmul->nt)(
            &product);
        const double steps = 4 * ceil(log2((double)depth + 2)) * EPSILON;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++) {
                double sum = is_nt ? 0 : bias[j], size = fabs(sum);
                for (int64_t k = 0; k < depth; k++) {
                    const double x = a[form == 1 ? k * rows + i : i * depth + k];
                    const double y = b[is_nt ? j * depth + k : k * columns + j];
                    sum += x * y, size += fabs(x * y);
                }
                near((const char *[]){"nn", "tn", "nt", "nt turned"}[form],
                     rows * 1000000 + depth * 1000 + columns, i * columns + j, out[i * columns + j],
                     sum, steps * size);
            }
        if (!is_nt) check_handed_on(product, form);
    }
    done("product");
}

static void check_parts(int64_t rows, int64_t columns) {
    enum { PARTS = 3 };
    const int64_t all = rows * columns, start = columns / 2, n = all - start;
    const real *parts = drawn(PARTS * all, -1, 1), *bias = drawn(columns, -1, 1);
    real *out = array(n), *turned = array(all);
    bodies->matmul->merge(out, parts, all, PARTS, bias, columns, start, n);
    for (int64_t i = 0; i < n; i++) {
        double sum = bias[(start + i) % columns];
        for (int64_t k = 0; k < PARTS; k++) sum += parts[k * all + i];
        near("merge", columns, i, out[i], sum, 8 * EPSILON);
    }
    bodies->matmul->transpose(turned, rows, parts, columns, rows, columns);
    for (int64_t i = 0; i < all; i++)
        near("transpose", columns, i, turned[i % columns * rows + i / columns], parts[i], 0);
    done("parts");
}

void check_products(void) {
    for (int64_t n = 1; n <= 33; n += 4)
        for (int64_t m = 1; m <= 17; m += 4) {
            check_product(m, 7 + n, n), check_product(m, 70, n);
            check_parts(m, n);
        }
    check_product(40, 300, 90);  /* more than a block of the depth on narrow vectors */
    check_product(45, 9, 260);   /* panels of b are copied */
    check_product(530, 40, 260); /* ... some together, for many rows */
    check_product(50, 30, 90);   /* b stays in L1 */
}
