"""How much work one calibration may do.

Every limit is an amount of work or of memory and never of time, so that the same model gives the
same artifact on a slow machine too.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """The limits of one calibration.

    MACs are multiply-accumulates of the uncompressed model. Images stand for samples of any kind:
    images, signals, volumes or vectors.
    """

    # How the model is run

    longest_side: int = 64
    """Pixels a side. Larger images of a network without a head cost more and teach no more."""

    short_side: int = 32
    """Pixels a side where images of `longest_side` are too much work to distil."""

    batch_images: int = 32
    """Images that run together at most."""

    batch_bytes: int = 24 << 20
    """Live values of one batch, so that they stay in the processor's caches."""

    held_bytes: int = 256 << 20
    """Values of all batches at one checkpoint, where the batches advance together."""

    # How many images

    image_macs: int = 2_000_000_000_000
    """MACs to distil the images to fit on. What is learned from them may cost as much again."""

    image_bytes: int = 96 << 20
    """Memory of the images to fit on, which are held until the refit."""

    most_images: int = 384
    """Images to fit on. More gave no better models at any budget tried."""

    most_distilled: int = 384
    """Images to fit on that are distilled."""

    images_of_small: int = 192
    """The same for models of little work, which a job should not take many times as long as."""

    macs_per_image: int = 100_000
    """The model's multiply-accumulates that pay for one image more than those."""

    first_images: int = 32
    """Images that are measured first, before their number is doubled."""

    fewest_images: int = 8
    """Images to fit on, whatever they cost."""

    held_out_images: int = 64
    """Images in each of the two held-out sets."""

    images_beside_distilled: int = 192
    """Images to fit on in all, where few could be distilled by classes and plain ones join them."""

    # How the value range is found

    probe_images: int = 16
    """Images that each value range is tried on."""

    fewest_probe_images: int = 4
    """The same where `probe_images` in every range would cost more than the moments may."""

    # How images are distilled

    steps_by_statistics: int = 40
    """Steps of Adam where the model stores BatchNorm statistics."""

    steps_by_classes: int = 5
    """Steps of Adam where only a classifier's classes guide them. 10 and 20 gave nothing more."""

    held_out_steps: int = 20
    """Steps of Adam on held-out images."""

    fewest_steps: int = 20
    """Where fewer steps are affordable, distilling is not worth its cost."""

    fewest_distilled: int = 32
    """Images that `fewest_steps` must be affordable on."""

    # How moments are measured

    rows_per_site: int = 65_536
    """Patches of one site that its covariance is summed over."""

    enough_rows: int = 8192
    """Patches that are enough for any narrow site."""

    enough_rows_per_number: int = 64
    """The same for each of a patch's m numbers: a fit on them errs by a 64th more than it must."""

    row_macs: int = 20_000_000_000
    """Products of one site's patches, m * m for each patch of m numbers."""

    rows_per_number: int = 2
    """Rows for each of the m numbers, whatever they cost: fewer than m leave a singular matrix."""

    convergence: float = 0.05
    """The number of images is doubled until no covariance changes by a larger share than this."""

    sketch_directions: int = 64
    """Random directions that a covariance's change is estimated from."""

    # How sites are weighed

    sensitivity_batches: int = 4
    """Held-out batches that each site's error is propagated on."""

    sensitivity_macs: int = 300_000_000_000
    """MACs to propagate the errors of all sites."""

    # How layers are refitted

    whole_site_macs: int = 2_000_000_000_000
    """MACs of all images over all sites up to which whole sites are refitted as well as their last
    layers: all layers may run again before each site."""

    widest_refactored: int = 2048
    """Numbers in a patch up to which a site is factored again. The moments of wider ones would take
    too long once more."""

    refit_numbers: int = 2**26
    """Numbers in the rows of one site that are held while it is fitted, inputs and outputs."""

    refit_macs: int = 20_000_000_000
    """MACs to sum one site's normal equations, over all its fits."""

    relu_fits: int = 3
    """Fits before a ReLU, each with targets from the one before."""

    # How far the measuring is

    trials_share: float = 0.1
    """The share of the measuring that finding the value range takes, before the rest is weighed."""

    judging_share: float = 0.1
    """The share of the rest that making the images to judge by takes: of large ones, most of it."""


DEFAULT_EFFORT = Effort()

RANGES_EFFORT = Effort(
    most_images=128,
    most_distilled=64,
    images_beside_distilled=128,
    held_out_steps=0,
    steps_by_statistics=0,
    fewest_steps=80,
    trials_share=0.3,
    judging_share=0.7,
)
"""The effort to measure the ranges of activations alone: some images show them.

Half of them are plain, and half distilled by classes where the model is small: real images excite
the layers behind the first ones more than plain ones do.
"""
