"""Architectures of timm: its own tiny ones, and the smallest of many families."""

import timm
import torch

from zoo.architecture import Architecture, Builder

_CLASSES = 10

SIZES = {
    "test_vit": 160,
    "test_vit2": 160,
    "test_vit3": 160,
    "test_resnet": 64,
    "test_byobnet": 64,
    "test_convnext": 64,
    "test_convnext2": 64,
    "test_efficientnet": 64,
    "test_efficientnet_evos": 64,
    "test_nfnet": 64,
    "test_mambaout": 64,
    "mobilenetv4_conv_small": 64,
    "lcnet_050": 64,
    "ghostnetv2_100": 64,
    "tinynet_e": 64,
    "efficientvit_b0": 64,
    "efficientvit_m0": 224,
    "edgenext_xx_small": 64,
    "mobilevit_xxs": 64,
    "mobilevitv2_050": 64,
    "repvgg_a0": 64,
    "mobileone_s0": 64,
    "repghostnet_050": 64,
    "fastvit_t8": 64,
    "resnest14d": 64,
    "skresnet18": 64,
    "seresnext26t_32x4d": 64,
    "res2net50_14w_8s": 64,
    "dla46_c": 64,
    "hrnet_w18_small": 64,
    "hardcorenas_a": 64,
    "rexnet_100": 64,
    "ese_vovnet19b_dw": 64,
    "hgnetv2_b0": 64,
    "cs3darknet_s": 64,
    "bat_resnext26ts": 256,
    "lambda_resnet26t": 128,
    "botnet26t_256": 256,
    "eca_halonext26ts": 256,
    "xcit_nano_12_p16_224": 64,
    "pit_ti_224": 224,
    "levit_128s": 224,
    "coat_tiny": 224,
    "convit_tiny": 224,
    "poolformer_s12": 64,
    "pvt_v2_b0": 64,
    "tnt_s_legacy_patch16_224": 224,
    "swiftformer_xs": 64,
    "efficientformerv2_s0": 224,
    "coatnet_pico_rw_224": 224,
    "gcvit_xxtiny": 224,
    "inception_next_atto": 64,
    "eva02_tiny_patch14_224": 224,
    "sequencer2d_s": 224,
    "mixer_s32_224": 224,
    "gmlp_ti16_224": 224,
    "resmlp_12_224": 224,
}
"""The side of a square image for each model, as small as the architecture allows."""

SMALLER = {
    "cait_xxs24_224": {"depth": 3, "embed_dim": 48, "num_heads": 4},
    "beit_base_patch16_224": {"depth": 2, "embed_dim": 48, "num_heads": 4},
    "davit_tiny": {"depths": (1, 1), "embed_dims": (24, 48), "num_heads": (2, 4)},
}
"""What is smaller than in the published size; images of 224 x 224."""


def _named(name: str, size: int, settings: dict[str, object]) -> Builder:
    def build() -> Architecture:
        module = timm.create_model(
            name, pretrained=False, num_classes=_CLASSES, **settings
        )
        return Architecture(module, {"x": torch.rand(1, 3, size, size)})

    return build


ARCHITECTURES: dict[str, Builder] = {
    **{name: _named(name, size, {}) for name, size in SIZES.items()},
    **{name: _named(name, 224, settings) for name, settings in SMALLER.items()},
}
