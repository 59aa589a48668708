"""ONNX operators without products of two tensors: an account lists them with their number alone.

Normalisations, elementwise arithmetic, gathers, poolings and interpolations are not counted by the
convention of the report. Transforms (DFT) are run by fast algorithms.
"""

_OWN = """
    Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool
    BatchNormalization Bernoulli BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor
    BlackmanWindow Cast CastLike Ceil Celu CenterCropPad Clip Col2Im Compress Concat
    ConcatFromSequence Constant ConstantOfShape Cos Cosh CumProd CumSum DFT DepthToSpace
    DequantizeLinear Det Div Dropout DynamicQuantizeLinear Elu Equal Erf Exp Expand EyeLike
    Flatten Floor Gather GatherElements GatherND Gelu GlobalAveragePool GlobalLpPool
    GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HammingWindow HannWindow
    HardSigmoid HardSwish Hardmax Identity ImageDecoder InstanceNormalization IsInf IsNaN LRN
    LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool Max
    MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization MelWeightMatrix Min Mish Mod Mul
    Multinomial Neg NegativeLogLikelihoodLoss NonMaxSuppression NonZero Not OneHot Optional
    OptionalGetElement OptionalHasElement Or PRelu Pad Pow QuantizeLinear RMSNormalization
    RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal ReduceL1
    ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare RegexFullMatch Relu Reshape Resize ReverseSequence RoiAlign RotaryEmbedding
    Round STFT Scatter ScatterElements ScatterND Selu SequenceAt SequenceConstruct SequenceEmpty
    SequenceErase SequenceInsert SequenceLength Shape Shrink Sigmoid Sign Sin Sinh Size Slice
    Softmax SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth Split SplitToSequence Sqrt
    Squeeze StringConcat StringNormalizer StringSplit Sub Sum SwiGLU Swish Tan Tanh
    TensorScatter TfIdfVectorizer ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze
    Upsample Where Xor
"""

# ONNX Runtime's operators in the empty domain: its optimisation writes them, as old exporters did.
_OF_THE_RUNTIME = """
    Affine Crop DynamicSlice GivenTensorFill ImageScaler MemcpyFromHost MemcpyToHost
    ParametricSoftplus Scale ScaledTanh SimplifiedLayerNormalization
"""

_MICROSOFT = """
    BiasAdd BiasDropout BiasGelu BiasSoftmax BiasSplitGelu BifurcationDetector
    BitmaskBiasDropout BitmaskDropout BranchwiseRMSNorm ComplexMul ComplexMulConj CropAndResize
    DequantizeBFP DequantizeLinear DequantizeWithOrder DynamicTimeWarping
    EmbedLayerNormalization ExpandDims FastGelu GatedAdd GatedRMSNorm GatherBlockQuantized
    GatherND GatherPacked Gelu GemmaRotaryEmbedding GridSample GroupNorm Irfft IsAllFinite
    MRotaryEmbedding MaxpoolWithMask MulInteger MurmurHash3 NGramHashMapping NGramRepeatBlock
    NhwcMaxPool Pad QEmbedLayerNormalization QLinearAdd QLinearAveragePool QLinearConcat
    QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearReduceMean QLinearSigmoid
    QLinearSoftmax QLinearWhere QOrderedGelu QOrderedLayerNormalization QuantizeBFP
    QuantizeLinear QuantizeWithOrder QuickGelu RMSNormRotary Range ReduceSumInteger
    RelativePositionBias RemovePadding RestorePadding Rfft RotaryEmbedding SampleOp ScaledSiLU
    SkipGroupNorm SkipLayerNormalization SkipSimplifiedLayerNormalization SwiGLU Tokenizer
    TorchEmbedding Trilu UnfoldTensor Unique VarlenNGramHashMapping
"""

_NCHWC = """
    AveragePool GlobalAveragePool GlobalMaxPool MaxPool ReorderInput ReorderOutput Upsample
"""

# Arithmetic on table data: trees, scales and labels.
_TABLES = """
    ArrayFeatureExtractor Binarizer CastMap CategoryMapper DictVectorizer FeatureVectorizer Imputer
    LabelEncoder Normalizer OneHotEncoder Scaler TreeEnsemble TreeEnsembleClassifier
    TreeEnsembleRegressor ZipMap
"""


def _qualified(domain: str, names: str) -> set[str]:
    """Return operators of a domain as `graph.operator` names them."""
    return {f"{domain}::{name}" for name in names.split()}


WITHOUT_PRODUCTS = frozenset(_OWN.split()).union(
    _OF_THE_RUNTIME.split(),
    _qualified("com.microsoft", _MICROSOFT),
    _qualified("com.microsoft.nchwc", _NCHWC),
    _qualified("ai.onnx.ml", _TABLES),
)
"""The operators that have no multiply-accumulates by the convention of the report."""
