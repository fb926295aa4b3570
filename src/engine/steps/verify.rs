//! Verification: the invariant Verified of the module [`runtime`](crate::runtime), on which the unsafe code relies.

use std::collections::BTreeMap;

use crate::{
    activation::Activation,
    program::{BLOCK, FeatureMap, Program, Residual, Window},
    runtime::{Fault, ProgramError},
};

/// Upper limit of blocks, rows, columns, strides and so on. No model has more of anything, and products of four of
/// these numbers fit in 64 bits.
pub(crate) const MAX_SIZE: usize = 1 << 16;

/// Upper limit of memory and tensors, in floats: 16 GiB. A Lambda function has 10 GiB.
pub(crate) const MAX_FLOATS: usize = 1 << 32;

/// Checks that a program is sound: all its addresses are valid, it reads only what it wrote before, and it loads every
/// input and stores every output once. `weights_len` is the length of the packed weights in floats.
///
/// # Errors
///
/// A [`ProgramError`] that names the step, its field and the fault.
pub(crate) fn verify(program: &Program, weights_len: usize) -> Result<(), ProgramError> {
    if program.weights_len != weights_len {
        return Err(ProgramError::Weights {
            expected: program.weights_len,
            actual: weights_len,
        });
    }
    if program.arena_len > MAX_FLOATS {
        return Err(ProgramError::Memory(program.arena_len));
    }
    // A run allocates all output tensors, also one that no step stores.
    for shape in program.inputs.iter().chain(&program.outputs) {
        if tensor_len(shape) > MAX_FLOATS {
            return Err(ProgramError::Tensor(shape.clone()));
        }
    }
    let mut verifier = Verifier {
        program,
        live: BTreeMap::new(),
        reading: Vec::new(),
        arena_len: 0,
        loads: vec![0; program.inputs.len()],
        stores: vec![0; program.outputs.len()],
    };
    for (number, step) in program.steps.iter().enumerate() {
        verifier.reading.clear();
        let invalid = |Invalid { field, fault }| ProgramError::Invalid {
            step: number,
            kind: step.name(),
            field,
            fault,
        };
        step.kind().verify(&mut verifier).map_err(invalid)?;
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

/// A field of a step, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Invalid {
    pub(crate) field: &'static str,
    pub(crate) fault: Fault,
}

pub(crate) type Checked = Result<(), Invalid>;

/// A check of one field.
pub(crate) fn ensure(holds: bool, field: &'static str, fault: Fault) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(Invalid { field, fault })
    }
}

/// What the steps so far read and wrote.
pub(crate) struct Verifier<'a> {
    program: &'a Program,
    /// Channel blocks that were written and not overwritten, by their offset. They do not overlap.
    live: BTreeMap<usize, FeatureMap>,
    /// Feature maps that the step reads.
    reading: Vec<FeatureMap>,
    /// End of the feature maps so far.
    arena_len: usize,
    /// Number of loads of each input tensor.
    loads: Vec<usize>,
    /// Number of stores of each output tensor.
    stores: Vec<usize>,
}

impl Verifier<'_> {
    /// Reads a feature map, whose channel blocks earlier steps wrote with the same shape and halo.
    pub(crate) fn read(&mut self, field: &'static str, map: &FeatureMap) -> Checked {
        self.map(field, map)?;
        let is_live = |block| {
            let block = map.view(block, 1);
            self.live.get(&block.offset) == Some(&block)
        };
        ensure((0..map.blocks).all(is_live), field, Fault::NotLive)?;
        self.reading.push(*map);
        Ok(())
    }

    /// Reads a feature map of whole channel blocks.
    pub(crate) fn read_blocks(&mut self, field: &'static str, map: &FeatureMap) -> Checked {
        self.read(field, map)?;
        ensure(map.lanes == BLOCK, field, Fault::Lanes)
    }

    /// Reads a residual, which has the blocks of `output` and a pixel for each of its pixels.
    pub(crate) fn read_residual(
        &mut self,
        field: &'static str,
        residual: &Residual,
        output: &FeatureMap,
    ) -> Checked {
        let Residual {
            feature_map: map,
            stride,
        } = residual;
        self.read_blocks(field, map)?;
        // The output's size is used before the output is checked.
        self.map("output", output)?;
        ensure(map.blocks == output.blocks, field, Fault::Blocks)?;
        ensure((1..MAX_SIZE).contains(stride), field, Fault::WindowRange)?;
        ensure(
            (output.height - 1) * stride < map.height && (output.width - 1) * stride < map.width,
            field,
            Fault::SmallResidual,
        )
    }

    /// Writes a feature map, which ends the life of all that it overlaps. Call it after all reads of the step.
    pub(crate) fn write(&mut self, field: &'static str, map: &FeatureMap) -> Checked {
        self.map(field, map)?;
        let end = map.offset + map.len();
        let overlaps =
            |other: &FeatureMap| other.offset < end && map.offset < other.offset + other.len();
        ensure(!self.reading.iter().any(overlaps), field, Fault::Overlap)?;
        // Live blocks do not overlap, so only the last that begin before the end can reach into the map.
        while let Some((&offset, block)) = self.live.range(..end).next_back() {
            if offset + block.len() <= map.offset {
                break;
            }
            self.live.remove(&offset);
        }
        for block in 0..map.blocks {
            let block = map.view(block, 1);
            self.live.insert(block.offset, block);
        }
        self.arena_len = self.arena_len.max(end);
        Ok(())
    }

    /// Writes a feature map of whole channel blocks.
    pub(crate) fn write_blocks(&mut self, field: &'static str, map: &FeatureMap) -> Checked {
        ensure(map.lanes == BLOCK, field, Fault::Lanes)?;
        self.write(field, map)
    }

    /// Reads `len` floats of the weights from `offset` on.
    pub(crate) fn weights(&self, field: &'static str, offset: usize, len: usize) -> Checked {
        let end = offset.checked_add(len);
        ensure(
            end.is_some_and(|end| end <= self.program.weights_len),
            field,
            Fault::OutsideWeights,
        )
    }

    /// Copies input tensor `index` to a feature map with these channels.
    pub(crate) fn load(&mut self, index: usize, map: &FeatureMap, channels: usize) -> Checked {
        self.map("output", map)?;
        tensor_fits(map, channels, self.program.inputs.get(index))?;
        self.loads[index] += 1;
        Ok(())
    }

    /// Copies a feature map with these channels to output tensor `index`.
    pub(crate) fn store(&mut self, index: usize, map: &FeatureMap, channels: usize) -> Checked {
        tensor_fits(map, channels, self.program.outputs.get(index))?;
        self.stores[index] += 1;
        Ok(())
    }

    /// Checks the size of a feature map.
    pub(crate) fn size(&self, field: &'static str, map: &FeatureMap) -> Checked {
        let FeatureMap { halo, .. } = map;
        let sizes = [map.blocks, map.lanes, map.height, map.width];
        let halos = [halo.top, halo.left, halo.bottom, halo.right];
        let is_small = |&size: &usize| size < MAX_SIZE;
        ensure(
            sizes.iter().chain(&halos).all(is_small) && map.lanes <= BLOCK,
            field,
            Fault::LargeMap,
        )?;
        ensure(sizes.iter().all(|&size| size > 0), field, Fault::EmptyMap)
    }

    /// Checks the size and the place of a feature map.
    fn map(&self, field: &'static str, map: &FeatureMap) -> Checked {
        self.size(field, map)?;
        // Three such sizes fit in 64 bits, the sum with any offset may not.
        let end = map.offset as u128 + map.len() as u128;
        ensure(
            end <= self.program.arena_len as u128,
            field,
            Fault::OutsideArena,
        )
    }
}

/// All windows of the output are inside the input with its halo. Both feature maps were checked.
pub(crate) fn window_fits(input: &FeatureMap, output: &FeatureMap, window: &Window) -> Checked {
    let is_small = |&size: &usize| size < MAX_SIZE;
    let sizes = [window.kernel, window.stride];
    ensure(
        sizes
            .as_flattened()
            .iter()
            .all(|size| *size > 0 && is_small(size))
            && window.origin.iter().all(is_small),
        "window",
        Fault::WindowRange,
    )?;
    let end = |axis: usize, outputs: usize| {
        window.origin[axis] + (outputs - 1) * window.stride[axis] + window.kernel[axis]
    };
    let columns = input.row_stride() / input.lanes;
    ensure(
        end(0, output.height) <= input.stored_rows() && end(1, output.width) <= columns,
        "window",
        Fault::WindowOutside,
    )
}

/// The two feature maps have the same number of blocks.
pub(crate) fn same_blocks(field: &'static str, input: &FeatureMap, output: &FeatureMap) -> Checked {
    ensure(input.blocks == output.blocks, field, Fault::Blocks)
}

/// The two feature maps have the same blocks, rows and columns.
pub(crate) fn same_size(field: &'static str, input: &FeatureMap, output: &FeatureMap) -> Checked {
    ensure(input.blocks == output.blocks, field, Fault::Blocks)?;
    let is_same = [input.height, input.width] == [output.height, output.width];
    ensure(is_same, field, Fault::Pixels)
}

/// The bounds of an activation are in order.
pub(crate) fn activation_is_valid(activation: Activation) -> Checked {
    ensure(activation.is_valid(), "activation", Fault::Activation)
}

/// The last channel is in the last block of the feature map.
pub(crate) fn channels_fit(map: &FeatureMap, channels: usize) -> Checked {
    let blocks = channels.div_ceil(map.lanes);
    ensure(blocks == map.blocks, "channels", Fault::Channels)
}

/// A tensor of this shape, if there is one, has the channels and pixels of the feature map.
fn tensor_fits(map: &FeatureMap, channels: usize, shape: Option<&Vec<usize>>) -> Checked {
    channels_fit(map, channels)?;
    let len = shape.map(|shape| tensor_len(shape));
    ensure(
        len == Some(channels * map.height * map.width),
        "tensor",
        Fault::Tensor,
    )
}

/// Number of values of a tensor.
fn tensor_len(shape: &[usize]) -> usize {
    shape.iter().fold(1, |len, &axis| len.saturating_mul(axis))
}

#[cfg(test)]
pub(crate) mod tests;
