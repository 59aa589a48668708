"""Architectures of transformers in small configurations, each with tensors in and tensors out."""

from collections.abc import Callable

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel

from zoo.architecture import Architecture, Builder

_TOKENS, _WIDTH, _HEADS, _LAYERS, _VOCABULARY = 12, 48, 4, 2, 100

_ENCODER = {
    "vocab_size": _VOCABULARY,
    "hidden_size": _WIDTH,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "intermediate_size": 96,
    "max_position_embeddings": 64,
}
_GROUPED = {**_ENCODER, "num_key_value_heads": 2, "head_dim": 12}
_VISION = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": _WIDTH,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "intermediate_size": 96,
}
_SPEECH = {
    "vocab_size": 32,
    "hidden_size": _WIDTH,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "intermediate_size": 96,
    "conv_dim": (32, 32, 32),
    "conv_kernel": (10, 3, 3),
    "conv_stride": (5, 2, 2),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
_RESNET = {"embedding_size": 16, "hidden_sizes": [16, 32, 64], "depths": [1, 1, 1]}


class FirstTensor(nn.Module):
    """A model that takes its inputs by the names given here, and returns its first output."""

    def __init__(self, model: PreTrainedModel, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *arguments: Tensor) -> Tensor:
        """Return the last hidden state, or the logits."""
        named = dict(zip(self.names, arguments, strict=True))
        outputs = self.model(**named, return_dict=False)
        first: Tensor = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
        return first


def _ids(length: int = _TOKENS) -> Tensor:
    return torch.randint(3, _VOCABULARY, (1, length))


def _mask() -> Tensor:
    return torch.ones(1, _TOKENS, dtype=torch.int64)


def _image(size: int = 32) -> Tensor:
    return torch.rand(1, 3, size, size)


def _model(
    name: str, settings: dict[str, object], inputs: Callable[[], dict[str, Tensor]]
) -> Builder:
    """Return a builder of the class `<name>` with a configuration of these settings."""

    def build() -> Architecture:
        model_class = getattr(transformers, name)
        config = model_class.config_class(**settings)
        config.use_cache = False
        tensors = inputs()
        return Architecture(FirstTensor(model_class(config), tuple(tensors)), tensors)

    return build


def _with_mask() -> dict[str, Tensor]:
    return {"input_ids": _ids(), "attention_mask": _mask()}


def _without_mask() -> dict[str, Tensor]:
    return {"input_ids": _ids()}


def _pixels() -> dict[str, Tensor]:
    return {"pixel_values": _image()}


def _more_pixels() -> dict[str, Tensor]:
    return {"pixel_values": _image(64)}


def _wave() -> dict[str, Tensor]:
    return {"input_values": torch.randn(1, 1600)}


def _two_sequences() -> dict[str, Tensor]:
    return {"input_ids": _ids(), "decoder_input_ids": _ids(7)}


def _detr() -> Architecture:
    backbone = transformers.ResNetConfig(**_RESNET, out_features=["stage3"])
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        d_model=_WIDTH,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=_HEADS,
        decoder_attention_heads=_HEADS,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_queries=5,
    )
    inputs = _more_pixels()
    model = transformers.DetrForObjectDetection(config)
    return Architecture(FirstTensor(model, tuple(inputs)), inputs)


_SEQ2SEQ = {
    "vocab_size": _VOCABULARY,
    "d_model": _WIDTH,
    "encoder_layers": _LAYERS,
    "decoder_layers": _LAYERS,
    "encoder_attention_heads": _HEADS,
    "decoder_attention_heads": _HEADS,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
_T5 = {
    "vocab_size": _VOCABULARY,
    "d_model": _WIDTH,
    "d_kv": 12,
    "d_ff": 96,
    "num_layers": _LAYERS,
    "num_heads": _HEADS,
}
_STAGES = {
    "num_encoder_blocks": 3,
    "depths": [1, 1, 1],
    "hidden_sizes": [16, 24, 32],
    "num_attention_heads": [1, 2, 4],
    "sr_ratios": [4, 2, 1],
    "patch_sizes": [7, 3, 3],
    "strides": [4, 2, 2],
    "mlp_ratios": [2, 2, 2],
    "decoder_hidden_size": 32,
}
_CONVNEXT = {"hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1]}
_WINDOWS = {
    "image_size": 32,
    "patch_size": 2,
    "embed_dim": 24,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window_size": 4,
}

ARCHITECTURES: dict[str, Builder] = {
    "bert": _model("BertModel", _ENCODER, _with_mask),
    "bert_classifier": _model("BertForSequenceClassification", _ENCODER, _with_mask),
    "roberta": _model("RobertaModel", _ENCODER, _with_mask),
    "camembert": _model("CamembertForMaskedLM", _ENCODER, _with_mask),
    "distilbert": _model(
        "DistilBertModel",
        {
            "vocab_size": _VOCABULARY,
            "dim": 48,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 96,
        },
        _with_mask,
    ),
    "albert": _model("AlbertModel", {**_ENCODER, "embedding_size": 24}, _with_mask),
    "electra": _model("ElectraModel", {**_ENCODER, "embedding_size": 24}, _with_mask),
    "deberta_v2": _model(
        "DebertaV2Model",
        {**_ENCODER, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
        _with_mask,
    ),
    "mpnet": _model("MPNetModel", _ENCODER, _with_mask),
    "modernbert": _model(
        "ModernBertModel", {**_ENCODER, "pad_token_id": 0}, _with_mask
    ),
    "xlm_roberta": _model("XLMRobertaForTokenClassification", _ENCODER, _with_mask),
    "squeezebert": _model(
        "SqueezeBertModel", {**_ENCODER, "embedding_size": 48}, _with_mask
    ),
    "fnet": _model("FNetModel", _ENCODER, _without_mask),
    "t5_encoder": _model("T5EncoderModel", _T5, _without_mask),
    "t5": _model("T5Model", _T5, _two_sequences),
    "bart": _model("BartModel", _SEQ2SEQ, _two_sequences),
    "marian": _model("MarianModel", _SEQ2SEQ, _two_sequences),
    "gpt2": _model(
        "GPT2Model",
        {
            "vocab_size": _VOCABULARY,
            "n_embd": 48,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 64,
        },
        _without_mask,
    ),
    "gpt_neox": _model("GPTNeoXModel", _ENCODER, _without_mask),
    "opt": _model(
        "OPTModel",
        {**_ENCODER, "ffn_dim": 96, "word_embed_proj_dim": 48},
        _with_mask,
    ),
    "bloom": _model(
        "BloomModel",
        {"vocab_size": 100, "hidden_size": 48, "n_layer": 2, "n_head": 4},
        _with_mask,
    ),
    "llama": _model("LlamaForCausalLM", _GROUPED, _without_mask),
    "mistral": _model("MistralModel", _GROUPED, _without_mask),
    "qwen2": _model("Qwen2Model", _GROUPED, _without_mask),
    "gemma": _model("GemmaModel", _GROUPED, _without_mask),
    "phi": _model("PhiModel", _ENCODER, _without_mask),
    "mamba": _model(
        "MambaModel",
        {"vocab_size": 100, "hidden_size": 48, "num_hidden_layers": 2, "state_size": 8},
        _without_mask,
    ),
    "whisper_encoder": _model(
        "WhisperForAudioClassification",
        {
            **_SEQ2SEQ,
            "num_mel_bins": 20,
            "max_source_positions": 30,
            "classifier_proj_size": 16,
        },
        lambda: {"input_features": torch.randn(1, 20, 60)},
    ),
    "wav2vec2": _model("Wav2Vec2Model", _SPEECH, _wave),
    "hubert": _model("HubertModel", _SPEECH, _wave),
    "wavlm": _model("WavLMModel", _SPEECH, _wave),
    "ast": _model(
        "ASTModel",
        {**_VISION, "max_length": 64, "num_mel_bins": 32},
        lambda: {"input_values": torch.randn(1, 64, 32)},
    ),
    "hifigan": _model(
        "SpeechT5HifiGan",
        {"model_in_dim": 20, "upsample_initial_channel": 64},
        lambda: {"spectrogram": torch.randn(1, 10, 20)},
    ),
    "vit": _model("ViTModel", _VISION, _pixels),
    "deit": _model("DeiTForImageClassification", _VISION, _pixels),
    "beit": _model("BeitModel", _VISION, _pixels),
    "dinov2": _model("Dinov2Model", _VISION, _pixels),
    "siglip_vision": _model("SiglipVisionModel", _VISION, _pixels),
    "clip_vision": _model("CLIPVisionModel", _VISION, _pixels),
    "clip_text": _model("CLIPTextModel", _ENCODER, _without_mask),
    "swin": _model("SwinModel", _WINDOWS, _pixels),
    "swinv2": _model("Swinv2Model", _WINDOWS, _pixels),
    "segformer": _model("SegformerForSemanticSegmentation", _STAGES, _more_pixels),
    "pvt": _model(
        "PvtModel",
        {
            "image_size": 32,
            "num_encoder_blocks": 2,
            "depths": [1, 1],
            "sequence_reduction_ratios": [4, 1],
            "hidden_sizes": [16, 32],
            "patch_sizes": [4, 2],
            "strides": [4, 2],
            "num_attention_heads": [1, 2],
            "mlp_ratios": [2, 2],
        },
        _pixels,
    ),
    "yolos": _model(
        "YolosForObjectDetection",
        {**_VISION, "image_size": [32, 32], "num_detection_tokens": 5},
        _pixels,
    ),
    "detr": _detr,
    "mobilevit": _model("MobileViTModel", {"image_size": 64}, _more_pixels),
    "mobilenet_v1": _model("MobileNetV1Model", {"depth_multiplier": 0.5}, _more_pixels),
    "convnext": _model("ConvNextModel", _CONVNEXT, _more_pixels),
    "convnextv2": _model("ConvNextV2Model", _CONVNEXT, _more_pixels),
    "resnet": _model("ResNetForImageClassification", _RESNET, _more_pixels),
    "regnet": _model("RegNetModel", {**_RESNET, "groups_width": 8}, _more_pixels),
    "levit": _model(
        "LevitModel",
        {"image_size": 64, "hidden_sizes": [32, 48, 64], "key_dim": [8, 8, 8]},
        _more_pixels,
    ),
    "patchtst": _model(
        "PatchTSTForPrediction",
        {
            "num_input_channels": 3,
            "context_length": 32,
            "patch_length": 8,
            "patch_stride": 8,
        }
        | {
            "d_model": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 96,
        },
        lambda: {"past_values": torch.randn(1, 32, 3)},
    ),
}
