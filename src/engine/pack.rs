//! Weights in the order in which the kernels read them.

use crate::program::{BLOCK, PANEL};

/// The weights of a convolution, as a model has them.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    /// Output channels × input channels × rows × columns.
    pub values: &'a [f32],
    /// Output channels.
    pub outputs: usize,
    /// Input channels.
    pub inputs: usize,
    /// Rows and columns.
    pub kernel: [usize; 2],
}

impl Weights<'_> {
    /// 0 for channels that are there to fill a block.
    fn at(&self, output: usize, input: usize, y: usize, x: usize) -> f32 {
        if output >= self.outputs || input >= self.inputs {
            return 0.0;
        }
        let [rows, columns] = self.kernel;
        self.values[((output * self.inputs + input) * rows + y) * columns + x]
    }
}

/// The output channels of each panel.
fn panels(outputs: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let blocks = outputs.div_ceil(BLOCK);
    (0..blocks)
        .step_by(PANEL)
        .map(move |first| first * BLOCK..(first + PANEL).min(blocks) * BLOCK)
}

/// For [`Step::Convolution`](crate::program::Step::Convolution) over pixels of `lanes` channels.
pub fn direct(weights: &Weights, lanes: usize, packed: &mut Vec<f32>) {
    let [rows, columns] = weights.kernel;
    for panel in panels(weights.outputs) {
        let mut push = |input: usize, y: usize, x: usize| {
            packed.extend(panel.clone().map(|output| weights.at(output, input, y, x)));
        };
        if lanes < BLOCK {
            // Segments are rows of the window, in which channels come first.
            for y in 0..rows {
                for x in 0..columns {
                    (0..lanes).for_each(|input| push(input, y, x));
                }
            }
            continue;
        }
        for first in (0..weights.inputs).step_by(BLOCK) {
            for y in 0..rows {
                for x in 0..columns {
                    (first..first + BLOCK).for_each(|input| push(input, y, x));
                }
            }
        }
    }
}

/// For [`Step::Winograd`](crate::program::Step::Winograd): G g Gᵀ at each of 36 places.
pub fn winograd(weights: &Weights, packed: &mut Vec<f32>) {
    let (outputs, inputs) = (
        weights.outputs.next_multiple_of(BLOCK),
        weights.inputs.next_multiple_of(BLOCK),
    );
    let start = packed.len();
    let one_place = outputs * inputs;
    packed.resize(start + 36 * one_place, 0.0);
    let packed = &mut packed[start..];
    let mut offset = 0;
    for panel in panels(weights.outputs) {
        for input in 0..inputs {
            for output in panel.clone() {
                let transformed = transform(std::array::from_fn(|y| {
                    std::array::from_fn(|x| weights.at(output, input, y, x))
                }));
                for (place, value) in transformed.as_flattened().iter().enumerate() {
                    packed[place * one_place + offset] = *value;
                }
                offset += 1;
            }
        }
    }
}

/// G of F(4, 3) in <https://arxiv.org/abs/1509.09308>.
const G: [[f64; 3]; 6] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// G g Gᵀ, in double precision: it is done once.
fn transform(g: [[f32; 3]; 3]) -> [[f32; 6]; 6] {
    let half = G.map(|row| {
        std::array::from_fn::<f64, 3, _>(|x| (0..3).map(|y| row[y] * f64::from(g[y][x])).sum())
    });
    half.map(|row| G.map(|of| (0..3).map(|x| row[x] * of[x]).sum::<f64>() as f32))
}
