//! What a compiled network does: steps over pictures in an arena of floats.

use serde::{Deserialize, Serialize};

/// Channels that lie side by side: one AVX-512 register, two of AVX2.
pub const BLOCK: usize = 16;

/// Blocks of output channels whose weights lie together: what AVX-512 computes at once, and AVX2 one after the
/// other.
pub const PANEL: usize = 2;

/// Rows and columns of zeros around a picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halo {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

/// A picture in the arena: blocks of `lanes` channels; in each, rows of pixels, halo and all; in each pixel its
/// channels. With 16 lanes this is what others call nChw16c, with one block of few lanes NHWC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plane {
    /// Where it begins, in floats.
    pub offset: usize,
    /// Channels are in this many blocks; those of the last that the network does not have are 0.
    pub blocks: usize,
    /// Channels of a block.
    pub lanes: usize,
    /// Rows without the halo.
    pub height: usize,
    /// Pixels of a row without the halo.
    pub width: usize,
    /// Zeros around.
    pub halo: Halo,
}

impl Plane {
    /// Floats of a row.
    pub fn row(&self) -> usize {
        (self.halo.left + self.width + self.halo.right) * self.lanes
    }

    /// Rows with the halo.
    pub fn rows(&self) -> usize {
        self.halo.top + self.height + self.halo.bottom
    }

    /// Floats of a block.
    pub fn block(&self) -> usize {
        self.rows() * self.row()
    }

    /// Floats in all.
    pub fn len(&self) -> usize {
        self.blocks * self.block()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where a pixel begins; row and column count without the halo.
    pub fn at(&self, block: usize, y: usize, x: usize) -> usize {
        self.offset
            + block * self.block()
            + (self.halo.top + y) * self.row()
            + (self.halo.left + x) * self.lanes
    }
}

/// What is done with a sum before it is stored: it is held between two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Clamp {
    /// 0 for Relu, none for −∞.
    pub low: Option<f32>,
    /// 6 for Relu6, none for ∞.
    pub high: Option<f32>,
}

impl Clamp {
    /// Leaves everything as it is.
    pub const NONE: Self = Self {
        low: None,
        high: None,
    };
    /// max(x, 0).
    pub const RELU: Self = Self {
        low: Some(0.0),
        high: None,
    };

    /// Both ends.
    pub fn ends(self) -> [f32; 2] {
        [
            self.low.unwrap_or(f32::NEG_INFINITY),
            self.high.unwrap_or(f32::INFINITY),
        ]
    }
}

/// Where windows of a kernel lie on a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Rows and columns from one window to the next.
    pub stride: [usize; 2],
    /// Where the first window begins, in the picture with its halo.
    pub origin: [usize; 2],
}

/// A picture that is added to a sum, by its pixels at every `stride`-th row and column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residual {
    /// The picture.
    pub plane: Plane,
    /// Rows and columns from one pixel that is added to the next.
    pub stride: usize,
}

/// A convolution: sum over the window and all channels, plus bias, plus residual, held between two numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Convolution {
    /// Read.
    pub input: Plane,
    /// Written.
    pub output: Plane,
    /// Where it reads.
    pub window: Window,
    /// Where the weights begin: for each panel, for each segment of the window, for each float of it, one weight
    /// for each of the panel's channels.
    pub weights: usize,
    /// Where the biases begin, one for each channel of the output.
    pub bias: usize,
    /// Added.
    pub residual: Option<Residual>,
    /// Done last.
    pub clamp: Clamp,
}

impl Convolution {
    /// Where the segments of the first window begin, from its first float, and how long each is.
    pub fn segments(&self) -> (Vec<usize>, usize) {
        let input = &self.input;
        let [rows, columns] = self.window.kernel;
        // Few lanes: a row of the window is contiguous.
        if input.lanes < BLOCK {
            let segments = (0..rows).map(|y| y * input.row()).collect();
            return (segments, columns * input.lanes);
        }
        let places = (0..input.blocks).flat_map(|block| {
            (0..rows).flat_map(move |y| (0..columns).map(move |x| (block, y, x)))
        });
        let segments = places
            .map(|(block, y, x)| block * input.block() + y * input.row() + x * input.lanes)
            .collect();
        (segments, input.lanes)
    }
}

/// Winograd's F(4×4, 3×3): a 3×3 convolution with stride 1 by 36 products for 16 pixels, instead of 144; or
/// F(2×2, 3×3): by 16 products for 4 pixels, instead of 36.
/// <https://arxiv.org/abs/1509.09308>
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Winograd {
    /// Rows and columns of outputs of a tile: 4 or 2.
    pub tile: usize,
    /// Read. Its halo reaches as far as whole tiles do, and one more.
    pub input: Plane,
    /// Written.
    pub output: Plane,
    /// Where the first window begins, in the picture with its halo.
    pub origin: [usize; 2],
    /// Where the transformed weights begin: for each place, for each panel, for each input channel, one
    /// weight for each of the panel's channels.
    pub weights: usize,
    /// Where the biases begin.
    pub bias: usize,
    /// Done last.
    pub clamp: Clamp,
    /// The most tiles that are worked on together.
    pub together: usize,
}

impl Winograd {
    /// Rows and columns of tiles.
    pub fn tiles(&self) -> [usize; 2] {
        [
            self.output.height.div_ceil(self.tile),
            self.output.width.div_ceil(self.tile),
        ]
    }

    /// Products for a tile, of each channel.
    pub fn places(&self) -> usize {
        (self.tile + 2).pow(2)
    }

    /// Floats of the workspace: the places of all channels of the tiles, before and after.
    pub fn workspace(&self) -> usize {
        let [rows, columns] = self.tiles();
        let tiles = self.together.min(rows * columns);
        self.places() * tiles * BLOCK * (self.input.blocks + self.output.blocks)
    }
}

/// How a picture lies in memory outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Rows, columns, channels.
    Nhwc,
    /// Channels, rows, columns.
    Nchw,
}

/// One thing that is done. Each reads planes that were written before, and writes one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// Brings an input into the arena.
    Load {
        /// Which input.
        input: usize,
        /// How it lies there.
        order: Order,
        /// How many channels it has.
        channels: usize,
        /// Written.
        output: Plane,
    },
    /// A convolution.
    Convolution(Convolution),
    /// A convolution by Winograd's algorithm.
    Winograd(Winograd),
    /// The largest of each window, halo and all.
    MaxPool {
        /// Read.
        input: Plane,
        /// Written.
        output: Plane,
        /// Where it reads.
        window: Window,
        /// Done last.
        clamp: Clamp,
    },
    /// The mean of all pixels.
    Mean {
        /// Read.
        input: Plane,
        /// Written; one pixel.
        output: Plane,
    },
    /// A sum of two pictures, held between two numbers.
    Add {
        /// Read.
        input: Plane,
        /// Added.
        residual: Residual,
        /// Written.
        output: Plane,
        /// Done last.
        clamp: Clamp,
    },
    /// Exponentials that sum up to 1.
    Softmax {
        /// Read; one pixel.
        input: Plane,
        /// How many channels count.
        channels: usize,
        /// Written; one pixel.
        output: Plane,
    },
    /// Takes a picture out of the arena, as NCHW.
    Store {
        /// Read.
        input: Plane,
        /// How many channels it has.
        channels: usize,
        /// Which output.
        output: usize,
    },
}

/// A network, or a part of one, ready to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Shapes of the inputs.
    pub inputs: Vec<Vec<usize>>,
    /// Shapes of the outputs.
    pub outputs: Vec<Vec<usize>>,
    /// What is done, in this order.
    pub steps: Vec<Step>,
    /// Floats of the arena.
    pub arena: usize,
    /// Floats of weights.
    pub weights: usize,
}
