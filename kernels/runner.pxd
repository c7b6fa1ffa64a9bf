"""The C side of the kernels, for the other modules here and for packages that cimport them."""

from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "simd/bodies.h" nogil:
    ctypedef void (*ActivationForward)(
        void *out, const void *x, double alpha, int64_t n) noexcept nogil
    ctypedef void (*ActivationBackward)(
        void *grad_x, const void *grad_out, const void *saved, double alpha, int64_t n
    ) noexcept nogil
    ctypedef struct ActivationBodies:
        ActivationForward *forward
        ActivationBackward *backward
        void (*softmax_forward)(void *out, const void *x, int64_t rows, int64_t n) noexcept nogil
        void (*softmax_backward)(
            void *grad_x, const void *grad_out, const void *out, int64_t rows, int64_t n
        ) noexcept nogil
    ctypedef struct ArithmeticBodies:
        void (*add)(void *out, const void *a, const void *b, int64_t n) noexcept nogil
        void (*multiply)(void *out, const void *a, const void *b, int64_t n) noexcept nogil
        void (*scale)(void *out, const void *x, double factor, int64_t n) noexcept nogil
    ctypedef void (*Cast)(
        void *out, const void *source, int64_t stride, const int64_t *order, int64_t rows, int64_t n
    ) noexcept nogil
    ctypedef struct DataBodies:
        Cast *to_real
        Cast *to_label
    ctypedef struct LossOptions:
        double factor, delta, smoothing
        bint roomy
    ctypedef struct LossInputs:
        const void *pred
        const void *target
        const int64_t *labels
        const void *sample_weight
        int64_t rows, C
    ctypedef void (*LossBody)(
        void *loss, void *grad_pred, const LossInputs *inputs, const LossOptions *options
    ) noexcept nogil
    ctypedef struct LossCall:
        LossBody body
        void *loss
        void *grad_pred
        LossInputs inputs
        LossOptions options
    ctypedef struct LossBodies:
        LossBody *elementwise
        LossBody categorical
        LossBody categorical_of_logits
        void (*categorical_accuracy)(void *out, const LossInputs *inputs) noexcept nogil
        void (*binary_accuracy)(
            void *out, const LossInputs *inputs, double threshold) noexcept nogil
        double (*weighted_sum)(const void *values, const void *weights, int64_t n) noexcept nogil
    ctypedef struct MetricBodies:
        void (*top_k)(void *out, const LossInputs *inputs, int64_t k) noexcept nogil
        void (*cosine)(void *out, const LossInputs *inputs) noexcept nogil
        void (*confusion)(double *confusion, const LossInputs *inputs) noexcept nogil
        void (*threshold_counts)(
            double *counts, const LossInputs *inputs, double threshold) noexcept nogil
        void (*argmax_counts)(double *counts, const LossInputs *inputs) noexcept nogil
        void (*r2)(double *moments, const LossInputs *inputs) noexcept nogil
    enum: SGD, RMSPROP, ADAM, ADAGRAD, UPDATES
    enum: PARAM, GRAD, STATE, UPDATED_ARRAYS
    ctypedef struct GradientOptions:
        const void *scale
        double clipvalue, l1, l2, weight_decay, decay
    ctypedef struct SgdOptions:
        double momentum
        int nesterov, torch
    ctypedef struct RmspropOptions:
        double rho, momentum, epsilon
        int centered, torch
    ctypedef struct AdamOptions:
        double beta_1, beta_2, epsilon
    ctypedef struct AdagradOptions:
        double epsilon
        int torch
    ctypedef struct UpdateCall:
        void *arrays[UPDATED_ARRAYS]
        int64_t rows, n, stride, grad_stride
        double learning_rate
        GradientOptions first
        SgdOptions sgd
        RmspropOptions rmsprop
        AdamOptions adam
        AdagradOptions adagrad
    ctypedef void (*UpdateBody)(const UpdateCall *call) noexcept nogil
    ctypedef UpdateBody (*UpdateChoice)(const UpdateCall *call) noexcept nogil
    ctypedef struct UpdateBodies:
        UpdateChoice *choose
        double (*squared_norm)(
            const void *grad, const void *param, int64_t n, double l1, double l2) noexcept nogil
        double (*penalty)(const void *param, int64_t n, double l1, double l2) noexcept nogil
        void (*clip_scale)(void *scale, double squares, double clipnorm) noexcept nogil
    ctypedef struct NormBodies:
        void (*batch_statistics)(
            void *shift, void *mean, void *square, const void *x, int64_t rows, int64_t columns,
            int64_t stride, int far) noexcept nogil
        void (*batch_merge)(
            void *mean, void *variance, const void *parts, const int64_t *counts, int64_t blocks,
            int64_t columns, int64_t stride) noexcept nogil
        void (*batch_scale)(
            void *scale, const void *variance, const void *gamma, double epsilon, int64_t columns
        ) noexcept nogil
        void (*batch_forward)(
            void *out, const void *x, const void *mean, const void *scale, const void *beta,
            int64_t rows, int64_t columns, int64_t stride, int far) noexcept nogil
        void (*batch_sums)(
            void *sum, void *product, const void *grad_out, const void *x, const void *mean,
            int64_t rows, int64_t columns, int64_t stride, int far) noexcept nogil
        void (*batch_backward_merge)(
            void *grad_gamma, void *grad_beta, void *scale, void *center, void *slope,
            const void *parts, const void *variance, const void *gamma, double epsilon,
            int64_t rows, int64_t blocks, int64_t columns, int64_t stride) noexcept nogil
        void (*batch_backward)(
            void *grad_x, const void *grad_out, const void *x, const void *mean,
            const void *scale, const void *center, const void *slope, int64_t rows,
            int64_t columns, int64_t stride, int far) noexcept nogil
        void (*batch_update)(
            void *running, const void *batch, double momentum, double factor, int64_t n
        ) noexcept nogil
        void (*layer_forward)(
            void *out, void *mean, void *rstd, const void *x, const void *gamma, const void *beta,
            double epsilon, int64_t rows, int64_t columns) noexcept nogil
        void (*layer_backward)(
            void *grad_x, void *gamma_sum, void *beta_sum, const void *grad_out, const void *x,
            const void *mean, const void *rstd, const void *gamma, int64_t rows, int64_t columns
        ) noexcept nogil
        void (*sum_parts)(
            void *total, const void *parts, int64_t blocks, int64_t n, int64_t stride
        ) noexcept nogil
    ctypedef struct Product:
        void *out
        const void *a
        const void *b
        int64_t out_stride, a_stride, b_stride
        const void *b_end
        const void *bias
        int64_t bias_stride
        int64_t rows, columns, depth
        bint turned, roomy
        void (*finished)(
            const Product *product, int64_t row, int64_t rows, int64_t column, int64_t columns,
            const void *part, int64_t part_stride) noexcept nogil
        const void *op
        const void *context
        int64_t first_row, first_column
        const void *tail[4]
        int64_t tail_arrays
    enum: MOST_TAIL_ARRAYS
    bint product_turns(int64_t rows, int64_t columns, int64_t depth)
    ctypedef void (*ProductBody)(const Product *product) noexcept nogil
    ctypedef ProductBody (*ProductChoice)(const Product *product) noexcept nogil
    ctypedef struct MatmulBodies:
        ProductBody nn, tn, nt
        ProductChoice *choose
        bint (*hands_on)(const Product *product, ProductBody body) noexcept nogil
        void (*merge)(
            void *out, const void *parts, int64_t stride, int64_t count, const void *bias,
            int64_t columns, int64_t start, int64_t n) noexcept nogil
        void (*transpose)(
            void *out, int64_t out_stride, const void *x, int64_t x_stride, int64_t rows,
            int64_t columns) noexcept nogil
        int64_t tile_rows, tile_columns, joined_rows, joined_few, depth_block
        double nanoseconds
        const void *one
    ctypedef struct Axis:
        int64_t stride, dilation, before, kernel, input, output
    ctypedef struct Convolution:
        Axis rows, columns
        int64_t C, O, groups
        bint backward
    ctypedef struct ConvolutionBlock:
        int64_t image, images, row, rows, column, columns
    ctypedef struct ConvolutionPart:
        int64_t group, panel, panels, image, images
    ctypedef struct ConvolutionBodies:
        int64_t (*panels)(int64_t channels) noexcept nogil
        int64_t (*weight_panels)(int64_t channels) noexcept nogil
        int64_t (*packed_size)(const Convolution *shape) noexcept nogil
        void (*pack)(
            void *packed, const void *weight, const Convolution *shape, int64_t group,
            int64_t panel) noexcept nogil
        void (*block)(
            void *out, const void *x, const void *packed, const void *bias,
            const Convolution *shape, const ConvolutionBlock *block) noexcept nogil
        void (*weights)(
            void *grad_weight, const void *x, const void *grad_out, const Convolution *shape,
            const ConvolutionPart *part) noexcept nogil
    ctypedef struct Pool:
        int64_t H, W, C, P, Q
        int64_t pool_height, pool_width, stride_height, stride_width, top, left
    ctypedef struct PoolingBodies:
        void (*max_forward)(
            void *out, void *index, const void *x, const Pool *pool, int64_t first, int64_t rows
        ) noexcept nogil
        void (*signs)(void *signs, const void *x, int64_t n) noexcept nogil
        void (*extreme_forward)(
            void *out, void *index, const void *x, const void *signs, const Pool *pool,
            int64_t first, int64_t rows) noexcept nogil
        void (*max_backward)(
            void *grad_x, const void *grad_out, const void *index, const Pool *pool,
            int64_t first, int64_t rows) noexcept nogil
        void (*norm_max_backward)(
            void *grad_x, const void *grad_out, const void *index, const void *x, const void *mean,
            const void *scale, const void *center, const void *slope, const Pool *pool,
            int64_t first, int64_t rows) noexcept nogil
        void (*average_forward)(
            void *out, const void *x, const Pool *pool, int64_t first, int64_t rows) noexcept nogil
        void (*average_backward)(
            void *grad_x, const void *grad_out, const Pool *pool, int64_t first, int64_t rows
        ) noexcept nogil
        void (*sum_forward)(
            void *out, const void *x, const Pool *pool, int64_t first, int64_t rows) noexcept nogil
        void (*sum_backward)(
            void *grad_x, const void *grad_out, const Pool *pool, int64_t first, int64_t rows
        ) noexcept nogil
    ctypedef struct CalibrateBodies:
        int64_t (*fma_peak)(void *sink, int64_t iterations) noexcept nogil
        void (*triad)(void *a, const void *b, const void *c, int64_t n) noexcept nogil
        void (*update)(void *param, void *m, void *v, const void *grad, int64_t n) noexcept nogil
    ctypedef struct Draw:
        uint64_t seed
        uint32_t stream, step
    ctypedef struct RandomBodies:
        void (*words)(uint32_t *words, uint64_t group, int64_t groups, Draw draw) noexcept nogil
        void (*dropout)(
            void *out, const void *x, uint32_t threshold, double scale, Draw draw, int64_t start,
            int64_t n) noexcept nogil
        void (*gaussian_noise)(
            void *out, const void *x, double stddev, Draw draw, int64_t start, int64_t n
        ) noexcept nogil
    ctypedef void (*BinaryBody)(
        void *out, const void *a, const void *b, int64_t n) noexcept nogil
    ctypedef void (*BinaryBackwardBody)(
        void *grad_a, void *grad_b, const void *grad_out, const void *a, const void *b, int64_t n
    ) noexcept nogil
    ctypedef void (*UnaryBody)(void *out, const void *x, int64_t n) noexcept nogil
    ctypedef void (*UnaryBackwardBody)(
        void *grad_x, const void *grad_out, const void *saved, int64_t n) noexcept nogil
    ctypedef void (*ReduceBody)(
        void *out, const void *x, double divisor, int64_t rows, int64_t columns, int64_t stride
    ) noexcept nogil
    ctypedef struct TensorBodies:
        UnaryBody *unary
        UnaryBackwardBody *unary_backward
        UnaryBody sign
        void (*clip)(
            void *out, const void *x, double low, double high, int64_t n) noexcept nogil
        void (*clip_backward)(
            void *grad_x, const void *grad_out, const void *x, double low, double high, int64_t n
        ) noexcept nogil
        BinaryBody *arithmetic
        BinaryBackwardBody *arithmetic_backward
        BinaryBody *compare
        void (*where)(
            void *out, const void *condition, const void *a, const void *b, double a_value,
            double b_value, int64_t n) noexcept nogil
        void (*where_backward)(
            void *grad_a, void *grad_b, const void *grad_out, const void *condition, int64_t n
        ) noexcept nogil
        void (*scalar)(
            BinaryBody function, void *out, const void *x, double value, int swapped, int64_t n
        ) noexcept nogil
        void (*scalar_backward)(
            BinaryBackwardBody function, void *grad_x, const void *grad_out, const void *x,
            double value, int swapped, int64_t n) noexcept nogil
        void (*vector)(
            BinaryBody function, void *out, const void *x, const void *y, int swapped,
            int64_t rows, int64_t columns, int64_t stride) noexcept nogil
        void (*vector_backward)(
            BinaryBackwardBody function, void *grad_x, void *grad_y, const void *grad_out,
            const void *x, const void *y, int swapped, int64_t rows, int64_t columns,
            int64_t stride) noexcept nogil
        ReduceBody *reduce
        void (*extreme_backward)(
            void *grad_x, const void *grad_out, const void *x, const void *out, int64_t rows,
            int64_t columns) noexcept nogil
        ReduceBody spread
        void (*copy)(
            void *out, int64_t out_stride, const void *x, int64_t x_stride, int64_t rows,
            int64_t columns) noexcept nogil
        void (*weighted)(
            void *out, const void *x, const double *weights, int64_t rows, int64_t columns,
            int accumulate) noexcept nogil
        void (*accumulate)(void *out, const void *x, int64_t n) noexcept nogil
        void (*one_hot)(
            void *out, const int64_t *labels, int64_t rows, int64_t classes) noexcept nogil
    ctypedef struct Attention:
        void *out
        void *lse
        const void *q
        const void *k
        const void *v
        const void *mask
        const void *key_mask
        int64_t T, S, H, D, V
        double scale
        int causal
        double rate
        Draw draw
        int64_t first_word
        void *grad_q
        void *grad_k
        void *grad_v
        const void *grad_out
    ctypedef struct AttentionBodies:
        void (*forward)(const Attention *attention, int64_t row, int64_t rows) noexcept nogil
        void (*backward)(const Attention *attention) noexcept nogil
    ctypedef struct RecurrenceBodies:
        void (*lstm_forward)(
            void *out, void *carry_out, void *gates, void *squashed, const void *x,
            const void *carry, int64_t rows, int64_t n, int64_t activation, int64_t recurrent
        ) noexcept nogil
        void (*lstm_backward)(
            void *grad_x, void *grad_carry, const void *grad_out, const void *grad_carry_out,
            const void *gates, const void *squashed, const void *carry, int64_t rows, int64_t n,
            int64_t activation, int64_t recurrent) noexcept nogil
        void (*gru_forward)(
            void *out, void *gates, const void *x, const void *product, const void *state,
            int64_t rows, int64_t n, int64_t activation, int64_t recurrent) noexcept nogil
        void (*gru_backward)(
            void *grad_x, void *grad_product, void *grad_state, const void *grad_out,
            const void *gates, const void *product, const void *state, int64_t rows, int64_t n,
            int64_t activation, int64_t recurrent) noexcept nogil
        void (*fill)(void *out, double value, int64_t n) noexcept nogil
        void (*row_mask)(
            void *out, const void *x, double value, int64_t rows, int64_t n) noexcept nogil
        void (*choose_rows)(
            void *out, const void *x, const void *other, const void *mask, int64_t rows, int64_t n
        ) noexcept nogil
    ctypedef struct Bodies:
        const ArithmeticBodies *arithmetic
        const ActivationBodies *activation
        const NormBodies *norm
        const RandomBodies *random
        const DataBodies *data
        const LossBodies *loss
        const MetricBodies *metric
        const UpdateBodies *update
        const MatmulBodies *matmul
        const ConvolutionBodies *convolution
        const PoolingBodies *pooling
        const RecurrenceBodies *recurrence
        const CalibrateBodies *calibrate
        const TensorBodies *tensor
        const AttentionBodies *attention


cdef extern from "op.h" nogil:
    enum: MAX_ARGUMENTS, MAX_SIZES, MAX_OPTIONS, SPAN

    ctypedef struct Powers:
        int64_t step
        double bases[2]
        double powers[2]
        double results[2]

    ctypedef struct Context:
        int64_t rows
        int64_t first
        const int64_t *order
        int64_t step
        int64_t seed
        double learning_rate
        Powers *powers

    ctypedef struct Ready:
        bint roomy
        int reads
        const void **read[4]
        const void **read_end
        ProductBody body
        Product product
        LossCall loss
        UpdateBody update_body
        UpdateCall update
        Powers powers

    ctypedef union Option:
        double number
        int64_t whole

    ctypedef struct Numbers:
        const Kernel *kernel
        int64_t step, seed
        double learning_rate

    ctypedef struct Op:
        const Kernel *kernel
        const Numbers *numbers
        const Bodies *bodies
        const Op *tail
        const Loop *loop
        void *workspace
        int64_t chain
        int64_t itemsize
        int64_t rows_per_item
        int64_t fixed_rows
        int64_t *sizes
        Option *options
        char **arguments

    ctypedef struct Kernel:
        double nanoseconds
        int64_t variant
        int backwards
        int reads
        bint adds
        int phases
        int64_t (*pieces)(const Op *op, const Context *context, int phase) noexcept nogil
        void (*run_piece)(
            const Op *op, const Context *context, int phase, int64_t piece) noexcept nogil
        void (*run_range)(
            const Op *op, const Context *context, int phase, int64_t first, int64_t end
        ) noexcept nogil
        void (*prepare)(Stage *stage, const Context *context) noexcept nogil
        double (*cost)(const Op *op, const Context *context, int phase) noexcept nogil
        size_t (*workspace)(const Op *op, int64_t rows) noexcept nogil
        void (*span)(const Op *op, const Context *context, int64_t start, int64_t count) noexcept nogil
        void (*tile)(
            const Op *op, const Context *context, int64_t start, int64_t rows, int64_t count,
            int64_t stride, const void *part, int64_t part_stride) noexcept nogil
        int64_t (*row_groups)(const Op *op, const Context *context) noexcept nogil
        int by_rows

    ctypedef struct Moving:
        int op, argument
        char *base
        int64_t start, step, period
        int64_t row_bytes, bytes

    ctypedef struct Loop:
        Op *ops
        int heads, count
        int64_t iterations
        const Moving *moving
        int moves
        Op *copies
        int phases
        Stage *stages
        Ready *ready
        int64_t *row_bytes
        size_t scratch

    cdef enum:
        MOST_GROUPS
        GROUP_ROWS
        HEAVY_GROUP_ROWS
        HEAVY_ROW_NANOSECONDS
        GROUP_NANOSECONDS

    # One phase of one op, cut for a given number of rows and threads.
    ctypedef struct Stage:
        const Op *op
        int phase
        int threads
        bint lent
        bint moves
        int64_t pieces
        void (*run)(const Stage *stage, const Context *context) noexcept nogil
        int chain
        int64_t groups
        Stage *next
        Ready *ready

    const Stage *run_to_loop(const Stage *stage, const Stage *end, const Context *context)
    int64_t op_rows(const Op *op, const Context *context)
    void run_range(
        const Op *op, const Context *context, int phase, int64_t first, int64_t end)
    bint starts_line(const void *p)
    int64_t ceil_divide(int64_t a, int64_t b)
    int64_t common_groups(int64_t a, int64_t b)
    void run_tails(
        const Op *op, const Context *context, int64_t start, int64_t rows, int64_t count,
        int64_t stride, const void *part, int64_t part_stride)
    int64_t smaller(int64_t a, int64_t b)
    int64_t rows_in_span(int64_t width)


cdef extern from "threads.h" nogil:
    ctypedef struct Team:
        pass
    void team_start(Team *team)
    void team_spread(const Team *team)
    void team_note(Team *team, bint had_work)
    int team_worked(Team *team)
    int team_size()
    int64_t now_ns()
    uint64_t flush_denormals()
    void restore_denormals(uint64_t state)


# --- for the modules that run ops: call and program

# The kernel registered under a name; KeyError where there is none.
cdef const Kernel *kernel_of(str name) except NULL

# How many threads a run that starts now may use.
cdef int threads_now() noexcept nogil

# Has weights that lie elsewhere brought home, before anybody here reads or writes them.
cdef int bring_home() except -1

# Whether the tests want every phase on all threads.
cdef bint is_forced() noexcept nogil

# Long runs say when they begin (1) and end (-1): they share the automatic number of threads.
cdef void note_run(int change) noexcept nogil

# A run is about to start OpenMP's threads.
cdef void note_team() noexcept nogil

# For last_threads(): how many threads worked in the run that just ended.
cdef void note_threads(int worked) noexcept nogil

# Of the ops that have a loop. Its pieces are groups of rows; one where they depend on each other.
cdef Kernel loop_kernel
cdef int64_t row_groups(const Loop *loop, const Context *context) noexcept nogil

# Roughly the nanoseconds that `count` ops take on one thread.
cdef double total_cost(const Op *ops, int count, const Context *context) noexcept nogil

# Cuts `count` ops into stages for this context; returns how many stages. `grain` is the work in
# nanoseconds that makes another thread worth while. Room needed: the sum of the ops' phases, those
# inside a loop included.
cdef int plan(
    const Op *ops, int count, const Context *context, int threads, double grain, Stage *stages
) noexcept nogil

# One thread's share of the stages. `busy` is how many threads the stage before used (1 at first):
# a barrier stands wherever more than one thread is concerned. Returns it for the next stage.
cdef int work(
    const Stage *stages, int count, const Context *context, Team *team, int thread, int size,
    int busy, bint *worked
) noexcept nogil

# The same with the context as it is, whose `powers` are this thread's. The stages' ops are in `shared`, but
# the thread runs its `copies` of them; NULL: the ops themselves.
cdef int share_of_stages(
    const Stage *stages, int count, const Context *context, Team *team, int thread, int size,
    int busy, bint *worked, const Op *shared, const Op *copies
) noexcept nogil

# Has those stages that can work out what is the same whenever they run for so many rows, into `room` for
# each of them. The ops' arguments must stay as they are, unless they are said to move. `roomy`: behind
# each array that an op writes is room to the end of its cache line.
cdef void make_ready(
    Stage *stages, int count, const Context *context, Ready *room, bint roomy, bint moves
) noexcept nogil

# Runs a few ops once, from an eager call.
cdef void run_once(const Op *ops, int count, const Context *context) noexcept nogil

# The same for any number of ops, with room for as many stages as they have phases.
cdef void run_staged(
    const Op *ops, int count, const Context *context, Stage *stages
) noexcept nogil


# --- for the kernels

# Binds a kernel to an op of the table. `arguments` and `options` are the table's names in order,
# as the kernel's file numbers them: a table that has moved on is an error at import.
cdef int register(str name, const Kernel *kernel, str arguments, str options=*) except -1

# The streaming form of an elementwise op: pieces of SPAN elements, each computed by `span`.
cdef int register_elementwise(
    str name,
    Kernel *kernel,
    void (*span)(const Op *, const Context *, int64_t, int64_t) noexcept nogil,
    double nanoseconds,
    str arguments,
    str options=*,
) except -1
