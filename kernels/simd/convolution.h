#ifndef FASTDL_CONVOLUTION_H
#define FASTDL_CONVOLUTION_H

#include <stdint.h>

/* One axis of the images: output position p and tap r meet at input position
 * p*stride - before + r*dilation. `input` and `output` are the lengths of the convolution, also
 * where it is run backwards. */
typedef struct {
    int64_t stride, dilation, before, kernel, input, output;
} Axis;

/* A convolution of images (rows.input, columns.input, C) with a weight (rows.kernel,
 * columns.kernel, C / groups, O). Forward, its source is the images and its target what comes out;
 * backward they change places. */
typedef struct {
    Axis rows, columns;
    int64_t C, O, groups;
    int backward;
} Convolution;

/* Whether every channel is a group of its own: then packing, and the weight's gradient, are not cut
 * into groups. */
static inline int is_depthwise(const Convolution *c) {
    return c->groups > 1 && c->C == c->groups && c->O == c->groups;
}

/* A part of the target. */
typedef struct {
    int64_t image, images, row, rows, column, columns;
} ConvolutionBlock;

/* A part of the weight's gradient: some panels of the columns of one group, over some images. */
typedef struct {
    int64_t group, panel, panels, image, images;
} ConvolutionPart;

/* A block may have so many pixels, and so many rows or columns. */
enum { CONVOLUTION_PIXELS = 256 };

typedef struct {
    /* Into how many panels so many of the target's channels (of one group) are cut. */
    int64_t (*panels)(int64_t channels);
    /* And into how many those of a weight's gradient. */
    int64_t (*weight_panels)(int64_t channels);
    /* Elements of the packed weight. */
    int64_t (*packed_size)(const Convolution *shape);
    /* Copies one panel of the weight to its place in `packed`. */
    void (*pack)(void *packed, const void *weight, const Convolution *shape, int64_t group,
                 int64_t panel);
    /* All channels of a block of the target. bias (the target's channels) may be NULL. */
    void (*block)(void *out, const void *x, const void *packed, const void *bias,
                  const Convolution *shape, const ConvolutionBlock *block);
    /* A part of the weight's gradient: x are the images that the convolution reads, grad_out the
     * gradient of what it makes. Writes those columns of grad_weight, no others. */
    void (*weights)(void *grad_weight, const void *x, const void *grad_out,
                    const Convolution *shape, const ConvolutionPart *part);
} ConvolutionBodies;

#endif
