"""The convolutions of published networks, at the sizes of their usual input, and image and signal filters."""

from __future__ import annotations

from benchmarks.shapes.base import Sizes
from benchmarks.shapes.conv import Convolution, conv

__all__ = ["DEFAULTS", "LAYERS"]


def _depthwise(name: str, channels: int, size: int, kernel: int, stride: int = 1) -> Convolution:
    return conv(name, channels, size, channels, kernel, stride, groups=channels)


def _alexnet() -> list[Convolution]:
    return [
        conv("alexnet.conv1", 3, 227, 96, 11, 4, 0, tags="stem"),
        conv("alexnet.conv2", 96, 27, 256, 5, groups=2),
        conv("alexnet.conv3", 256, 13, 384, 3),
        conv("alexnet.conv4", 384, 13, 384, 3, groups=2),
        conv("alexnet.conv5", 384, 13, 256, 3, groups=2),
        conv("alexnet.conv2-dense", 64, 27, 192, 5),
    ]


def _zfnet() -> list[Convolution]:
    return [
        conv("zfnet.conv1", 3, 224, 96, 7, 2, 1, tags="stem"),
        conv("zfnet.conv2", 96, 55, 256, 5, 2, 0),
        conv("zfnet.conv3", 256, 13, 384, 3),
        conv("zfnet.conv4", 384, 13, 384, 3),
        conv("zfnet.conv5", 384, 13, 256, 3),
    ]


def _vgg() -> list[Convolution]:
    """VGG-16 and VGG-19 differ in how often the layers repeat, not in the layers."""
    layers = [conv("vgg.conv1_1", 3, 224, 64, 3, tags="stem")]
    for block, (c_in, size, c_out) in enumerate([(64, 112, 128), (128, 56, 256), (256, 28, 512)], start=2):
        layers += [
            conv(f"vgg.conv{block}_1", c_in, size, c_out, 3),
            conv(f"vgg.conv{block}_2", c_out, size, c_out, 3),
        ]
    layers.insert(1, conv("vgg.conv1_2", 64, 224, 64, 3))
    return [*layers, conv("vgg.conv5_1", 512, 14, 512, 3)]


def _googlenet() -> list[Convolution]:
    layers = [
        conv("googlenet.conv1", 3, 224, 64, 7, 2, 3, tags="stem"),
        conv("googlenet.conv2_reduce", 64, 56, 64, 1),
        conv("googlenet.conv2", 64, 56, 192, 3),
    ]
    # c_in, size, 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection (Szegedy et al. 2014, table 1)
    modules = {
        "3a": (192, 28, 64, 96, 128, 16, 32, 32),
        "3b": (256, 28, 128, 128, 192, 32, 96, 64),
        "4a": (480, 14, 192, 96, 208, 16, 48, 64),
        "4b": (512, 14, 160, 112, 224, 24, 64, 64),
        "4c": (512, 14, 128, 128, 256, 24, 64, 64),
        "4d": (512, 14, 112, 144, 288, 32, 64, 64),
        "4e": (528, 14, 256, 160, 320, 32, 128, 128),
        "5a": (832, 7, 256, 160, 320, 32, 128, 128),
        "5b": (832, 7, 384, 192, 384, 48, 128, 128),
    }
    for module, (c_in, size, one, reduce3, three, reduce5, five, pool) in modules.items():
        layers += [
            conv(f"googlenet.{module}.1x1", c_in, size, one, 1),
            conv(f"googlenet.{module}.3x3_reduce", c_in, size, reduce3, 1),
            conv(f"googlenet.{module}.3x3", reduce3, size, three, 3),
            conv(f"googlenet.{module}.5x5_reduce", c_in, size, reduce5, 1),
            conv(f"googlenet.{module}.5x5", reduce5, size, five, 5),
            conv(f"googlenet.{module}.pool_proj", c_in, size, pool, 1),
        ]
    return layers


def _inception_v3() -> list[Convolution]:
    """List the factorised kernels and the odd input sizes of Inception v3 (299x299)."""
    return [
        conv("inception3.1a.3x3s2", 3, 299, 32, 3, 2, 0, tags="stem"),
        conv("inception3.2a.3x3", 32, 149, 32, 3, padding=0),
        conv("inception3.2b.3x3", 32, 147, 64, 3),
        conv("inception3.5b.5x5", 48, 35, 64, 5),
        conv("inception3.6a.3x3s2", 288, 35, 384, 3, 2, 0),
        conv("inception3.6b.1x7", 128, 17, 128, (1, 7), tags="factorised"),
        conv("inception3.6b.7x1", 128, 17, 192, (7, 1), tags="factorised"),
        conv("inception3.6e.1x7", 192, 17, 192, (1, 7), tags="factorised"),
        conv("inception3.6e.7x1", 192, 17, 192, (7, 1), tags="factorised"),
        conv("inception3.7b.1x3", 384, 8, 384, (1, 3), tags="factorised"),
        conv("inception3.7b.3x1", 384, 8, 384, (3, 1), tags="factorised"),
    ]


def _resnet50() -> list[Convolution]:
    layers = [conv("resnet50.conv1", 3, 224, 64, 7, 2, 3, tags="stem")]
    for stage, (c_in, width, size) in enumerate(
        [(64, 64, 56), (256, 128, 56), (512, 256, 28), (1024, 512, 14)], start=1
    ):
        net, stride = f"resnet50.l{stage}", 1 if stage == 1 else 2
        small = size // stride
        layers.append(conv(f"{net}.1x1_first", c_in, size, width, 1))
        if stage > 1:
            layers.append(conv(f"{net}.3x3s2", width, size, width, 3, 2))
        layers += [
            conv(f"{net}.3x3", width, small, width, 3),
            conv(f"{net}.1x1_up", width, small, 4 * width, 1),
            conv(f"{net}.1x1_down", 4 * width, small, width, 1),
            conv(f"{net}.shortcut", c_in, size, 4 * width, 1, stride, 0),
        ]
    return layers


def _resnext50() -> list[Convolution]:
    layers = []
    for stage, (width, size) in enumerate([(128, 56), (256, 28), (512, 14), (1024, 7)], start=1):
        layers.append(conv(f"resnext50.l{stage}.3x3g32", width, size, width, 3, groups=32))
        if stage > 1:
            layers.append(conv(f"resnext50.l{stage}.3x3s2g32", width, 2 * size, width, 3, 2, groups=32))
    return [*layers, conv("resnext101-64x4d.l1.3x3g64", 256, 56, 256, 3, groups=64)]


def _grouped() -> list[Convolution]:
    return [
        conv("regnety.g24", 24 * 7, 28, 24 * 7, 3, groups=7),
        conv("regnetx.g16", 96, 56, 96, 3, groups=6),
        conv("shufflenet.1x1g3", 240, 28, 240, 1, groups=3),
        conv("shufflenet.1x1g8", 384, 28, 384, 1, groups=8),
        conv("condensenet.1x1g4", 512, 14, 128, 1, groups=4),
        conv("octave.3x3g2", 128, 28, 128, 3, groups=2),
    ]


def _senet() -> list[Convolution]:
    """Squeeze and excitation: 1x1 convolutions of one pixel."""
    pairs = [(64, 4), (256, 16), (512, 32), (1024, 64), (2048, 128)]
    return [
        layer
        for stage, (wide, narrow) in enumerate(pairs)
        for layer in (
            conv(f"senet.l{stage}.squeeze", wide, 1, narrow, 1, tags="small"),
            conv(f"senet.l{stage}.excite", narrow, 1, wide, 1, tags="small"),
        )
    ]


def _mobilenet_v2() -> list[Convolution]:
    layers = [conv("mobilenet2.conv1", 3, 224, 32, 3, 2, 1, tags="stem")]
    layers += [_depthwise("mobilenet2.b1.dw", 32, 112, 3), conv("mobilenet2.b1.project", 32, 112, 16, 1)]
    # block, c_in, size, expansion, c_out, stride of its depthwise layer
    blocks = [
        (2, 16, 112, 96, 24, 2),
        (3, 24, 56, 144, 24, 1),
        (4, 24, 56, 144, 32, 2),
        (5, 32, 28, 192, 32, 1),
        (7, 32, 28, 192, 64, 2),
        (8, 64, 14, 384, 64, 1),
        (11, 64, 14, 384, 96, 1),
        (12, 96, 14, 576, 96, 1),
        (14, 96, 14, 576, 160, 2),
        (15, 160, 7, 960, 160, 1),
        (17, 160, 7, 960, 320, 1),
    ]
    for block, c_in, size, wide, c_out, stride in blocks:
        suffix = "s2" if stride == 2 else ""
        layers += [
            conv(f"mobilenet2.b{block}.expand", c_in, size, wide, 1),
            _depthwise(f"mobilenet2.b{block}.dw{suffix}", wide, size, 3, stride),
            conv(f"mobilenet2.b{block}.project", wide, size // stride, c_out, 1),
        ]
    return [*layers, conv("mobilenet2.head", 320, 7, 1280, 1)]


def _efficientnet() -> list[Convolution]:
    return [
        _depthwise("efficientnet-b0.dw5x5", 240, 28, 5),
        _depthwise("efficientnet-b0.dw5x5s2", 144, 56, 5, 2),
        _depthwise("efficientnet-b0.dw5x5_14", 672, 14, 5),
    ]


def _convnext() -> list[Convolution]:
    layers = [conv("convnext.stem", 3, 224, 96, 4, 4, 0, tags="stem patches")]
    for stage, (channels, size) in enumerate([(96, 56), (192, 28), (384, 14), (768, 7)], start=1):
        layers += [
            _depthwise(f"convnext.l{stage}.dw7x7", channels, size, 7),
            conv(f"convnext.l{stage}.1x1_up", channels, size, 4 * channels, 1),
            conv(f"convnext.l{stage}.1x1_down", 4 * channels, size, channels, 1),
        ]
        if stage < 4:
            layers.append(conv(f"convnext.l{stage}.downsample", channels, size, 2 * channels, 2, 2, 0, tags="patches"))
    return layers


def _replknet() -> list[Convolution]:
    stages = [(128, 56, 31), (256, 28, 29), (512, 14, 27), (1024, 7, 13)]
    return [
        *(_depthwise(f"replknet.l{i}.dw{k}x{k}", channels, size, k) for i, (channels, size, k) in enumerate(stages, 1)),
        _depthwise("replknet.dw31x31_28", 128, 28, 31),
        _depthwise("replknet.dw13x13", 128, 28, 13),
    ]


def _unet() -> list[Convolution]:
    """List the contracting half of Ronneberger et al. 2015 and the 1x1 that ends it; nothing is padded."""
    return [
        conv("unet.d1.conv1", 1, 572, 64, 3, padding=0, tags="stem"),
        conv("unet.d1.conv2", 64, 570, 64, 3, padding=0),
        conv("unet.d2.conv1", 64, 284, 128, 3, padding=0),
        conv("unet.d2.conv2", 128, 282, 128, 3, padding=0),
        conv("unet.d3.conv2", 256, 138, 256, 3, padding=0),
        conv("unet.d4.conv2", 512, 66, 512, 3, padding=0),
        conv("unet.d5.conv1", 512, 32, 1024, 3, padding=0),
        conv("unet.u1.conv1", 128, 392, 64, 3, padding=0),
        conv("unet.out", 64, 388, 2, 1),
    ]


def _fcn() -> list[Convolution]:
    return [
        conv("fcn.fc7", 4096, 10, 4096, 1, tags="big-weights"),
        conv("fcn.score_fr", 4096, 10, 21, 1, tags="odd-channels"),
        conv("fcn.score_pool4", 512, 40, 21, 1, tags="odd-channels"),
        conv("fcn.score_pool3", 256, 80, 21, 1, tags="odd-channels"),
    ]


def _dcgan() -> list[Convolution]:
    return [
        conv("dcgan.d1", 3, 64, 64, 4, 2, 1, tags="stem"),
        conv("dcgan.d2", 64, 32, 128, 4, 2, 1),
        conv("dcgan.d3", 128, 16, 256, 4, 2, 1),
        conv("dcgan.d4", 256, 8, 512, 4, 2, 1),
    ]


def _mask_rcnn() -> list[Convolution]:
    """Feature pyramid, region proposals and mask head at an 800x1216 image, sixteen boxes."""
    return [
        conv("maskrcnn.fpn.inner2", 256, (200, 304), 256, 1),
        conv("maskrcnn.fpn.inner4", 1024, (50, 76), 256, 1),
        conv("maskrcnn.fpn.layer2", 256, (200, 304), 256, 3, tags="heavy"),
        conv("maskrcnn.fpn.layer3", 256, (100, 152), 256, 3),
        conv("maskrcnn.fpn.layer4", 256, (50, 76), 256, 3),
        conv("maskrcnn.rpn.conv5", 256, (25, 38), 256, 3),
        conv("maskrcnn.rpn.scores", 256, (50, 76), 3, 1, tags="odd-channels"),
        conv("maskrcnn.rpn.boxes", 256, (50, 76), 12, 1),
        conv("maskrcnn.mask.conv", 256, 14, 256, 3, n=16),
        conv("maskrcnn.mask.logits", 256, 28, 91, 1, n=16, tags="odd-channels"),
    ]


def _patches() -> list[Convolution]:
    return [
        conv("vit-b16.patches", 3, 224, 768, 16, 16, 0, tags="stem patches"),
        conv("vit-l14.patches", 3, 224, 1024, 14, 14, 0, tags="stem patches"),
    ]


def _odd() -> list[Convolution]:
    """Channel counts that no vector width divides."""
    return [
        conv("odd.3x3", 17, 56, 33, 3, tags="odd-channels"),
        conv("odd.3x3-wide", 131, 28, 127, 3, tags="odd-channels"),
        conv("odd.1x1", 50, 56, 101, 1, tags="odd-channels"),
        conv("odd.5x5", 13, 56, 19, 5, tags="odd-channels"),
    ]


def _dilated() -> list[Convolution]:
    """DeepLab v3 at 513x513, the context module of Yu and Koltun 2016, CSRNet, a depthwise one."""
    return [
        conv("deeplab.l4.d2", 512, 33, 512, 3, dilation=2),
        conv("deeplab.aspp.d6", 2048, 33, 256, 3, dilation=6, tags="big-weights"),
        conv("deeplab.aspp.d12", 2048, 33, 256, 3, dilation=12, tags="big-weights"),
        conv("deeplab.aspp.d18", 2048, 33, 256, 3, dilation=18, tags="big-weights"),
        conv("deeplab.l3.d2", 256, 33, 256, 3, dilation=2),
        conv("drn.l6.d4", 512, 28, 512, 3, dilation=4),
        conv("dilated.64.d2", 64, 56, 64, 3, dilation=2),
        conv("dilated.32.d8", 32, 128, 32, 3, dilation=8),
        conv("context.d2", 21, 64, 21, 3, dilation=2, tags="odd-channels"),
        conv("context.d16", 21, 64, 21, 3, dilation=16, tags="odd-channels"),
        conv("csrnet.d2", 512, (48, 64), 512, 3, dilation=2),
        conv("enet.d4", 32, 64, 32, 3, dilation=4),
    ]


def _conv1d() -> list[Convolution]:
    def audio(
        name: str,
        c_in: int,
        length: int,
        c_out: int,
        kernel: int,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
    ) -> Convolution:
        return conv(name, c_in, length, c_out, kernel, stride, padding, dilation=dilation, groups=groups, rank=1)

    return [
        audio("wav2vec2.conv0", 1, 16000, 512, 10, 5, padding=0),
        audio("wav2vec2.conv1", 512, 3199, 512, 3, 2, padding=0),
        audio("wav2vec2.conv5", 512, 199, 512, 2, 2, padding=0),
        audio("wav2vec2.positions", 768, 49, 768, 128, groups=16, padding=64),
        audio("whisper.conv1", 80, 3000, 512, 3),
        audio("whisper.conv2", 512, 3000, 512, 3, 2, padding=1),
        audio("m5.conv1", 1, 16000, 128, 80, 4, padding=38),
        audio("deepspeech.conv1", 161, 500, 256, 11, 2),
        audio("jasper.b1", 256, 500, 256, 11),
        audio("jasper.b5", 768, 500, 768, 25),
        audio("sincnet.conv1", 1, 3200, 80, 251, padding=0),
        audio("stft.k400", 1, 16000, 402, 400, 160, padding=0),
        audio("conformer.dw31", 256, 500, 256, 31, groups=256),
        audio("wavenet.k2d512", 64, 16000, 128, 2, dilation=512, padding=0),
        audio("tcn.k3d8", 64, 1000, 64, 3, dilation=8),
        audio("ecg.k16", 32, 5000, 64, 16, 2, padding=7),
        audio("fir.k63", 1, 48000, 1, 63),
        audio("fir.k1023", 1, 48000, 1, 1023),
        audio("bank.k127", 1, 16000, 32, 127),
    ]


def _conv3d() -> list[Convolution]:
    def video(
        name: str, c_in: int, spatial: Sizes, c_out: int, kernel: Sizes, stride: Sizes = 1, padding: Sizes | None = None
    ) -> Convolution:
        return conv(name, c_in, spatial, c_out, kernel, stride, padding, rank=3)

    return [
        video("c3d.conv1a", 3, (16, 112, 112), 64, 3),
        video("c3d.conv2a", 64, (16, 56, 56), 128, 3),
        video("c3d.conv3b", 256, (8, 28, 28), 256, 3),
        video("c3d.conv4b", 512, (4, 14, 14), 512, 3),
        video("c3d.conv5b", 512, (2, 7, 7), 512, 3),
        video("i3d.conv1", 3, (16, 224, 224), 64, 7, 2, 3),
        video("i3d.3b.1x1", 192, (8, 28, 28), 64, 1),
        video("i3d.3b.3x3", 96, (8, 28, 28), 128, 3),
        video("i3d.4b.5b", 24, (4, 14, 14), 64, 3),
        video("r2plus1d.spatial", 64, (8, 56, 56), 144, (1, 3, 3)),
        video("r2plus1d.temporal", 144, (8, 56, 56), 64, (3, 1, 1)),
        video("slowfast.stem", 3, (32, 112, 112), 8, (5, 7, 7), (1, 2, 2), (2, 3, 3)),
        video("vivit.tubelets", 3, (16, 224, 224), 768, (2, 16, 16), (2, 16, 16), 0),
        video("unet3d.32", 32, 32, 32, 3),
        video("vnet.5x5x5", 16, 32, 16, 5),
        conv("x3d.dw3x3x3", 54, (8, 56, 56), 54, 3, groups=54, rank=3),
        video("voxels.1ch", 1, 64, 1, 5),
    ]


def _filters() -> list[Convolution]:
    """Image filters: one plane of 1024x1024, and of half a megapixel and four."""
    sides = (3, 5, 7, 9, 11, 15, 21, 31, 45, 63, 101, 127)
    return [
        *(conv(f"filter.k{k}", 1, 1024, 1, k, tags="filter plane") for k in sides),
        conv("filter.k3_256", 1, 256, 1, 3, tags="filter plane"),
        conv("filter.k31_724", 1, 724, 1, 31, tags="filter plane"),
        conv("filter.k15_2048", 1, 2048, 1, 15, tags="filter plane"),
        conv("filter.k63_2048", 1, 2048, 1, 63, tags="filter plane"),
        conv("filter.k1x31", 1, 1024, 1, (1, 31), tags="filter plane"),
        conv("filter.k31x1", 1, 1024, 1, (31, 1), tags="filter plane"),
    ]


def _banks() -> list[Convolution]:
    """Large kernels over a few channels, dense and one by one."""
    return [
        conv("bank.3to8_k15", 3, 512, 8, 15, tags="bank"),
        conv("bank.3to8_k31", 3, 512, 8, 31, tags="bank"),
        conv("bank.3to8_k63", 3, 512, 8, 63, tags="bank"),
        conv("bank.8to8_k15", 8, 256, 8, 15, tags="bank"),
        conv("bank.8to8_k31", 8, 256, 8, 31, tags="bank"),
        conv("bank.dw64_k15", 64, 128, 64, 15, groups=64, tags="bank"),
        conv("bank.dw64_k31", 64, 128, 64, 31, groups=64, tags="bank"),
        conv("bank.dw64_k63", 64, 128, 64, 63, groups=64, tags="bank"),
        conv("bank.3to8_k9", 3, 512, 8, 9, tags="bank"),
        conv("bank.gabor15", 1, 512, 16, 15, tags="bank"),
        conv("bank.rgb15", 3, 512, 3, 15, groups=3, tags="bank"),
    ]


def _impulse_responses() -> list[Convolution]:
    """Long filters of signals of one and more channels."""

    def signal(name: str, channels: int, length: int, kernel: int, groups: int | None = None) -> Convolution:
        return conv(name, channels, length, channels, kernel, padding=0, groups=groups or channels, rank=1, tags="fir")

    return [
        signal("fir.k256_1e5", 1, 100_000, 256),
        signal("fir.k1024_1e6", 1, 1_000_000, 1024),
        signal("fir.k4096_1e6", 1, 1_000_000, 4096),
        signal("fir.k16384_1e6", 1, 1_000_000, 16384),
        signal("fir.k4096_1e5", 1, 100_000, 4096),
        signal("fir.8ch_k512_1e5", 8, 100_000, 512),
        signal("fir.64ch_k1024_1e5", 64, 100_000, 1024),
        signal("fir.8to8_k256_1e5", 8, 100_000, 256, 1),
    ]


def _volumes() -> list[Convolution]:
    """Large kernels on volumes of 64 x 64 x 64."""
    return [
        conv("volume.k7", 1, 64, 1, 7, rank=3, tags="volume"),
        conv("volume.k9", 1, 64, 1, 9, rank=3, tags="volume"),
        conv("volume.k11", 1, 64, 1, 11, rank=3, tags="volume"),
        conv("volume.k15", 1, 64, 1, 15, rank=3, tags="volume"),
        conv("volume.2to4_k7", 2, 64, 4, 7, rank=3, tags="volume"),
    ]


def _small() -> list[Convolution]:
    """Problems so small that the call itself counts."""
    return [
        conv("tiny.3x3_8", 16, 8, 16, 3, tags="small"),
        conv("tiny.3x3_4", 8, 4, 8, 3, tags="small"),
        conv("tiny.1x1_4", 64, 4, 64, 1, tags="small"),
        conv("digits.conv1", 1, 8, 16, 3, tags="small"),
        conv("lenet.conv1", 1, 28, 6, 5, tags="small"),
        conv("lenet.conv2", 6, 14, 16, 5, padding=0, tags="small"),
        conv("cifar.conv1", 3, 32, 16, 3, tags="small"),
        conv("cifar.resnet20.l1", 16, 32, 16, 3, tags="small"),
        conv("dqn.conv1", 4, 84, 32, 8, 4, 0, tags="small"),
        conv("dqn.conv2", 32, 20, 64, 4, 2, 0, tags="small"),
        conv("dqn.conv3", 64, 9, 64, 3, padding=0, tags="small"),
        conv("tiny.dw3x3", 32, 14, 32, 3, groups=32, tags="small"),
        conv("tiny.1d", 8, 64, 8, 5, rank=1, tags="small"),
    ]


LAYERS: tuple[Convolution, ...] = (
    *_alexnet(),
    *_zfnet(),
    *_vgg(),
    *_googlenet(),
    *_inception_v3(),
    *_resnet50(),
    *_resnext50(),
    *_grouped(),
    *_senet(),
    *_mobilenet_v2(),
    *_efficientnet(),
    *_convnext(),
    *_replknet(),
    *_unet(),
    *_fcn(),
    *_dcgan(),
    *_mask_rcnn(),
    *_patches(),
    *_odd(),
    *_dilated(),
    *_conv1d(),
    *_conv3d(),
    *_filters(),
    *_banks(),
    *_impulse_responses(),
    *_volumes(),
    *_small(),
)


#: The convolutions of each class that are measured unless all are asked for; the first ones make the quick list.
DEFAULTS: dict[str, tuple[str, ...]] = {
    "dense": (
        "resnet50.l1.1x1_up",
        "resnet50.conv1",
        "alexnet.conv1",
        "vgg.conv1_1",
        "alexnet.conv2-dense",
        "zfnet.conv2",
        "resnet50.l2.3x3s2",
        "resnet50.l3.1x1_down",
        "resnet50.l4.1x1_up",
        "resnet50.l2.shortcut",
        "googlenet.3a.5x5",
        "mobilenet2.b3.expand",
        "mobilenet2.b15.project",
        "inception3.6e.1x7",
        "inception3.6e.7x1",
        "vit-b16.patches",
    ),
    "dense3x3": (
        "resnet50.l1.3x3",
        "resnet50.l3.3x3",
        "vgg.conv1_2",
        "vgg.conv2_2",
        "vgg.conv3_2",
        "vgg.conv4_2",
        "resnet50.l2.3x3",
        "resnet50.l4.3x3",
        "googlenet.3b.3x3",
        "alexnet.conv3",
        "unet.d3.conv2",
        "maskrcnn.mask.conv",
        "odd.3x3",
    ),
    "depthwise": (
        "mobilenet2.b3.dw",
        "convnext.l1.dw7x7",
        "mobilenet2.b1.dw",
        "mobilenet2.b2.dws2",
        "mobilenet2.b12.dw",
        "mobilenet2.b15.dw",
        "efficientnet-b0.dw5x5",
        "convnext.l3.dw7x7",
        "replknet.dw13x13",
        "replknet.dw31x31_28",
        "replknet.l1.dw31x31",
        "replknet.l4.dw13x13",
    ),
    "grouped": (
        "resnext50.l1.3x3g32",
        "alexnet.conv2",
        "resnext50.l2.3x3g32",
        "resnext50.l3.3x3g32",
        "resnext50.l4.3x3g32",
        "resnext50.l2.3x3s2g32",
        "alexnet.conv4",
        "regnety.g24",
        "shufflenet.1x1g3",
    ),
    "dilated": (
        "dilated.64.d2",
        "deeplab.l3.d2",
        "deeplab.l4.d2",
        "deeplab.aspp.d12",
        "drn.l6.d4",
        "dilated.32.d8",
        "context.d2",
        "context.d16",
    ),
    "filter": (
        "filter.k15",
        "filter.k3",
        "filter.k5",
        "filter.k7",
        "filter.k9",
        "filter.k11",
        "filter.k21",
        "filter.k31",
        "filter.k45",
        "filter.k63",
        "filter.k101",
        "filter.k127",
        "filter.k31_724",
        "filter.k15_2048",
        "filter.k63_2048",
    ),
    "bank": tuple(layer.name for layer in _banks()[:8]),
    "fir": tuple(layer.name for layer in _impulse_responses()),
    "volume": tuple(layer.name for layer in _volumes()),
    "conv1d": (
        "whisper.conv1",
        "m5.conv1",
        "wav2vec2.conv0",
        "wav2vec2.conv1",
        "wav2vec2.positions",
        "jasper.b1",
        "sincnet.conv1",
        "stft.k400",
        "conformer.dw31",
        "wavenet.k2d512",
        "fir.k63",
        "fir.k1023",
    ),
    "conv3d": (
        "unet3d.32",
        "c3d.conv1a",
        "c3d.conv3b",
        "c3d.conv5b",
        "i3d.conv1",
        "i3d.3b.3x3",
        "r2plus1d.spatial",
        "r2plus1d.temporal",
        "vnet.5x5x5",
        "x3d.dw3x3x3",
    ),
    "small": (
        "tiny.3x3_8",
        "lenet.conv1",
        "lenet.conv2",
        "digits.conv1",
        "cifar.conv1",
        "cifar.resnet20.l1",
        "dqn.conv2",
        "dqn.conv3",
        "senet.l1.squeeze",
        "senet.l4.excite",
        "tiny.1x1_4",
        "tiny.dw3x3",
        "tiny.1d",
    ),
}
