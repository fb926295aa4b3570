//! Verification: the invariant Verified of the module [`kernel`](super), on which the unsafe code relies.

use super::program_error::{Fault, ProgramError};
use crate::program::{
    BLOCK, Clamp, DirectConvolution, FeatureMap, Operation, Program, Residual, Window,
    WinogradConvolution,
};

/// Upper limit of blocks, rows, columns, strides and so on. No model has more of anything, and products of four of
/// these numbers fit in 64 bits.
const MAX_SIZE: usize = 1 << 16;

/// Upper limit of memory and tensors, in floats: 16 GiB. A Lambda function has 10 GiB.
const MAX_FLOATS: usize = 1 << 32;

/// Checks that a program is sound: all its addresses are valid, it reads only what it wrote before, and it loads every
/// input and stores every output once. `weights_len` is the length of the packed weights in floats.
///
/// # Errors
///
/// A [`ProgramError`] that names the operation and its fault.
pub(super) fn verify(program: &Program, weights_len: usize) -> Result<(), ProgramError> {
    if program.weights_len != weights_len {
        return Err(ProgramError::Weights {
            expected: program.weights_len,
            actual: weights_len,
        });
    }
    if program.arena_len > MAX_FLOATS {
        return Err(ProgramError::Memory(program.arena_len));
    }
    // A run allocates all output tensors, also one that no operation stores.
    for shape in program.inputs.iter().chain(&program.outputs) {
        if tensor_len(shape) > MAX_FLOATS {
            return Err(ProgramError::Tensor(shape.clone()));
        }
    }
    let mut verifier = Verifier {
        program,
        live: Vec::new(),
        arena_len: 0,
        loads: vec![0; program.inputs.len()],
        stores: vec![0; program.outputs.len()],
    };
    for (number, operation) in program.operations.iter().enumerate() {
        verifier
            .operation(operation)
            .map_err(|fault| ProgramError::Operation { number, fault })?;
    }
    for (what, copies) in [("input", verifier.loads), ("output", verifier.stores)] {
        for (index, times) in copies.into_iter().enumerate() {
            if times != 1 {
                return Err(ProgramError::Copies { what, index, times });
            }
        }
    }
    // Feature maps end at any float, and the arena at a cache line.
    if program.arena_len > verifier.arena_len.next_multiple_of(BLOCK) {
        return Err(ProgramError::Memory(program.arena_len));
    }
    Ok(())
}

type Checked = Result<(), Fault>;

fn ensure(holds: bool, fault: Fault) -> Checked {
    if holds { Ok(()) } else { Err(fault) }
}

struct Verifier<'a> {
    program: &'a Program,
    /// Feature maps that were written and not overwritten.
    live: Vec<FeatureMap>,
    /// End of the feature maps so far.
    arena_len: usize,
    /// Number of loads of each input tensor.
    loads: Vec<usize>,
    /// Number of stores of each output tensor.
    stores: Vec<usize>,
}

impl Verifier<'_> {
    fn operation(&mut self, operation: &Operation) -> Checked {
        match operation {
            Operation::Load {
                input,
                channels,
                output,
                ..
            } => {
                self.map(output)?;
                let len = self
                    .program
                    .inputs
                    .get(*input)
                    .map(|shape| tensor_len(shape));
                check_tensor(output, *channels, len)?;
                self.loads[*input] += 1;
                self.write(output)
            }
            Operation::Direct(convolution) => self.direct(convolution),
            Operation::Winograd(convolution) => self.winograd(convolution),
            Operation::MaxPool {
                input,
                output,
                window,
                clamp,
            } => {
                self.maps(output, input, None)?;
                check_same_blocks(input, output)?;
                check_window(input, output, window)?;
                check_clamp(*clamp)?;
                self.read_and_write(output, input, None)
            }
            Operation::GlobalAveragePool { input, output } => {
                self.maps(output, input, None)?;
                check_same_blocks(input, output)?;
                ensure([output.height, output.width] == [1, 1], Fault::Pixels)?;
                self.read_and_write(output, input, None)
            }
            Operation::Add {
                input,
                residual,
                output,
                clamp,
            } => {
                self.maps(output, input, Some(residual))?;
                check_same_blocks(input, output)?;
                let is_same = [input.height, input.width] == [output.height, output.width];
                ensure(is_same, Fault::Pixels)?;
                check_clamp(*clamp)?;
                self.read_and_write(output, input, Some(residual))
            }
            Operation::Softmax {
                input,
                channels,
                output,
            } => self.softmax(input, *channels, output),
            Operation::Store {
                input,
                channels,
                output,
            } => {
                self.map(input)?;
                let len = self
                    .program
                    .outputs
                    .get(*output)
                    .map(|shape| tensor_len(shape));
                check_tensor(input, *channels, len)?;
                self.stores[*output] += 1;
                self.read(input)
            }
        }
    }

    fn direct(&mut self, convolution: &DirectConvolution) -> Checked {
        let (input, output) = (&convolution.input, &convolution.output);
        let residual = convolution.residual.as_ref();
        self.maps(output, input, residual)?;
        ensure(output.lanes == BLOCK, Fault::Lanes)?;
        ensure(input.lanes == BLOCK || input.blocks == 1, Fault::Lanes)?;
        check_window(input, output, &convolution.window)?;
        check_clamp(convolution.clamp)?;
        let channels = output.blocks * BLOCK;
        let [rows, columns] = convolution.window.kernel;
        let weights = input.blocks * input.lanes * rows * columns * channels;
        self.weights(convolution.weights_offset, weights)?;
        self.weights(convolution.bias_offset, channels)?;
        self.read_and_write(output, input, residual)
    }

    fn winograd(&mut self, convolution: &WinogradConvolution) -> Checked {
        let (input, output) = (&convolution.input, &convolution.output);
        self.maps(output, input, None)?;
        let is_blocked = input.lanes == BLOCK && output.lanes == BLOCK;
        ensure(is_blocked, Fault::Lanes)?;
        let size = convolution.output_tile;
        ensure(matches!(size, 2 | 4), Fault::OutputTile)?;
        ensure(convolution.max_tiles > 0, Fault::NoTiles)?;
        ensure(convolution.workspace_len() <= MAX_FLOATS, Fault::LargeMap)?;
        let [rows, columns] = convolution.tile_grid();
        // The input transform reads whole tiles, as a window for each tile would.
        let tiles = FeatureMap {
            height: rows,
            width: columns,
            ..*output
        };
        let window = Window {
            kernel: [size + 2; 2],
            stride: [size; 2],
            origin: convolution.origin,
        };
        check_window(input, &tiles, &window)?;
        check_clamp(convolution.clamp)?;
        let channels = output.blocks * BLOCK;
        let weights = convolution.positions() * input.blocks * BLOCK * channels;
        self.weights(convolution.weights_offset, weights)?;
        self.weights(convolution.bias_offset, channels)?;
        self.read_and_write(output, input, None)
    }

    fn softmax(&mut self, input: &FeatureMap, channels: usize, output: &FeatureMap) -> Checked {
        self.maps(output, input, None)?;
        for map in [input, output] {
            ensure(map.lanes == BLOCK, Fault::Lanes)?;
            // One pixel without a halo: its channels are contiguous.
            ensure(map.block_stride() == BLOCK, Fault::Pixels)?;
            check_channels(map, channels)?;
        }
        self.read_and_write(output, input, None)
    }

    /// Checks the size and the place of a feature map.
    fn map(&self, map: &FeatureMap) -> Checked {
        let FeatureMap { halo, .. } = map;
        let sizes = [map.blocks, map.lanes, map.height, map.width];
        let halos = [halo.top, halo.left, halo.bottom, halo.right];
        let is_small = |&size: &usize| size < MAX_SIZE;
        ensure(
            sizes.iter().chain(&halos).all(is_small) && map.lanes <= BLOCK,
            Fault::LargeMap,
        )?;
        ensure(sizes.iter().all(|&size| size > 0), Fault::EmptyMap)?;
        // Three such sizes fit in 64 bits, the sum with any offset may not.
        let end = map.offset as u128 + map.len() as u128;
        ensure(end <= self.program.arena_len as u128, Fault::OutsideArena)
    }

    /// Checks the feature maps of an operation: they are in the arena, and the output overlaps no input.
    fn maps(
        &self,
        output: &FeatureMap,
        input: &FeatureMap,
        residual: Option<&Residual>,
    ) -> Checked {
        self.map(output)?;
        self.map(input)?;
        ensure(!overlap(input, output), Fault::Overlap)?;
        let Some(Residual {
            feature_map: map,
            stride,
        }) = residual
        else {
            return Ok(());
        };
        self.map(map)?;
        ensure(!overlap(map, output), Fault::Overlap)?;
        ensure(map.lanes == BLOCK, Fault::Lanes)?;
        ensure(map.blocks == output.blocks, Fault::Blocks)?;
        ensure((1..MAX_SIZE).contains(stride), Fault::WindowRange)?;
        ensure(
            (output.height - 1) * stride < map.height && (output.width - 1) * stride < map.width,
            Fault::SmallResidual,
        )
    }

    fn weights(&self, start: usize, len: usize) -> Checked {
        let end = start.checked_add(len);
        ensure(
            end.is_some_and(|end| end <= self.program.weights_len),
            Fault::OutsideWeights,
        )
    }

    /// Reads a feature map, which an earlier operation wrote as the same feature map.
    fn read(&self, map: &FeatureMap) -> Checked {
        ensure(self.live.contains(map), Fault::NotLive)
    }

    /// Writes a feature map, which ends the life of all that it overlaps.
    fn write(&mut self, map: &FeatureMap) -> Checked {
        self.live.retain(|other| !overlap(other, map));
        self.live.push(*map);
        self.arena_len = self.arena_len.max(map.offset + map.len());
        Ok(())
    }

    fn read_and_write(
        &mut self,
        output: &FeatureMap,
        input: &FeatureMap,
        residual: Option<&Residual>,
    ) -> Checked {
        self.read(input)?;
        if let Some(residual) = residual {
            self.read(&residual.feature_map)?;
        }
        self.write(output)
    }
}

/// Whether two feature maps in the arena have a float in common.
fn overlap(a: &FeatureMap, b: &FeatureMap) -> bool {
    a.offset < b.offset + b.len() && b.offset < a.offset + a.len()
}

/// Both feature maps have 16 lanes and the same number of blocks.
fn check_same_blocks(input: &FeatureMap, output: &FeatureMap) -> Checked {
    let is_blocked = input.lanes == BLOCK && output.lanes == BLOCK;
    ensure(is_blocked, Fault::Lanes)?;
    ensure(input.blocks == output.blocks, Fault::Blocks)
}

/// All windows of the output are inside the input with its halo.
fn check_window(input: &FeatureMap, output: &FeatureMap, window: &Window) -> Checked {
    let is_small = |&size: &usize| size < MAX_SIZE;
    let sizes = [window.kernel, window.stride];
    ensure(
        sizes
            .as_flattened()
            .iter()
            .all(|size| *size > 0 && is_small(size))
            && window.origin.iter().all(is_small),
        Fault::WindowRange,
    )?;
    let end = |axis: usize, outputs: usize| {
        window.origin[axis] + (outputs - 1) * window.stride[axis] + window.kernel[axis]
    };
    let columns = input.row_stride() / input.lanes;
    ensure(
        end(0, output.height) <= input.stored_rows() && end(1, output.width) <= columns,
        Fault::WindowOutside,
    )
}

/// The last channel is in the last block of the feature map.
fn check_channels(map: &FeatureMap, channels: usize) -> Checked {
    ensure(channels.div_ceil(map.lanes) == map.blocks, Fault::Channels)
}

/// A tensor of `len` values, if there is one, has the channels and pixels of the feature map.
fn check_tensor(map: &FeatureMap, channels: usize, len: Option<usize>) -> Checked {
    check_channels(map, channels)?;
    ensure(
        len == Some(channels * map.height * map.width),
        Fault::Tensor,
    )
}

fn check_clamp(clamp: Clamp) -> Checked {
    let [low, high] = clamp.bounds();
    // A comparison with NaN is false.
    ensure(low <= high, Fault::Clamp)
}

/// Number of values of a tensor.
fn tensor_len(shape: &[usize]) -> usize {
    shape.iter().fold(1, |len, &axis| len.saturating_mul(axis))
}

#[cfg(test)]
mod tests;
