"""Problems: the table that every algorithm has to pass, and a strategy that draws more of them."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from pyconv import ConvProblem, InvalidProblem, TransposedProblem

#: One line a corner; a failing id can be pasted into ``ConvProblem.parse``.
PROBLEMS = (
    # dense, register tiles full and ragged in channels and pixels
    "n1c64h14w14-o64k3s1p1-f32-bias-relu",
    "n2c3h23w37-o17k7s2p3-f32-bias",
    "n1c5h9w50-o9k3s1p0-f64",
    "n1c600h7w7-o33k3s1p1-f32",  # several reduction blocks, partial sums in scratch
    "n1c300h9w9-o50k3s1p1-f64-bias-residual-relu",
    "n1c16h8w8-o16k3s1p1-f32",
    # 1x1: in place, with a ragged end, and where rows do not follow each other
    "n2c12h9w9-o10k1s1p0-f32-bias-residual",
    "n1c700h5w5-o24k1s1p0-f32-relu6",
    "n1c8h10w10-o8k1s2p0-f32",
    "n1c3h4w5-o4k1s1p1-f64",
    # every stride, dilation, asymmetric padding
    "n1c5h19w23-o7k3x5s3x2p1:2x4d2x3-f64-symmetric",
    "n1c4h31w29-o6k4x3s4x5p2:0x0:3-f32",
    "n1c3h40w41-o8k11s4p0-f32",
    "n1c4h33w33-o8k3s1p4d4-f32-leaky_relu=0.25",
    "n1c3h7w9-o2k2s5p0-f32",
    "n1c2h6w5-o3k2s1p0:1-f32",  # "same" with an even kernel
    "n1c2h25w27-o3k5x4s4x6p3d6x4-f32",  # stride and dilation share a factor, and neither is the other's multiple
    "n1c4h5w5-o4k2s1p7-f32-bias",  # whole windows in the padding
    # single rows, columns, pixels and channels
    "n1c3h1w50-o5k1x7s1p0x3-f32",
    "n1c3h50w1-o5k7x1s1p3x0-f64",
    "n3c5h17w1-o13k3x1s2x1p1x0-f64",
    "n1c40h1w1-o70k1s1p0-f32-bias",
    "n1c2h13w29-o1k3s1p1-f32",
    "n1c1h13w17-o48k3s1p1-f32",
    # every padding mode, also wider than the image
    "n1c3h9w11-o4k5s1p2-f32-reflect",
    "n1c3h9w11-o4k5s2p3-f64-replicate",
    "n1c3h9w11-o4k5s1p4-f32-circular",
    "n1c3h4w3-o4k7s1p6-f32-symmetric",
    "n1c2h3w2-o3k9s2p7-f64-reflect",
    "n1c2h1w1-o3k3s1p2-f32-reflect",
    # grouped and depthwise, multipliers, small maps, large kernels
    "n1c12h10w11-o18k3s1p1g3-f32-bias",
    "n2c12h6w7-o8k1s1p0g4-f32-bias-residual",
    "n1c4h17w18-o8k3s2p2d4g4-f32",
    "n1c8h20w21-o8k5s1p4d2g8-f64-circular-residual-tanh",
    "n1c8h30w30-o8k3s1p1g8-f32",
    "n1c8h30w31-o16k3s2p1g8-f32-bias",
    "n2c20h56w56-o20k3s1p1g20-f32-relu",
    "n2c3h56w57-o3k7s1p3g3-f32-relu",
    "n1c5h33w70-o5k5s1p2g5-f64-relu",
    "n1c5h8w20-o5k3s1p1g5-f64-bias-residual-relu",
    "n1c17h7w7-o34k3s1p1g17-f32-reflect",
    "n1c33h6w5-o33k5s1p2g33-f32-circular-sigmoid",
    "n1c20h3w3-o20k3s1p4g20-f32-symmetric",
    "n1c6h50w50-o6k31s1p15g6-f32",
    # depthwise rows where they lie in x: ends of the array, strips that overlap, rows and columns in the padding
    "n2c5h15w49-o5k3s2p1g5-f32-bias-relu",
    "n1c3h29w70-o6k5s2p2g3-f64-residual",
    "n2c3h16w33-o3k7s2p3g3-f32-reflect",
    "n1c2h9w100-o2k3s1p5g2-f32-bias-relu6",
    "n1c2h40w37-o2k5s1p8d4x1g2-f32",
    "n1c20h9w11-o20k7s2p3g20-f32-bias-residual-relu",
    "n1c20h11w10-o40k5s1p2g20-f64-circular",
    "n1c3d4h9w20-o3k3s1p1g3-f32-bias",
    "n2c17d3h8w9-o17k3s2p1g17-f64-channels_last-relu",
    # groups that fill a vector together: a ragged last vector, odd rows, both strides, every way in and out
    "n1c16h9w11-o16k3s1p1g8-f32-bias-relu",
    "n2c36h7w9-o36k3s2p1g9-f32-bias-residual",
    "n1c40h12w15-o40k5s1p2g5-f32-reflect",
    "n1c32h13w8-o32k7s2p3g2-f64-channels_last-bias-silu",
    "n2c12h10w6-o12k3s1p0g3-f64-residual-relu",
    "n1c48d3h5w6-o48k1x3x3s2x1x1p1g3-f32-channels_last",
    "n1c16d2h5w6-o16k1x3x3s1p0x1x1g8-f64-bias",
    "n1c24h8w9-o24k3s1p1g3-f16-bias-relu",
    "n1c16d2h6w7-o16k1x5x5s1x2x2p0x2x2g8-f16-residual",
    # one row: its vectors stand in for rows, and a long kernel for a tall one
    "n2c2w1300-o4k300s1p7g2-f32-bias-relu",
    "n1c3w700-o3k200s1p99g3-f64-residual-tanh",
    "n1c2w900-o2k257s2p128d2g2-f32-symmetric",
    "n1c1h5w600-o1k1x256s7x1p0-f32",
    "n1c6h45w47-o12k9s1p8d2g6-f32-replicate",
    "n1c1h70w90-o1k15s1p7-f32",
    # every activation
    "n1c4h9w9-o9k3s1p1-f32-elu",
    "n1c4h9w9-o9k3s1p1-f64-elu=0.5",
    "n1c4h9w9-o9k3s1p1-f32-bias-sigmoid",
    "n1c4h9w9-o9k3s1p1-f64-residual-tanh",
    "n1c4h9w9-o9k3s1p1-f32-silu",
    "n1c4h9w9-o9k3s1p1-f64-hardswish",
    # one and three dimensions
    "n1c4w100-o6k9s2p4d2-f32-circular",
    "n2c1w300-o1k64s1p0-f32",
    "n1c24w50-o24k5s2p2d3g24-f32-symmetric",
    "n2c6w33-o6k5s1p2g6-f64-bias",
    "n2c3d7h8w9-o5k3s1p1-f32-bias",
    "n1c6d5h9w9-o6k3s2p1g6-f32",
    "n1c2d4h5w6-o3k2x3x1s1x2x1p1x0x2d1x1x2-f64-replicate",
    "n1c33d3h5w5-o33k3s1p1g33-f32-reflect",
    "n1c9d3h5w6-o9k3x3x5s1p1x1x2g9-f64-bias",
    # channels-last memory
    "n2c19h9w10-o21k3s1p1-f32-channels_last-bias-relu",
    "n1c40h8w7-o40k3s1p1g40-f32-channels_last",
    "n2c16h9w11-o32k3s2p1g16-f64-channels_last-bias-residual-silu",
    "n1c6w20-o8k3s1p1-f32-channels_last-bias",
    "n1c16d4h5w6-o16k3s1p1g16-f32-channels_last",
    "n1c3d4h5w6-o4k3s1p1-f64-channels_last-residual",
    # Winograd: ragged tiles and channels, several images in a block, one axis, 5 and 7 taps, depth as channels
    "n3c16h7w7-o32k3s1p1-f32-bias-relu",
    "n5c9h5w6-o20k3s1p1-f64-bias-residual-silu",
    "n1c18h37w70-o17k3s1p0:2x1-f32-circular-residual-relu",
    "n1c70h6w33-o5k3s1p2-f32-symmetric-elu",
    "n1c16h2w2-o16k3s1p5-f32-bias",
    "n1c4h9w150-o40k1x3s1p0x1-f32-bias",
    "n2c5h41w3-o6k3x1s1p1x0-f64-replicate",
    "n1c17h13w15-o19k5s1p2-f32-bias-relu",
    "n1c6h11w20-o7k5s1p1-f64-reflect",
    "n1c20h12w19-o24k1x7s1p0x3-f32-residual",
    "n1c20h19w12-o24k7x1s1p3x0-f64-bias",
    "n1c3h16w15-o5k7s1p3-f64",
    "n1c16h33w33-o16k3s1p2d2-f32-bias-relu",
    "n2c9h14w20-o18k3s1p5:3x4d3x2-f64-reflect-residual",
    "n1c5h7w40-o20k5s1p4d2-f32-circular-bias-residual-silu",
    "n1c16h9w10-o33k3s1p12d12-f32-bias",
    "n2c7h20w9-o12k7x1s1p9x0d3x1-f32-replicate",
    "n1c10w77-o12k3s1p4d4-f64-bias-relu",
    "n1c4d5h9w11-o18k3s1p2d2-f32",
    "n1c17h12w9-o16k3s1p3d3-f32-channels_last-bias-residual-relu",
    "n2c10w200-o12k3s1p1-f32-bias-relu",
    "n2c10w70-o12k3s1p1-f64-residual",
    "n2c10w70-o12k5s1p2-f64",
    "n1c7w41-o5k5s1p2-f32-bias-relu",
    "n1c10w70-o12k7s1p3-f32-reflect",
    "n3c3w33-o18k7s1p2-f64-bias",
    "n2c5d5h9w10-o18k3s1p1-f32-bias-relu",
    "n1c17d4h6w7-o3k3s2x1x1p1d2x1x1-f64-circular-residual",
    "n1c4d3h9w8-o6k2x5x5s1p1x2x2-f32",
    "n1c2d4h8w9-o5k1x5x5s1p0x2x2-f64",
    "n1c3d5h6w20-o6k3x1x7s1p1x0x3-f32",
    "n1c3d3h20w3-o6k2x7x1s1p1x3x0-f64-bias",
    "n2c32h10w11-o36k3s1p1g2-f32-bias-residual-relu",
    "n2c19h19w18-o37k3s1p1-f32-channels_last-bias-residual-relu",
    "n1c32h8w9-o32k3s1p1-f64-channels_last-tanh",
    "n1c16w40-o16k3s1p1-f32-channels_last",
    # two taps: the phases of transposed convolutions
    "n1c17h13w15-o19k2s1p1:0-f32-bias-relu",
    "n2c20h9w70-o33k2s1p0-f32",
    "n1c3h11w20-o7k2x1s1p1x0-f64-reflect",
    "n1c20w77-o12k2s1p1-f64-bias",
    "n2c9w40-o5k2s1p0-f16",
    "n1c18w33-o5k2s1p1-f32",
    "n2c17h13w20-o33k2s1p0-f16-bias-residual-relu",
    "n1c3d3h9w8-o6k2s1p1-f32-bias",
    "n1c5d3h9w8-o6k3x2x2s1p1-f64",
    "n1c5d3h9w8-o6k2x2x1s1p0-f16",
    # nothing to do, or next to nothing (hazard 29)
    "n0c3h8w8-o4k3s1p1-f32",
    "n0c4w8-o4k3s1p1g4-f64-bias",
    "n1c0h5w5-o4k3s1p1-f32-bias-relu",
    "n2c0h5w5-o4k3s1p1g2-f64-bias-residual",
    "n1c0d2h3w4-o3k2s1p0-f32",
    "n1c2d0h3w4-o3k2s1p1-f32-bias",
    "n1c2h0w5-o3k3s1p2-f32-bias",
    "n1c1h1w1-o1k1s1p0-f32",
    "n1c2h3w3-o2k3s1000000p0-f32",  # hazard 9
    # float16 storage
    "n1c3h9w9-o4k3s1p1-f16-bias",
    "n1c3w9-o4k3s1p1-f16",
    "n1c3d3h4w4-o2k3s1p1-f16-relu",
    "n2c20h14w37-o33k3s1p1-f16-bias-residual-relu",
    "n2c12h9w9-o10k1s1p0-f16-bias-residual",
    "n1c700h7w5-o24k1s1p0-f16-relu6",
    "n1c300h9w9-o50k3s1p1-f16-silu",  # several reduction blocks, partial sums in float32
    "n1c5h19w23-o7k3x5s3x2p1:2x4d2x3-f16-symmetric",
    "n1c3h9w41-o4k5s2p3-f16-reflect-leaky_relu=0.25",
    "n1c3h9w11-o4k5s1p4-f16-circular",
    "n2c20h56w56-o20k3s1p1g20-f16-relu",
    "n2c3h31w57-o6k7s1p3g3-f16-bias-residual-tanh",
    "n1c17h7w7-o34k3s1p1g17-f16-replicate",
    "n1c6h20w21-o12k5s2p4d2g6-f16-circular-sigmoid",
    "n2c19h9w10-o21k3s1p1-f16-channels_last-bias-residual-relu",
    "n1c40h8w7-o40k3s1p1g40-f16-channels_last-elu",
    "n1c24w50-o24k5s2p2d3g24-f16-symmetric",
    "n1c2w130-o5k9s1p4-f16-channels_last-residual",
    "n2c9w33-o20k5s1p2-f16-bias",
    "n1c9w40-o5k7s1p1-f16",
    "n2c17h13w20-o33k5s1p2-f16-bias-residual-relu",
    "n1c3h15w16-o5k7s1p3-f16-reflect-tanh",
    "n1c6d5h9w9-o6k3s2p1g6-f16-bias",
    "n1c2d3h9w9-o3k2x5x5s1p0x2x2-f16",
    "n1c2d3h9w9-o3k1x7x7s1p0x3x3-f16-bias",
    "n2c3d4h8w9-o5k3s1p1-f16-residual-hardswish",
    "n1c0h5w5-o4k3s1p1-f16-bias-relu",
    "n0c4w8-o4k3s1p1g4-f16-bias",
)


@st.composite
def problems(draw: st.DrawFn, dtypes: tuple[str, ...] = ("f32", "f64"), depthwise: bool | None = None) -> ConvProblem:
    """A valid problem of any rank, small enough for the float64 reference."""
    rank = draw(st.sampled_from((1, 2, 2, 3)))
    single = draw(st.booleans()) if depthwise is None else depthwise
    groups = draw(st.sampled_from((1, 2, 3, 17, 20) if single else (1, 1, 2, 3)))
    c_in = groups * (1 if single else draw(st.sampled_from((1, 2, 3, 5, 9))))
    c_out = groups * draw(st.sampled_from((1, 1, 2) if single else (1, 2, 3, 8, 9, 17)))
    square = draw(st.booleans())
    size = draw(st.sampled_from((1, 3, 5, 7)))
    axes = []
    for _ in range(rank):
        kernel = size if square else draw(st.integers(1, 9 if rank < 3 else 3))
        stride, dilation = draw(st.sampled_from((1, 1, 1, 2, 3))), draw(st.sampled_from((1, 1, 1, 2, 3)))
        padding = (draw(st.integers(0, 5)), draw(st.integers(0, 5)))
        least = max(1, dilation * (kernel - 1) + 1 - sum(padding))
        axes.append((least + draw(st.integers(0, 40 if rank < 3 else 7)), kernel, stride, padding, dilation))
    spatial, kernel_, stride_, padding_, dilation_ = map(tuple, zip(*axes, strict=True))
    activation = draw(st.sampled_from((None, None, "relu", "relu6", "leaky_relu", "elu", "tanh", "silu")))
    try:
        return ConvProblem(
            n=draw(st.sampled_from((1, 1, 2))),
            c_in=c_in,
            c_out=c_out,
            spatial=spatial,
            kernel=kernel_,
            stride=stride_,
            padding=padding_,
            dilation=dilation_,
            groups=groups,
            padding_mode=draw(st.sampled_from(("zeros", "zeros", "reflect", "replicate", "circular", "symmetric"))),
            dtype=draw(st.sampled_from(dtypes)),
            channels_last=draw(st.booleans()) and c_in > 1,
            bias=draw(st.booleans()),
            residual=draw(st.booleans()),
            activation=activation,
            slope={"leaky_relu": 0.5, "elu": 1.0}.get(activation or "", 0.0),
        )
    except InvalidProblem as error:  # the strategy draws valid problems only
        raise AssertionError(f"the strategy drew an invalid problem: {error}") from error


@st.composite
def winograd_problems(draw: st.DrawFn, taps: int, dtype: str) -> ConvProblem:
    """A problem for F(m, taps): stride 1 and ``taps`` taps, or one, along both axes of a plane."""
    rank = draw(st.sampled_from((1, 2, 2, 2, 3)))
    form = draw(st.sampled_from(((taps, taps), (1, taps), (taps, 1)))) if rank > 1 else (taps,)
    groups = draw(st.sampled_from((1, 1, 1, 2)))
    depth = (draw(st.integers(1, 3)),) if rank == 3 else ()
    kernel = (*depth, *form)
    stride = (*(draw(st.integers(1, 2)) for _ in depth), *(1 for _ in form))
    if rank == 3 and draw(st.booleans()):  # planes of d and w
        kernel, stride = (taps, 1, draw(st.sampled_from((1, taps)))), (1, stride[0], 1)
    dilation = tuple(draw(st.sampled_from((1, 1, 1, 2, 3))) for _ in kernel)
    padding = tuple((draw(st.integers(0, 4)), draw(st.integers(0, 4))) for _ in kernel)
    spatial = tuple(
        max(1, d * (k - 1) + 1 - sum(p)) + draw(st.integers(0, 6 if rank == 3 else 40))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    )
    activation = draw(st.sampled_from((None, "relu", "elu", "tanh")))
    c_in = groups * draw(st.sampled_from((1, 3, 16, 21, 45)))
    return ConvProblem(
        n=draw(st.sampled_from((1, 2, 5))),
        c_in=c_in,
        c_out=groups * draw(st.sampled_from((1, 8, 16, 19, 50))),
        spatial=spatial,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=draw(st.sampled_from(("zeros", "zeros", "reflect", "replicate", "circular", "symmetric"))),
        dtype=dtype,
        channels_last=draw(st.booleans()) and c_in > 1 and max(spatial) > 1,
        bias=draw(st.booleans()),
        residual=draw(st.booleans()),
        activation=activation,
        slope=1.0 if activation == "elu" else 0.0,
    )


@st.composite
def grouped_problems(draw: st.DrawFn, dtype: str) -> ConvProblem:
    """Groups of 2 to 16 channels and as many out, small square kernels, stride 1 or 2."""
    each, groups = draw(st.sampled_from(((2, 1), (2, 9), (4, 3), (8, 1), (8, 3), (16, 2))))
    depth = draw(st.sampled_from(((), (), (1,), (3,))))
    k, stride = draw(st.sampled_from((3, 5, 7))), draw(st.sampled_from((1, 2)))
    padding = tuple((draw(st.integers(0, 4)), draw(st.integers(0, 4))) for _ in range(2))
    out = (draw(st.integers(2, 9)), draw(st.integers(4, 20)))
    spatial = tuple(max(1, (o - 1) * stride + k - sum(p)) for o, p in zip(out, padding, strict=True))
    activation = draw(st.sampled_from((None, "relu", "relu6", "silu")))
    return ConvProblem(
        n=draw(st.integers(1, 2)),
        c_in=each * groups,
        c_out=each * groups,
        spatial=(*depth, *spatial),
        kernel=(*(1 for _ in depth), k, k),
        stride=(*(draw(st.integers(1, 2)) for _ in depth), stride, stride),
        padding=(*((draw(st.integers(0, 1)), 0) for _ in depth), *padding),
        dilation=(*(1 for _ in depth), 1, 1),
        groups=groups,
        padding_mode=draw(st.sampled_from(("zeros", "zeros", "reflect", "circular"))),
        dtype=dtype,
        channels_last=draw(st.booleans()),
        bias=draw(st.booleans()),
        residual=draw(st.booleans()),
        activation=activation,
        slope=0.0,
    )


#: Of transposed convolutions, and of gradients with respect to x: whatever is valid for both is taken for both.
TRANSPOSED = (
    # all phases alike (kernel a multiple of stride), interleaved by twos, threes, and whole vectors
    "n1c16h8w8-o8k4s2p1-f32-bias-relu",
    "n2c20h9w37-o7k4s2p1-f32",
    "n1c9h5w6-o12k2s2p0-f32-bias",
    "n1c5h6w7-o4k6x3s3p1x0-f64-bias",
    "n1c3h4w5-o2k16s8p4-f32-bias",
    "n1c2h3w3-o1k64s32p16-f32",
    "n1c2w9-o3k64s16p24-f64-bias-tanh",
    "n2c1w40-o1k32s8p12-f32",
    # phases with more and with fewer taps; rests; asymmetric padding
    "n1c16h7w7-o9k3s2p1+1-f32-bias",
    "n1c4h6w9-o6k5s3p2+2-f32",
    "n2c3h5w8-o5k7x5s2x3p3:1x0:2+1x0-f64-bias",
    "n1c17h20w21-o16k3s2p0-f32-leaky_relu",
    # kernels smaller than the stride: what no tap reaches holds the bias
    "n1c8h7w9-o6k1s2p0-f32-bias-sigmoid",
    "n2c8h7w9-o6k1s2p0+1-f64",
    "n1c3h4w5-o2k2x1s4x3p0x1+1-f32-bias",
    # dilation: with stride, and where both share a factor
    "n1c5h6w7-o4k3s1p2d2-f32-bias",
    "n1c5h6w7-o4k3x4s2p1d3x2+1-f64",
    "n1c3h6w7-o4k3s4p1d6+3-f32-bias",
    # stride 1: a convolution with the kernel turned round; padding beyond it
    "n1c19h12w13-o20k3s1p1-f32",
    "n2c16h9w17-o16k5s1p2-f64-bias",
    "n1c3h9w8-o2k3s1p4-f32",
    "n1c4h5w40-o3k2s3p4x7+2-f32-bias",
    "n1c6h40w41-o4k15s1p7-f32",
    # groups and depthwise
    "n1c6h7w8-o9k4s2p1g3-f32-bias",
    "n2c6h9w20-o6k3s2p1+1g6-f32-bias-relu",
    "n1c20h7w8-o40k4s2p1g20-f64",
    "n1c18h14w15-o18k3s1p1g18-f32",
    "n1c32h9w10-o32k3s1p1g4-f32",
    "n2c32h9w10-o32k3s1p1g8-f64",
    "n1c32h9w10-o32k3s1p1g4-f16",
    # one and three dimensions
    "n2c5w21-o4k8s4p2-f32-bias",
    "n1c3d4h5w6-o4k3s2p1+1-f32-bias",
    "n1c2d3h4w5-o3k2x4x3s2x2x1p0x1x1-f64",
    "n1c4d3h4w5-o3k3x1x1s1p1x0x0-f32",
    "n1c3d2h3w4-o2k6x2x1s2x2x1p0-f64",  # phases along axes that kernels exchange
    # channels-last memory
    "n2c19h7w8-o21k4s2p1-f32-channels_last-bias-relu",
    "n1c16h5w6-o5k3s2p1+1-f64-channels_last",
    "n1c20h5w6-o20k4s2p1g20-f32-channels_last",
    "n1c3h5w6-o20k8s4p2-f32-channels_last-bias",
    # float16 storage
    "n1c20h8w9-o7k4s2p1-f16-bias-relu",
    "n2c4h6w7-o5k3s2p1+1-f16",
    "n1c3h4w9-o2k16s8p4-f16-bias",
    "n1c6h9w10-o6k3s1p1g6-f16",
    # nothing to do, or next to nothing
    "n0c3h8w8-o4k4s2p1-f32-bias",
    "n1c1h1w1-o1k1s1p0-f64",
    "n1c2h1w1-o3k3s5p0-f32-bias",
    "n1c40h1w1-o16k4s1p0-f32",
)


@st.composite
def transposed_problems(draw: st.DrawFn, dtype: str, taps: int | None, depthwise: bool) -> TransposedProblem:
    """A valid problem of any rank; with ``taps`` one whose phases have so many taps along an axis (or one)."""
    rank = draw(st.sampled_from((1, 2, 2, 3)))
    groups = draw(st.sampled_from((1, 3, 17) if depthwise else (1, 1, 1, 2)))
    each_in, each_out = (
        (1, draw(st.sampled_from((1, 1, 2))))
        if depthwise
        else (
            draw(st.sampled_from((1, 3, 16, 21))),
            draw(st.sampled_from((1, 4, 8, 19))),
        )
    )
    axes = []
    for _ in range(rank):
        stride = draw(st.sampled_from((1, 1, 2, 2, 3, 4)))
        dilation = draw(st.sampled_from((1, 1, 1, 2, 3)))
        step = stride // math.gcd(stride, dilation)
        kernel = draw(st.integers(1, 7 if rank < 3 else 4)) if taps is None else step * draw(st.sampled_from((1, taps)))
        size = draw(st.integers(1, 20 if rank < 3 else 5))
        padding = draw(st.integers(0, 5)), draw(st.integers(0, 5))
        extra = draw(st.integers(0, max(stride, dilation) - 1))
        out = (size - 1) * stride - sum(padding) + dilation * (kernel - 1) + 1 + extra
        if out < 1:
            padding = (0, 0)
        axes.append((size, kernel, stride, padding, dilation, extra))
    spatial, kernel_, stride_, padding_, dilation_, extra_ = map(tuple, zip(*axes, strict=True))
    activation = draw(st.sampled_from((None, "relu", "elu", "tanh")))
    return TransposedProblem(
        n=draw(st.sampled_from((1, 1, 2))),
        c_in=groups * each_in,
        c_out=groups * each_out,
        spatial=spatial,
        kernel=kernel_,
        stride=stride_,
        padding=padding_,
        output_padding=extra_,
        dilation=dilation_,
        groups=groups,
        dtype=dtype,
        channels_last=draw(st.booleans()) and groups * each_in > 1 and max(spatial) > 1,
        bias=draw(st.booleans()),
        activation=activation,
        slope=1.0 if activation == "elu" else 0.0,
    )
